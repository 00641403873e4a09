"""HTTP routes of the relay."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Path, Request, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel

from exporter.relay.alertmanager import Notification
from exporter.relay.dispatch import Dispatcher, Outcome
from exporter.relay.gate import Answer, Gate, body_of
from exporter.relay.integration.contract import Tick
from exporter.relay.metrics import RelayMetrics, package_version
from exporter.relay.settings import RelaySettings
from exporter.web.credentials import CallerAuth

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "Telex has the whole notification."},
    400: {
        "model": Answer,
        "description": "The body is not an Alertmanager webhook of version 4, or too large.",
    },
    401: {"model": Answer, "description": "Credentials are missing or wrong."},
    404: {"model": Answer, "description": "No such channel."},
    502: {"model": Answer, "description": "Telex refuses the message; the channel's URL may be wrong."},
    503: {
        "model": Answer,
        "description": "Telex cannot take the message now, the relay is busy, or the body came too slowly;"
        " try again.",
    },
}


def create_app(
    settings: RelaySettings,
    auth: CallerAuth | None,
    dispatcher: Dispatcher,
    metrics: RelayMetrics,
    ready: Callable[[], bool],
    integration: Callable[[FastAPI, Gate], None] | None = None,
) -> FastAPI:
    """The relay's web application; `integration` adds the routes that Telex asks for."""
    app = FastAPI(
        title="aws-spend-exporter relay",
        summary="Posts Alertmanager's notifications to Telex channels.",
        version=package_version(),
        docs_url=None,  # the page would load its scripts from a foreign host
        redoc_url=None,
        redirect_slashes=False,  # to wherever the Host header says
    )
    gate = Gate(settings.max_body_bytes, metrics)
    # Each channel has its own, so that one that hangs keeps no other waiting.
    slots = {
        name: threading.BoundedSemaphore(settings.max_concurrent_notifications) for name in settings.channels
    }

    async def alerts(request: Request, channel: str | None) -> Answer:
        gate.admit(request, auth)
        name = channel if channel is not None else settings.default_channel_name()
        if name is None or name not in settings.channels:
            raise gate.refuse(404, "unknown_channel", "no such channel")
        slot = slots[name]
        # Before the body is read, which bounds what bodies take of the memory.
        if not slot.acquire(blocking=False):
            raise gate.refuse(503, "overloaded", "too many notifications are being delivered; try again")
        try:
            notification = await gate.read(request, Notification)
        except BaseException:
            slot.release()
            raise
        try:
            status, detail = await in_thread(lambda: dispatcher.deliver(name, notification), slot.release)
        except asyncio.CancelledError:  # the time to drain is over and Telex still has not answered
            status, detail = 503, "shutting down"
        if status != 200:
            raise HTTPException(status, detail)
        return Answer(detail=detail)

    @app.post("/alerts", responses=_RESPONSES, openapi_extra=body_of(Notification))
    async def post_alerts(request: Request) -> Answer:
        """Deliver a notification of Alertmanager to the default channel."""
        return await alerts(request, None)

    @app.post("/alerts/{channel}", responses=_RESPONSES, openapi_extra=body_of(Notification))
    async def post_alerts_to_channel(
        request: Request, channel: Annotated[str, Path(description="A channel of the configuration.")]
    ) -> Answer:
        """Deliver a notification of Alertmanager to the named channel."""
        return await alerts(request, channel)

    @app.get("/-/healthy", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def healthy() -> Response:
        """The process answers."""
        return Response("ok\n", media_type="text/plain")

    @app.get(
        "/-/ready",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, 503: {"content": {"text/plain": {}}}},
    )
    async def is_ready() -> Response:
        """Notifications are taken: no shutdown is under way."""
        if ready():
            return Response("ready\n", media_type="text/plain")
        return Response("not ready\n", status_code=503, media_type="text/plain")

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def exposition() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    bodies: list[type[BaseModel]] = [Notification]
    if integration is not None:
        integration(app, gate)
        bodies.append(Tick)
    plain_openapi = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain_openapi()
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            for model in bodies:
                body = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(body.pop("$defs", {}))
                schemas[model.__name__] = body
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
    return app


async def in_thread(work: Callable[[], Outcome], done: Callable[[], None]) -> Outcome:
    """
    Run `work` on a thread of its own; `done` runs after it in any case.

    A daemon thread: at exit the interpreter would wait for a pool's threads, and so for Telex.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Outcome] = loop.create_future()

    def settle(outcome: Outcome | None, error: BaseException | None) -> None:
        if future.done():  # the request was cancelled while Telex was slow
            return
        if error is not None:
            future.set_exception(error)
        elif outcome is not None:
            future.set_result(outcome)

    def run() -> None:
        outcome: Outcome | None = None
        failure: BaseException | None = None
        try:
            outcome = work()
        except BaseException as error:
            failure = error
        finally:
            done()
        with suppress(RuntimeError):  # the loop has ended, and nobody waits for the outcome
            loop.call_soon_threadsafe(settle, outcome, failure)

    threading.Thread(target=run, name="delivery", daemon=True).start()
    return await future

"""HTTP routes of the relay."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Path, Request, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel

from exporter.relay.alertmanager import Notification
from exporter.relay.channel import DeliveryResult, DeliveryStatus
from exporter.relay.dispatch import Dispatcher
from exporter.relay.gate import Answer, Gate, body_of
from exporter.relay.integration.contract import Tick
from exporter.relay.metrics import RelayMetrics, package_version
from exporter.relay.settings import RelaySettings
from exporter.web.credentials import CallerAuth

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The channel has the whole notification."},
    400: {
        "model": Answer,
        "description": "The body is not an Alertmanager webhook of version 4, or too large.",
    },
    401: {"model": Answer, "description": "Credentials are missing or wrong."},
    403: {"model": Answer, "description": "A page in a browser asks."},
    404: {"model": Answer, "description": "No such channel."},
    502: {"model": Answer, "description": "The channel refuses the message; its URL may be wrong."},
    503: {
        "model": Answer,
        "description": "The channel cannot take the message now, the relay is busy, or the body came too slowly;"
        " try again.",
    },
}
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}}


def create_app(
    settings: RelaySettings,
    auth: CallerAuth | None,
    dispatcher: Dispatcher,
    metrics: RelayMetrics,
    ready: Callable[[], bool],
    gate: Gate,
    integration: Callable[[FastAPI, Gate], None] | None = None,
) -> FastAPI:
    """The relay's web application; `integration` adds the routes that a chat platform asks for."""
    app = FastAPI(
        title="aws-spend-exporter relay",
        summary="Posts Alertmanager's notifications to channels.",
        version=package_version(),
        docs_url=None,  # the page would load its scripts from a foreign host
        redoc_url=None,
        redirect_slashes=False,  # to an address that the Host header chooses
    )
    _add_alerts(app, _Alerts(settings, auth, dispatcher, gate))
    _add_state(app, metrics, ready)
    if integration is not None:
        integration(app, gate)
    _describe_bodies(app, [Notification] if integration is None else [Notification, Tick])
    return app


class _Alerts:
    """Takes notifications, so many at once for each channel."""

    def __init__(
        self, settings: RelaySettings, auth: CallerAuth | None, dispatcher: Dispatcher, gate: Gate
    ) -> None:
        self._auth = auth
        self._dispatcher = dispatcher
        self._gate = gate
        self._default = settings.default_channel_name()
        # One for each channel, so that one that hangs keeps no other waiting.
        self._slots = {
            name: threading.BoundedSemaphore(settings.max_concurrent_notifications)
            for name in settings.channels
        }

    async def take(self, request: Request, channel: str | None) -> Answer:
        gate = self._gate
        gate.refuse_pages(request)
        gate.admit(request, self._auth)
        name = channel if channel is not None else self._default
        if name is None or name not in self._slots:
            raise gate.refuse(404, "unknown_channel", "no such channel")
        # Before a place is taken: who sends slowly must not keep others from delivery.
        notification = await gate.read(request, Notification, known=self._auth is not None)
        slot = self._slots[name]
        if not slot.acquire(blocking=False):
            raise gate.refuse(503, "overloaded", "too many notifications are being delivered; try again")
        try:
            result = await in_thread(lambda: self._dispatcher.deliver(name, notification), slot.release)
        except asyncio.CancelledError:  # the time to drain is over and the channel still has not answered
            result = DeliveryResult(DeliveryStatus.INTERRUPTED, "shutting down")
        if not result.delivered:
            raise HTTPException(result.http_status, result.reason)
        return Answer(detail=result.reason)


def _add_alerts(app: FastAPI, alerts: _Alerts) -> None:
    @app.post("/alerts", responses=_RESPONSES, openapi_extra=body_of(Notification))
    async def post_alerts(request: Request) -> Answer:
        """Deliver a notification of Alertmanager to the default channel."""
        return await alerts.take(request, None)

    @app.post("/alerts/{channel}", responses=_RESPONSES, openapi_extra=body_of(Notification))
    async def post_alerts_to_channel(
        request: Request, channel: Annotated[str, Path(description="A channel of the configuration.")]
    ) -> Answer:
        """Deliver a notification of Alertmanager to the named channel."""
        return await alerts.take(request, channel)


def _add_state(app: FastAPI, metrics: RelayMetrics, ready: Callable[[], bool]) -> None:
    @app.get("/-/healthy", response_class=Response, responses=_TEXT)
    async def healthy() -> Response:
        """The process answers."""
        return Response("ok\n", media_type="text/plain")

    @app.get("/-/ready", response_class=Response, responses={**_TEXT, 503: {"content": {"text/plain": {}}}})
    async def is_ready() -> Response:
        """Notifications are taken: no shutdown is under way."""
        if ready():
            return Response("ready\n", media_type="text/plain")
        return Response("not ready\n", status_code=503, media_type="text/plain")

    @app.get("/metrics", response_class=Response, responses=_TEXT)
    async def exposition() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


def _describe_bodies(app: FastAPI, bodies: Sequence[type[BaseModel]]) -> None:
    """Add the models of bodies that are read by hand to the application's schema."""
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


async def in_thread(work: Callable[[], DeliveryResult], done: Callable[[], None]) -> DeliveryResult:
    """Run `work` on a separate thread; `done` runs after it in any case.

    A daemon thread: at exit the interpreter would wait for a pool's threads, and so for a channel.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[DeliveryResult] = loop.create_future()

    def settle(result: DeliveryResult | None, error: BaseException | None) -> None:
        if future.done():  # the request was cancelled while the channel was slow
            return
        if error is not None:
            future.set_exception(error)
        elif result is not None:
            future.set_result(result)

    def run() -> None:
        result: DeliveryResult | None = None
        failure: BaseException | None = None
        try:
            result = work()
        except BaseException as error:
            failure = error
        finally:
            done()
        with suppress(RuntimeError):  # the loop has ended, and nothing waits for the result
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="delivery", daemon=True).start()
    return await future

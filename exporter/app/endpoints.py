"""What the exporter serves over HTTP."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import version
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from exporter.api.endpoints import all_endpoints
from exporter.api.source import AnyEndpoint
from exporter.app.answers import Answers, AnswerSource
from exporter.app.pages import api_page, landing_page
from exporter.collection.refreshed import Refreshed
from exporter.collection.store import Store
from exporter.cost.rereads import Reread
from exporter.web.encodings import accepts_gzip
from exporter.web.pages import comes_from_a_page

T = TypeVar("T")

_MOST_WAITING = 4
"""Requests that wait for a reload or a refresh at once; each holds one of the threads that answer `/-/ready`."""


@dataclass(frozen=True, slots=True)
class Probes:
    """What the endpoints ask the process behind them for."""

    unready: Callable[[], list[str]]
    problems: Callable[[], list[str]]
    denied_regions: Callable[[], list[str]]
    reload: Callable[[], str | None]
    """Reloads the configuration; returns why it was refused, None when it was taken over."""
    refresh: Callable[[str, Reread | None], Refreshed]
    """Reads AWS for one collector now, or days of cost again; returns what became of it."""
    status: Callable[[], dict[str, Any]]
    answers: AnswerSource


def create_app(store: Store, registry: CollectorRegistry, probes: Probes) -> FastAPI:
    """The exporter's endpoints, after the manners of Prometheus' own servers."""
    app = FastAPI(
        title="aws-spend-exporter",
        version=version("aws-spend-exporter"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # to wherever the Host header says
    )
    app.add_exception_handler(sqlite3.Error, _without_ledger)
    answers = Answers(probes.answers)
    _add_metrics(app, store, registry)
    _add_states(app, probes, answers)
    _add_actions(app, probes)
    for endpoint in all_endpoints():
        _mount(app, endpoint, answers)
    _add_pages(app, probes)
    return app


async def _without_ledger(request: Request, error: Exception) -> JSONResponse:
    """503 for what is made from the ledger, while it cannot be read."""
    return JSONResponse(
        {"detail": f"the ledger cannot be read: {error}"}, status_code=503, headers={"Retry-After": "10"}
    )


def _add_metrics(app: FastAPI, store: Store, registry: CollectorRegistry) -> None:
    def exposition(accepted: str) -> Response:
        snapshot = store.scrape()
        own = generate_latest(registry)
        headers = {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Vary": "Accept-Encoding"}
        if accepts_gzip(accepted):
            return Response(snapshot.gzipped(own), headers={**headers, "Content-Encoding": "gzip"})
        return Response(snapshot.plain(own), headers=headers)

    @app.get("/metrics", response_class=PlainTextResponse, summary="All metrics, text format 0.0.4")
    async def metrics(request: Request) -> Response:
        # Not on the threads of the JSON API: a scrape does not queue behind it.
        accepted = ",".join(request.headers.getlist("accept-encoding"))
        return await asyncio.to_thread(exposition, accepted)


def _add_states(app: FastAPI, probes: Probes, answers: Answers) -> None:
    """What is asked without changing anything."""

    @app.get("/-/healthy", response_class=PlainTextResponse, summary="The process lives")
    async def healthy() -> str:
        return "aws-spend-exporter is healthy.\n"

    @app.get(
        "/-/ready", response_class=PlainTextResponse, summary="Every unit of collection was attempted once"
    )
    def ready() -> PlainTextResponse:
        waiting = probes.unready()
        problems = "".join(f"Failing: {problem}\n" for problem in probes.problems())
        problems += "".join(
            f"Denied by a service control policy: {regions}\n" for regions in probes.denied_regions()
        )
        if waiting:
            text = "".join(f"Not ready: {reason}\n" for reason in waiting)
            return PlainTextResponse(text + problems, status_code=503)
        return PlainTextResponse(f"aws-spend-exporter is ready.\n{problems}")

    @app.get("/api/v1/status", summary="Collectors, their results and the spend on AWS requests")
    async def status() -> Response:
        return await answers.in_turn(lambda: JSONResponse(probes.status()))


def _add_actions(app: FastAPI, probes: Probes) -> None:
    """What a request sets off: a reload, or reading AWS."""
    waiting_places = threading.BoundedSemaphore(_MOST_WAITING)

    def in_turn(work: Callable[[], T], refused: Callable[[str], T]) -> T:
        if not waiting_places.acquire(blocking=False):
            return refused("too many wait for that already; try again")
        try:
            return work()
        finally:
            waiting_places.release()

    @app.api_route(
        "/-/reload",
        methods=["POST", "PUT"],
        response_class=PlainTextResponse,
        summary="Read the configuration again",
        dependencies=[Depends(_not_from_a_page)],
    )
    def reload() -> PlainTextResponse:
        refused = in_turn(probes.reload, lambda reason: reason)
        if refused is not None:
            return PlainTextResponse(f"failed to reload config: {refused}\n", status_code=500)
        return PlainTextResponse("configuration reloaded\n")

    @app.post(
        "/-/refresh",
        response_class=PlainTextResponse,
        summary="Read AWS for one collector before it is due",
        dependencies=[Depends(_not_from_a_page)],
    )
    def refresh(
        collector: str,
        start: Annotated[
            date | None, Query(alias="from", description="First day of cost to read again.")
        ] = None,
        end: Annotated[date | None, Query(alias="to", description="Last day, included.")] = None,
        shape: Annotated[Literal["text", "json"], Query(alias="format")] = "text",
    ) -> Response:
        if (start is None) != (end is None):
            raise HTTPException(400, "from and to go together")
        days = Reread(start, end + timedelta(days=1)) if start is not None and end is not None else None
        done = in_turn(
            lambda: probes.refresh(collector, days),
            lambda reason: Refreshed(collector=collector, reason=reason),
        )
        status = 200 if done.reason is None else 409
        if shape == "json":
            return JSONResponse(done.as_json(), status_code=status)
        if done.reason is not None:
            return PlainTextResponse(f"not refreshed: {done.reason}\n", status_code=status)
        return PlainTextResponse("".join(f"{line}\n" for line in done.lines()))


def _add_pages(app: FastAPI, probes: Probes) -> None:
    """What a browser shows."""

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def landing() -> str:
        return landing_page(probes.unready(), probes.problems(), probes.denied_regions())

    # FastAPI's own page would load its scripts from a foreign host.
    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    def docs() -> str:
        return api_page(all_endpoints())


def _not_from_a_page(request: Request) -> None:
    if comes_from_a_page(request.headers):
        raise HTTPException(403, "a page may not ask for this")


def _mount(app: FastAPI, endpoint: AnyEndpoint, answers: Answers) -> None:
    async def answer(query: Any) -> Response:
        return await answers.reply(endpoint, query)

    # FastAPI reads the parameters off the annotation.
    answer.__annotations__["query"] = Annotated[endpoint.query, Query()]
    app.get(f"/api/v1/{endpoint.name}", summary=endpoint.help, name=endpoint.name)(answer)

"""HTTP routes of the integration; they exist only while it is enabled."""

from __future__ import annotations

import math
from typing import Any, Literal

from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel

from exporter.relay.gate import Answer, Gate, body_of
from exporter.relay.integration import contract
from exporter.relay.integration.contract import Tick
from exporter.relay.integration.return_url import RefusedUrlError
from exporter.relay.integration.ticks import Ticks
from exporter.relay.integration_settings import IntegrationSettings
from exporter.web.credentials import CallerAuth


class Accepted(BaseModel):
    """The answer to a tick that is taken."""

    status: Literal["accepted"]


_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": Answer, "description": "The body is not a tick, or its return_url is not allowed."},
    401: {"model": Answer, "description": "Credentials are missing or wrong."},
    429: {"model": Answer, "description": "Too many ticks; Retry-After says when to come again."},
    503: {"model": Answer, "description": "Too many ticks are being answered; try again."},
}


_BAD_HOST: dict[int | str, dict[str, Any]] = {
    400: {"model": Answer, "description": "The Host header is not usable."}
}


def add_routes(
    app: FastAPI, settings: IntegrationSettings, auth: CallerAuth | None, ticks: Ticks, gate: Gate
) -> None:
    """Add what a chat platform asks for to the application."""

    @app.get("/integration", responses=_BAD_HOST)
    async def get_integration(request: Request) -> dict[str, Any]:
        """Show the description of the integration, and where ticks are sent."""
        return _description(settings, request)

    @app.get("/integration.json", responses=_BAD_HOST)
    async def get_integration_json(request: Request) -> dict[str, Any]:
        """The same under the name that the platform's documentation uses."""
        return _description(settings, request)

    @app.get(contract.LOGO_PATH, response_class=Response, responses={200: {"content": {"image/svg+xml": {}}}})
    async def logo() -> Response:
        """The integration's picture."""
        return Response(contract.LOGO, media_type="image/svg+xml")

    @app.post("/tick", status_code=202, responses=_RESPONSES, openapi_extra=body_of(Tick))
    async def tick(request: Request) -> Accepted:
        """Take a tick; its result is posted to its return_url."""
        gate.admit(request, auth)
        return await _take(request, ticks, gate, known=auth is not None)


def _description(settings: IntegrationSettings, request: Request) -> dict[str, Any]:
    if settings.base_url is not None:
        return contract.integration(settings.base_url.rstrip("/"))
    try:
        return contract.integration(str(request.base_url).rstrip("/"))
    except ValueError:  # a Host header that is none
        raise HTTPException(400, "the Host header is not usable") from None


async def _take(request: Request, ticks: Ticks, gate: Gate, *, known: bool) -> Accepted:
    if (seconds := ticks.rate.wait()) > 0:
        raise gate.refuse(
            429, "rate_limited", "too many ticks; try again later", {"Retry-After": str(math.ceil(seconds))}
        )
    read = await gate.read(request, Tick, known=known)
    try:
        ticks.check(read)
    except RefusedUrlError as error:
        raise gate.refuse(400, "return_url", str(error)) from None
    if not ticks.accept(read):
        raise gate.refuse(503, "overloaded", "too many ticks are being answered; try again")
    return Accepted(status="accepted")

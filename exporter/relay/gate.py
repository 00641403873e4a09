"""What every route that takes a body has in common: who may call, how much is read, what is refused how."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from exporter.relay.metrics import RelayMetrics
from exporter.web.credentials import CallerAuth, authorized

log = logging.getLogger(__name__)

B = TypeVar("B", bound=BaseModel)

BODY_SECONDS = 10.0
"""Alertmanager and chat platforms send a body at once; one that comes drop by drop holds a connection and memory."""


class Answer(BaseModel):
    """What an answer to a POST says."""

    detail: str


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI's words for a JSON body that is read by hand."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


class Gate:
    """Admits, reads and refuses requests, and counts the refusals."""

    def __init__(
        self, max_body_bytes: int, metrics: RelayMetrics, *, body_seconds: float = BODY_SECONDS
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds
        self._metrics = metrics

    def refuse(
        self, status: int, reason: str, detail: str, headers: dict[str, str] | None = None
    ) -> HTTPException:
        """The exception to raise."""
        self._metrics.refused.labels(reason).inc()
        return HTTPException(status, detail, headers)

    def admit(self, request: Request, auth: CallerAuth | None) -> None:
        """Raise 401 unless the request presents what `auth` asks for."""
        if auth is not None and not authorized(auth, request.headers.get("authorization", "")):
            raise self.refuse(
                401, "unauthorized", "credentials are missing or wrong",
                {"WWW-Authenticate": f'{auth.scheme} realm="relay"'},
            )  # fmt: skip

    async def read(self, request: Request, model: type[B]) -> B:
        """The body as `model`; raise 400 otherwise, without repeating it, or 503 if it does not come."""
        try:
            async with asyncio.timeout(self._body_seconds):
                body = await self._body(request)
        except TimeoutError:
            # Not 408: Alertmanager would not try again.
            raise self.refuse(
                503,
                "too_slow",
                f"the body did not come within {self._body_seconds:g} s",
                {"Connection": "close"},
            ) from None
        try:
            # A thread: megabytes of JSON must not hold up /metrics.
            return await asyncio.to_thread(model.model_validate_json, body)
        except ValidationError as error:
            detail = describe(error)
        log.warning("malformed body refused", extra={"reason": detail})
        raise self.refuse(400, "malformed", detail)

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in chunks(request):
            body += chunk
            if len(body) > self._max_body_bytes:
                raise self.refuse(
                    400, "too_large", f"the body is larger than {self._max_body_bytes} bytes",
                    {"Connection": "close"},
                )  # fmt: skip
        return bytes(body)


async def chunks(request: Request) -> AsyncIterator[bytes]:
    """The body's chunks; a caller that hangs up ends them."""
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        return


def describe(error: ValidationError) -> str:
    """What is wrong with a body, without repeating the body."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    texts = [
        f"{'.'.join(_step(step) for step in problem['loc'])}: {problem['msg'][:200]}"
        for problem in problems[:3]
    ]
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(text.removeprefix(": ") for text in texts) + more


def _step(step: int | str) -> str:
    """A place in a body; a label's name is the caller's, and may look like lines of a log."""
    return str(step) if re.fullmatch(r"\w{1,64}", str(step), re.ASCII) else "?"

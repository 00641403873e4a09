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
from exporter.web.pages import comes_from_a_page

log = logging.getLogger(__name__)

B = TypeVar("B", bound=BaseModel)

BODY_SECONDS = 10.0
"""Alertmanager and chat platforms send a body at once; one that comes drop by drop holds a connection and memory."""
_MOST_BODIES = 64  # far fewer than connections, so that slow bodies cannot take all of them
_MOST_BODIES_BYTES = 4  # in bodies of the largest size
_PARSED_AT_ONCE = 2


class Answer(BaseModel):
    """What an answer to a POST says."""

    detail: str


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI's words for a JSON body that is read by hand."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


class _Reading:
    """A body that is being read."""

    def __init__(self, limit: asyncio.Timeout) -> None:
        self.limit = limit
        self.bytes = 0
        self.displaced = False


class Bodies:
    """The bodies that callers of one kind are sending, and what of the memory they take; for one event loop.

    Where there are too many, or too many bytes, the one that is being sent for the longest ends. So callers that
    send slowly take places of each other only, and a body that comes at once is always read.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._reading: dict[_Reading, None] = {}  # the oldest first
        self.parsing = asyncio.Semaphore(_PARSED_AT_ONCE)

    def begin(self, limit: asyncio.Timeout) -> _Reading:
        """Count one more body, which `limit` ends if it has to make room."""
        while len(self._reading) >= self._most:
            self._displace()
        reading = _Reading(limit)
        self._reading[reading] = None
        return reading

    def add(self, reading: _Reading, size: int) -> bool:
        """Count bytes that have come for a body; False if there is no room even so."""
        while self._bytes + size > self._most_bytes:
            if next(iter(self._reading), reading) is reading:
                return False
            self._displace()
        self._bytes += size
        reading.bytes += size
        return True

    def complete(self, reading: _Reading) -> None:
        """It has come: it keeps its bytes until `end`, and makes no room."""
        self._reading.pop(reading, None)

    def end(self, reading: _Reading) -> None:
        """Its bytes are needed no more."""
        self._reading.pop(reading, None)
        self._bytes -= reading.bytes
        reading.bytes = 0

    def _displace(self) -> None:
        oldest = next(iter(self._reading))
        oldest.displaced = True
        if not oldest.limit.expired():  # its own time may just be over
            oldest.limit.reschedule(asyncio.get_running_loop().time())
        self.end(oldest)


class Gate:
    """Admits, reads and refuses requests, and counts the refusals."""

    def __init__(
        self, max_body_bytes: int, metrics: RelayMetrics, *, body_seconds: float = BODY_SECONDS
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds
        self._metrics = metrics
        # Apart, so that no stranger takes a place of who has presented credentials.
        self._of_strangers, self._of_known = (
            Bodies(_MOST_BODIES, _MOST_BODIES_BYTES * max_body_bytes) for _ in range(2)
        )

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

    def refuse_pages(self, request: Request) -> None:
        """Raise 403 for what a page in a browser sends: Alertmanager is none."""
        if comes_from_a_page(request.headers):
            raise self.refuse(403, "from_a_page", "a page may not post here")

    async def read(self, request: Request, model: type[B], *, known: bool) -> B:
        """The body as `model`; raise 400 otherwise, without repeating it, or 503 if it does not come in time.

        `known`: the caller has presented credentials. Call it before anything that is scarce is taken.
        """
        bodies = self._of_known if known else self._of_strangers
        reading: _Reading | None = None
        try:
            try:
                async with asyncio.timeout(self._body_seconds) as limit:
                    reading = bodies.begin(limit)
                    body = await self._body(request, bodies, reading)
                    bodies.complete(reading)
            except TimeoutError:
                raise self._too_slow(displaced=reading is not None and reading.displaced) from None
            try:
                async with bodies.parsing:
                    # A thread: megabytes of JSON must not hold up /metrics.
                    return await asyncio.to_thread(model.model_validate_json, body)
            except ValidationError as error:
                detail = describe(error)
        finally:
            if reading is not None:
                bodies.end(reading)
        log.warning("malformed body refused", extra={"reason": detail})
        raise self.refuse(400, "malformed", detail)

    def _too_slow(self, *, displaced: bool) -> HTTPException:
        detail = f"the body did not come within {self._body_seconds:g} s"
        if displaced:
            detail = "the body came too slowly, and others are sent"
        # Not 408: Alertmanager would not try again.
        return self.refuse(503, "too_slow", detail, {"Connection": "close"})

    async def _body(self, request: Request, bodies: Bodies, reading: _Reading) -> bytes:
        body = bytearray()
        async for chunk in chunks(request):
            if len(body) + len(chunk) > self._max_body_bytes:
                raise self.refuse(
                    400, "too_large", f"the body is larger than {self._max_body_bytes} bytes",
                    {"Connection": "close"},
                )  # fmt: skip
            if not bodies.add(reading, len(chunk)):
                raise self.refuse(
                    503, "overloaded", "too many notifications are being read; try again",
                    {"Connection": "close"},
                )  # fmt: skip
            body += chunk
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

"""Answers of the JSON API: few at a time, kept until what they are made of changes, and never in the way of a scrape."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException, Response
from fastapi.responses import JSONResponse

from exporter.api.source import AnyEndpoint, Source
from exporter.core.fields import StrictModel

_AT_ONCE = 2
"""Answers that are made at once. Python runs one thread at a time: each takes its turn from the scrapes."""
_MOST_WAITING = 32
_RETRY_AFTER_SECONDS = 2
_MOST_BYTES = 16 << 20
_MOST_BYTES_OF_ONE = _MOST_BYTES // 4


@dataclass(frozen=True, slots=True)
class Version:
    """What an answer is made of; answers of equal versions are equal.

    `minute` is what an answer depends on of the time: days end and settle at whole minutes.
    """

    minute: datetime
    reloads: int
    names: Mapping[str, str]
    ledger: int
    store: int


@dataclass(frozen=True, slots=True)
class AnswerSource:
    """What the process behind the answers hands out."""

    source: Callable[[AnyEndpoint], Source]
    version: Callable[[AnyEndpoint], Version]
    """Cheap beside an answer; sqlite3.Error if the ledger cannot be read."""


class Answers:
    """Answers with bounds; `reply` belongs to one event loop."""

    def __init__(self, made_of: AnswerSource, most_bytes: int = _MOST_BYTES) -> None:
        """Keep at most `most_bytes` of answers, the newest and those asked for most recently."""
        self._made_of = made_of
        self._most_bytes = most_bytes
        self._places = CapacityLimiter(_AT_ONCE)
        self._asked = 0  # changed by the event loop's thread alone
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[Version, bytes]] = OrderedDict()
        self._bytes = 0

    async def reply(self, endpoint: AnyEndpoint, query: StrictModel) -> Response:
        """The answer as JSON; HTTPException 400 where there is none, 503 where too many wait."""
        return await self.in_turn(lambda: self._answer(endpoint, query))

    async def in_turn(self, work: Callable[[], Response]) -> Response:
        """Run `work` on a thread when there is a place for it; HTTPException 503 where too many wait."""
        if self._asked >= _AT_ONCE + _MOST_WAITING:
            raise HTTPException(
                503,
                "too many questions at once; ask again in a moment",
                headers={"Retry-After": str(_RETRY_AFTER_SECONDS)},
            )
        self._asked += 1
        try:
            return await to_thread.run_sync(work, limiter=self._places)
        finally:
            self._asked -= 1

    def _answer(self, endpoint: AnyEndpoint, query: StrictModel) -> Response:
        key = (endpoint.name, query.model_dump_json())
        # Read before the answer is made: what changes meanwhile makes it an old one.
        version = self._made_of.version(endpoint) if endpoint.is_cached(query) else None
        if version is not None and (body := self._find(key, version)) is not None:
            return Response(body, media_type="application/json")
        try:
            response = JSONResponse(endpoint.reply(self._made_of.source(endpoint), query))
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        if version is not None:
            self._keep(key, version, bytes(response.body))
        return response

    def _find(self, key: tuple[str, str], version: Version) -> bytes | None:
        with self._lock:
            found = self._kept.get(key)
            if found is None or found[0] != version:
                return None
            self._kept.move_to_end(key)
            return found[1]

    def _keep(self, key: tuple[str, str], version: Version, body: bytes) -> None:
        with self._lock:
            self._drop(key)
            if len(body) > min(self._most_bytes, _MOST_BYTES_OF_ONE):
                return
            self._kept[key] = version, body
            self._bytes += _size(key, body)
            while self._bytes > self._most_bytes:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[str, str]) -> None:
        if (found := self._kept.pop(key, None)) is not None:
            self._bytes -= _size(key, found[1])


_ENTRY_BYTES = 1024  # what an answer takes beside its text, about


def _size(key: tuple[str, str], body: bytes) -> int:
    return len(body) + len(key[1]) + _ENTRY_BYTES

"""What was asked of the simulated AWS: one entry a request, never a secret."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

_KEPT = 200_000


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request: `status` is the HTTP status (0: the connection was dropped), `error` the AWS code.

    `time` is the simulated time, `params` what was asked (Cost Explorer and AssumeRole only).
    """

    id: int
    time: datetime
    account_id: str
    service: str
    operation: str
    region: str
    status: int
    access_key: str
    error: str = ""
    milliseconds: int = 0
    params: Mapping[str, Any] | None = None


class RequestLog:
    """The last requests, safe to read while it grows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[LoggedRequest] = deque(maxlen=_KEPT)
        self._next = 1

    def add(self, **values: Any) -> None:
        """Append an entry; the arguments are the fields of LoggedRequest without `id`."""
        with self._lock:
            self._entries.append(LoggedRequest(id=self._next, **values))
            self._next += 1

    def clear(self) -> None:
        """Forget every entry; ids go on counting."""
        with self._lock:
            self._entries.clear()

    def entries(
        self,
        *,
        since: int = 0,
        service: str | None = None,
        operation: str | None = None,
        account: str | None = None,
        region: str | None = None,
        status: int | None = None,
    ) -> list[LoggedRequest]:
        """The entries with an id above `since` that fit, oldest first; `account` is an id."""
        with self._lock:
            entries = list(self._entries)
        return [
            entry
            for entry in entries
            if entry.id > since
            and service in (None, entry.service)
            and operation in (None, entry.operation)
            and account in (None, entry.account_id)
            and region in (None, entry.region)
            and status in (None, entry.status)
        ]

    def count(
        self,
        service: str | None = None,
        operation: str | None = None,
        account: str | None = None,
        region: str | None = None,
        status: int | None = None,
    ) -> int:
        """How many entries fit."""
        found = self.entries(
            service=service, operation=operation, account=account, region=region, status=status
        )
        return len(found)

    def describe(self, since: int = 0) -> dict[str, Any]:
        """Entries above `since` and how often each service, operation, account and status occurred."""
        entries = self.entries(since=since)
        return {
            "last": entries[-1].id if entries else since,
            "total": len(entries),
            "by_service": dict(Counter(entry.service for entry in entries)),
            "by_operation": dict(Counter(f"{entry.service}:{entry.operation}" for entry in entries)),
            "by_account": dict(Counter(entry.account_id for entry in entries)),
            "by_status": dict(Counter(str(entry.status) for entry in entries)),
            "entries": [asdict(entry) | {"time": entry.time.isoformat()} for entry in entries],
        }

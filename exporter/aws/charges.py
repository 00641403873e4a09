"""Charges of commands that keep no ledger; `Ledger` holds those that survive."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal


class MemoryCharges:
    """Charges that need not survive, for commands that make no paid call."""

    def __init__(self) -> None:
        """Nothing is charged yet."""
        self._lock = threading.RLock()
        self._charges: list[tuple[datetime, str, Decimal]] = []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is seen together."""
        with self._lock:
            yield

    def add_charge(self, at: datetime, budget: str, service: str, operation: str, usd: Decimal) -> None:
        """Record one charge."""
        self._charges.append((at, budget, usd))

    def charged_since(self, budget: str, since: datetime | None) -> Decimal:
        """The sum of `budget`'s charges from `since` on (None: all), in USD."""
        with self._lock:
            return sum(
                (usd for at, name, usd in self._charges if name == budget and (since is None or at >= since)),
                Decimal(0),
            )

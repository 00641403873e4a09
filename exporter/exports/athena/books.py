"""What queries of Athena have cost, or may have, in the ledger: no query is paid twice, even if the process dies."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from math import ceil
from typing import Literal

from exporter.aws.meter import ATHENA, ATHENA_QUERY, Meter
from exporter.core.moments import to_milliseconds, to_moment
from exporter.core.money import to_units, to_usd
from exporter.ledger.file import Ledger

State = Literal["open", "done", "over"]

_LEAST_BYTES = 10 << 20
"""The bytes that AWS charges at least for a query."""
_MEGABYTE = 1 << 20
_TERABYTE = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedQuery:
    """One query of a month."""

    month: date
    name: str
    digest: str
    """Of its text, and of the files that it is of."""
    token: str
    """AWS answers the same token with the same query."""
    query_id: str | None
    """None where it may have been sent, but no answer came."""
    reserved_at: datetime
    reserved: Decimal
    state: State
    """`open`: may run. `done`: has its results. `over`: scanned more than its workgroup allows, and would again."""
    outcome: str
    """Where the list of its results is; of `over`, why."""


def query_usd(scanned: int, usd_per_terabyte: Decimal) -> Decimal:
    """The price of a query that scans so many bytes: by the megabyte, ten at least."""
    charged = max(_LEAST_BYTES, ceil(scanned / _MEGABYTE) * _MEGABYTE)
    return to_usd(to_units(usd_per_terabyte * charged / _TERABYTE))


class AthenaBooks:
    """The queries of a ledger; each is charged by `meter`."""

    def __init__(self, ledger: Ledger, meter: Meter, usd_per_terabyte: Decimal) -> None:
        """Nothing is read yet."""
        self._ledger = ledger
        self._meter = meter
        self._usd_per_terabyte = usd_per_terabyte

    def usd(self, scanned: int) -> Decimal:
        """The price of a query that scans so many bytes."""
        return query_usd(scanned, self._usd_per_terabyte)

    def find(self, month: date, name: str) -> BookedQuery | None:
        """The last query of that name."""
        with self._ledger.connection() as db:
            row = db.execute(
                "SELECT digest, token, query_id, reserved_at, reserved, state, outcome FROM athena_queries"
                " WHERE month = ? AND name = ?",
                (month.toordinal(), name),
            ).fetchone()
        if row is None:
            return None
        digest, token, query_id, reserved_at, reserved, state, outcome = row
        return BookedQuery(
            month=month,
            name=name,
            digest=digest,
            token=token,
            query_id=query_id,
            reserved_at=to_moment(reserved_at),
            reserved=to_usd(reserved),
            state=state,
            outcome=outcome or "",
        )

    def reserve(self, month: date, name: str, digest: str, most_bytes: int) -> BookedQuery:
        """Book a query before it is sent, with all that it may scan; AwsError if that would pass a ceiling."""
        usd, token = self.usd(most_bytes), str(uuid.uuid4())
        with self._ledger.transaction() as db:
            at = self._meter.reserve(ATHENA, *ATHENA_QUERY, usd)
            db.execute(
                "INSERT OR REPLACE INTO athena_queries VALUES (?, ?, ?, ?, NULL, ?, ?, 'open', NULL)",
                (month.toordinal(), name, digest, token, to_milliseconds(at), to_units(usd)),
            )
        found = self.find(month, name)
        assert found is not None
        return found

    def started(self, query: BookedQuery, query_id: str) -> None:
        """Keep the query's id in AWS."""
        with self._ledger.transaction() as db:
            db.execute("UPDATE athena_queries SET query_id = ? WHERE token = ?", (query_id, query.token))

    def settle(self, query: BookedQuery, scanned: int | None, state: State | None, outcome: str = "") -> None:
        """Charge what a query has scanned (None: it was not run); it is forgotten where `state` is None."""
        usd = Decimal(0) if scanned is None else self.usd(scanned)
        with self._ledger.transaction() as db:
            self._meter.settle(ATHENA, *ATHENA_QUERY, query.reserved_at, query.reserved, usd)
            if state is None:
                db.execute("DELETE FROM athena_queries WHERE token = ?", (query.token,))
            else:
                db.execute(
                    "UPDATE athena_queries SET state = ?, outcome = ? WHERE token = ?",
                    (state, outcome, query.token),
                )

    def forget(self, query: BookedQuery) -> None:
        """Forget a settled query, so that it is sent again."""
        with self._ledger.transaction() as db:
            db.execute("DELETE FROM athena_queries WHERE token = ?", (query.token,))

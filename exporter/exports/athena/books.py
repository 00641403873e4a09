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

State = Literal["open", "done", "over", "failed"]

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
    """`open`: may run. `done`: has its results. `over`: scanned more than its workgroup allows, and would again.

    `failed`: was charged without a result, and is to wait before it is sent again.
    """
    outcome: str
    """Where the list of its results is; of `over` and `failed`, why."""
    failures: int = 0
    """How often it was charged without a result, in a row."""
    failed_at: datetime | None = None
    sent_as: str = ""
    """A digest of what a failure may be due to: the files, and where, as whom and for how long it was sent."""


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
                "SELECT digest, token, query_id, reserved_at, reserved, state, outcome, failures, failed_at, sent_as"
                " FROM athena_queries"
                " WHERE month = ? AND name = ?",
                (month.toordinal(), name),
            ).fetchone()
        if row is None:
            return None
        digest, token, query_id, reserved_at, reserved, state, outcome, failures, failed_at, sent_as = row
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
            failures=failures,
            failed_at=to_moment(failed_at) if failed_at is not None else None,
            sent_as=sent_as or "",
        )

    def reserve(
        self,
        month: date,
        name: str,
        digest: str,
        sent_as: str,
        most_bytes: int,
        failed: BookedQuery | None = None,
    ) -> BookedQuery:
        """Book a query before it is sent, with all that it may scan; AwsError if that would pass a ceiling.

        `failed` is the same query as it has failed before: its failures count on.
        """
        usd, token = self.usd(most_bytes), str(uuid.uuid4())
        failed_at = failed.failed_at if failed is not None else None
        with self._ledger.transaction() as db:
            at = self._meter.reserve(ATHENA, *ATHENA_QUERY, usd)
            db.execute(
                "INSERT OR REPLACE INTO athena_queries VALUES (?, ?, ?, ?, NULL, ?, ?, 'open', ?, ?, ?, ?)",
                (
                    month.toordinal(),
                    name,
                    digest,
                    token,
                    to_milliseconds(at),
                    to_units(usd),
                    failed.outcome if failed is not None else None,
                    failed.failures if failed is not None else 0,
                    to_milliseconds(failed_at) if failed_at is not None else None,
                    sent_as,
                ),
            )
        found = self.find(month, name)
        assert found is not None
        return found

    def started(self, query: BookedQuery, query_id: str) -> None:
        """Keep the query's id in AWS."""
        with self._ledger.transaction() as db:
            db.execute("UPDATE athena_queries SET query_id = ? WHERE token = ?", (query_id, query.token))

    def settle(self, query: BookedQuery, scanned: int | None, state: State | None, outcome: str = "") -> None:
        """Charge what a query has scanned (None: it was not run).

        Where `state` is None it is forgotten; one that has failed before stays as it failed then.
        """
        usd = Decimal(0) if scanned is None else self.usd(scanned)
        with self._ledger.transaction() as db:
            self._meter.settle(ATHENA, *ATHENA_QUERY, query.reserved_at, query.reserved, usd)
            if state is not None:
                db.execute(
                    "UPDATE athena_queries SET state = ?, outcome = ? WHERE token = ?",
                    (state, outcome, query.token),
                )
            elif query.failures:
                db.execute("UPDATE athena_queries SET state = 'failed' WHERE token = ?", (query.token,))
            else:
                db.execute("DELETE FROM athena_queries WHERE token = ?", (query.token,))

    def fail(self, query: BookedQuery, scanned: int | None, at: datetime, reason: str) -> BookedQuery:
        """Count a failure of a query that is charged for `scanned`; returns it as it is booked then.

        None: it is settled already, or stays `open` until it can be.
        """
        with self._ledger.transaction() as db:
            db.execute(
                "UPDATE athena_queries SET failures = ?, failed_at = ? WHERE token = ?",
                (query.failures + 1, to_milliseconds(at), query.token),
            )
            if scanned is not None:
                self.settle(query, scanned, "failed", reason)
            else:
                db.execute(
                    "UPDATE athena_queries SET state = ?, outcome = ? WHERE token = ?",
                    ("failed" if query.state == "done" else "open", reason, query.token),
                )
        found = self.find(query.month, query.name)
        assert found is not None
        return found

    def forget(self, query: BookedQuery) -> None:
        """Forget a settled query, so that it is sent again."""
        with self._ledger.transaction() as db:
            db.execute("DELETE FROM athena_queries WHERE token = ?", (query.token,))

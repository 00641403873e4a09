"""How long a query of Athena waits that was charged without a result: a failure is not paid for at each attempt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from exporter.aws.errors import AwsError, Kind
from exporter.core.moments import Clock
from exporter.exports.athena.books import BookedQuery

_MOST_DOUBLINGS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryWait:
    """`first` after the first failure in a row, doubled after each, `longest` at most; as of `clock`."""

    first: timedelta
    longest: timedelta
    clock: Clock

    def require(self, booked: BookedQuery, sent_as: str) -> BookedQuery | None:
        """A failed query that may be sent again now; AwsError while it waits.

        None where its failures do not count, because what they may be due to has changed (`BookedQuery.sent_as`).
        """
        if booked.sent_as != sent_as:
            return None
        if self.clock() < self._until(booked):
            raise self.reason(booked)
        return booked

    def reason(self, booked: BookedQuery) -> AwsError:
        """Why a failed query has no result, and when it is sent again."""
        times = "once" if booked.failures == 1 else f"{booked.failures} times in a row"
        return AwsError(
            Kind.EXPORT,
            f"{booked.outcome}; charged {times} without a result, it is not sent again before"
            f" {self._until(booked):%Y-%m-%d %H:%M} UTC unless the delivery or the configuration changes",
        )

    def _until(self, booked: BookedQuery) -> datetime:
        assert booked.failed_at is not None  # it has failed
        doubled = self.first * (1 << min(booked.failures - 1, _MOST_DOUBLINGS))
        return booked.failed_at + min(doubled, self.longest)

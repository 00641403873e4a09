"""Compares the dated history with what the ledger says was written, and has differences written again.

An acknowledged write is not yet kept data: an endpoint may be wiped, restored from an old backup,
or keep less than it was given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Set
from datetime import UTC, date, datetime, timedelta
from typing import Any

from exporter.core.moments import to_milliseconds
from exporter.history.endpoint import RemoteWriteEndpoint
from exporter.history.periods import is_within, next_stamp
from exporter.history.request import Point, encode_labels
from exporter.history.sample_timestamps import Stamps

log = logging.getLogger(__name__)

_A_QUERY = timedelta(days=14)
_RELATIVE = 1e-9  # sums of floats
_REWRITES_WITHOUT_EFFECT = 3

Differing = Mapping[date, frozenset[str]]
"""Account ids by day; empty of what is of no account."""

_Key = tuple[str, frozenset[tuple[str, str]]]
"""A family and the labels of one series, without empty ones."""


def _key(family: str, labels: Mapping[str, str]) -> _Key:
    return family, frozenset((name, value) for name, value in labels.items() if value)


class ReadBack:
    """The comparison of one endpoint with one source of the ledger."""

    def __init__(self, endpoint: RemoteWriteEndpoint, stamps: Stamps) -> None:
        """Nothing is compared yet."""
        self._endpoint = endpoint
        self._stamps = stamps
        self._source = stamps.source
        self._period = stamps.source.period
        self._rewrites: dict[date, int] = {}

    def _differs(self, found: float, units: float) -> bool:
        expected = self._source.value(units)
        # NaN differs.
        return not abs(found - expected) <= max(self._source.tolerance, _RELATIVE * abs(expected))

    def _is_another(self, found: float, units: float) -> bool:
        """Whether a value is not the one that was written: in a day that differs, small ones may make the sum."""
        expected = self._source.value(units)
        return not abs(found - expected) <= _RELATIVE * abs(expected)

    def differing(
        self, start: date, end: date, stopped: Callable[[], bool] = lambda: False
    ) -> dict[date, frozenset[str]]:
        """Days of [start, end) whose sum or number of values differs, asked twice, in some account, with those accounts.

        Accounts that the ledger does not know belong to somebody else and are left alone.
        """
        ours = self._stamps.account_ids()
        differing: dict[date, frozenset[str]] = {}
        while start < end and not stopped():
            until = min(end, start + _A_QUERY)
            by_day = self._look(start, until, ours)
            if by_day:
                # Before 2.49 Prometheus leaves out of an answer what it compacts meanwhile, without a word.
                again = self._look(start, until, ours)
                by_day = {
                    day: both
                    for day, accounts in by_day.items()
                    if (both := accounts & again.get(day, set()))
                }
            differing |= {day: frozenset(accounts) for day, accounts in by_day.items()}
            for day in [day for day in self._rewrites if start <= day < until and day not in by_day]:
                del self._rewrites[day]
            start = until
        return differing

    def _look(self, start: date, end: date, ours: Set[str]) -> dict[date, set[str]]:
        expected = self._stamps.sums(start, end)
        daily = f"last_over_time({self._source.selector}[{self._period.promql}])"
        by = "account_id" if len(self._source.families) == 1 else "__name__, account_id"
        sums = self._by_day(f"sum by ({by}) ({daily})", start, end)
        counts = self._by_day(f"count by ({by}) ({daily} != 0)", start, end)
        by_day: dict[date, set[str]] = {}
        for key in expected.keys() | sums.keys():
            day, _, account = key
            units, count = expected.get(key, (0, 0))
            if account in ours and (counts.get(key, 0) != count or self._differs(sums.get(key, 0.0), units)):
                by_day.setdefault(day, set()).add(account)
        return by_day

    def _by_day(self, expression: str, start: date, end: date) -> dict[tuple[date, str, str], float]:
        """Values by day, family and account id."""
        # At the end of a day, one day back is that day.
        first, last = self._period.end(start) / 1000, self._period.start(end) / 1000
        return {
            (
                self._period.ending(datetime.fromtimestamp(at, UTC)),
                self._family(series["metric"]),
                series["metric"].get("account_id", ""),
            ): float(value)
            for series in self._endpoint.query_range(
                expression, first, last, self._period.length.total_seconds()
            )
            for at, value in series["values"]
        }

    def _family(self, metric: Mapping[str, str]) -> str:
        return metric.get("__name__") or self._source.families[0].name

    def rewrite(
        self, differing: Differing, now: datetime, stopped: Callable[[], bool] = lambda: False
    ) -> tuple[date, ...]:
        """Mark what differs as unwritten, and write zeros over series of our accounts that are not ours.

        Returns the days that were written again several times without effect and are left as they are.
        """
        given_up = []
        for day in sorted(differing, reverse=True):
            if stopped():
                break
            rewrites = self._rewrites.get(day, 0)
            if rewrites >= _REWRITES_WITHOUT_EFFECT:
                given_up.append(day)
                continue
            self._mend_day(day, differing[day], now)
            self._rewrites[day] = rewrites + 1
        return tuple(given_up)

    def _mend_day(self, day: date, accounts: Set[str], now: datetime) -> None:
        found = self._raw(day, accounts)
        if not found:
            with self._stamps.lock:
                self._stamps.forget_accounts(day, accounts)
            return
        expected = {
            _key(series[0], self._source.labels(*series)): (series[1], written)
            for series, written in self._stamps.written(day).items()
        }
        again: dict[int, int] = {}
        for key, (account_id, written) in expected.items():
            if account_id not in accounts or written.refused or written.units is None:
                continue
            newest, value, _ = found.get(key, (0, float("nan"), {}))
            if self._is_another(value, written.units):
                again[written.series] = newest
        with self._stamps.lock:
            self._stamps.forget(day, again)
        strangers: list[Point] = [
            (encode_labels(key[0], labels), next_stamp(day, to_milliseconds(now), newest, self._period), 0.0)
            for key, (newest, value, labels) in found.items()
            if key not in expected and value != 0
        ]
        if strangers:
            log.warning(
                "series that are not the ledger's are written over with zero",
                extra={"series": len(strangers), "day": day},
            )
            self._endpoint.write(strangers)

    def _raw(self, day: date, accounts: Set[str]) -> dict[_Key, tuple[int, float, dict[str, str]]]:
        """The newest stamp and value of each series of a day, with all of its labels; those of a family are in its key."""
        names = self._stamps.label_names()
        last = (self._period.end(day) - 1) / 1000
        found: dict[_Key, tuple[int, float, dict[str, str]]] = {}
        for series in self._endpoint.query(f"{self._source.selector}[{self._period.promql}]", last):
            labels: dict[str, Any] = dict(series["metric"])
            family = self._family(labels)
            labels.pop("__name__", None)
            if labels.get("account_id", "") not in accounts:
                continue
            # An endpoint may add labels that are not ours.
            key = _key(family, {name: value for name, value in labels.items() if name in names[family]})
            for at, value in series.get("values", ()):
                stamp = round(float(at) * 1000)
                if is_within(stamp, day, self._period) and (key not in found or stamp > found[key][0]):
                    found[key] = (stamp, float(value), labels)
        return found

"""Sums of cost by day and by month, and each day's non-usage charges, as dated values.

They follow from the ledger alone: the days of a ledger of an older release get them without a request to AWS.
A day is summed again when its cost changes, a month when that of one of its days does, and all of them by another
release of this program, or for another cost type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from importlib.metadata import version

from exporter.core.metric import Family
from exporter.core.moments import Clock, days_between, month_start, start_of_day
from exporter.cost.non_usage import usage_is_known
from exporter.ledger.daily_values import (
    DailyValue,
    Key,
    Portions,
    changed_days,
    derive,
    held_values,
    oldest_day,
    replacing,
)
from exporter.ledger.file import Ledger
from exporter.ledger.reads import DayState

_ACCOUNT = ("account_id", "account")
_PAIR = (*_ACCOUNT, "service")
DAILY_BY_SERVICE = Family(
    "aws_cost_daily_by_service_usd",
    "aws_cost_daily_usd summed by service of the whole organization, written and restated with it.",
    ("service",),
)
DAILY_BY_ACCOUNT = Family(
    "aws_cost_daily_by_account_usd",
    "aws_cost_daily_usd summed by account, written and restated with it.",
    _ACCOUNT,
)
DAILY_NON_USAGE = Family(
    "aws_cost_daily_non_usage_usd",
    "The part of aws_cost_daily_usd that is no usage (tax, support, fees, credits, refunds), written at its day;"
    " only what is not zero.",
    _PAIR,
)
DAILY_NON_USAGE_KNOWN = Family(
    "aws_cost_daily_non_usage_known",
    "1 if the non-usage charges of a day were read after its end, and on the first three days of a month since its cost"
    " moved last; 0 or missing: what is left of its cost is not all usage. Written at that day.",
    is_summable=False,
)
_MONTHLY = (
    "Cost of a complete UTC calendar month{by}, written at its first day once all of its days were read after their"
    " end, and again when AWS restates one of them."
)
MONTHLY = Family("aws_cost_monthly_usd", _MONTHLY.format(by=""), _PAIR)
MONTHLY_BY_SERVICE = Family(
    "aws_cost_monthly_by_service_usd",
    _MONTHLY.format(by=" by service of the whole organization"),
    ("service",),
)
MONTHLY_BY_ACCOUNT = Family("aws_cost_monthly_by_account_usd", _MONTHLY.format(by=" by account"), _ACCOUNT)
_OF_DAYS = (DAILY_BY_SERVICE, DAILY_BY_ACCOUNT, DAILY_NON_USAGE, DAILY_NON_USAGE_KNOWN)
_OF_MONTHS = (MONTHLY, MONTHLY_BY_SERVICE, MONTHLY_BY_ACCOUNT)
DATED_SUMS = (*_OF_DAYS, *_OF_MONTHS)
"""What is kept here as dated values, for the history to write."""

_DAY = timedelta(days=1)
_DAYS, _MONTHS = "cost_days", "cost_months"
_UNITS_PER_USD = 10**10
_LEAST_CHANGE_USD = 0.0001  # as of the cost that is summed


class DatedSums:
    """The sums in one ledger, of one cost type."""

    def __init__(
        self,
        ledger: Ledger,
        cost_type: str,
        window: timedelta,
        history_months: int,
        clock: Clock,
        *,
        portions: Portions = Portions(),  # noqa: B008 # frozen
    ) -> None:
        """Days older than `window`, or than the months that the ledger is to hold, are left out."""
        self._ledger = ledger
        self._cost_type = cost_type
        self._window = window
        self._history_months = history_months
        self._clock = clock
        self._portions = portions

    def update(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Sum what is out of date, days before months and each newest first; True if some is left for another call."""
        now = self._clock()
        today = now.date()
        oldest = oldest_day(now, self._window, self._history_months)
        lacking = set(self._ledger.cost.lacking(self._cost_type, oldest, today))
        states = {
            day: state
            for day, state in self._ledger.reads.day_states(oldest, today).items()
            if _was_read_after(state.read_at, day) and day not in lacking
        }
        series = self._ledger.cost.series()
        return self._derive(
            _DAYS, _day_versions(states), lambda day: self._of_day(day, states[day], series), now, stopped
        ) or self._derive(_MONTHS, _month_versions(states, oldest, today), self._of_month, now, stopped)

    def _derive(
        self,
        kind: str,
        states: Mapping[date, object],
        values_of: Callable[[date], Sequence[DailyValue]],
        now: datetime,
        stopped: Callable[[], bool],
    ) -> bool:
        made_with = version("aws-spend-exporter"), self._cost_type
        out_of_date = changed_days(self._ledger, kind, states, made_with)
        return derive(self._ledger, kind, out_of_date, values_of, now, stopped, self._portions)

    def _of_day(
        self, day: date, state: DayState, series: Mapping[int, tuple[str, str]]
    ) -> Sequence[DailyValue]:
        sums: dict[Key, int] = {}
        has_other = _was_read_after(state.other_read_at, day)
        for number, total, other in self._ledger.cost.day_parts(day, self._cost_type):
            account_id, service = series[number]
            for key in (
                (DAILY_BY_SERVICE.name, "", service),
                (DAILY_BY_ACCOUNT.name, account_id, ""),
            ):
                sums[key] = sums.get(key, 0) + total
            if has_other:
                sums[DAILY_NON_USAGE.name, account_id, service] = other
        usd = {key: units / _UNITS_PER_USD for key, units in sums.items()}
        is_known = usage_is_known(day, state)
        return [
            *self._changed(day, usd, _OF_DAYS[:-1]),
            DailyValue(day, DAILY_NON_USAGE_KNOWN.name, "", "", float(is_known)),
        ]

    def _of_month(self, month: date) -> Sequence[DailyValue]:
        sums: dict[Key, int] = {}
        end = month_start(month, -1)
        for (account_id, service), usd in self._ledger.cost.sums(month, end, self._cost_type).items():
            units = int(usd.scaleb(10))
            for key in (
                (MONTHLY.name, account_id, service),
                (MONTHLY_BY_SERVICE.name, "", service),
                (MONTHLY_BY_ACCOUNT.name, account_id, ""),
            ):
                sums[key] = sums.get(key, 0) + units
        return self._changed(month, {key: units / _UNITS_PER_USD for key, units in sums.items()}, _OF_MONTHS)

    def _changed(self, day: date, usd: Mapping[Key, float], families: Iterable[Family]) -> list[DailyValue]:
        return replacing(day, held_values(self._ledger, day, families), usd, _LEAST_CHANGE_USD)


def _was_read_after(read_at: datetime | None, day: date) -> bool:
    return read_at is not None and read_at >= start_of_day(day + _DAY)


def _day_versions(states: Mapping[date, DayState]) -> dict[date, object]:
    return {
        day: (state.changes, _was_read_after(state.other_read_at, day), usage_is_known(day, state))
        for day, state in states.items()
    }


def _month_versions(states: Mapping[date, DayState], oldest: date, today: date) -> dict[date, object]:
    """The months that are over, of which each day was read after its end, with the changes of these days."""
    found: dict[date, object] = {}
    month = month_start(today, 1)
    while month >= oldest:
        days = list(days_between(month, month_start(month, -1)))
        if all(day in states for day in days):
            found[month] = [states[day].changes for day in days]
        month = month_start(month, 1)
    return found

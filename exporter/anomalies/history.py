"""What was expected of each assessed day, kept as dated values from which the dated history is written.

A day is assessed as the live gauges were, from what the ledger holds now of it and of the days before:
also the days of the past that a first start reads. It is assessed again when the cost of one of these days
changes, when the settings change, and by another release of this program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from importlib.metadata import version

from exporter.anomalies.cost import assessed_day, expectations
from exporter.anomalies.settings import AnomalySettings
from exporter.anomalies.usage_days import DayInput, UsageDays, day_inputs
from exporter.core.metric import Family
from exporter.core.moments import Clock
from exporter.expectation import baseline
from exporter.ledger.daily_values import (
    DailyValue,
    Portions,
    derive,
    derived_versions,
    oldest_day,
    totals,
    version_of,
)
from exporter.ledger.file import Ledger

_PAIR = ("account_id", "account", "service")
DAILY_USAGE = Family(
    "aws_cost_daily_usage_usd",
    "Usage of an assessed UTC day at amortized cost, written at that day: what is compared with the expected cost.",
    _PAIR,
)
DAILY_EXPECTED = Family(
    "aws_cost_daily_expected_usd",
    "Expected usage of an assessed UTC day at amortized cost, from the days before it, written at that day.",
    _PAIR,
)
DAILY_SCORE = Family(
    "aws_cost_daily_deviation_score",
    "How far the usage of an assessed UTC day is from the expected cost, in robust deviations, written at that day.",
    _PAIR,
)
DAILY_SCORE_BY_ACCOUNT = Family(
    "aws_cost_daily_deviation_score_by_account",
    "The aws_cost_daily_deviation_score furthest from 0 of the services of an account, written and restated with it.",
    ("account_id", "account"),
)
DAILY_USAGE_BY_SERVICE = Family(
    "aws_cost_daily_usage_by_service_usd",
    "aws_cost_daily_usage_usd summed by service of the whole organization, written and restated with it.",
    ("service",),
)
DAILY_EXPECTED_BY_SERVICE = Family(
    "aws_cost_daily_expected_by_service_usd",
    "aws_cost_daily_expected_usd summed by service of the whole organization, written and restated with it.",
    ("service",),
)
ASSESSED_FAMILIES = (
    DAILY_USAGE, DAILY_USAGE_BY_SERVICE, DAILY_EXPECTED, DAILY_EXPECTED_BY_SERVICE,
    DAILY_SCORE, DAILY_SCORE_BY_ACCOUNT,
)  # fmt: skip
"""What the assessment of a day leaves behind; exporter/anomalies/history.py keeps the values."""


_DAY = timedelta(days=1)
_KIND = "assessed"
_MADE_OF_DAYS = 131  # with the last four days of a monthly calendar; what is older matters little
_USD_DIGITS = 4  # $0.0001: a smaller change is not written again
_SCORE_DIGITS = 2
_SUMS = {DAILY_USAGE: DAILY_USAGE_BY_SERVICE, DAILY_EXPECTED: DAILY_EXPECTED_BY_SERVICE}
_NAMES = tuple(family.name for family in ASSESSED_FAMILIES)


def _distance(score: float) -> tuple[float, float]:
    """What orders scores; of two that are as far from 0, the higher one counts as further."""
    return abs(score), score


class AssessedHistory:
    """The dated values of assessed days in one ledger, by one configuration."""

    def __init__(
        self,
        ledger: Ledger,
        settings: AnomalySettings,
        window: timedelta,
        history_months: int,
        clock: Clock,
        portions: Portions = Portions(),  # noqa: B008 # frozen
    ) -> None:
        """Days older than `window`, or than the months that the ledger is to hold, are left out."""
        self._portions = portions
        self._ledger = ledger
        self._settings = settings
        self._window = window
        self._history_months = history_months
        self._clock = clock
        self._usage: UsageDays | None = None

    def update(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Assess the days whose figures are out of date, newest first; True if some are left for another call."""
        if not self._settings.enabled:
            return False
        now = self._clock()
        newest = assessed_day(self._ledger, now)
        if newest is None:
            return False
        oldest = oldest_day(now, self._window, self._history_months)
        inputs = day_inputs(self._ledger, baseline.input_days(oldest)[0], newest + _DAY)
        usage = self._usage_days(inputs)
        out_of_date = self._out_of_date(oldest, newest, inputs)
        is_left = derive(
            self._ledger,
            _KIND,
            out_of_date,
            lambda day: self._values(day, usage),
            now,
            stopped,
            self._portions,
        )
        if is_left:
            self._usage = usage  # the next call goes on with it
        return is_left

    def _usage_days(self, inputs: Mapping[date, DayInput]) -> UsageDays:
        """What the last call left, without what changed since; its memory is given back when all days are assessed."""
        kept, self._usage = self._usage, None
        return kept if kept is not None and kept.renew(inputs) else UsageDays(self._ledger, inputs)

    def _out_of_date(
        self, oldest: date, newest: date, inputs: Mapping[date, DayInput]
    ) -> Iterator[tuple[date, int]]:
        """Days to assess, newest first, with the version of what they are made of."""
        held = derived_versions(self._ledger, _KIND)
        made_with = repr((version("aws-spend-exporter"), _NAMES, self._settings.limits()))
        states = {day: f"{day} {state}" for day, state in inputs.items()}
        for number in range((newest - oldest).days + 1):
            day = newest - number * _DAY
            if day not in inputs or not inputs[day].is_known:
                continue
            made_of = [day - back * _DAY for back in range(_MADE_OF_DAYS - 1, -1, -1)]
            # While a first start reads the past, an older day waits for those before it: it is written once.
            recent = max(oldest, made_of[0])
            if day != newest and not all(
                each in inputs and inputs[each].is_complete for each in made_of if each >= recent
            ):
                continue
            wanted = version_of(made_with, *(states.get(each, "") for each in made_of))
            if held.get(day) != wanted:
                yield day, wanted

    def _values(self, day: date, usage: UsageDays) -> list[DailyValue]:
        numbers, assessed = expectations(day, self._settings, usage)
        pairs = [usage.series[number] for number in numbers]
        found: dict[tuple[str, str, str], float] = {}
        for family, figures in ((DAILY_USAGE, assessed.value), (DAILY_EXPECTED, assessed.expected)):
            by_service: dict[str, float] = {}
            for pair, value in zip(pairs, figures[numbers].tolist(), strict=True):
                found[family.name, *pair] = rounded = round(value, _USD_DIGITS)
                by_service[pair[1]] = by_service.get(pair[1], 0.0) + rounded
            for service, value in by_service.items():
                found[_SUMS[family].name, "", service] = round(value, _USD_DIGITS)
        for pair, value in zip(pairs, assessed.score[numbers].tolist(), strict=True):
            found[DAILY_SCORE.name, *pair] = rounded = round(value, _SCORE_DIGITS)
            of_account = DAILY_SCORE_BY_ACCOUNT.name, pair[0], ""
            found[of_account] = max(rounded, found.get(of_account, 0.0), key=_distance)
        # What no longer has an expectation, because AWS took its cost back, is written over: it cannot be deleted.
        for _, name, account_id, service, _ in totals(self._ledger, day, day + _DAY, _NAMES):
            found.setdefault((name, account_id, service), 0.0)
        return [
            DailyValue(day, name, account_id, service, value)
            for (name, account_id, service), value in found.items()
        ]

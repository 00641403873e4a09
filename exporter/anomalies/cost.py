"""What stands out on a day, from the ledger: the one place that decides, for metrics, alerts, API and commands.

Input is usage at amortized cost: without tax, credits, refunds, support and fees, and with commitments
spread over the hours that they cover. A day is assessed when it has settled and is known without these.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np

from exporter.anomalies import causes as anomaly_causes
from exporter.anomalies.families import (
    CAUSE,
    CAUSE_DUE,
    DAY_TIMESTAMP,
    EXPECTED,
    SCORE,
    SETTING,
    USAGE,
    anomaly_family,
)
from exporter.anomalies.settings import AnomalyCausesSettings, AnomalySettings, Kind, Sensitivity
from exporter.core.fields import CollectorSettings
from exporter.core.metric import Sample
from exporter.core.moments import start_of_day
from exporter.declarations.view import ViewContext
from exporter.expectation import baseline
from exporter.expectation.arrays import Flags, Values
from exporter.expectation.baseline import Baseline
from exporter.expectation.limits import Limits
from exporter.expectation.rhythm import WEEKS
from exporter.ledger.file import Ledger
from exporter.ledger.reads import DayState

log = logging.getLogger(__name__)

SHOWN_CAUSES = 5
_COMPLETE_AFTER = timedelta(hours=24)  # AWS updates cost at least once a day
_FEES_COME_UNTIL = 3  # tax, support and fees of a month are charged on its first days
_ASSESSED_BACK = 4
_BILL_IS_FINAL_AFTER = 7  # days into the next month; a day that did not move keeps the flag of its last read
_UNITS_PER_USD = 1e10
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that stands out on a day, in USD; `usd` is what it is off, negative below the expectation.

    `lower` and `upper` are the ends of what is usual, `same_weekdays` the days compared, the newest first.
    `deviation` and `score` are None where there is nothing to compare with, as of a new service.
    """

    day: date
    account_id: str
    service: str
    kind: Kind
    usd: float
    cost: float
    expected: float
    lower: float
    upper: float
    deviation: float | None
    score: float | None
    recurs: bool
    same_weekdays: tuple[tuple[date, float], ...]

    @property
    def percentage(self) -> float | None:
        """The difference in percent of the expectation; None where nothing was expected."""
        return self.usd / self.expected * 100 if self.expected else None


@dataclass(frozen=True, slots=True)
class Assessment:
    """One assessed day: the baseline by the number of the series, and what stands out, the most first."""

    day: date
    series: Mapping[int, tuple[str, str]]
    baseline: Baseline
    shown: Flags
    """Series with cost on the day or the days before."""
    findings: tuple[Finding, ...]

    @property
    def spikes(self) -> tuple[Finding, ...]:
        """The findings that are asked about: what grew."""
        return tuple(finding for finding in self.findings if finding.kind == "spike")


# Assessing


def assessed_day(ledger: Ledger, now: datetime) -> date | None:
    """The newest settled day of which the non-usage charges are known; None if there is none."""
    settled = ledger.cost.assessed_day(now)
    if settled is None:
        return None
    days = [settled - number * _DAY for number in range(_ASSESSED_BACK)]
    states = ledger.reads.day_states(days[-1], settled + _DAY)
    return next((day for day in days if day in states and _usage_is_known(day, states[day])), None)


def _usage_is_known(day: date, state: DayState) -> bool:
    if state.read_at is None or state.other_read_at is None:
        return False
    # Where fees are due, a total that moved after they were read may hold more of them.
    return state.other_read_at >= start_of_day(day + _DAY) and not (
        day.day <= _FEES_COME_UNTIL and state.other_moved
    )


_assessed: WeakKeyDictionary[Ledger, tuple[object, Assessment]] = WeakKeyDictionary()
_lock = Lock()


def assess(ledger: Ledger, now: datetime, settings: AnomalySettings) -> Assessment | None:
    """The newest assessed day; None while there is none. The same object while the ledger says the same."""
    day = assessed_day(ledger, now)
    if day is None:
        return None
    days = baseline.input_days(day)
    told = ledger.reads.confirmed_at(days[0], day + _DAY)
    version = (
        day,
        settings,
        _last_month_is_open(ledger, day),
        tuple(ledger.reads.day_states(days[0], day + _DAY).items()),
        tuple(told.items()),
    )
    with _lock:
        held = _assessed.get(ledger)
        if held is None or held[0] != version:
            held = _assessed[ledger] = version, assess_day(ledger, day, settings)
    return held[1]


def assess_day(
    ledger: Ledger, day: date, settings: AnomalySettings, sensitivity: Sensitivity | None = None
) -> Assessment:
    """One day, from what the ledger holds now of it and of the days before."""
    days = baseline.input_days(day)
    usage = UsageDays(ledger, day_inputs(ledger, days[0], day + _DAY))
    values = usage.values(days)
    limits = settings.limits(sensitivity)
    found = baseline.assess(values, days, limits, last_month_is_open=_last_month_is_open(ledger, day))
    back = _had_cost_before(ledger, days[0], np.flatnonzero(found.new).tolist())
    findings = _findings(day, days, values, usage.series, found, limits, settings, back)
    return Assessment(day, usage.series, found, _shown(values, found), findings)


def _shown(values: Values, found: Baseline) -> Flags:
    return np.asarray(~np.isnan(found.value) & ((values != 0) & ~np.isnan(values)).any(axis=1))


def _last_month_is_open(ledger: Ledger, day: date) -> bool:
    """Whether the bill of the month before a day's is not final: AWS calls its days estimated."""
    return day.day <= _BILL_IS_FINAL_AFTER and ledger.cost.is_estimated(day.replace(day=1) - _DAY)


@dataclass(frozen=True, slots=True)
class DayInput:
    """How well the usage of a day is known, and the reads of AWS that say so."""

    is_known: bool
    """Its cost and its non-usage charges have been read: it can be assessed."""
    is_complete: bool
    """It was read late enough to be compared with."""
    read_at: datetime | None
    other_read_at: datetime | None


def day_inputs(ledger: Ledger, start: date, end: date) -> dict[date, DayInput]:
    """The days of [start, end) of which the ledger holds anything."""
    confirmed = ledger.reads.confirmed_at(start, end)
    found = {}
    for day, state in ledger.reads.day_states(start, end).items():
        known = _usage_is_known(day, state)
        complete = known and confirmed[day] >= start_of_day(day + _DAY) + _COMPLETE_AFTER
        found[day] = DayInput(known, complete, state.read_at, state.other_read_at)
    return found


class UsageDays:
    """Usage at amortized cost by series and UTC day, in USD; reads each day of the ledger once."""

    def __init__(self, ledger: Ledger, inputs: Mapping[date, DayInput]) -> None:
        self.series = ledger.cost.series()
        self._ledger = ledger
        self._inputs = inputs
        self._size = max(self.series, default=0) + 1
        self._columns: dict[date, Values] = {}

    def values(self, days: Sequence[date]) -> Values:
        """Series by days, the last of them the tested one; NaN on days that are not known well enough."""
        tested = days[-1]
        values = np.full((self._size, len(days)), np.nan)
        for number, day in enumerate(days):
            known = self._inputs.get(day)
            if known is not None and (known.is_known if day == tested else known.is_complete):
                values[:, number] = self._column(day)
        return values

    def drop(self, newer_than: date) -> None:
        """Give the memory of newer days back."""
        for day in [day for day in self._columns if day > newer_than]:
            del self._columns[day]

    def _column(self, day: date) -> Values:
        column = self._columns.get(day)
        if column is None:
            with self._ledger.connection() as db:
                rows = db.execute(
                    "SELECT series, total_amortized - other_amortized FROM cost WHERE day = ? AND series < ?",
                    (day.toordinal(), self._size),
                ).fetchall()
            found = np.array(rows, dtype=np.int64).reshape(-1, 2)
            column = self._columns[day] = np.zeros(self._size)
            column[found[:, 0]] = found[:, 1] / _UNITS_PER_USD
        return column


def expectations(day: date, settings: AnomalySettings, usage: UsageDays) -> tuple[list[int], Baseline]:
    """The numbers of the series that have an expectation on a day, and their baseline; `usage` serves several days."""
    days = baseline.input_days(day)
    values = usage.values(days)
    found = baseline.assess(values, days, settings.limits())
    return np.flatnonzero(_shown(values, found) & ~np.isnan(found.expected)).tolist(), found


def _had_cost_before(ledger: Ledger, day: date, numbers: Sequence[int]) -> frozenset[int]:
    """Which of some series had usage before a day: what they cost now is not new, they are back."""
    if not numbers:
        return frozenset()
    marks = ", ".join("?" * len(numbers))
    with ledger.connection() as db:
        rows = db.execute(
            # Day by day, so that each is found by its key.
            "SELECT DISTINCT series FROM days CROSS JOIN cost ON cost.day = days.day"  # noqa: S608 # question marks
            f" WHERE days.day < ? AND series IN ({marks}) AND total_amortized != other_amortized",
            (day.toordinal(), *numbers),
        ).fetchall()
    return frozenset(number for (number,) in rows)


def _findings(
    day: date,
    days: Sequence[date],
    values: Values,
    series: Mapping[int, tuple[str, str]],
    found: Baseline,
    limits: Limits,
    settings: AnomalySettings,
    back: frozenset[int],
) -> tuple[Finding, ...]:
    """The flagged series that the settings ask for; a service that is `back` is a spike."""
    flags: dict[Kind, Flags] = {
        "spike": baseline.spikes(found, limits),
        "drop": baseline.drops(found, limits),
        "new_service": found.new,
        "stopped_service": found.stopped,
    }
    place = {known: number for number, known in enumerate(days)}
    weeks = [day - 7 * number * _DAY for number in range(1, WEEKS + 1)]
    findings = []
    for flag, flagged in flags.items():
        for number in np.flatnonzero(flagged).tolist():
            account_id, service = series[number]
            cost = float(found.value[number])
            new = flag == "new_service"  # nothing to compare with
            kind: Kind = flag
            if new and number in back:
                kind = "spike"
                if cost < limits.amount:
                    continue
            if not getattr(settings.kinds, kind):
                continue
            expected = 0.0 if new else float(found.usual[number])
            findings.append(
                Finding(
                    day,
                    account_id,
                    service,
                    kind,
                    cost - expected,
                    cost,
                    expected,
                    0.0 if new else float(found.lower[number]),
                    0.0 if new else float(found.upper[number]),
                    None if new else float(found.deviation[number]),
                    None if new else float(found.score[number]),
                    bool(found.recurs[number]),
                    tuple(
                        (same, float(values[number, place[same]]))
                        for same in weeks
                        if not np.isnan(values[number, place[same]])
                    ),
                )
            )
    findings.sort(key=lambda finding: (-abs(finding.usd), finding.account_id, finding.service))
    return tuple(findings)


# View


def render(view: ViewContext[CollectorSettings]) -> Iterable[Sample]:
    """Expected cost, score and findings of the newest assessed day, and the limits in force."""
    settings = view.sections.of(AnomalySettings)
    if not settings.enabled:
        return
    limits = settings.limits()
    yield SETTING(limits.score, setting="score")
    yield SETTING(settings.percentage, setting="percentage")
    yield SETTING(settings.usd_per_day, setting="usd_per_day")
    yield SETTING(settings.new_service_usd_per_day, setting="new_service_usd_per_day")
    assessment = assess(view.ledger, view.now, settings)
    if assessment is None:
        return
    yield DAY_TIMESTAMP(start_of_day(assessment.day).timestamp())
    names = view.ledger.accounts.names(on=assessment.day)

    def labels(account_id: str, service: str) -> dict[str, str]:
        return {
            "account_id": account_id,
            "account": view.account(account_id, names),
            "service": service,
        }

    found = assessment.baseline
    for number in np.flatnonzero(assessment.shown & ~np.isnan(found.expected)).tolist():
        yield EXPECTED(found.expected[number], **labels(*assessment.series[number]))
        yield USAGE(found.value[number], **labels(*assessment.series[number]))
        yield SCORE(found.score[number], **labels(*assessment.series[number]))
    family = anomaly_family(view.group_labels)
    for finding in assessment.findings:
        yield family(
            finding.usd,
            **labels(finding.account_id, finding.service),
            kind=finding.kind,
            **view.group_values(finding.account_id),
        )
        if finding.kind != "spike":
            continue
        told = anomaly_causes.explain(view.ledger, finding.day, finding.account_id, finding.service)
        for cause in told.causes[:SHOWN_CAUSES] if told else ():
            yield CAUSE(
                cause.after - cause.before,
                **labels(finding.account_id, finding.service),
                usage_type=cause.usage_type,
                operation=cause.operation,
                region=cause.region,
            )
    for (account_id, service), until in _cause_waits(view, assessment).items():
        yield CAUSE_DUE(until.timestamp(), **labels(account_id, service))


def _cause_waits(
    view: ViewContext[CollectorSettings], assessment: Assessment
) -> Mapping[tuple[str, str], datetime]:
    """Until when the alerts of spikes wait for their causes; of none where no cause will come."""
    settings = view.sections.of(AnomalyCausesSettings)
    if not settings.enabled:
        return {}
    asked: Sequence[Finding] = ()
    if "anomaly_causes" not in view.refused():
        asked = anomaly_causes.to_ask(view.ledger, assessment.spikes, view.now, settings.requests_per_day)
    try:
        return anomaly_causes.waits(view.ledger, assessment.spikes, asked, view.now, settings.alert_waits)
    except sqlite3.DatabaseError:
        # A disk that is full must not hold an alert.
        log.exception("no alert waits for its cause")
        return {}

"""What stands out on a day, from the ledger: the one place that decides, for metrics, alerts, API and commands.

Input is usage at amortized cost: without tax, credits, refunds, support and fees, and with commitments
spread over the hours that they cover. A day is assessed when it has settled and is known without these.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np

from exporter.anomalies import causes as anomaly_causes
from exporter.anomalies import causes_in_lines
from exporter.anomalies.families import (
    CAUSE,
    CAUSE_DUE,
    DAY_TIMESTAMP,
    EXPECTED,
    SCORE,
    SETTING,
    UNSENT,
    USAGE,
    anomaly_family,
)
from exporter.anomalies.finding import Finding
from exporter.anomalies.messages import Candidate, is_worth_a_message, listed_only
from exporter.anomalies.settings import AnomalyCausesSettings, AnomalySettings, Kind, Sensitivity
from exporter.anomalies.usage_days import UsageDays, day_inputs, usage_cost_type
from exporter.core.fields import CollectorSettings
from exporter.core.metric import Sample
from exporter.core.moments import start_of_day
from exporter.cost.non_usage import usage_is_known
from exporter.declarations.view import ViewContext
from exporter.expectation import baseline, dips
from exporter.expectation.arrays import Flags, Given
from exporter.expectation.baseline import Baseline
from exporter.expectation.calibration import score_by_chance
from exporter.expectation.kinds import kinds
from exporter.expectation.limits import Limits
from exporter.expectation.rhythm import WEEKS
from exporter.ledger.file import Ledger

log = logging.getLogger(__name__)

SHOWN_CAUSES = 5
_ASSESSED_BACK = 4
_DIP_AFTER = timedelta(hours=72)  # from its end, before which a low day may be late data
_BILL_IS_FINAL_AFTER = 7  # days into the next month; a day that did not move keeps the flag of its last read
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Assessment:
    """One assessed day: the baseline by the number of the series, and what stands out, the most first."""

    day: date
    series: Mapping[int, tuple[str, str]]
    baseline: Baseline
    shown: Flags
    """Series with cost on the day or the days before."""
    findings: tuple[Finding, ...]
    unsent: frozenset[tuple[str, str, str]] = frozenset()
    """Account, service and kind of the findings that no message is sent of: the digest lists them."""

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
    return next((day for day in days if day in states and usage_is_known(day, states[day])), None)


_assessed: WeakKeyDictionary[Ledger, tuple[object, Assessment]] = WeakKeyDictionary()
_lock = Lock()


def assess(ledger: Ledger, now: datetime, settings: AnomalySettings) -> Assessment | None:
    """The newest assessed day; None while there is none. The same object while the ledger says the same.

    Which of its findings are worth a message is decided here, once, and kept in the ledger.
    """
    day = assessed_day(ledger, now)
    if day is None:
        return None
    days = baseline.input_days(day)
    reported = ledger.reads.confirmed_at(days[0], day + _DAY)
    version = (
        day,
        settings,
        _last_month_is_open(ledger, day),
        tuple(ledger.reads.day_states(days[0], day + _DAY).items()),
        tuple(reported.items()),
    )
    with _lock:
        held = _assessed.get(ledger)
        if held is None or held[0] != version:
            found = assess_day(ledger, day, settings)
            _explain(ledger, found.spikes, now)
            found = replace(found, unsent=_listed_only(ledger, found, settings, now))
            held = _assessed[ledger] = version, found
    return held[1]


def _explain(ledger: Ledger, spikes: Sequence[Finding], now: datetime) -> None:
    """What made the spikes, where lines show it: at no charge, so again with each change of cost."""
    try:
        causes_in_lines.explain_spikes(ledger, spikes, now)
    except sqlite3.DatabaseError:
        log.exception("the cause of a spike is not kept")


def assess_day(
    ledger: Ledger,
    day: date,
    settings: AnomalySettings,
    sensitivity: Sensitivity | None = None,
    usage: UsageDays | None = None,
) -> Assessment:
    """One day, from what the ledger holds now of it and of the days before; `usage` serves several days."""
    wanted = baseline.input_days(day)
    usage = usage or UsageDays(ledger, day_inputs(ledger, wanted[0], day + _DAY))
    days, limits = usage.days(wanted) or [day], settings.limits(sensitivity)
    values = usage.values(days)
    found = _of_day(usage, values, days, limits, last_month_is_open=_last_month_is_open(ledger, day))
    back = _had_cost_before(ledger, days[0], np.flatnonzero(found.new).tolist())
    findings = _Findings(usage.series, values, days, limits, settings)
    for kind, flagged in kinds(found, limits, *_places(usage)).items():
        findings.add(kind, flagged, found, day, back)
    _add_dips(findings, usage, values, days)
    return Assessment(day, usage.series, found, _shown(values, found), findings.sorted())


def _of_day(
    usage: UsageDays, values: Given, days: Sequence[date], limits: Limits, *, last_month_is_open: bool
) -> Baseline:
    found = baseline.assess(values, days, limits, last_month_is_open=last_month_is_open)
    # The day itself in full precision: it is shown.
    return replace(found, value=np.where(np.isnan(found.value), np.nan, usage.exact(days[-1])))


def _places(usage: UsageDays) -> tuple[list[str], list[str]]:
    """The account and the service of each series; empty where a number has none."""
    size = max(usage.series, default=0) + 1
    pairs = [usage.series.get(number, ("", "")) for number in range(size)]
    return [account for account, _ in pairs], [service for _, service in pairs]


def _add_dips(findings: _Findings, usage: UsageDays, values: Given, days: Sequence[date]) -> None:
    """Single low days, once the days after them are known, and they were read long after their end."""
    tested = days[-1] - dips.DAYS_AFTER * _DAY
    known = usage.inputs.get(tested)
    if (
        not findings.settings.kinds.dip
        or known is None
        or not known.is_complete
        or known.confirmed_at < start_of_day(tested + _DAY) + _DIP_AFTER
        or tested not in days
    ):
        return
    flagged, found = dips.dips(values, days, *_places(usage), findings.limits)
    findings.add("dip", flagged, found, tested, frozenset())


def _shown(values: Given, found: Baseline) -> Flags:
    recent = values[:, -WEEKS * 7 - 1 :]
    return np.asarray(~np.isnan(found.value) & ((recent != 0) & ~np.isnan(recent)).any(axis=1))


def _last_month_is_open(ledger: Ledger, day: date) -> bool:
    """Whether the bill of the month before a day's is not final: AWS calls its days estimated."""
    return day.day <= _BILL_IS_FINAL_AFTER and ledger.cost.is_estimated(day.replace(day=1) - _DAY)


def expectations(day: date, settings: AnomalySettings, usage: UsageDays) -> tuple[list[int], Baseline]:
    """The numbers of the series that have an expectation on a day, and their baseline; `usage` serves several days."""
    days = usage.days(baseline.input_days(day)) or [day]
    values = usage.values(days)
    found = _of_day(usage, values, days, settings.limits(), last_month_is_open=False)
    return np.flatnonzero(_shown(values, found) & ~np.isnan(found.expected)).tolist(), found


def _listed_only(
    ledger: Ledger, found: Assessment, settings: AnomalySettings, now: datetime
) -> frozenset[tuple[str, str, str]]:
    """The findings that no message is sent of, as `Assessment.unsent`."""
    needed = score_by_chance(found.baseline.score, times_a_week=1.0)
    candidates = [
        Candidate(
            each.day,
            each.account_id,
            each.service,
            each.kind,
            each.usd,
            is_worth_a_message(each.kind, each.score, needed),
        )
        for each in found.findings
    ]
    try:
        return listed_only(ledger, found.day, candidates, settings.cost_messages_per_week, now)
    except sqlite3.DatabaseError:
        # A disk that is full must not hold a message.
        log.exception("every finding is worth a message")
        return frozenset()


def _had_cost_before(ledger: Ledger, day: date, numbers: Sequence[int]) -> frozenset[int]:
    """Which of some series had usage before a day: what they cost now is not new, they are back."""
    if not numbers:
        return frozenset()
    marks = ", ".join("?" * len(numbers))
    cost_type = usage_cost_type(ledger)
    with ledger.connection() as db:
        rows = db.execute(
            # Day by day, so that each is found by its key.
            "SELECT DISTINCT series FROM days CROSS JOIN cost ON cost.day = days.day"  # noqa: S608 # question marks
            f" WHERE days.day < ? AND series IN ({marks}) AND total_{cost_type} != other_{cost_type}",
            (day.toordinal(), *numbers),
        ).fetchall()
    return frozenset(number for (number,) in rows)


class _Findings:
    """Collects the flagged series that the settings ask for."""

    def __init__(
        self,
        series: Mapping[int, tuple[str, str]],
        values: Given,
        days: Sequence[date],
        limits: Limits,
        settings: AnomalySettings,
    ) -> None:
        self.limits = limits
        self.settings = settings
        self._series = series
        self._values = values
        self._place = {known: number for number, known in enumerate(days)}
        self._found: list[Finding] = []

    def add(self, flag: Kind, flagged: Flags, found: Baseline, day: date, back: frozenset[int]) -> None:
        """The findings of one kind; a new service that is `back` is a spike."""
        for number in np.flatnonzero(flagged).tolist():
            if number not in self._series:
                continue
            kind, cost = flag, float(found.value[number])
            # With nothing to compare with.
            alone = flag == "new_service" or bool(found.back[number])
            if flag == "new_service" and number in back:
                kind = "spike"
                if cost < self.limits.amount:
                    continue
            if getattr(self.settings.kinds, kind):
                self._found.append(self._finding(kind, number, found, day, alone=alone))

    def _finding(self, kind: Kind, number: int, found: Baseline, day: date, *, alone: bool) -> Finding:
        cost = float(found.value[number])
        expected = 0.0 if alone else float(found.usual[number])
        weeks = [day - 7 * week * _DAY for week in range(1, WEEKS + 1)]
        same = [
            (week, float(self._values[number, self._place[week]])) for week in weeks if week in self._place
        ]
        return Finding(
            day,
            *self._series[number],
            kind,
            cost - expected,
            cost,
            expected,
            0.0 if alone else float(found.lower[number]),
            0.0 if alone else float(found.upper[number]),
            None if alone else float(found.deviation[number]),
            None if alone else float(found.score[number]),
            bool(found.recurs[number]),
            tuple((week, usd) for week, usd in same if not np.isnan(usd)),
        )

    def sorted(self) -> tuple[Finding, ...]:
        """The most dollars first, to either side."""
        return tuple(
            sorted(self._found, key=lambda finding: (-abs(finding.usd), finding.account_id, finding.service))
        )


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
        if (finding.account_id, finding.service, finding.kind) in assessment.unsent:
            yield UNSENT(1, **labels(finding.account_id, finding.service), kind=finding.kind)
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
                resource=cause.resource,
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

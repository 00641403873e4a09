"""Daily usage totals that stand out, by the same baseline as cost.

A total is of one metric in one account and region. A day on which CloudWatch had nothing to tell is not
known, and never a drop. Each metric is assessed on the newest day that it has: CloudWatch publishes some, such
as S3's, a day later than others.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

import numpy as np

from exporter.anomalies.messages import Candidate, listed_only
from exporter.anomalies.settings import AnomalySettings, Sensitivity
from exporter.anomalies.usage_families import DAY_TIMESTAMP, UNSENT, anomaly_family
from exporter.core.fields import CollectorSettings
from exporter.core.metric import Sample
from exporter.core.moments import start_of_day
from exporter.declarations.view import ViewContext
from exporter.expectation import baseline
from exporter.expectation.arrays import Given
from exporter.expectation.limits import Limits
from exporter.expectation.rhythm import WEEKS
from exporter.ledger.daily_values import totals
from exporter.ledger.file import Ledger
from exporter.usage.metrics import USAGE_FAMILIES

log = logging.getLogger(__name__)

Change = Literal["more", "less"]

_LATE = timedelta(hours=8)  # late data is added to its day for hours
_NEWEST_DAYS = 3  # an older day is no news
_DAYS = 131  # with the last four days of a monthly calendar
_FIRST_ROWS = 64
_DAY = timedelta(days=1)
_FAMILIES = tuple(family.name for family in USAGE_FAMILIES)
_LEAST = {"_bytes": 1e9, "_seconds": 3600.0}
_LEAST_COUNT = 1000.0
_NOISE_SHARE = 0.04  # of the least difference, as $1 is of $25


@dataclass(frozen=True, slots=True)
class UsageFinding:
    """A daily total that stands out, in the metric's own unit."""

    day: date
    account_id: str
    region: str
    metric: str
    change: Change
    value: float
    expected: float
    lower: float
    upper: float
    score: float
    same_weekdays: tuple[tuple[date, float], ...]

    @property
    def ratio(self) -> float:
        """The difference as a share of the expectation, or of the smallest that is reported where that is next to nothing."""
        return (self.value - self.expected) / max(abs(self.expected), _NOISE_SHARE * least_of(self.metric))


def least_of(metric: str) -> float:
    """The least difference a day that is worth a message, in the metric's unit: 1 GB, an hour, or a thousand."""
    return next((least for suffix, least in _LEAST.items() if metric.endswith(suffix)), _LEAST_COUNT)


def assessed_days(ledger: Ledger, now: datetime) -> dict[str, date]:
    """By family of daily totals, its newest day to which late data is no longer added, if it has one of late."""
    newest = (now - _LATE).date() - _DAY
    found = totals(ledger, newest - (_NEWEST_DAYS - 1) * _DAY, newest + _DAY, _FAMILIES)
    return {family: day for day, family, *_ in found}  # the last row of a family is of its newest day


def assess(
    ledger: Ledger,
    days: Mapping[str, date],
    settings: AnomalySettings,
    sensitivity: Sensitivity | None = None,
) -> tuple[UsageFinding, ...]:
    """What stands out in each family on its day, the largest share first."""
    by_day: defaultdict[date, list[str]] = defaultdict(list)
    for family, day in days.items():
        by_day[day].append(family)
    findings = [
        finding
        for day, families in by_day.items()
        for finding in _assess_day(ledger, day, families, settings, sensitivity)
    ]
    findings.sort(
        key=lambda finding: (-abs(finding.ratio), finding.account_id, finding.metric, finding.region)
    )
    return tuple(findings)


def _assess_day(
    ledger: Ledger,
    day: date,
    families: Sequence[str],
    settings: AnomalySettings,
    sensitivity: Sensitivity | None,
) -> list[UsageFinding]:
    days = baseline.input_days(day)[-_DAYS:]
    series, values = _totals(ledger, days, families)
    if not series:
        return []
    least = np.array([least_of(metric) for _, metric, _ in series])[:, None]
    limits = Limits(
        score=settings.limits(sensitivity).score,
        ratio=settings.usage.percentage / 100,
        amount=1.0,
        new_amount=float("inf"),
        least=_NOISE_SHARE,
    )
    found = baseline.assess(values / least, days, limits)
    more, less = baseline.spikes(found, limits), baseline.drops(found, limits) | found.stopped
    place = {known: number for number, known in enumerate(days)}
    findings = []
    for number in np.flatnonzero(more | less).tolist():
        account_id, metric, region = series[number]
        unit = least_of(metric)
        findings.append(
            UsageFinding(
                day,
                account_id,
                region,
                metric,
                "more" if more[number] else "less",
                float(values[number, -1]),
                float(found.usual[number]) * unit,
                float(found.lower[number]) * unit,
                float(found.upper[number]) * unit,
                float(found.score[number]),
                tuple(
                    (same, float(values[number, place[same]]))
                    for same in (day - 7 * week * _DAY for week in range(1, WEEKS + 1))
                    if not np.isnan(values[number, place[same]])
                ),
            )
        )
    return findings


def _totals(
    ledger: Ledger, days: Sequence[date], families: Sequence[str]
) -> tuple[list[tuple[str, str, str]], Given]:
    """Account id, metric and region of each series, and its totals by day; NaN where there is none."""
    place = {day: number for number, day in enumerate(days)}
    rows: dict[tuple[str, str, str], int] = {}
    values = np.full((_FIRST_ROWS, len(days)), np.nan, dtype=np.float32)
    for day, family, account_id, region, value in totals(ledger, days[0], days[-1] + _DAY, families):
        row = rows.setdefault((account_id, family.removesuffix("_daily"), region), len(rows))
        if row == len(values):
            values = np.concatenate([values, np.full_like(values, np.nan)])
        values[row, place[day]] = value
    return list(rows), values[: len(rows)]


def render(view: ViewContext[CollectorSettings]) -> Iterable[Sample]:
    """The findings of each metric's newest assessed day."""
    settings = view.sections.of(AnomalySettings)
    if not (settings.enabled and settings.usage.enabled):
        return
    days = assessed_days(view.ledger, view.now)
    if not days:
        return
    yield DAY_TIMESTAMP(start_of_day(max(days.values())).timestamp())
    names = {day: view.ledger.accounts.names(on=day) for day in set(days.values())}
    family = anomaly_family(view.group_labels)
    findings = assess(view.ledger, days, settings)
    unsent = _listed_only(view, max(days.values()), findings, settings)
    for finding in findings:
        yield family(
            finding.ratio,
            account_id=finding.account_id,
            account=view.account(finding.account_id, names[finding.day]),
            region=finding.region,
            metric=finding.metric,
            change=finding.change,
            **view.group_values(finding.account_id),
        )
        if _key(finding) in unsent:
            yield UNSENT(
                1,
                account_id=finding.account_id,
                account=view.account(finding.account_id, names[finding.day]),
                region=finding.region,
                metric=finding.metric,
                change=finding.change,
            )


def _key(finding: UsageFinding) -> tuple[str, str, str]:
    return finding.account_id, f"{finding.metric} {finding.region}", finding.change


def _listed_only(
    view: ViewContext[CollectorSettings],
    day: date,
    findings: Sequence[UsageFinding],
    settings: AnomalySettings,
) -> frozenset[tuple[str, str, str]]:
    """The findings that no message is sent of."""
    candidates = [Candidate(day, *_key(each), None) for each in findings]
    try:
        return listed_only(view.ledger, day, candidates, settings.usage_messages_per_week, view.now)
    except sqlite3.DatabaseError:
        # A disk that is full must not hold a message.
        log.exception("every finding is worth a message")
        return frozenset()

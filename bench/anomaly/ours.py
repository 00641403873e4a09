"""The exporter's own method: the only file of the bench that knows it.

`PARAMETERS` are what may be tuned, on the development classes of a split alone: name to candidate values.
Every combination is tried, so keep their number small. `replay` runs an organization once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.anomaly.organization import Organization
from bench.anomaly.scoring import Alarm
from bench.anomaly.world import DAYS, HISTORY_DAYS
from exporter.anomalies.messages import Candidate, is_worth_a_message, listed_only
from exporter.anomalies.settings import AnomalySettings
from exporter.expectation import baseline, dips
from exporter.expectation.arrays import Flags
from exporter.expectation.baseline import Baseline
from exporter.expectation.calendars import DAYS_BACK
from exporter.expectation.calibration import score_by_chance
from exporter.expectation.kinds import kinds
from exporter.expectation.limits import Limits
from exporter.ledger.file import Ledger

PARAMETERS: Mapping[str, tuple[float, ...]] = {"score": (4.0, 5.0, 6.5, 8.0, 10.0)}
DEFAULTS: Mapping[str, float] = {"score": 5.0}

_SIGNS = {"spike": 1, "new_service": 1, "drop": -1, "stopped_service": -1}
_DAYS = DAYS_BACK + 1 + dips.DAYS_AFTER

Parameters = Mapping[str, float]


def replay(
    organization: Organization, candidates: Sequence[Parameters]
) -> Iterator[tuple[int, list[list[Alarm]]]]:
    """For each assessed column, in order: what is reported then, by candidate.

    An alarm is about the assessed day, or about one of the four days before it.
    """
    limits = AnomalySettings().limits()
    accounts, services = ([key[part] for key in organization.keys] for part in (0, 1))
    with TemporaryDirectory() as folder, ExitStack() as open_:
        reporters = []
        for number, parameters in enumerate(candidates):
            ledger = Ledger(Path(folder) / f"{number}.sqlite")
            open_.callback(ledger.close)
            reporters.append(_Reporter(organization, replace(limits, score=parameters["score"]), ledger))
        for assessed in range(HISTORY_DAYS, DAYS):
            seen = organization.seen(assessed)
            usage, days = seen.usage[:, -_DAYS:], seen.days[-_DAYS:]
            found = baseline.assess(usage, days, limits, last_month_is_open=seen.last_month_is_open)
            # In the evening of the second day after it, a day was read 72 hours after the end of the last but two.
            dipped, before = dips.dips(usage, days, accounts, services, limits)
            yield assessed, [each.report(assessed, days[-1], found, dipped, before) for each in reporters]


class _Reporter:
    """Says what the exporter says, and which of it is sent as a message; it remembers that in a ledger."""

    def __init__(self, organization: Organization, limits: Limits, ledger: Ledger) -> None:
        self._accounts = [account for account, _ in organization.keys]
        self._services = [service for _, service in organization.keys]
        self._keys = organization.keys
        self._limits = limits
        self._ledger = ledger

    def report(
        self, assessed: int, day: date, found: Baseline, dipped: Flags, before: Baseline
    ) -> list[Alarm]:
        flags = kinds(found, self._limits, self._accounts, self._services)
        flagged = [(kind, int(series)) for kind, of in flags.items() for series in np.flatnonzero(of)]
        flagged.sort(key=lambda each: -_off(found, each[1]))
        needed = score_by_chance(found.score, times_a_week=1.0)
        listed = listed_only(
            self._ledger,
            day,
            [self._candidate(day, kind, series, found, needed) for kind, series in flagged],
            AnomalySettings().cost_messages_per_week,
            datetime(day.year, day.month, day.day, 20, tzinfo=UTC) + timedelta(days=2),
        )
        alarms = [
            Alarm(series, assessed, _SIGNS[kind], (*self._keys[series], kind) not in listed)
            for kind, series in flagged
        ]
        low = np.flatnonzero(dipped & (before.score <= -self._limits.score))
        return alarms + [Alarm(int(series), assessed - dips.DAYS_AFTER, -1, False) for series in low]

    def _candidate(self, day: date, kind: str, series: int, found: Baseline, needed: float) -> Candidate:
        score = None if np.isnan(found.score[series]) else float(found.score[series])
        worth = is_worth_a_message(kind, score, needed)
        return Candidate(day, *self._keys[series], kind, _off(found, series), worth)


def _off(found: Baseline, series: int) -> float:
    """Dollars off the expectation."""
    return abs(float(found.value[series] - np.nan_to_num(found.usual[series])))

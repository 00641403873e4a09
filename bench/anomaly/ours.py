"""The exporter's own method: the only file of the bench that knows it.

`PARAMETERS` are what may be tuned, on the development classes of a split alone: name to candidate values.
Every combination is tried, so keep their number small. `replay` runs an organization once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from bench.anomaly.organization import Organization
from bench.anomaly.scoring import Alarm
from bench.anomaly.world import DAYS, HISTORY_DAYS
from exporter.anomalies.settings import AnomalySettings
from exporter.expectation import baseline, dips
from exporter.expectation.calendars import DAYS_BACK
from exporter.expectation.late_data import is_settled

PARAMETERS: Mapping[str, tuple[float, ...]] = {"score": (4.0, 5.0, 6.5, 8.0, 10.0)}
DEFAULTS: Mapping[str, float] = {"score": 5.0}

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
    for assessed in range(HISTORY_DAYS, DAYS):
        seen = organization.seen(assessed)
        usage, days = seen.usage[:, -_DAYS:], seen.days[-_DAYS:]
        found = baseline.assess(usage, days, limits, last_month_is_open=seen.last_month_is_open)
        # In the evening of the second day after it, a day was read 72 hours after the end of the last but two.
        dip, before = dips.dips(usage, days, accounts, services, limits)
        reported = []
        for parameters in candidates:
            tuned = replace(limits, score=parameters["score"])
            above = baseline.spikes(found, tuned) | found.new
            low = baseline.is_low(found, tuned) | found.stopped
            below = baseline.drops(found, tuned) | found.stopped
            below &= is_settled(found, low, accounts, services)
            signs = above.astype(int) - below.astype(int)
            dipped = dip & (before.score <= -tuned.score)
            reported.append(
                [Alarm(int(series), assessed, int(signs[series])) for series in np.flatnonzero(signs)]
                + [Alarm(int(series), assessed - dips.DAYS_AFTER, -1) for series in np.flatnonzero(dipped)]
            )
        yield assessed, reported

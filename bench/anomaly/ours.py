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
from exporter.expectation import baseline

PARAMETERS: Mapping[str, tuple[float, ...]] = {"score": (4.0, 5.0, 6.5, 8.0, 10.0)}
DEFAULTS: Mapping[str, float] = {"score": 5.0}

Parameters = Mapping[str, float]


def replay(
    organization: Organization, candidates: Sequence[Parameters]
) -> Iterator[tuple[int, list[list[Alarm]]]]:
    """For each assessed column, in order: what is reported then, by candidate.

    An alarm is about the assessed day, or about one of the four days before it.
    """
    limits = AnomalySettings().limits()
    for assessed in range(HISTORY_DAYS, DAYS):
        seen = organization.seen(assessed)
        found = baseline.assess(seen.usage, seen.days, limits, last_month_is_open=seen.last_month_is_open)
        reported = []
        for parameters in candidates:
            tuned = replace(limits, score=parameters["score"])
            above = baseline.spikes(found, tuned) | found.new
            below = baseline.drops(found, tuned) | found.stopped
            signs = above.astype(int) - below.astype(int)
            reported.append(
                [Alarm(int(series), assessed, int(signs[series])) for series in np.flatnonzero(signs)]
            )
        yield assessed, reported

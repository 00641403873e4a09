"""What a day's deviation is called: a spike, a drop, a new or a stopped series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from exporter.expectation import baseline
from exporter.expectation.arrays import Flags
from exporter.expectation.baseline import Baseline
from exporter.expectation.late_data import is_settled
from exporter.expectation.limits import Limits

KindOfDay = Literal["spike", "drop", "new_service", "stopped_service"]


def kinds(
    found: Baseline, limits: Limits, accounts: Sequence[str], services: Sequence[str]
) -> dict[KindOfDay, Flags]:
    """Which series are of each kind; `accounts` and `services` say of what each series is.

    What is low with others of its account or service waits until it can no longer be late data.
    """
    low = baseline.is_low(found, limits) | found.stopped
    settled = is_settled(found, low, accounts, services)
    return {
        "spike": baseline.spikes(found, limits),
        "drop": baseline.drops(found, limits) & settled,
        "new_service": found.new,
        "stopped_service": found.stopped & settled,
    }

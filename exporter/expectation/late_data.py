"""What falls together: several services of an account, or one service in several accounts, is data that is late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from exporter.expectation.arrays import Flags
from exporter.expectation.baseline import Baseline

_SERVICES = 3
_ACCOUNTS = 2
_LATE_DAYS = 2


def may_be_late(low: Flags, accounts: Sequence[str], services: Sequence[str]) -> Flags:
    """Which of the low series fell with others, by the account and the service of each series."""
    fallen = np.flatnonzero(low).tolist()
    of_account = Counter(accounts[number] for number in fallen)
    of_service = Counter(services[number] for number in fallen)
    late = np.zeros(len(low), dtype=bool)
    for number in fallen:
        late[number] = of_account[accounts[number]] >= _SERVICES or of_service[services[number]] >= _ACCOUNTS
    return late


def is_settled(found: Baseline, low: Flags, accounts: Sequence[str], services: Sequence[str]) -> Flags:
    """Which low series are known to be low: alone, or for longer than data is late."""
    return np.asarray(~may_be_late(low, accounts, services) | (found.low_days >= _LATE_DAYS))

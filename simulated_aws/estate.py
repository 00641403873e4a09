"""What the simulated accounts own, and the truth about it.

Each service of an account and region is filled when it is asked for first. Whoever fills writes down what
was put there: age, state, tags, whether anybody uses it, and its list price in us-east-1 by hand.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from simulated_aws.filler import Filler, TrueResource
from simulated_aws.fillers import fills
from simulated_aws.organization import Account


class Estate:
    """What has been put into the accounts so far."""

    def __init__(self, seed: int, now: datetime, instances: Callable[[str, str], list[str]]) -> None:
        self._seed = seed
        self._now = now
        self._instances = instances
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str, str], tuple[TrueResource, ...]] = {}

    def fill(self, account: Account, service: str, region: str) -> tuple[TrueResource, ...]:
        """Fill a service unless it is filled, and say what is there; nothing for a service that has no filler.

        The caller holds the account's lock.
        """
        key = (account.id, service, region)
        if key not in self._found:
            filler = Filler(
                account, region, self._seed, self._now, lambda: self._instances(account.id, region)
            )
            for each in fills().get(service, ()):
                each.fill(filler)
            with self._lock:
                self._found[key] = tuple(filler.found)
        return self._found[key]

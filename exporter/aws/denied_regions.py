"""Regions that a service control policy denies to an account, told apart from permissions that are missing.

AWS refuses one request at a time, and says which kind of policy did it. A region counts as denied when such policies
refuse several services there, and leave another region to the same account: a service that is denied
everywhere, and an account that is denied everything, stay failures.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from exporter.aws.errors import AwsError, Kind

log = logging.getLogger(__name__)

_BY_POLICY = "explicit deny in a service control policy"
_ENCODED = "Encoded authorization failure message"
_PROBES: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("resourcegroupstaggingapi", "GetResources", {"ResourcesPerPage": 1}),
    ("ec2", "DescribeInstances", {"MaxResults": 5}),
    ("lambda", "ListFunctions", {"MaxItems": 1}),
    ("sns", "ListTopics", {}),
)
"""Free requests of services that policies rarely leave out, and that the inventory's permissions hold."""
_DENIED_PROBES = 3
"""So many of them are refused in a denied region: a policy may leave one out."""
_OF_NO_REGION = frozenset(
    {
        "budgets",
        "ce",
        "cloudfront",
        "cost-optimization-hub",
        "iam",
        "organizations",
        "pricing",
        "route53",
        "sts",
    }
)
_UNUSABLE = frozenset({Kind.REGION_DISABLED, Kind.NO_CREDENTIALS, Kind.NOT_ENROLLED})
_DENIED_SECONDS = 23 * 3600.0  # less than the day after which a unit is read again
_OTHERWISE_SECONDS = 300.0  # a policy that was attached meanwhile is noticed by the next attempt

Ask = Callable[[str, str, str, Mapping[str, Any]], object]
"""Sends a request of a service and operation to a region, as the account in question; AwsError."""


class _State(Enum):
    DENIED = "denied"
    ALLOWED = "allowed"
    UNUSABLE = "unusable"  # e.g. the account has not opted in


def may_be_of_region(service: str, error: AwsError) -> bool:
    """Whether a refusal may concern the whole region."""
    return service not in _OF_NO_REGION and _by_policy(error)


def _by_policy(error: AwsError) -> bool:
    # EC2 gives its reason in the encoded message alone where the account has not been moved to plain ones.
    return error.kind is Kind.ACCESS_DENIED and (_BY_POLICY in str(error) or _is_encoded(error))


def _is_encoded(error: AwsError) -> bool:
    return _ENCODED in str(error) and "is not authorized to perform" not in str(error)


class DeniedRegions:
    """What is known of the regions of each account; thread-safe, and shared over reloads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._known: dict[tuple[str, str], tuple[float, _State]] = {}
        self._logged: set[tuple[str, str]] = set()

    def is_denied(self, account_id: str, region: str, others: Iterable[str], ask: Ask) -> bool:
        """Whether policies deny `region` to the account, but not all of `others`.

        Asks AWS once a day for a denied region, however many requests are refused there. False also where AWS
        does not answer.
        """
        with self._lock:
            lock = self._locks.setdefault(account_id, threading.Lock())
        with lock:
            try:
                denied = self._state(account_id, region, ask) is _State.DENIED and any(
                    self._state(account_id, other, ask) is _State.ALLOWED
                    for other in others
                    if other != region
                )
            except AwsError as error:
                log.debug(
                    "whether the region is denied is not known",
                    extra={"account_id": account_id, "region": region, "error": error},
                )
                return False
            self._log(account_id, region, is_denied=denied)
            return denied

    def _state(self, account_id: str, region: str, ask: Ask) -> _State:
        now = self._clock()
        at, state = self._known.get((account_id, region), (0.0, None))
        kept = _DENIED_SECONDS if state is _State.DENIED else _OTHERWISE_SECONDS
        if state is None or now - at >= kept:
            state = _asked(region, ask)
            self._known[account_id, region] = now, state
        return state

    def _log(self, account_id: str, region: str, *, is_denied: bool) -> None:
        """Once when a region is found denied, and once when it is not any more."""
        key = account_id, region
        if is_denied and key not in self._logged:
            self._logged.add(key)
            log.warning(
                "a service control policy denies the region, it is asked again each day",
                extra={"account_id": account_id, "region": region, "kind": Kind.REGION_DENIED},
            )
        elif not is_denied:
            self._logged.discard(key)


def _asked(region: str, ask: Ask) -> _State:
    """What the probes say; AwsError where one of them is not answered."""
    denied = allowed = 0
    for service, operation, params in _PROBES:
        try:
            ask(service, operation, region, params)
        except AwsError as error:
            if error.kind in _UNUSABLE:
                return _State.UNUSABLE
            if error.kind is not Kind.ACCESS_DENIED:
                raise
            denied += _by_policy(error)
            allowed += not _by_policy(error)
        else:
            allowed += 1
        if denied == _DENIED_PROBES:
            return _State.DENIED
        if allowed > len(_PROBES) - _DENIED_PROBES:
            return _State.ALLOWED
    raise AssertionError("unreachable: every probe is either denied or allowed")

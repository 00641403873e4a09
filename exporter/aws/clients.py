"""One botocore client a service, shared by every account and region, and the one way to call it.

Retries stand outside botocore, because its retry quota belongs to a client: a failing account
would eat the retries of a healthy one.
"""

from __future__ import annotations

import copy
import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from botocore import xform_name
from botocore.config import Config as BotocoreConfig
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import NoCredentialsError
from botocore.paginate import Paginator

from exporter.aws import partitions
from exporter.aws.connections import AmbientSession
from exporter.aws.credentials import (
    SESSION_SECONDS,
    RoleCredentials,
    acting_as,
    frozen,
    surroundings,
    unavailable,
)
from exporter.aws.denied_regions import DeniedRegions, may_be_of_region
from exporter.aws.errors import Asked, AwsError, Kind, classify
from exporter.aws.meter import Meter
from exporter.aws.service_clients import ServiceClients, in_region
from exporter.core.places import Account

log = logging.getLogger(__name__)

ATTEMPTS = 4
_TIMEOUT_ATTEMPTS = 2  # a hang costs the read timeout each time
_COST_EXPLORER_REQUESTS_PER_SECOND = 2.0
CONNECT_TIMEOUT_SECONDS = 3
READ_TIMEOUT_SECONDS = 15
CALLS_PER_ACCOUNT = 4


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long is waited before a request is sent again, in seconds."""

    first: float = 0.4
    longest: float = 8.0

    def after(self, attempt: int) -> float:
        """Doubled after each attempt; the first is 1."""
        return min(self.longest, self.first * 2.0 ** (attempt - 1))


class Deadline:
    """A point on the monotonic clock after which a unit sends nothing more."""

    def __init__(self, seconds: float) -> None:
        """It passes `seconds` from now."""
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self._end - time.monotonic()


class _Pace:
    """Spaces the requests of one service evenly."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second
        self._lock = threading.Lock()
        self._next = 0.0

    def delay(self) -> float:
        """Reserve the next slot and say how many seconds away it is."""
        with self._lock:
            now = time.monotonic()
            slot = max(now, self._next)
            self._next = slot + self._gap
            return slot - now


class Aws:
    """All access to AWS: `call` and `paginate` act as one account in one region.

    Thread-safe. Raises nothing but AwsError.
    """

    def __init__(
        self,
        meter: Meter,
        *,
        profile: str | None = None,
        region: str | None = None,
        endpoint_url: str | None = None,
        simulated: bool = False,
        role_arn: str | None = None,
        external_id: str | None = None,
        threads: int = 16,
        read_timeout: float = READ_TIMEOUT_SECONDS,
        stop: threading.Event | None = None,
        credentials: Credentials | None = None,
        backoff: Backoff = Backoff(),  # frozen
    ) -> None:
        """`profile`, `region` and the environment choose the ambient credentials as in any AWS tool.

        `credentials` are used instead of them.

        `role_arn` is the payer's role, when the ambient credentials are not the payer's own.
        """
        self.meter = meter
        self._backoff = backoff
        self._stop = stop or threading.Event()
        self._lock = threading.Lock()
        self._in_flight: dict[str, threading.BoundedSemaphore] = {}
        # A simulated endpoint has no rate to respect.
        self._pace = None if simulated else _Pace(_COST_EXPLORER_REQUESTS_PER_SECOND)
        config = BotocoreConfig(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=min(CONNECT_TIMEOUT_SECONDS, read_timeout),
            read_timeout=read_timeout,
            max_pool_connections=max(10, threads),
            user_agent_extra="aws-spend-exporter",
        )
        self._ambient_session = AmbientSession(profile, config=config)
        self._ambient: Credentials | None = credentials
        try:
            self._ambient_session.get_scoped_config()  # a profile that does not exist is an error now
            region = region or self._ambient_session.get_config_variable("region")
            if region is None and role_arn is not None:
                region = partitions.global_region(partitions.of_arn(role_arn), "us-east-1")
            self.region: str = region or "us-east-1"
        except Exception as error:
            raise classify(error, "AWS profile") from error
        self._clients = ServiceClients(config, self.region, endpoint_url, profile)
        self._payer_role = Account("", "payer", role_arn=role_arn, external_id=external_id)
        self._roles = RoleCredentials(self._assume_role)
        self._denied_regions = DeniedRegions()
        self._made_of = (
            (profile, self.region, endpoint_url, simulated, role_arn, external_id, threads, read_timeout),
            surroundings(self._ambient_session),
        )

    # Reloads

    def serves_as(self, other: Aws) -> bool:
        """Whether `other` would reach AWS in the same way as the same identity."""
        ambient = self._ambient
        if ambient is not None and ambient.method == "custom-process":
            # Keys that a process printed without an end are replaced by asking it again, and only so.
            return isinstance(ambient, RefreshableCredentials) and self._made_of == other._made_of
        return self._made_of == other._made_of

    def successor(self, stop: threading.Event) -> Aws:
        """The same clients and sessions under another `stop`, for the next configuration.

        Requests of this one end when its own `stop` is set; then the successor is to `take_over`.
        """
        successor = copy.copy(self)  # shallow: what they share is what costs requests and time to make
        successor._stop = stop
        return successor

    def take_over(self) -> None:
        """Renew the sessions from now on, and ask AWS again for those that it refused the predecessor."""
        self._roles.hand_over(self._assume_role)

    def succeeds(self, other: Aws) -> bool:
        """Whether the clients and sessions are those of `other`."""
        return self._roles is other._roles

    # Credentials

    def _ambient_credentials(self) -> Credentials:
        with self._lock:
            if self._ambient is None:
                try:
                    self._ambient = self._ambient_session.get_credentials()
                except Exception as error:
                    raise unavailable(error, "ambient AWS credentials") from error
            if self._ambient is None:
                raise classify(NoCredentialsError(), "ambient AWS credentials")
            return self._ambient

    def _payer_credentials(self) -> Credentials:
        return self._roles.of(self._payer_role) if self._payer_role.role_arn else self._ambient_credentials()

    def _assume_role(self, account: Account) -> dict[str, Any]:
        base = self._ambient_credentials() if account is self._payer_role else self._payer_credentials()
        params: dict[str, Any] = {
            "RoleArn": account.role_arn,
            "RoleSessionName": "aws-spend-exporter",
            "DurationSeconds": SESSION_SECONDS,
        }
        if account.external_id:
            params["ExternalId"] = account.external_id
        answer = self._send(base, account.id or "payer", "sts", "AssumeRole", self.region, params)
        keys = answer["Credentials"]
        expiry = keys["Expiration"]
        return {
            "access_key": keys["AccessKeyId"],
            "secret_key": keys["SecretAccessKey"],
            "token": keys["SessionToken"],
            "expiry_time": expiry.isoformat() if isinstance(expiry, datetime) else str(expiry),
        }

    def credentials(self, account: Account | None) -> Credentials:
        """The credentials to act as `account`; the payer's own for None or an account without a role."""
        if account is not None and account.role_arn:
            return self._roles.of(account)
        return self._payer_credentials()

    # Requests

    @property
    def is_stopping(self) -> bool:
        """Whether no request is sent any more."""
        return self._stop.is_set()

    def pause(self, attempt: int, request: str) -> None:
        """Wait before something is asked again that takes AWS a while; AwsError(STOPPED) once the exporter stops."""
        self._wait(self._backoff.after(attempt), request, None)

    @property
    def clients_created(self) -> int:
        """How many clients there are, one a service."""
        return len(self._clients)

    def call(
        self,
        account: Account | None,
        service: str,
        operation: str,
        region: str,
        params: Mapping[str, Any] | None = None,
        *,
        budget: str | None = None,
        deadline: Deadline | None = None,
    ) -> dict[str, Any]:
        """One request of `operation` (as in AWS's reference, e.g. DescribeInstances), retried with back-off.

        AwsError, of kind REGION_DENIED where a service control policy denies the whole region.
        """
        try:
            return self._call(account, service, operation, region, params, budget, deadline)
        except AwsError as error:
            if not may_be_of_region(service, error) or not self._is_denied(account, region, deadline):
                raise
            raise error.of_kind(Kind.REGION_DENIED) from error

    def _is_denied(self, account: Account | None, region: str, deadline: Deadline | None) -> bool:
        who = account.id if account else "payer"
        try:
            credentials = self._renewed(account)
        except AwsError:
            return False  # it is the role that was refused

        def ask(service: str, operation: str, region: str, params: Mapping[str, Any]) -> None:
            self._send(credentials, who, service, operation, region, params, deadline=deadline)

        others = (self.region, *partitions.regions_beside(region))
        return self._denied_regions.is_denied(who, region, others, ask)

    def _call(
        self,
        account: Account | None,
        service: str,
        operation: str,
        region: str,
        params: Mapping[str, Any] | None,
        budget: str | None,
        deadline: Deadline | None,
    ) -> dict[str, Any]:
        who = account.id if account else "payer"
        role = account if account is not None and account.role_arn else self._payer_role
        credentials = self._renewed(account)
        try:
            return self._send(credentials, who, service, operation, region, params or {}, budget, deadline)
        except AwsError as error:
            if error.kind is not Kind.EXPIRED_CREDENTIALS or not role.role_arn:
                raise
        # A session can end early, e.g. when the role's trust is revoked: once more, then it counts.
        self._roles.forget(role, credentials)
        credentials = self._renewed(account)
        return self._send(credentials, who, service, operation, region, params or {}, budget, deadline)

    def _renewed(self, account: Account | None) -> Credentials:
        """The account's credentials, also when the payer's session, which assumes its role, ended early."""
        payer = self._payer_role
        used = self._roles.held(payer)  # not asked for: an account's own session does without
        try:
            return self.credentials(account)
        except AwsError as error:
            if error.kind is not Kind.EXPIRED_CREDENTIALS or used is None:
                raise
        self._roles.forget(payer, used)
        return self.credentials(account)

    def paginate(
        self,
        account: Account | None,
        service: str,
        operation: str,
        region: str,
        params: Mapping[str, Any] | None = None,
        *,
        deadline: Deadline | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Every page of an operation that botocore has a paginator for."""
        paginator = Paginator(
            lambda **page: self.call(account, service, operation, region, page, deadline=deadline),
            self._clients.paginator_config(service, operation),
            self._clients.of(service).meta.service_model.operation_model(operation),
        )
        pages = iter(paginator.paginate(**(params or {})))
        while True:
            try:
                page = next(pages, None)
            except Exception as error:
                raise classify(error, f"{service} {operation}") from error
            if page is None:
                return
            yield page

    def _send(
        self,
        credentials: Credentials,
        who: str,
        service: str,
        operation: str,
        region: str,
        params: Mapping[str, Any],
        budget: str | None = None,
        deadline: Deadline | None = None,
    ) -> dict[str, Any]:
        request = f"{service} {operation} for {who} in {region}"
        self._wait(0, request, deadline)
        try:
            client = self._clients.of(service)
        except Exception as error:
            raise classify(error, request) from error
        method = partial(getattr(client, xform_name(operation)), **params)
        # Cost Explorer has its own pace: what hangs elsewhere in the payer's account must not hold it up.
        lane = service if service == "ce" else who
        with self._lock:
            gate = self._in_flight.setdefault(lane, threading.BoundedSemaphore(CALLS_PER_ACCOUNT))
        attempt = 0
        while True:
            attempt += 1
            if self._pace is not None and service == "ce":
                self._wait(self._pace.delay(), request, deadline)
            self._wait(0, request, deadline)
            # Before the gate: a refresh is a call of the same account, and would wait for a place for ever.
            keys = frozen(credentials, request)
            with gate:
                self._wait(0, request, deadline)  # what went before may have hung for long
                self.meter.before(service, operation, params, budget)
                try:
                    with acting_as(keys), in_region(region):
                        answer: dict[str, Any] = method()
                except Exception as error:
                    failure = classify(error, request, Asked(region, keys.token is not None))
                else:
                    self.meter.after(service, operation, "ok")
                    return answer
            self.meter.after(service, operation, failure.kind)
            allowed = _TIMEOUT_ATTEMPTS if failure.kind is Kind.TIMEOUT else ATTEMPTS
            if not failure.retryable or attempt >= allowed:
                raise failure
            backoff = self._backoff.after(attempt)
            log.debug(
                "an attempt failed",
                extra={"attempt": attempt, "retry_seconds": round(backoff, 1), "error": failure},
            )
            self._wait(random.uniform(backoff / 2, backoff), request, deadline)

    def _wait(self, seconds: float, request: str, deadline: Deadline | None) -> None:
        if deadline is not None and deadline.remaining() <= seconds:
            raise AwsError(Kind.DEADLINE, "the unit's deadline has passed", request=request)
        if self._stop.wait(seconds) if seconds > 0 else self._stop.is_set():
            raise AwsError(Kind.STOPPED, "the exporter is stopping", request=request)

    def close(self) -> None:
        """Close every connection."""
        self._clients.close()

"""Credentials that follow the account of the current call, so that every account shares one client.

botocore asks its credentials object for keys each time it signs a request. Ours answers from a
`ContextVar`: a client then serves any number of accounts.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from botocore.credentials import (
    CredentialResolver,
    Credentials,
    ReadOnlyCredentials,
    RefreshableCredentials,
)
from botocore.exceptions import NoCredentialsError
from botocore.session import Session

from exporter.aws.errors import AwsError, Kind, classify
from exporter.core.places import Account

SESSION_SECONDS = 3600
"""The longest session that role chaining allows."""

_REFRESH_BEFORE_EXPIRY = 300  # with one hour sessions: one AssumeRole an account and hour
_REFRESH_AT_LATEST = 120
_DENIAL_REMEMBERED_SECONDS = 60.0

_ASSUMED = "sts-assume-role"

_current: ContextVar[Credentials] = ContextVar("current_credentials")


class ContextCredentials(Credentials):  # type: ignore[misc] # botocore ships no types
    """The credentials of whichever account the calling thread works for."""

    def __init__(self) -> None:
        """Nothing is kept here; see `acting_as`."""
        super().__init__("", "")

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """The current account's keys; NoCredentialsError outside `acting_as`."""
        try:
            return _current.get().get_frozen_credentials()
        except LookupError:
            raise NoCredentialsError from None


class _ContextProvider:
    METHOD = CANONICAL_NAME = "context"

    def load(self) -> ContextCredentials:
        return ContextCredentials()


def context_resolver() -> CredentialResolver:
    """A botocore credential resolver whose only answer is `ContextCredentials`."""
    return CredentialResolver([_ContextProvider()])


def surroundings(session: Session) -> tuple[str | None, ...]:
    """What credentials and clients are made of beside settings: digests of the AWS tools' files and of the CAs."""
    paths = (session.get_config_variable(name) for name in ("config_file", "credentials_file", "ca_bundle"))
    # Not Path.expanduser, which raises where a user has neither HOME nor an entry in passwd, as in containers.
    return tuple(
        _digest(Path(os.path.expanduser(os.path.expandvars(path)))) if path else None  # noqa: PTH111
        for path in paths
    )


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


@contextmanager
def acting_as(credentials: Credentials) -> Iterator[None]:
    """Sign every request of this thread with `credentials` while inside."""
    token = _current.set(credentials)
    try:
        yield
    finally:
        _current.reset(token)


def frozen(credentials: Credentials, request: str) -> Credentials:
    """The keys as they are now, refreshed if they are about to expire; AwsError if that fails."""
    try:
        keys = credentials.get_frozen_credentials()
    except RuntimeError as error:
        # botocore's way to say that what it was given has expired already: of a new session, by our clock alone.
        is_new = credentials.method == _ASSUMED
        kind = Kind.CLOCK_SKEW if is_new else Kind.EXPIRED_CREDENTIALS
        raise AwsError(kind, str(error), request=request) from error
    except Exception as error:
        raise unavailable(error, request) from error
    return Credentials(keys.access_key, keys.secret_key, keys.token)


def unavailable(error: Exception, request: str) -> AwsError:
    """Why there are no credentials; what a provider reads, a file or a program's output, may be missing or malformed."""
    failure = classify(error, request)
    if failure.kind is Kind.INTERNAL and isinstance(error, OSError | ValueError | LookupError | TypeError):
        return AwsError(Kind.NO_CREDENTIALS, f"{type(error).__name__}: {error}", request=request)
    return failure


class RoleCredentials:
    """Assumed-role credentials by account: one AssumeRole an account and hour.

    A refusal is remembered for a minute, so that a closed account costs one call a run and
    not one for each region and collector.
    """

    def __init__(
        self, assume: Callable[[Account], dict[str, Any]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`assume` calls STS and returns botocore's refresh metadata."""
        self._assume = assume
        self._clock = clock
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._credentials: dict[tuple[str, str], RefreshableCredentials] = {}
        self._denials: dict[tuple[str, str], tuple[float, AwsError]] = {}

    def of(self, account: Account) -> RefreshableCredentials:
        """The credentials of `account`'s role, valid for two minutes at least; AwsError when it cannot be assumed."""
        key = _key(account)
        with self._lock:
            lock = self._locks.setdefault(account.id, threading.Lock())
        with lock:
            denials = self._denials  # as they are now: a refusal that comes after `hand_over` is not kept
            at, denial = denials.get(key, (0.0, None))
            if denial is not None and self._clock() - at < _DENIAL_REMEMBERED_SECONDS:
                raise AwsError(denial.kind, str(denial), code=denial.code)
            credentials = self._credentials.get(key)
            # botocore would refresh these, too, but forget a refusal: each region would ask again.
            if credentials is None or credentials.refresh_needed(_REFRESH_AT_LATEST):
                try:
                    metadata = self._assume(account)
                except AwsError as error:
                    if error.kind in (Kind.ACCESS_DENIED, Kind.INVALID_REQUEST, Kind.TIMEOUT):
                        denials[key] = (self._clock(), error)
                    raise
                denials.pop(key, None)
                credentials = self._credentials[key] = RefreshableCredentials.create_from_metadata(
                    metadata,
                    refresh_using=lambda: self._assume(account),
                    method=_ASSUMED,
                    advisory_timeout=_REFRESH_BEFORE_EXPIRY,
                    mandatory_timeout=_REFRESH_AT_LATEST,
                )
            return credentials

    def held(self, account: Account) -> RefreshableCredentials | None:
        """The session of `account`'s role as it is now, without asking AWS."""
        return self._credentials.get(_key(account))

    def hand_over(self, assume: Callable[[Account], dict[str, Any]]) -> None:
        """Keep the sessions and renew them by `assume` from now on; whom AWS refused is asked again."""
        with self._lock:
            self._assume = assume
            self._denials = {}

    def forget(self, account: Account, used: Credentials) -> None:
        """Drop `used`, e.g. after AWS called its session expired, unless another thread has renewed it already."""
        key = _key(account)
        with self._lock:
            if self._credentials.get(key) is used:
                del self._credentials[key]


def _key(account: Account) -> tuple[str, str]:
    return account.role_arn or "", account.external_id or ""

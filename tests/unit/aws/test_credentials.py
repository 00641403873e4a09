"""One AssumeRole an account and hour, refusals remembered, and never the keys of another account."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import NoCredentialsError

from exporter.aws.credentials import ContextCredentials, RoleCredentials, acting_as, frozen
from exporter.aws.errors import AwsError, Kind
from exporter.core.places import Account

ACCOUNT = Account("111122223333", "prod", role_arn="arn:aws:iam::111122223333:role/reader")
OTHER = Account("444455556666", "dev", role_arn="arn:aws:iam::444455556666:role/reader")


class Sts:
    """Counts what is assumed; sessions last `lifetime`."""

    def __init__(self) -> None:
        self.lifetime = timedelta(hours=1)
        self.calls: list[str] = []
        self.error: AwsError | None = None
        self.during: Callable[[], None] = lambda: None

    def assume(self, account: Account) -> dict[str, Any]:
        self.calls.append(account.id)
        self.during()
        if self.error is not None:
            raise self.error
        return {
            "access_key": f"AKIA{account.id}",
            "secret_key": f"secret-{len(self.calls)}",
            "token": f"token-{len(self.calls)}",
            "expiry_time": (datetime.now(UTC) + self.lifetime).isoformat(),
        }


@pytest.fixture
def sts() -> Sts:
    return Sts()


class MonotonicClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_sixteen_threads_assume_a_role_once(sts: Sts) -> None:
    roles = RoleCredentials(sts.assume)
    started = threading.Barrier(16)

    def use(_: int) -> str:
        started.wait(60)
        return str(roles.of(ACCOUNT).get_frozen_credentials().access_key)

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(use, range(16))) == {"AKIA111122223333"}
    assert sts.calls == [ACCOUNT.id]


def test_a_session_is_renewed_before_it_ends(sts: Sts) -> None:
    roles = RoleCredentials(sts.assume)
    sts.lifetime = timedelta(seconds=100)  # less than is left when it must be renewed
    first = roles.of(ACCOUNT)
    sts.lifetime = timedelta(hours=1)
    assert roles.of(ACCOUNT) is not first
    assert roles.of(ACCOUNT).get_frozen_credentials().token == "token-2"
    for _ in range(5):
        roles.of(ACCOUNT).get_frozen_credentials()
    assert len(sts.calls) == 2


@pytest.mark.parametrize("kind", [Kind.ACCESS_DENIED, Kind.INVALID_REQUEST, Kind.TIMEOUT])
@pytest.mark.parametrize("renewal", [False, True])
def test_a_refusal_is_remembered_for_a_minute(sts: Sts, kind: Kind, renewal: bool) -> None:
    clock = MonotonicClock()
    roles = RoleCredentials(sts.assume, clock)
    if renewal:
        sts.lifetime = timedelta(seconds=60)
        roles.of(ACCOUNT)
        sts.calls.clear()
    sts.error = AwsError(kind, "no", code="Code")
    for _ in range(20):
        with pytest.raises(AwsError, match="no") as caught:
            roles.of(ACCOUNT)
        assert (caught.value.kind, caught.value.code) == (kind, "Code")
    assert len(sts.calls) == 1
    sts.error, sts.lifetime = None, timedelta(hours=1)
    assert roles.of(OTHER).get_frozen_credentials().access_key == "AKIA444455556666"
    clock.now += 61
    roles.of(ACCOUNT)
    assert sts.calls == [ACCOUNT.id, OTHER.id, ACCOUNT.id]


def test_a_passing_fault_is_not_remembered(sts: Sts) -> None:
    roles = RoleCredentials(sts.assume)
    sts.error = AwsError(Kind.THROTTLED, "slower")
    for _ in range(3):
        with pytest.raises(AwsError):
            roles.of(ACCOUNT)
    assert len(sts.calls) == 3


@pytest.mark.fault("AssumeRole of one account hangs", "the role of another is assumed meanwhile")
def test_a_hanging_account_does_not_hold_up_another(sts: Sts) -> None:
    roles = RoleCredentials(sts.assume)
    hangs, release = threading.Event(), threading.Event()

    def during() -> None:
        if sts.calls[-1] == ACCOUNT.id:
            hangs.set()
            release.wait(60)

    sts.during = during
    thread = threading.Thread(target=roles.of, args=(ACCOUNT,))
    thread.start()
    assert hangs.wait(60)
    assert roles.of(OTHER).get_frozen_credentials().access_key == "AKIA444455556666"
    assert thread.is_alive()
    release.set()
    thread.join(60)


def test_another_external_id_is_another_session(sts: Sts) -> None:
    roles = RoleCredentials(sts.assume)
    changed = Account(ACCOUNT.id, "prod", role_arn=ACCOUNT.role_arn, external_id="new")
    assert roles.of(ACCOUNT) is roles.of(ACCOUNT)
    assert roles.of(ACCOUNT) is not roles.of(changed)


def test_what_one_thread_renewed_is_not_thrown_away_by_the_next(sts: Sts) -> None:
    roles = RoleCredentials(sts.assume)
    expired = roles.of(ACCOUNT)
    roles.forget(ACCOUNT, expired)
    renewed = roles.of(ACCOUNT)
    roles.forget(ACCOUNT, expired)  # a second thread that was told the same
    assert roles.of(ACCOUNT) is renewed
    assert len(sts.calls) == 2


@pytest.mark.fault("a new session is over by our clock", "clock_skew")
def test_a_new_session_that_is_over_when_it_comes_shows_a_wrong_clock(sts: Sts) -> None:
    roles = RoleCredentials(sts.assume)
    sts.lifetime = timedelta(seconds=-60)
    with pytest.raises(AwsError) as caught:
        frozen(roles.of(ACCOUNT), "sts AssumeRole for prod")
    assert caught.value.kind == Kind.CLOCK_SKEW
    assert str(caught.value).startswith("sts AssumeRole for prod: ")


def test_threads_sign_with_the_keys_of_their_own_account() -> None:
    credentials = ContextCredentials()

    def sign(number: int) -> bool:
        with acting_as(Credentials(f"outer-{number}", "s")):
            for turn in range(50):
                with acting_as(Credentials(f"inner-{number}-{turn}", "s")):
                    if credentials.get_frozen_credentials().access_key != f"inner-{number}-{turn}":
                        return False
                if credentials.get_frozen_credentials().access_key != f"outer-{number}":
                    return False
        return True

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(sign, range(300)))
    with pytest.raises(NoCredentialsError):
        credentials.get_frozen_credentials()


def test_a_refusal_that_comes_after_the_successor_took_over_is_not_kept(sts: Sts) -> None:
    roles = RoleCredentials(sts.assume)
    sts.error = AwsError(Kind.ACCESS_DENIED, "no")
    sts.during = lambda: roles.hand_over(sts.assume)
    with pytest.raises(AwsError):
        roles.of(ACCOUNT)
    sts.error = None
    assert roles.of(ACCOUNT).access_key == f"AKIA{ACCOUNT.id}"

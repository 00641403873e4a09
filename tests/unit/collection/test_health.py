"""Health is reported by collector, and by account only while it fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from exporter.collection.health import Health
from exporter.collection.result import CollectionResult, Key
from exporter.collection.store import Store
from exporter.core.exposition import render

START = datetime(2026, 5, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
_PREFIX = "aws_spend_exporter_collector_"


class Served:
    """A store whose units all belong to one collector."""

    def __init__(self) -> None:
        self.store = Store(lambda: START)

    def publish(
        self,
        unit: str,
        account_id: str,
        region: str = "",
        *,
        at: datetime = START,
        error: str | None = None,
        name: str = "",
    ) -> None:
        self.store.publish(
            Key(unit, account_id, region),
            CollectionResult(samples=(), attempted_at=at, succeeded_at=None if error else at, error=error),
            account=name or f"name-{account_id}",
            interval=HOUR,
            owner="inventory",
        )

    def lines(self, kind: str) -> set[str]:
        """Labels and value of each line of a family."""
        prefix = _PREFIX + kind
        text = self.store.scrape().plain().decode()
        return {line.removeprefix(prefix) for line in text.splitlines() if line.startswith(prefix + "{")}


@pytest.fixture
def served() -> Served:
    return Served()


def test_while_nothing_fails_there_is_one_series_of_a_collector(served: Served) -> None:
    for account in range(50):
        for region in ("eu-west-1", "us-east-1"):
            served.publish(
                "inventory_ec2", f"{account:012}", region, at=START + account * timedelta(minutes=1)
            )
    assert served.lines("success") == {'{collector="inventory"} 1'}
    assert served.lines("last_success_timestamp_seconds") == {
        f'{{collector="inventory"}} {int(START.timestamp())}'
    }
    assert served.lines("interval_seconds") == {'{collector="inventory"} 3600'}
    assert served.lines("failure_info") == set()


def test_an_account_that_fails_has_one_series_a_kind(served: Served) -> None:
    for region in ("eu-west-1", "us-east-1"):
        served.publish("inventory_ec2", "1", region)
        served.publish("inventory_rds", "1", region, error="throttled")
    served.publish("inventory_sqs", "1", "us-east-1", error="access_denied")
    served.publish("inventory_ec2", "2", "us-east-1")
    assert served.lines("success") == {
        '{collector="inventory"} 0',
        '{collector="inventory",account_id="1",account="name-1"} 0',
    }
    where = 'collector="inventory",account_id="1",account="name-1"'
    assert served.lines("failure_info") == {
        f'{{{where},unit="inventory_rds",kind="throttled"}} 1',
        f'{{{where},unit="inventory_sqs",region="us-east-1",kind="access_denied"}} 1',
    }
    served.publish("inventory_s3", "1", error="throttled")
    assert f'{{{where},kind="throttled"}} 1' in served.lines("failure_info")

    for unit, region in (
        ("inventory_rds", "eu-west-1"),
        ("inventory_rds", "us-east-1"),
        ("inventory_s3", ""),
    ):
        served.publish(unit, "1", region)
    served.publish("inventory_sqs", "1", "us-east-1")
    assert served.lines("success") == {'{collector="inventory"} 1'}
    assert served.lines("failure_info") == set()


def test_a_view_of_an_account_is_no_collector(served: Served) -> None:
    served.publish("inventory_ec2", "1", "eu-west-1")
    before = served.lines("success"), served.lines("last_success_timestamp_seconds")
    key = Key("inventory_resources", "1")
    result = CollectionResult(samples=(), attempted_at=START, succeeded_at=START)
    served.store.publish(key, result, account="name-1", interval=HOUR, is_view=True)
    assert (served.lines("success"), served.lines("last_success_timestamp_seconds")) == before
    served.store.forget([key])
    assert (served.lines("success"), served.lines("last_success_timestamp_seconds")) == before


def test_the_last_success_is_that_of_the_unit_that_was_read_the_longest_ago(served: Served) -> None:
    def seconds(hours: int) -> int:
        return int((START + hours * HOUR).timestamp())

    served.publish("inventory_ec2", "1", "a", at=START)
    served.publish("inventory_ec2", "1", "b", at=START + HOUR)
    served.publish("inventory_ec2", "2", "a", at=START + 2 * HOUR)
    assert served.lines("last_success_timestamp_seconds") == {f'{{collector="inventory"}} {seconds(0)}'}
    # What fails counts for its account, and not for the collector.
    served.publish("inventory_ec2", "1", "a", at=START + 4 * HOUR, error="throttled")
    assert served.lines("last_success_timestamp_seconds") == {
        f'{{collector="inventory"}} {seconds(1)}',
        f'{{collector="inventory",account_id="1",account="name-1"}} {seconds(0)}',
    }
    served.publish("inventory_rds", "1", "a", at=START, error="throttled")
    assert served.lines("last_success_timestamp_seconds") == {f'{{collector="inventory"}} {seconds(1)}'}, (
        "one unit never succeeded"
    )
    served.store.forget(served.store.keys_of("1"))
    assert served.lines("last_success_timestamp_seconds") == {f'{{collector="inventory"}} {seconds(2)}'}


def test_the_last_success_stays_known_where_regions_cannot_be_listed(served: Served) -> None:
    served.publish("inventory_ec2", "1", "a")
    served.publish("inventory", "1", error="access_denied")
    where = 'collector="inventory",account_id="1",account="name-1"'
    assert f"{{{where}}} {int(START.timestamp())}" in served.lines("last_success_timestamp_seconds")
    assert served.lines("failure_info") == {f'{{{where},unit="inventory",kind="access_denied"}} 1'}


def test_a_rename_leaves_one_series(served: Served) -> None:
    """Regions of one account are read one after the other: for a while two names are known."""
    served.publish("inventory_ec2", "1", "b", at=START + HOUR, error="throttled", name="new")
    served.publish("inventory_ec2", "1", "a", at=START, error="throttled", name="old")
    assert served.lines("failure_info") == {
        '{collector="inventory",account_id="1",account="new",unit="inventory_ec2",kind="throttled"} 1'
    }


def test_what_is_kept_does_not_grow_with_time() -> None:
    """A unit is read, fails and is read again, for ever."""
    health = Health()
    for number in range(2000):
        moment = START + number // 10 * HOUR
        for account in "12":
            error = "throttled" if number % 3 == 0 else None
            health.put("ec2", Key("ec2", account), account, moment, moment, error)
    assert len(health._collectors["ec2"].oldest) < 100
    text = "".join(render(sample for _, samples in health.changes() for sample in samples).values())
    assert (
        f'last_success_timestamp_seconds{{collector="ec2"}} {int((START + 199 * HOUR).timestamp())}' in text
    )

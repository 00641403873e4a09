"""The memory of deliveries tells a retry from a repeat."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from relay_harness import notification, spend_alert

from exporter.relay.alertmanager import Notification
from exporter.relay.channel import DeliveryStatus
from exporter.relay.deliveries import Deliveries, Progress, open_deliveries
from exporter.relay.dispatch import Dispatcher
from exporter.relay.main import read_templates
from exporter.relay.message import Message
from exporter.relay.metrics import RelayMetrics
from exporter.relay.settings import RelaySettings

FIRST = Message("title", "error", ("one", "two"))
LATER = Message("title", "error", ("ONE", "TWO", "THREE"))


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def memory(folder: Path, clock: Clock) -> Deliveries:
    return open_deliveries(folder, clock=clock, retry_window=300, pending_expiry=3600)


def test_a_retry_goes_on_with_the_first_text_also_after_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    deliveries = memory(tmp_path, clock)
    assert deliveries.open("key", FIRST) == Progress(FIRST, 0, completed=False)
    deliveries.accepted("key", 1)
    deliveries.close()
    deliveries = memory(tmp_path, clock)
    assert deliveries.open("key", LATER) == Progress(FIRST, 1, completed=False)
    assert deliveries.open("other", LATER) == Progress(LATER, 0, completed=False)
    deliveries.close()


def test_complete_is_a_retry_within_the_window_and_a_repeat_after_it(tmp_path: Path) -> None:
    clock = Clock()
    deliveries = memory(tmp_path, clock)
    deliveries.open("key", FIRST)
    deliveries.complete("key")
    clock.now += 299
    # What it said is not kept.
    assert deliveries.open("key", LATER) == Progress(Message("title", "error", ()), 0, completed=True)
    clock.now += 1  # retries do not extend the window
    assert deliveries.open("key", LATER) == Progress(LATER, 0, completed=False)
    deliveries.close()


def test_what_stays_unfinished_expires_and_a_clock_set_back_does_not_keep_it(tmp_path: Path) -> None:
    clock = Clock()
    deliveries = memory(tmp_path, clock)
    for step in (3600, -7200):
        deliveries.open("key", FIRST)
        deliveries.accepted("key", 1)
        clock.now += step
        assert deliveries.open("key", LATER) == Progress(LATER, 0, completed=False)
        clock.now += 3600 * 24
    deliveries.close()


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "deliveries.sqlite").write_bytes(
        b"this is no database, but long enough to be read as one" * 50
    )
    deliveries = memory(tmp_path, Clock())
    assert deliveries.open("key", FIRST).delivered == 0
    assert (tmp_path / "deliveries.sqlite.damaged").exists()
    deliveries.close()


def test_what_cannot_be_opened_now_is_not_taken_for_damaged(tmp_path: Path) -> None:
    (tmp_path / "deliveries.sqlite").mkdir()
    with pytest.raises(sqlite3.OperationalError):
        memory(tmp_path, Clock())
    assert [path.name for path in tmp_path.iterdir()] == ["deliveries.sqlite"]


def identity(*alerts: dict[str, Any], channel: str = "default", **changes: Any) -> str:
    return Notification.model_validate_json(json.dumps(notification(*alerts, **changes))).identity(channel)


def named(fingerprint: str = "", **changes: Any) -> dict[str, Any]:
    alert = spend_alert() | {"fingerprint": fingerprint}
    return alert | {
        key: alert[key] | value if isinstance(value, dict) else value for key, value in changes.items()
    }


ONE, TWO = named("1"), named("2")


@pytest.mark.parametrize(
    "other",
    [
        identity(ONE, TWO, channel="other"),
        identity(ONE, TWO, groupKey="another"),
        identity(ONE, TWO, truncatedAlerts=1),
        identity(ONE, TWO, status="resolved"),
        identity(ONE),
        identity(ONE, named("3")),
        identity(ONE, named("2", status="resolved")),
        identity(ONE, named("2", startsAt="2026-05-19T00:00:00Z")),
    ],
    ids=["channel", "group", "left out", "status", "fewer", "another", "resolved", "again"],
)
def test_another_notification_is_no_retry(other: str) -> None:
    assert other != identity(ONE, TWO)


def test_a_retry_is_known_whatever_the_order_and_the_numbers_in_its_text() -> None:
    assert identity(ONE, named("2", annotations={"spend": "9999"}), externalURL="http://other") == identity(
        TWO, ONE
    )


def test_alerts_without_a_fingerprint_are_told_apart_by_their_labels() -> None:
    assert identity(named(labels={"account_id": "1"})) != identity(named(labels={"account_id": "2"}))


@contextmanager
def hasty(folder: Path, stopping: threading.Event) -> Iterator[Dispatcher]:
    """Gives each notification 50 ms, and has nowhere to post it to."""
    settings = RelaySettings(channels={"default": {"url_env": "X"}}, notification_timeout="50ms")
    metrics = RelayMetrics(settings.channels)
    templates = read_templates(settings, metrics)
    deliveries = memory(folder, Clock())
    yield Dispatcher(settings, {}, deliveries, metrics, stopping, templates)
    deliveries.close()


def test_what_ran_out_of_time_is_to_come_again(tmp_path: Path) -> None:
    def slow() -> Message:
        time.sleep(0.06)
        return FIRST

    with hasty(tmp_path, threading.Event()) as dispatcher:
        answer = dispatcher.send("default", "key", slow)
    assert answer == (DeliveryStatus.INTERRUPTED, "out of time with 0 of 2 messages delivered")


def test_a_copy_that_outwaits_a_delivery_is_to_come_again(tmp_path: Path) -> None:
    """What the first attempt will achieve is not known: 200 would have Alertmanager forget it."""
    stopping, begun, go_on = threading.Event(), threading.Event(), threading.Event()

    def slow() -> Message:
        begun.set()
        go_on.wait(60)
        return FIRST

    stopping.set()  # nothing is posted by this test
    with hasty(tmp_path, stopping) as dispatcher:
        first = threading.Thread(target=dispatcher.send, args=("default", "key", slow))
        first.start()
        assert begun.wait(60)
        answer = dispatcher.send("default", "key", lambda: FIRST)
        go_on.set()
        first.join()
    assert answer == (DeliveryStatus.INTERRUPTED, "the same notification is still being delivered")

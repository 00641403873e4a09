"""The memory of deliveries tells a retry from a repeat."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from relay_harness import notification, spend_alert

from exporter.relay.alertmanager import Notification
from exporter.relay.channel import DeliveryStatus
from exporter.relay.deliveries import Deliveries, Progress
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
    return Deliveries(folder, clock=clock, retry_window=300, pending_expiry=3600)


def test_a_retry_goes_on_with_the_first_text_also_after_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    deliveries = memory(tmp_path, clock)
    assert deliveries.open("key", FIRST) == Progress(FIRST, 0, completed=False)
    deliveries.accepted("key", FIRST, 1)
    deliveries.close()
    deliveries = memory(tmp_path, clock)
    assert deliveries.open("key", LATER) == Progress(FIRST, 1, completed=False)
    assert deliveries.open("other", LATER) == Progress(LATER, 0, completed=False)
    deliveries.close()


def test_complete_is_a_retry_within_the_window_and_a_repeat_after_it(tmp_path: Path) -> None:
    clock = Clock()
    deliveries = memory(tmp_path, clock)
    deliveries.open("key", FIRST)
    deliveries.complete("key", FIRST)
    clock.now += 299
    # What it said is not kept.
    assert deliveries.open("key", LATER) == Progress(Message("title", "error", ()), 2, completed=True)
    clock.now += 1  # retries do not extend the window
    assert deliveries.open("key", LATER) == Progress(LATER, 0, completed=False)
    deliveries.close()


@pytest.mark.fault("the relay's clock is set back", "nothing is suppressed for ever")
def test_what_stays_unfinished_expires_and_a_clock_set_back_does_not_keep_it(tmp_path: Path) -> None:
    clock = Clock()
    deliveries = memory(tmp_path, clock)
    for step in (3600, -7200):
        deliveries.open("key", FIRST)
        deliveries.accepted("key", FIRST, 1)
        clock.now += step
        assert deliveries.open("key", LATER) == Progress(LATER, 0, completed=False)
        clock.now += 3600 * 24
    deliveries.close()


def filled(folder: Path) -> Path:
    """The file of a memory in which `key` has one part of two, `done` all of them, and a digest was handled."""
    deliveries = memory(folder, Clock())
    for number in range(40):  # so that it has several pages
        deliveries.open(f"other {number}", Message("title", "error", ("x" * 500,)))
    for key in ("key", "done"):
        deliveries.open(key, FIRST)
        deliveries.accepted(key, FIRST, 1)
    deliveries.complete("done", FIRST)
    deliveries.mark_digest(
        "default",
        datetime(2026, 1, 5, tzinfo=UTC),
        [date(2026, 1, 4)],
        [(date(2026, 1, 4), "1", "EC2", "dip")],
    )
    deliveries.close()
    path = folder / "deliveries.sqlite"
    assert not path.with_name("deliveries.sqlite-wal").exists(), "all of it is in the one file"
    return path


def altered(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA ignore_check_constraints = 1")
        db.execute(statement)


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("texts that are no JSON", "UPDATE notifications SET parts = '[\"one'"),
        ("texts that are JSON of another shape", "UPDATE notifications SET parts = '{\"a\": 1}'"),
        ("texts that are no texts", "UPDATE notifications SET parts = '[1, null]'"),
        ("texts that are no UTF-8", "UPDATE notifications SET parts = CAST(x'ff' AS TEXT)"),
        ("an unknown status", "UPDATE notifications SET status = 'x'"),
        ("more parts delivered than there are", "UPDATE notifications SET delivered = 9"),
        ("a mark that all is delivered", "UPDATE notifications SET completed = 1"),
        ("another message's row", "UPDATE notifications SET title = 'x', seal = (SELECT max(seal) FROM notifications)"),
    ],
)  # fmt: skip
@pytest.mark.fault(
    "a remembered delivery with {what}", "it is forgotten and sent again, never taken for delivered"
)
def test_a_damaged_row_is_forgotten(what: str, statement: str, tmp_path: Path) -> None:
    altered(filled(tmp_path), statement)
    failures: list[None] = []
    deliveries = Deliveries(
        tmp_path,
        clock=Clock(),
        retry_window=300,
        pending_expiry=3600,
        on_failure=lambda: failures.append(None),
    )
    assert deliveries.on_disk
    assert deliveries.open("key", LATER) == Progress(LATER, 0, completed=False)
    assert len(failures) == 1
    # It has its place again.
    deliveries.accepted("key", LATER, 2)
    assert deliveries.open("key", FIRST) == Progress(LATER, 2, completed=False)
    deliveries.close()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE digests SET done = 9e300", "UPDATE judged_days SET day = -5", "UPDATE listed_findings SET day = 9999999999"],
)  # fmt: skip
@pytest.mark.fault("remembered days and moments that no calendar has", "they are left out")
def test_damaged_days_are_left_out(statement: str, tmp_path: Path) -> None:
    altered(filled(tmp_path), statement)
    deliveries = memory(tmp_path, Clock())
    found = (
        deliveries.digest_done("default"),
        set(deliveries.judged_days("default")),
        set(deliveries.listed_findings("default")),
    )
    assert sum(not value for value in found) == 1
    deliveries.close()


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("a table of other columns", "ALTER TABLE notifications RENAME COLUMN parts TO pieces"),
        ("a view in a table's place", "ALTER TABLE digests RENAME TO d2; CREATE VIEW digests AS SELECT * FROM d2"),
        ("a trigger that refuses", "CREATE TRIGGER t BEFORE INSERT ON notifications BEGIN SELECT RAISE(ABORT, 'no'); END"),
    ],
)  # fmt: skip
@pytest.mark.fault("a memory of deliveries with {what}", "it is set aside, and the next begins empty on disk")
def test_a_file_of_another_shape_is_set_aside(what: str, statement: str, tmp_path: Path) -> None:
    path = filled(tmp_path)
    for part in statement.split(";") if "TRIGGER" not in statement else [statement]:
        altered(path, part)
    deliveries = memory(tmp_path, Clock())
    deliveries.open("new", FIRST)
    deliveries.mark_digest("default", datetime(2026, 1, 6, tzinfo=UTC))
    assert deliveries.digest_done("default") == datetime(2026, 1, 6, tzinfo=UTC)
    assert deliveries.on_disk
    assert (tmp_path / "deliveries.sqlite.damaged").exists()
    deliveries.close()


def test_a_file_of_before_rows_had_a_seal_is_taken_over(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "deliveries.sqlite")) as db:
        db.execute(
            "CREATE TABLE notifications (key TEXT PRIMARY KEY, title TEXT NOT NULL, status TEXT NOT NULL, parts TEXT NOT NULL,"
            " delivered INTEGER NOT NULL, completed INTEGER NOT NULL, touched_at REAL NOT NULL) STRICT, WITHOUT ROWID"
        )
    deliveries = memory(tmp_path, Clock())
    assert deliveries.open("key", FIRST) == Progress(FIRST, 0, completed=False)
    deliveries.close()
    assert not (tmp_path / "deliveries.sqlite.damaged").exists()


@pytest.mark.fault(
    "a memory file whose schema is no text", "it is set aside, and the next begins empty on disk"
)
def test_a_schema_that_is_no_text_is_damage(tmp_path: Path) -> None:
    """SQLite quotes it in its message, which Python cannot read."""
    path = filled(tmp_path)
    content = path.read_bytes()
    assert content.count(b"listed_findings") > 0
    content = content.replace(b"CREATE TABLE listed", b"CREATE ----- listed")
    path.write_bytes(content.replace(b"listed_findings", b"listed\x80\xff\x80ndings"))
    deliveries = memory(tmp_path, Clock())
    assert deliveries.on_disk
    assert (tmp_path / "deliveries.sqlite.damaged").exists()
    assert deliveries.open("key", LATER) == Progress(LATER, 0, completed=False)
    deliveries.close()


def survives(folder: Path) -> None:
    """No damage raises an error, nothing passes for delivered that is not, and what is new is remembered."""
    deliveries = memory(folder, Clock())
    for key in ("key", "done", *(f"other {number}" for number in range(40))):
        progress = deliveries.open(key, LATER)
        if key == "key":
            assert progress in (Progress(FIRST, 1, completed=False), Progress(LATER, 0, completed=False))
        elif key == "done":
            assert progress.completed or progress == Progress(LATER, 0, completed=False)
        else:
            assert (progress.delivered, progress.completed) == (0, False)
    deliveries.digest_done("default")
    deliveries.judged_days("default")
    deliveries.listed_findings("default")
    deliveries.accepted("key", LATER, 3)
    assert deliveries.open("key", LATER) == Progress(LATER, 3, completed=False)
    assert deliveries.on_disk
    deliveries.close()


DAMAGE = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(b"")),
    st.tuples(st.just("page"), st.floats(0, 1), st.binary(min_size=1, max_size=1)),
    st.tuples(st.just("bytes"), st.floats(0, 1), st.binary(min_size=1, max_size=64)),
)


def damaged(whole: bytes, damages: list[tuple[str, float, bytes]]) -> bytes:
    data = bytearray(whole)
    for kind, where, content in damages:
        start = int(where * len(data))
        if kind == "cut":
            del data[start:]
        elif kind == "page":
            start -= start % 4096
            data[start : start + 4096] = content * len(data[start : start + 4096])
        else:
            data[start : start + len(content)] = content[: len(data) - start]
    return bytes(data)


def try_damage(folder: Path, damages: list[tuple[str, float, bytes]]) -> None:
    for path in folder.glob("deliveries.sqlite*"):
        if path.name != "deliveries.sqlite.whole":
            path.unlink()
    (folder / "deliveries.sqlite").write_bytes(
        damaged((folder / "deliveries.sqlite.whole").read_bytes(), damages)
    )
    survives(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a memory to be damaged."""
    folder = tmp_path_factory.mktemp("whole")
    filled(folder).rename(folder / "deliveries.sqlite.whole")
    return folder


@example([("cut", 0.0, b"")])
@example([("cut", 0.5, b"")])
@example([("page", 0.0, b"\0")])
@given(st.lists(DAMAGE, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
@pytest.mark.fault(
    "a memory file with bytes, pages or its end overwritten at random", "nothing is taken for delivered"
)
def test_any_damage_of_the_file_costs_a_repetition_at_most(
    whole: Path, damages: list[tuple[str, float, bytes]]
) -> None:
    try_damage(whole, damages)


@pytest.mark.long
@pytest.mark.timeout(1200)
@given(st.lists(DAMAGE, min_size=1, max_size=6))
@settings(max_examples=5000, deadline=None)
def test_any_damage_of_the_file_costs_a_repetition_at_most_at_length(
    whole: Path, damages: list[tuple[str, float, bytes]]
) -> None:
    try_damage(whole, damages)


@pytest.mark.fault(
    "a memory file whose pages are overwritten while it is open", "it is set aside, a new one is begun"
)
def test_a_file_that_is_damaged_at_work_is_set_aside(tmp_path: Path) -> None:
    path = filled(tmp_path)
    deliveries = memory(tmp_path, Clock())
    altered(path, "UPDATE digests SET done = 1")  # another's write: what was read is read again
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    for number in range(60):
        key = f"new {number}"
        assert deliveries.open(key, FIRST) == Progress(FIRST, 0, completed=False)
    assert deliveries.on_disk
    assert (tmp_path / "deliveries.sqlite.damaged").exists()
    deliveries.close()


@pytest.mark.fault("a folder in the place of the memory file", "the process remembers, nothing is set aside")
def test_what_cannot_be_opened_now_is_not_taken_for_damaged(tmp_path: Path) -> None:
    (tmp_path / "deliveries.sqlite").mkdir()
    deliveries = memory(tmp_path, Clock())
    assert not deliveries.on_disk
    deliveries.open("key", FIRST)
    deliveries.accepted("key", FIRST, 1)
    assert deliveries.open("key", LATER) == Progress(FIRST, 1, completed=False)
    assert [path.name for path in tmp_path.iterdir()] == ["deliveries.sqlite"]
    deliveries.close()


@pytest.mark.fault(
    "a memory file that can be read and not written at the start", "what it holds is remembered"
)
def test_a_file_that_can_only_be_read_is_read(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "deliveries.sqlite-wal").mkdir()  # a write would begin there
    deliveries = memory(tmp_path, Clock())
    assert not deliveries.on_disk
    assert deliveries.open("key", LATER) == Progress(FIRST, 1, completed=False)
    assert deliveries.open("done", LATER).completed
    assert deliveries.digest_done("default") == datetime(2026, 1, 5, tzinfo=UTC)
    deliveries.close()


@pytest.mark.fault("a memory file that comes back", "what was remembered without it is in it")
def test_what_was_remembered_without_the_file_is_moved_to_it_a_minute_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "deliveries.sqlite").mkdir()
    steady, failures = Clock(), list[None]()

    def opened() -> Deliveries:
        return Deliveries(
            tmp_path, clock=Clock(), retry_window=300, pending_expiry=3600,
            on_failure=lambda: failures.append(None), steady=steady,
        )  # fmt: skip

    deliveries = opened()
    for _ in range(3):  # each try counts; there is one line
        deliveries.open("key", FIRST)
        steady.now += 60
    assert (len(failures), deliveries.on_disk) == (3, False)
    deliveries.accepted("key", FIRST, 1)
    (tmp_path / "deliveries.sqlite").rmdir()
    steady.now += 59
    deliveries.open("key", FIRST)
    assert not deliveries.on_disk
    steady.now += 1
    assert deliveries.open("key", LATER) == Progress(FIRST, 1, completed=False)
    assert deliveries.on_disk
    deliveries.close()
    deliveries = opened()
    assert deliveries.open("key", LATER) == Progress(FIRST, 1, completed=False)
    deliveries.close()
    assert [record.message for record in caplog.records] == [
        "memory of deliveries is not on disk, messages may come twice after a restart",
        "memory of deliveries is on disk again",
    ]


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    deliveries = memory(tmp_path, Clock())
    deliveries.open("key", FIRST)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "deliveries.sqlite": 0o600, "deliveries.sqlite-wal": 0o600, "deliveries.sqlite-shm": 0o600,
    }  # fmt: skip
    deliveries.close()
    (tmp_path / "deliveries.sqlite").chmod(0o644)
    memory(tmp_path, Clock()).close()
    assert (tmp_path / "deliveries.sqlite").stat().st_mode & 0o777 == 0o600


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


@pytest.mark.fault("a notification that takes longer than it may", "Alertmanager is to come again")
def test_what_ran_out_of_time_is_to_come_again(tmp_path: Path) -> None:
    def slow() -> Message:
        time.sleep(0.06)
        return FIRST

    with hasty(tmp_path, threading.Event()) as dispatcher:
        answer = dispatcher.send("default", "key", slow)
    assert answer[:2] == (DeliveryStatus.INTERRUPTED, "out of time with 0 of 2 messages delivered")


@pytest.mark.fault("a copy of a notification whose first attempt hangs", "Alertmanager is to come again")
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
    assert answer[:2] == (DeliveryStatus.INTERRUPTED, "the same notification is still being delivered")

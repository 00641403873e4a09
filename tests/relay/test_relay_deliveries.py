"""The memory of deliveries tells a retry from a repeat."""

from pathlib import Path

from exporter.relay.deliveries import Deliveries, Progress, open_deliveries
from exporter.relay.message import Message

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
    assert deliveries.open("key", LATER).completed
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

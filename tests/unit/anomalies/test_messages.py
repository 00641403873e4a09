"""No week has more messages than people read; a finding is sent once or listed once, and survives any order of days."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.anomalies.messages import Candidate, listed, listed_only
from exporter.core.moments import start_of_day
from exporter.ledger.file import Ledger

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
FIRST = date(2026, 3, 1)
LAG = timedelta(hours=61)
KIND = "spike"


def day_of(number: int) -> date:
    return FIRST + number * DAY


def usually_at(number: int) -> datetime:
    """When a day is assessed: 37 hours after its end."""
    return start_of_day(day_of(number)) + LAG


def spikes(number: int, *names: str, usd: float | None = 100.0) -> list[Candidate]:
    """The first is the largest."""
    return [
        Candidate(day_of(number), "111111111111", name, KIND, None if usd is None else usd - place)
        for place, name in enumerate(names)
    ]


def sent(
    ledger: Ledger, number: int, candidates: list[Candidate], most: int = 8, at: datetime | None = None
) -> list[str]:
    """The subjects that a message is sent of, as the assessed day's rendering shows them."""
    unsent = listed_only(ledger, day_of(number), candidates, most, at or usually_at(number))
    return [each.subject for each in candidates if each.key not in unsent]


def rows(ledger: Ledger) -> int:
    with ledger.connection() as db:
        (count,) = db.execute("SELECT COUNT(*) FROM anomaly_messages").fetchone()
    return int(count)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "ledger.sqlite")) as opened:
        yield opened


@contextmanager
def reopened(path: Path) -> Iterator[Callable[[bool], Ledger]]:
    """Hands out the ledger of a path, opened again where asked to, as a restart does."""
    held = [Ledger(path)]

    def get(restart: bool) -> Ledger:
        if restart:
            held[0].close()
            held[0] = Ledger(path)
        return held[0]

    try:
        yield get
    finally:
        held[0].close()


NAMES = st.lists(st.sampled_from("abcdefghijklmnop"), unique=True, max_size=12)
STEPS = st.lists(
    st.tuples(
        st.one_of(st.integers(-9, 9), st.just(1)),  # days on, or back
        st.integers(0, 72),  # hours of the clock
        NAMES,
        st.booleans(),  # whether the process starts again
    ),
    max_size=25,
)


@settings(max_examples=30, deadline=None)
@given(most=st.integers(0, 10), steps=STEPS)
def test_no_seven_days_have_more_messages_and_what_was_sent_stays_sent(
    most: int, steps: list[tuple[int, int, list[str], bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whether days repeat, are restated, go back or jump, and whether the clock keeps their pace or not."""
    now, number = usually_at(100), 100
    messages: list[tuple[int, datetime]] = []
    episodes: list[tuple[str, list[int]]] = []  # a finding that was sent, and the days on which it stood
    with reopened(tmp_path_factory.mktemp("ledger") / "ledger.sqlite") as get:
        for days, hours, names, restarts in steps:
            number, now = max(50, number + days), now + hours * HOUR
            shown = sent(get(restarts), number, spikes(number, *names), most, now)
            for name in names:
                standing = [
                    seen
                    for other, seen in episodes
                    if name == other and min(seen) - 2 <= number <= max(seen) + 2
                ]
                if standing:
                    assert name in shown, "it stays sent"
                    latest = max(standing, key=max)
                    latest.append(max(number, latest[0]))
                elif name in shown:
                    messages.append((number, now))
                    episodes.append((name, [number]))
            in_days = [sum(day <= other < day + 7 for other, _ in messages) for day, _ in messages]
            in_hours = [sum(at <= other < at + 7 * DAY for _, other in messages) for _, at in messages]
            assert max(in_days + in_hours, default=0) <= most


@settings(max_examples=15, deadline=None)
@given(
    most=st.integers(1, 20),
    days=st.lists(st.lists(st.sampled_from("abcdefghijklmnop"), unique=True), min_size=1, max_size=12),
)
def test_half_of_what_is_left_is_sent_a_day_the_largest_first(
    most: int, days: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each day has findings of its services' own, and is rendered twice."""
    sizes: list[int] = []
    with reopened(tmp_path_factory.mktemp("ledger") / "ledger.sqlite") as get:
        for number, names in enumerate(days):
            candidates = spikes(number, *(f"{number} {name}" for name in names))
            room = -(-(most - sum(sizes[-6:])) // 2)
            shown = sent(get(False), number, candidates, most)
            assert shown == [each.subject for each in candidates[:room]]
            assert sent(get(True), number, candidates, most) == shown
            sizes.append(len(shown))


def test_the_same_findings_in_any_order_are_decided_once(ledger: Ledger) -> None:
    candidates = spikes(0, *"abcdef")
    shown = sent(ledger, 0, candidates, most=4)
    assert shown == ["a", "b"]
    assert sorted(sent(ledger, 0, candidates[::-1], most=4)) == shown
    assert [each.service for each in listed(ledger, usually_at(0))] == list("cdef")


def test_a_restatement_that_brings_more_has_the_room_that_is_left_of_the_day(ledger: Ledger) -> None:
    assert sent(ledger, 0, spikes(0, "a"), most=4) == ["a"]
    assert sent(ledger, 0, spikes(0, "new", "b", "a"), most=4) == ["new", "a"]
    assert sent(ledger, 0, [], most=4) == []
    assert sent(ledger, 0, spikes(0, "c", "a"), most=4) == ["a"], "what AWS took back was a message"


def test_a_finding_that_goes_on_is_one_message_with_a_silent_day_and_days_that_go_back(
    ledger: Ledger,
) -> None:
    for number in (10, 11, 13, 12, 10, 9, 8, 14, 15):
        assert sent(ledger, number, spikes(number, "a"), most=2) == ["a"], number
    # After two silent days it is another.
    assert sent(ledger, 18, spikes(18, "b", "a"), most=8) == ["b", "a"]
    with ledger.connection() as db:
        query = "SELECT first_day, last_day FROM anomaly_messages WHERE subject = 'a' ORDER BY first_day"
        assert [(date.fromordinal(a), date.fromordinal(b)) for a, b in db.execute(query)] == [
            (day_of(10), day_of(15)),
            (day_of(18), day_of(18)),
        ]


def test_what_was_listed_is_sent_once_there_is_room_and_is_no_longer_listed(ledger: Ledger) -> None:
    assert sent(ledger, 0, spikes(0, *"abcd"), most=5) == ["a", "b", "c"]
    assert [each.service for each in listed(ledger, usually_at(0))] == ["d"]
    assert sent(ledger, 1, spikes(1, "d"), most=5) == ["d"]
    assert listed(ledger, usually_at(0)) == []
    # It counts in the week in which it was sent.
    assert sent(ledger, 7, spikes(7, *"uvwxyz"), most=5) == ["u", "v"]


def test_an_unsent_finding_is_listed_once_with_its_first_day_and_the_moment_of_the_decision(
    ledger: Ledger,
) -> None:
    for number in range(5):
        assert sent(ledger, number, spikes(number, "a", usd=-40.0 - number), most=0) == []
    (found,) = listed(ledger, usually_at(0))
    assert (found.day, found.service, found.kind, found.usd) == (day_of(0), "a", KIND, -44.0)
    assert found.decided_at == usually_at(0)
    assert listed(ledger, usually_at(0) + timedelta(seconds=1)) == []


def test_what_is_not_worth_a_message_is_listed_with_its_own_day(ledger: Ledger) -> None:
    low = Candidate(day_of(3), "111111111111", "a", "dip", -70.0, is_worth=False)
    assert sent(ledger, 5, [low]) == []
    (found,) = listed(ledger, usually_at(0))
    assert (found.day, found.kind) == (day_of(3), "dip")


def test_usage_and_cost_have_messages_of_their_own(ledger: Ledger) -> None:
    assert sent(ledger, 0, spikes(0, *"abc"), most=4) == ["a", "b"]
    assert sent(ledger, 0, spikes(0, "invocations eu-west-1", "bytes", "n", usd=None), most=2) == [
        "invocations eu-west-1"
    ]
    assert {each.service for each in listed(ledger, usually_at(0))} == {"c"}, "usage is no finding of cost"


def test_a_clock_that_was_years_ahead_holds_no_message_afterwards(ledger: Ledger) -> None:
    assert sent(ledger, 4000, spikes(4000, *"abcdefgh")) == list("abcd")
    assert sent(ledger, 0, spikes(0, *"abcdefgh")) == list("abcd")
    assert rows(ledger) == 8


def test_old_rows_go(ledger: Ledger) -> None:
    for number in range(200):
        sent(ledger, number, spikes(number, "goes on", f"{number}"))
    assert rows(ledger) == 62
    sent(ledger, 300, [])
    assert rows(ledger) == 0

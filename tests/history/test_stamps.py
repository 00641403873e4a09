"""Stamps lie at noon of their day and only grow; what is sent is what changed, and what was acknowledged is not sent again."""

import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from history_harness import DAY, Writer, account_id, midnight, restate, today
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from recording_endpoint import RecordingEndpoint

from exporter.core.amounts import Amounts
from exporter.core.moments import to_milliseconds
from exporter.history import periods
from exporter.history.endpoint import EndpointError
from exporter.history.periods import is_within, next_stamp
from exporter.history.sample_timestamps import Sent, Stamps
from exporter.history.writer import to_send
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

MakeWriter = Callable[..., Writer]
YESTERDAY = today() - DAY

days = st.dates(date(2020, 1, 1), date(2035, 12, 31))
minutes = st.integers(0, 3650 * 1440)


@given(days, minutes, st.integers(0, 120_000))
def test_a_later_observation_has_no_earlier_stamp(day: date, minute: int, later_ms: int) -> None:
    seen = to_milliseconds(midnight(day)) + minute * 60_000
    stamp = next_stamp(day, seen, None)
    assert stamp <= next_stamp(day, seen + later_ms, None) <= stamp + 2
    assert next_stamp(day, seen + later_ms, stamp) > stamp


@given(days, st.lists(minutes, min_size=1, max_size=50))
def test_stamps_grow_whatever_is_observed_when(day: date, observed: list[int]) -> None:
    start = to_milliseconds(midnight(day))
    last = None
    for minute in observed:
        stamp = next_stamp(day, start + minute * 60_000, last)
        assert last is None or stamp > last
        last = stamp


@given(days, minutes, st.integers(-12, 11))
@example(date(2026, 2, 28), 3650 * 1440, 11)
@example(date(2026, 3, 1), 0, -12)
def test_a_stamp_is_of_its_day_from_utc_minus_12_to_plus_11(day: date, minute: int, zone: int) -> None:
    seen = to_milliseconds(midnight(day)) + minute * 60_000
    local = datetime.fromtimestamp(next_stamp(day, seen, None) / 1000, UTC) + timedelta(hours=zone)
    assert local.date() == day


@given(days)
def test_a_day_ends_before_the_next_one_begins(day: date) -> None:
    start, end = (to_milliseconds(midnight(at)) for at in (day, day + DAY))
    found = [is_within(stamp, day) for stamp in (start - 1, start, end - 1, end)]
    assert found == [False, True, True, False]


@given(days, st.integers(1, 1440))
def test_the_first_minutes_of_restatement_are_apart(day: date, minute: int) -> None:
    start = to_milliseconds(midnight(day))
    assert next_stamp(day, start + minute * 60_000, None) == start + 12 * 3_600_000 + minute


@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 # it becomes UTC
    st.integers(1, 3650),
)
def test_only_complete_days_within_the_window_are_written(now: datetime, window_days: int) -> None:
    first, end = periods.DAY.complete(now, timedelta(days=window_days))
    assert midnight(end) <= now < midnight(end + DAY)
    assert midnight(first) > now - timedelta(days=window_days) >= midnight(first - DAY)


# What is sent


def noon_of(day: date) -> int:
    return to_milliseconds(midnight(day)) + 12 * 3_600_000


def test_changed_values_are_sent_once_at_their_day(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    seen = midnight(today()) + timedelta(minutes=1)
    restate(ledger, YESTERDAY, {(0, 0): "1.25", (0, 1): "2"}, seen)
    writer = make_writer(endpoint.write_url)

    assert (writer.write(), writer.write()) == (2, 0)
    assert endpoint.by_stamp() == {
        (account_id(0), "Service 0", noon_of(YESTERDAY) + 1441): 1.25,
        (account_id(0), "Service 1", noon_of(YESTERDAY) + 1441): 2.0,
    }
    restate(ledger, YESTERDAY, {(0, 0): "1.25", (0, 1): "3"}, seen + timedelta(minutes=9))
    assert writer.write() == 1
    assert endpoint.taken[-1][1:] == (noon_of(YESTERDAY) + 1450, 3.0)
    assert writer.metric("samples_written_total") == 3
    assert writer.metric("last_write_timestamp_seconds") == pytest.approx(
        datetime.now(UTC).timestamp(), abs=9
    )


def test_two_refreshes_within_a_minute_have_two_stamps(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    writer = make_writer(endpoint.write_url)
    for value in ("1", "2", "1"):
        restate(ledger, YESTERDAY, {(0, 0): value}, midnight(today()) + timedelta(seconds=int(value)))
        assert writer.write() == 1
    stamps = [stamp for _, stamp, _ in endpoint.taken]
    assert stamps == [stamps[0], stamps[0] + 1, stamps[0] + 2]
    assert [value for _, _, value in endpoint.taken] == [1, 2, 1]


def test_a_ten_thousandth_is_sent_and_less_is_not(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    writer = make_writer(endpoint.write_url)
    for value, sent in (("1", 1), ("1.00009999", 0), ("0.99990001", 0), ("1.0001", 1), ("1.00005", 0)):
        restate(ledger, YESTERDAY, {(0, 0): value})
        assert writer.write() == sent, value


UNIT = Decimal("0.0000000001")
"""What the ledger counts in."""
HALF_A_CENT = 50_000_000


def test_twenty_thousand_series_hide_no_two_dollars(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    """Each changes by less than is worth a sample."""
    writer = make_writer(endpoint.write_url)
    keys = [(account, service) for account in range(20) for service in range(10)]
    restate(ledger, YESTERDAY, dict.fromkeys(keys, "1"))
    assert writer.write() == 200
    restate(ledger, YESTERDAY, dict.fromkeys(keys, "1.000025"))  # $0.005 in all, which is not more than that
    assert writer.write() == 0
    restate(ledger, YESTERDAY, {key: "1.000026" if key[0] % 2 else "0.999974" for key in keys})
    assert writer.write() == 200
    assert writer.write() == 0


small = st.integers(-999_999, 999_999)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(small | st.integers(-(10**12), 10**12), min_size=60, max_size=60),
        min_size=1,
        max_size=3,
    )
)
@example([[900_000] * 60])
@example([[0, *[900_000] * 59]])
@example([[999_999, -999_999] * 30, [10**12, *[1] * 59]])
def test_what_stays_unsent_of_a_day_is_at_most_half_a_cent(
    endpoint: RecordingEndpoint, make_writer: MakeWriter, steps: list[list[int]]
) -> None:
    """And a sample is sent only where there is a change: after each of some restatements."""
    endpoint.taken.clear()
    keys = [(account, service) for account in range(6) for service in range(10)]
    units = [10**10 * (number + 1) for number in range(60)]
    with tempfile.TemporaryDirectory() as folder, closing(Ledger(Path(folder) / "ledger.sqlite")) as ledger:
        writer = make_writer(endpoint.write_url, ledger)
        restate(ledger, YESTERDAY, {key: each * UNIT for key, each in zip(keys, units, strict=True)})
        writer.write()
        sent = list(units)
        for step in steps:
            units = [each + more for each, more in zip(units, step, strict=True)]
            restate(ledger, YESTERDAY, {key: each * UNIT for key, each in zip(keys, units, strict=True)})
            changed = [new != old for new, old in zip(units, sent, strict=True)]
            large = [abs(new - old) >= 10**6 for new, old in zip(units, sent, strict=True)]
            unsent = sum(
                abs(new - old) for new, old, is_large in zip(units, sent, large, strict=True) if not is_large
            )
            due = changed if unsent > HALF_A_CENT else large
            assert writer.write() == sum(due)
            sent = [new if is_due else old for new, old, is_due in zip(units, sent, due, strict=True)]
            assert sum(abs(new - old) for new, old in zip(units, sent, strict=True)) <= HALF_A_CENT
        newest = {
            key[:2]: endpoint.by_stamp()[key] for key in sorted(endpoint.by_stamp(), key=lambda k: k[2])
        }
        assert newest == {
            (account_id(account), f"Service {service}"): each / 10**10
            for (account, service), each in zip(keys, sent, strict=True)
            if each or (account_id(account), f"Service {service}") in newest
        }


def test_the_first_value_is_sent_however_small(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    restate(ledger, YESTERDAY, {(0, 0): "0.0000000001", (0, 1): "0"})
    assert make_writer(endpoint.write_url).write() == 1
    assert endpoint.taken[0][2] == 1e-10


def test_a_vanished_key_is_an_explicit_zero(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    writer = make_writer(endpoint.write_url)
    restate(ledger, YESTERDAY, {(0, 0): "1", (0, 1): "2"})
    writer.write()
    restate(ledger, YESTERDAY, {(0, 0): "1"})
    assert writer.write() == 1
    assert (dict(endpoint.taken[-1][0])["service"], endpoint.taken[-1][2]) == ("Service 1", 0.0)


def test_a_day_is_written_when_it_was_read_after_its_end(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    writer = make_writer(endpoint.write_url)
    restate(ledger, today(), {(0, 0): "1"})
    restate(ledger, YESTERDAY, {(0, 0): "5"}, midnight(today()) - timedelta(milliseconds=1))
    assert writer.write() == 0
    restate(ledger, YESTERDAY, {(0, 0): "6"}, midnight(today()))
    assert writer.write() == 1


@pytest.mark.parametrize(
    ("after", "sent"), [(timedelta(0), 0), (timedelta(hours=23, minutes=59), 0), (DAY, 1)]
)
def test_midnight_completes_a_day(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter, after: timedelta, sent: int
) -> None:
    """By the exporter's clock, even if the ledger was read by a clock that was ahead."""
    day = date(2026, 3, 31)
    restate(ledger, day, {(0, 0): "1"}, midnight(day) + DAY)
    assert make_writer(endpoint.write_url, clock=lambda: midnight(day) + after).write() == sent


def test_days_outside_of_the_window_are_not_sent(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    for back in (1, 29, 30, 31):
        restate(ledger, today() - back * DAY, {(0, 0): "1"})
    assert make_writer(endpoint.write_url, window="30d").write() == 2
    sent = {datetime.fromtimestamp(stamp / 1000, UTC).date() for _, stamp, _ in endpoint.taken}
    assert sent == {today() - DAY, today() - 29 * DAY}


def test_a_day_keeps_the_name_that_it_was_first_written_under(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    writer = make_writer(endpoint.write_url)
    older = YESTERDAY - DAY
    ledger.accounts.name({account_id(0): "old"}, older)
    ledger.accounts.name({account_id(0): "new"}, YESTERDAY)
    for day in (older, YESTERDAY):
        restate(ledger, day, {(0, 0): "1", (1, 0): "1"})
    writer.write()

    def names() -> dict[tuple[date, str], set[str]]:
        found: dict[tuple[date, str], set[str]] = {}
        for labels, stamp, _ in endpoint.taken:
            day = datetime.fromtimestamp(stamp / 1000, UTC).date()
            named = dict(labels)
            found.setdefault((day, named["account_id"]), set()).add(named["account"])
        return found

    expected = {
        (older, account_id(0)): {"old"},
        (YESTERDAY, account_id(0)): {"new"},
        (older, account_id(1)): {account_id(1)},
        (YESTERDAY, account_id(1)): {account_id(1)},
    }
    assert names() == expected
    ledger.accounts.name({account_id(0): "newer", account_id(1): "named at last"}, older)
    for day in (older, YESTERDAY):
        restate(ledger, day, {(0, 0): "2", (1, 0): "2"})
    assert writer.write() == 4
    assert names() == expected


# What was not acknowledged


def down(_: object) -> tuple[int, str]:
    return 503, "starting"


@pytest.mark.fault(
    "writes are answered 503, once they were perhaps stored", "they are sent again with later timestamps"
)
def test_what_was_not_acknowledged_is_sent_again_under_new_stamps(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    writer = make_writer(endpoint.write_url)
    restate(ledger, YESTERDAY, {(0, 0): "1", (0, 1): "1"})
    endpoint.answer = down
    for _ in range(3):
        with pytest.raises(EndpointError, match="503: starting"):
            writer.write()
    endpoint.answer = lambda request: (204, "")
    assert writer.write() == 2
    stamps = [request.samples[0][1] for request in endpoint.requests]
    assert len(set(stamps)) == 4
    assert stamps == sorted(stamps)


@pytest.mark.fault("AWS takes back a value whose write was not answered", "it is written over")
def test_an_unanswered_value_that_is_taken_back_is_written_over(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    """The value may have been stored although its answer was lost."""
    writer = make_writer(endpoint.write_url)
    restate(ledger, YESTERDAY, {(0, 0): "1"})
    writer.write()
    restate(ledger, YESTERDAY, {(0, 0): "9", (0, 1): "4"})
    endpoint.answer = down
    with pytest.raises(EndpointError):
        writer.write()
    endpoint.answer = lambda request: (204, "")
    restate(ledger, YESTERDAY, {(0, 0): "1"})
    assert writer.write() == 2
    assert [sample[2] for sample in endpoint.taken[-2:]] == [1.0, 0.0]


@pytest.mark.fault("the endpoint fails between two batches", "what it took is not sent again")
def test_what_was_acknowledged_before_a_failure_stays_acknowledged(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    restate(ledger, YESTERDAY, {(0, service): "1" for service in range(50)})
    endpoint.answer = lambda request: (204, "") if len(endpoint.requests) < 3 else (503, "")
    writer = make_writer(endpoint.write_url, batch_size=10)
    with pytest.raises(EndpointError):
        writer.write()
    assert writer.metric("samples_written_total") == 30
    endpoint.answer = lambda request: (204, "")
    assert writer.write() == 20
    assert len(endpoint.by_stamp()) == 50


@pytest.mark.fault("the exporter restarts between two batches", "nothing is lost or repeated")
def test_a_restart_in_the_middle_loses_and_repeats_nothing(
    tmp_path: Path, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    path = tmp_path / "other.sqlite"
    first = Ledger(path)
    for back in range(1, 41):
        restate(first, today() - back * DAY, {(0, service): str(back) for service in range(10)})
    endpoint.answer = lambda request: (204, "") if len(endpoint.requests) < 11 else (503, "")
    with pytest.raises(EndpointError):
        make_writer(endpoint.write_url, of=first, batch_size=10).write()
    taken = len(endpoint.taken)
    assert 0 < taken < 400
    first.close()

    second = Ledger(path)
    endpoint.answer = lambda request: (204, "")
    assert make_writer(endpoint.write_url, of=second, batch_size=10).write() == 400 - taken
    assert len(endpoint.by_stamp()) == 400
    restate(second, YESTERDAY, {(0, 0): "77"})
    assert make_writer(endpoint.write_url, of=second).write() == 10
    second.close()


@pytest.mark.fault("the exporter stops within a chunk of batches", "the rest is left to the next process")
def test_an_end_in_the_middle_of_a_chunk_leaves_the_rest_to_the_next_process(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    """A chunk is several requests: what it had not sent when the first fill was stopped is not lost."""
    for back in range(1, 13):
        restate(ledger, today() - back * DAY, {(0, service): "1" for service in range(10)})
    stopped = make_writer(endpoint.write_url, batch_size=10, stopped=lambda: len(endpoint.requests) == 2)

    assert stopped.write() == 20
    assert (len(endpoint.requests), stopped.metric("samples_written_total")) == (2, 20)
    assert stopped.stamps.written(today() - 12 * DAY) == {}, "of the next chunk, no stamp is used up"
    assert make_writer(endpoint.write_url, batch_size=10).write() == 100
    assert len(endpoint.by_stamp()) == 120


def test_what_was_refused_is_sent_again_when_it_is_asked_for_and_not_before(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    endpoint.bad = lambda sample: "label value too long" if sample[2] == 2.0 else None
    window = (YESTERDAY, today())

    def sent() -> int:
        before = len(endpoint.requests)
        writer.write()
        return len(endpoint.requests) - before

    writer = make_writer(endpoint.write_url)
    restate(ledger, YESTERDAY, {(0, 0): "1", (0, 1): "2"})
    assert sent() > 0
    assert sent() == 0
    assert writer.stamps.refused(*window) == {YESTERDAY: 1}
    assert writer.stamps.ask_again(*window, 10) == 1
    assert (sent(), sent()) == (1, 0)
    assert writer.metric("samples_rejected_total") == 2
    restate(ledger, YESTERDAY, {(0, 0): "1", (0, 1): "2"})
    assert sent() == 0, "a read that changes nothing is no reason"

    endpoint.bad = None
    assert writer.stamps.ask_again(*window, 10) == 1
    assert (sent(), sent()) == (1, 0)
    assert sorted(value for *_, value in endpoint.taken) == [1.0, 2.0]
    assert writer.stamps.refused(*window) == {}
    assert writer.stamps.ask_again(*window, 10) == 0


@pytest.mark.fault(
    "an answer arrives after a newer value was sent", "the newer value is not taken for written"
)
def test_a_late_answer_does_not_acknowledge_a_newer_value(ledger: Ledger) -> None:
    stamps = Stamps(ledger)
    restate(ledger, YESTERDAY, {(0, 0): "1"})
    (old,) = stamps.changes(YESTERDAY, "unblended")
    stamps.reserve([Sent(old, 100, "name")])
    restate(ledger, YESTERDAY, {(0, 0): "2"})
    (new,) = stamps.changes(YESTERDAY, "unblended")
    stamps.reserve([Sent(new, 101, "name")])
    stamps.settle([Sent(old, 100, "name")], [], {})
    assert [change.written for change in stamps.changes(YESTERDAY, "unblended")] == [None]
    stamps.settle([Sent(new, 101, "name")], [], {})
    assert stamps.changes(YESTERDAY, "unblended") == []


@pytest.mark.fault("AWS restates a day while it is sent", "the new value is sent next")
def test_a_commit_while_a_day_is_sent_is_not_missed(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    def commit_meanwhile(_: object) -> tuple[int, str]:
        restate(ledger, YESTERDAY, {(0, 0): "2"})
        return 204, ""

    endpoint.answer = commit_meanwhile
    writer = make_writer(endpoint.write_url)
    restate(ledger, YESTERDAY, {(0, 0): "1"}, midnight(today()))
    assert writer.write() == 1
    endpoint.answer = lambda request: (204, "")
    assert writer.write() == 1
    assert endpoint.taken[-1][2] == 2.0


def test_another_cost_type_is_compared_anew(ledger: Ledger) -> None:
    key = (YESTERDAY, account_id(0), "S3")
    ledger.reads.commit(
        CostRead(datetime.now(UTC), {YESTERDAY: False}, {key: Amounts(Decimal(1), amortized=Decimal(2))})
    )
    stamps = Stamps(ledger)
    window = (YESTERDAY, today())
    stamps.begin(0)
    sent = [to_send(change, {}) for change in stamps.changes(YESTERDAY, "unblended")]
    stamps.reserve(sent)
    stamps.settle(sent, [], dict(stamps.changed_days(*window)))
    stamps.begin(0)
    assert stamps.changed_days(*window) == []
    stamps.begin(2)
    assert [day for day, _ in stamps.changed_days(*window)] == [YESTERDAY]
    assert [change.units for change in stamps.changes(YESTERDAY, "amortized")] == [2 * 10**10]

"""Hours are written at their dates by the same rules as days: stamps, restatement, what is read back and fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from history_harness import Server, account_id, documented, running
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from waiting import wait_for

from exporter.app.dated_history import SOURCES
from exporter.core.moments import start_of_day, to_milliseconds, utc_now
from exporter.cube.hours import HOURLY, HOURLY_COST, WHOLE_ORGANIZATION, commit
from exporter.cube.values import AnyUnits
from exporter.history import periods
from exporter.history.endpoint import RemoteWriteEndpoint
from exporter.history.periods import is_within, next_stamp
from exporter.history.request import encode_labels
from exporter.history.sample_timestamps import Stamps
from exporter.history.settings import HistorySettings
from exporter.history.writer import HistoryMetrics, HistoryWriter
from exporter.ledger.file import Ledger

HOUR = timedelta(hours=1)
MINUTE_MS = 60_000
USD = 10**10
Costs = Mapping[tuple[datetime, str, str], float]


def this_hour() -> datetime:
    return utc_now().replace(minute=0, second=0, microsecond=0)


def units(usd: float) -> AnyUnits:
    value = round(usd * USD)
    return value, value * 2, value * 3, value * 4, value * 5


def read(
    ledger: Ledger, costs: Costs, at: datetime | None = None, hours: set[datetime] | None = None
) -> None:
    found = {key: units(usd) for key, usd in costs.items()}
    commit(ledger, "cost_explorer", at or utc_now(), hours or {hour for hour, _, _ in costs}, found)


# Stamps

hours = st.datetimes(datetime(2024, 1, 1), datetime(2032, 1, 1)).map(  # noqa: DTZ001 # it becomes UTC
    lambda at: at.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
)


@given(hours, st.lists(st.integers(0, 15 * 1440), min_size=1, max_size=50))
def test_the_stamps_of_an_hour_grow_within_it(hour: datetime, minutes: list[int]) -> None:
    start, last = to_milliseconds(hour), None
    for minute in minutes:
        stamp = next_stamp(hour, start + minute * MINUTE_MS, last, periods.HOUR)
        assert last is None or stamp > last
        assert is_within(stamp, hour, periods.HOUR)
        if last is None:
            assert stamp == start + 30 * MINUTE_MS + minute
        last = stamp
    assert not is_within(start - 1, hour, periods.HOUR)
    assert not is_within(start + 60 * MINUTE_MS, hour, periods.HOUR)


@given(hours, st.integers(0, 3599), st.integers(1, 400))
def test_only_complete_hours_within_the_window_are_written(hour: datetime, seconds: int, back: int) -> None:
    now = hour + timedelta(seconds=seconds)
    first, end = periods.HOUR.complete(now, back * HOUR)
    assert end == hour
    assert isinstance(first, datetime)
    assert first > now - back * HOUR >= first - HOUR


@given(st.dates(date(2024, 1, 1), date(2032, 1, 1)), st.integers(0, 23))
def test_a_period_is_found_by_its_number_its_end_and_its_day(day: date, number: int) -> None:
    hour = start_of_day(day) + number * HOUR
    for period, at, end in (
        (periods.HOUR, hour, hour + HOUR),
        (periods.DAY, day, start_of_day(day) + 24 * HOUR),
    ):
        assert period.at(period.number(at)) == at == period.ending(end)
        assert period.end(at) == to_milliseconds(end)
        assert periods.day_of(at) == day
    assert periods.HOUR.first_of(day) == start_of_day(day)
    assert periods.DAY.first_of(day) == day


# What is sent


@pytest.fixture
def write(ledger: Ledger, endpoint: Any) -> Iterator[Callable[..., list[tuple[dict[str, str], int, float]]]]:
    """Writes what is new into the recording endpoint and returns it."""
    settings = HistorySettings.model_validate({"write_url": endpoint.write_url, "timeout": "60s"})
    remote = RemoteWriteEndpoint(settings)
    metrics = HistoryMetrics(CollectorRegistry())

    def written(cost_type: str = "unblended") -> list[tuple[dict[str, str], int, float]]:
        stamps = Stamps(ledger, HOURLY_COST)
        stamps.begin(len(cost_type))
        before = len(endpoint.taken)
        HistoryWriter(settings, cost_type, stamps, remote, utc_now, metrics).write()
        return [(dict(labels), stamp, value) for labels, stamp, value in endpoint.taken[before:]]

    yield written
    remote.close()


def test_an_hour_is_written_in_its_middle_and_again_under_a_later_stamp(ledger: Ledger, write: Any) -> None:
    hour = this_hour() - 30 * HOUR
    ledger.accounts.name({account_id(0): "account-0"}, hour.date() - timedelta(days=9))
    key, gone = (hour, account_id(0), "EC2"), (hour, account_id(0), "S3")
    read(ledger, {key: 1.5, gone: 2, (hour, account_id(0), "Idle"): 0}, hour + 10 * HOUR)
    labels = {"__name__": HOURLY.name, "account_id": account_id(0), "account": "account-0"}
    middle = to_milliseconds(hour) + 30 * MINUTE_MS
    assert sorted(write(), key=str) == [
        ({**labels, "service": "EC2"}, middle + 600, 1.5),
        ({**labels, "service": "S3"}, middle + 600, 2.0),
    ]
    assert write() == []
    read(ledger, {key: 1.5, gone: 2}, hour + 11 * HOUR)
    assert write() == []
    read(ledger, {key: 1.75}, hour + 12 * HOUR)
    assert sorted(write(), key=str) == [
        ({**labels, "service": "EC2"}, middle + 720, 1.75),
        ({**labels, "service": "S3"}, middle + 720, 0.0),
    ]
    # All five cost types were read; the history has the one that is configured.
    assert [value for *_, value in write("net_amortized")] == [1.75 * 5]


def test_an_hour_waits_until_it_is_read_after_its_end(ledger: Ledger, write: Any) -> None:
    hour = this_hour() - HOUR
    read(ledger, {(hour, WHOLE_ORGANIZATION, "EC2"): 1}, hour + timedelta(minutes=59))
    assert write() == []
    read(
        ledger,
        {(hour, WHOLE_ORGANIZATION, "EC2"): 1, (hour + HOUR, WHOLE_ORGANIZATION, "EC2"): 1},
        hour + HOUR,
    )
    ((labels, stamp, value),) = write()
    # Of the whole organization, without the labels of an account.
    assert (labels, value) == ({"__name__": HOURLY.name, "service": "EC2"}, 1.0)
    assert stamp == to_milliseconds(hour) + 30 * MINUTE_MS + 60


def test_hours_out_of_reach_and_those_without_the_cost_type_are_not_written(
    ledger: Ledger, write: Any
) -> None:
    old, hour = this_hour() - timedelta(days=14), this_hour() - 2 * HOUR
    gross = {(hour, account_id(0), "EC2"): (None, None, None, 4 * USD, 5 * USD)}
    commit(ledger, "data_export", utc_now(), {hour}, gross)  # type: ignore[arg-type]
    read(ledger, {(old, account_id(0), "EC2"): 3})
    assert write() == []
    assert [value for *_, value in write("net_unblended")] == [4.0]
    # What was written of another source before stays as it is, also where all is written again.
    other = hour - HOUR
    read(ledger, {(other, account_id(0), "EC2"): 2})
    assert [value for *_, value in write()] == [2.0]
    gross = {(other, *rest): units for (_, *rest), units in gross.items()}  # type: ignore[misc]
    commit(ledger, "data_export", utc_now() + HOUR, {other}, gross)  # type: ignore[arg-type]
    assert write() == []
    assert Stamps(ledger, HOURLY_COST).changes(other, "unblended", everything=True) == []


# On a real Prometheus


@pytest.mark.stack
@pytest.mark.fault(
    "what the dated history holds of an hour is overwritten or wiped",
    "it is written again as the ledger has it",
)
def test_hours_are_written_read_and_fixed_like_days(make_server: Any, ledger: Ledger) -> None:
    server: Server = make_server()
    end = this_hour()
    wanted = [end - back * HOUR for back in range(1, 13 * 24)]
    costs = {
        (hour, account_id(account), service): 1 + hour.hour / 8 + account + (service == "S3") / 4
        for hour in wanted
        for account in range(2)
        for service in ("EC2", "S3")
    }
    read(ledger, costs)
    (query,) = (query for query in documented() if HOURLY.name in query)

    def bars() -> dict[tuple[str, ...], dict[datetime, float]]:
        """As docs/history.md asks for them: a bar stands at the start of its hour."""
        return server.query_range(query, wanted[-1], wanted[0], HOUR)

    def expected() -> dict[tuple[str, ...], dict[datetime, float]]:
        return {
            (service,): {
                hour: sum(usd for (at, _, name), usd in costs.items() if (at, name) == (hour, service))
                for hour in wanted
            }
            for service in ("EC2", "S3")
        }

    with running(server, ledger, SOURCES[1:]) as run:
        wait_for("all is written", lambda: bars() == expected())
        restated = wanted[40]
        costs[restated, account_id(0), "EC2"] = 77.5
        costs[restated, account_id(1), "S3"] = 0.0
        read(ledger, {key: usd for key, usd in costs.items() if key[0] == restated and usd})
        run.until("it is restated", lambda: bars() == expected())

        labels = {"account_id": account_id(0), "account": account_id(0), "service": "EC2"}
        at = to_milliseconds(wanted[3]) + 50 * MINUTE_MS
        writer = RemoteWriteEndpoint(server.settings())
        writer.write([(encode_labels(HOURLY.name, labels), at, 12345.0)])
        writer.write([(encode_labels(HOURLY.name, {**labels, "service": "Mars"}), at, 5.0)])
        writer.close()
        run.until(
            "it is fixed",
            lambda: {key: days for key, days in bars().items() if any(days.values())} == expected(),
        )
        server.stop()
        server.wipe()
        server.start()
        run.until("it is there again", lambda: bars() == expected())

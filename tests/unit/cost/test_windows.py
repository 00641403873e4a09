"""Windows end with the newest complete day, compare as many days on both sides, and are absent where a day is not known."""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.collectors import cost
from exporter.core.amounts import Amounts
from exporter.core.moments import days_between, start_of_day
from exporter.cost.windows import COMPLETE_THROUGH, FAMILIES, render
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
KEYS = (("1", "EC2"), ("1", "S3"), ("2", "EC2"))

Series = Mapping[tuple[str, ...], float]


@contextmanager
def new_ledger(path: Path) -> Iterator[Ledger]:
    path.unlink(missing_ok=True)
    ledger = Ledger(path)
    try:
        yield ledger
    finally:
        ledger.close()


def usd(amount: Decimal | int | str) -> Amounts:
    return Amounts(*[Decimal(amount)] * 5)


def read(ledger: Ledger, days: list[date], at: datetime, share: str = "1") -> None:
    """Commit that these days were read at `at`, when AWS had booked `share` of them."""
    costs = {(day, *key): usd(cost_of(day, *key) * Decimal(share)) for day in days for key in KEYS}
    ledger.reads.commit(CostRead(at, dict.fromkeys(days, False), costs))


def cost_of(day: date, account_id: str, service: str) -> Decimal:
    """Different for each key and day, and a sum of powers of two: sums of floats are exact."""
    return Decimal(day.toordinal() % 61 * 8 + KEYS.index((account_id, service)) + 1) / 8


def served(ledger: Ledger, now: datetime) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample by its family without `aws_cost_`, and its labels but the account's name."""
    view = ViewContext(
        ledger=ledger,
        now=now,
        settings=cost.CostSettings(),
        names={"1": "prod", "2": "dev"},
        sections=Sections(),
    )
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for sample in render(view):
        labels = dict(zip(sample.family.labels, sample.values, strict=True))
        labels.pop("account", None)
        series = found.setdefault(sample.family.name.removeprefix("aws_cost_"), {})
        key = tuple(labels.values())
        assert key not in series
        series[key] = sample.value
    return found


def total(days: list[date]) -> float:
    return float(sum(cost_of(day, *key) for day in days for key in KEYS))


def test_windows_end_with_the_newest_complete_day_and_not_with_yesterday(tmp_path: Path) -> None:
    now = datetime(2027, 3, 3, 0, 10, tzinfo=UTC)
    with new_ledger(tmp_path / "ledger.sqlite") as ledger:
        read(
            ledger,
            list(days_between(date(2027, 1, 1), date(2027, 3, 2))),
            datetime(2027, 3, 2, 13, tzinfo=UTC),
        )
        # The 2nd was read six times while it lasted, and not since: it is not over for the ledger.
        read(ledger, [date(2027, 3, 1), date(2027, 3, 2)], datetime(2027, 3, 2, 19, tzinfo=UTC))
        found = served(ledger, now)

        assert found["complete_through_timestamp_seconds"] == {
            (): datetime(2027, 3, 2, tzinfo=UTC).timestamp()
        }
        assert sum(value for (_, days), value in found["trailing_usd"].items() if days == "1") == total(
            [date(2027, 3, 1)]
        )
        assert sum(found["month_matched_usd"].values()) == total([date(2027, 3, 1)])
        assert sum(found["last_month_matched_usd"].values()) == total([date(2027, 2, 1)])


@pytest.mark.parametrize(
    ("now", "this", "last"),
    [
        ("2028-03-31T22:00", 29, 29),  # February of a leap year ends first
        ("2027-03-31T22:00", 28, 28),
        ("2028-03-01T22:00", None, None),  # no day of March is complete
        ("2028-03-02T08:00", None, None),
        ("2028-03-02T22:00", 1, 1),
        ("2028-01-01T08:00", None, None),
        ("2028-01-03T08:00", 1, 1),
    ],
)
def test_both_sides_of_month_over_month_have_the_same_days(
    tmp_path: Path, now: str, this: int | None, last: int | None
) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    with new_ledger(tmp_path / "ledger.sqlite") as ledger:
        days = list(days_between(at.date() - 80 * DAY, at.date()))
        settled = [day for day in days if start_of_day(day + DAY) + 12 * HOUR <= at]
        read(ledger, days, at)
        read(ledger, settled, max(at, start_of_day(settled[-1] + DAY) + 36 * HOUR))
        found = served(ledger, at)

    first = at.date().replace(day=1)
    before = (first - DAY).replace(day=1)

    def of(start: date, count: int | None) -> float | None:
        return None if count is None else total([start + number * DAY for number in range(count)])

    def sums(family: str) -> float | None:
        return sum(found[family].values()) if family in found else None

    assert sums("month_matched_usd") == sums("month_matched_by_service_usd") == of(first, this)
    assert sums("last_month_matched_usd") == sums("last_month_matched_by_service_usd") == of(before, last)


def expected(newest: date, now: datetime, known: set[date]) -> dict[str, float]:
    """The sum of each window by its family and days, day by day."""
    first = now.date().replace(day=1)
    before = (first - DAY).replace(day=1)
    complete = (newest + DAY - first).days
    same = min(complete, calendar.monthrange(before.year, before.month)[1])
    windows = {
        **{f"trailing_usd {n}": [newest - back * DAY for back in range(n)] for n in (1, 7, 30)},
        "month_complete_usd": [first + number * DAY for number in range(complete)],
    }
    # Each side of a comparison, with the days of the other.
    pairs = {
        **{f"trailing_before_usd {n}": [newest - back * DAY for back in range(2 * n)] for n in (7, 30)},
        "month_matched_usd": [start + number * DAY for number in range(same) for start in (first, before)],
        "last_month_matched_usd": [
            start + number * DAY for number in range(same) for start in (before, first)
        ],
    }
    found = {name: total(days) for name, days in windows.items() if days and set(days) <= known}
    for name, days in pairs.items():
        if days and set(days) <= known:
            side = days[len(days) // 2 :] if name.startswith("trailing") else days[::2]
            found[name] = total(side)
    return found


@given(
    today=st.dates(date(2024, 1, 1), date(2029, 12, 31)),
    minutes=st.integers(0, 1439),
    lag=st.integers(1, 5),
    unread=st.sets(st.integers(0, 75), max_size=2),
)
@example(today=date(2028, 2, 29), minutes=1, lag=2, unread=set())
@example(today=date(2028, 3, 1), minutes=10, lag=2, unread=set())
@example(today=date(2028, 3, 31), minutes=1439, lag=1, unread=set())
@example(today=date(2029, 1, 1), minutes=0, lag=2, unread=set())
@settings(max_examples=60, deadline=None)
def test_every_window_is_the_sum_of_its_days_or_absent(
    tmp_path_factory: pytest.TempPathFactory, today: date, minutes: int, lag: int, unread: set[int]
) -> None:
    """At any minute of any day, however old the newest complete day is and whichever days were not read."""
    now = start_of_day(today) + timedelta(minutes=minutes)
    newest = today - lag * DAY
    days = set(days_between(newest - 75 * DAY, newest + DAY)) - {
        newest - back * DAY for back in unread if back
    }
    with new_ledger(tmp_path_factory.getbasetemp() / "windows.sqlite") as ledger:
        end = start_of_day(newest + DAY)
        read(ledger, sorted(days), end + 20 * HOUR)
        # What is still booked: read once after its end, when half of it was there.
        for day in days_between(newest + DAY, today):
            read(ledger, [day], min(now, start_of_day(day + DAY) + HOUR), share="0.5")
        found = served(ledger, now)

    assert found.pop("complete_through_timestamp_seconds") == {(): end.timestamp()}
    by_account: dict[str, float] = {}
    by_service: dict[str, float] = {}
    for family, series in found.items():
        sums = by_service if "_by_service" in family else by_account
        for labels, value in series.items():
            name = family.replace("_by_service", "") + (f" {labels[-1]}" if "trailing" in family else "")
            sums[name] = sums.get(name, 0.0) + value
    assert by_account == by_service == expected(newest, now, days)


def test_nothing_is_served_before_a_day_is_complete(tmp_path: Path) -> None:
    now = datetime(2027, 5, 20, 6, tzinfo=UTC)
    with new_ledger(tmp_path / "ledger.sqlite") as ledger:
        assert served(ledger, now) == {}
        read(ledger, [date(2027, 5, 19), date(2027, 5, 20)], now)
        assert served(ledger, now) == {}


def test_a_key_has_a_series_where_it_had_a_row(tmp_path: Path) -> None:
    """Zeros are served, what was never seen in a window is not."""
    now = datetime(2027, 5, 20, 18, tzinfo=UTC)
    with new_ledger(tmp_path / "ledger.sqlite") as ledger:
        days = list(days_between(date(2027, 3, 1), date(2027, 5, 19)))
        costs = {(day, "1", "EC2"): usd(2) for day in days}
        costs |= {(date(2027, 5, 10), "2", "S3"): usd(1), (date(2027, 5, 18), "1", "Tax"): usd(0)}
        ledger.reads.commit(CostRead(now, dict.fromkeys(days, False), costs))
        found = served(ledger, now)

    assert found["trailing_usd"] == {
        ("1", "1"): 2, ("1", "7"): 14, ("1", "30"): 60, ("2", "30"): 1,
    }  # fmt: skip
    assert {key: value for key, value in found["trailing_by_service_usd"].items() if key[1] == "7"} == {
        ("EC2", "7"): 14,
        ("Tax", "7"): 0,
    }


def test_each_help_says_which_days_are_meant() -> None:
    assert len({family.help for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert "complete" in family.help, family.name
    assert COMPLETE_THROUGH in FAMILIES

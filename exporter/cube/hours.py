"""Cost of each UTC hour of the last fourteen days by account and service, from the source that has hours.

The rows of an hour replace those before: it is known by accounts, or as a whole, where Cost Explorer is asked by
service alone. What was read is restated as days are, and written to the dated history.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import MappingProxyType

from exporter.core.amounts import AMOUNTS
from exporter.core.metric import Family
from exporter.core.moments import to_milliseconds, to_moment
from exporter.core.money import row_units
from exporter.cube.dimensions import OTHER
from exporter.cube.values import AnyUnits, Source
from exporter.history.periods import HOUR, day_of
from exporter.history.sample_timestamps import LEAST_CHANGE_UNITS, MOST_UNSENT_UNITS, DatedSource
from exporter.ledger.file import Ledger

HOURS_KEPT = timedelta(days=14)
WHOLE_ORGANIZATION = ""
"""The account id of cost that is known by service alone; the labels of the account are absent then."""

HOURLY = Family(
    "aws_cost_hourly_usd",
    "Cost of a complete UTC hour of the last 14 days, written at that hour, and again when AWS restates it; by account"
    " and service, or by service of the whole organization, without the labels of an account.",
    ("account_id", "account", "service"),
)
HOURLY_COST = DatedSource(
    "hour_costs", "hour_series", "hours", "hour_stamps", "history_hours", "hour_costs.{cost_type}", f"'{HOURLY.name}'",
    "service", (HOURLY,), frozenset(), units_per_one=10**10, least_change=LEAST_CHANGE_UNITS,
    most_unsent=MOST_UNSENT_UNITS, writes_zeros=False, cost_type_fact="history_hours_cost_type", period=HOUR,
    most=HOURS_KEPT,
)  # fmt: skip
"""What the dated history writes of it."""

_PRUNED_AFTER = HOURS_KEPT + timedelta(days=1)
_MOST_SERIES = 5_000
_NOTHING: AnyUnits = (0, 0, 0, 0, 0)

HourKey = tuple[datetime, str, str]
"""The hour's beginning, account id, service."""


def commit(
    ledger: Ledger,
    source: Source,
    observed_at: datetime,
    hours: Collection[datetime],
    costs: Mapping[HourKey, AnyUnits],
    *,
    cost_changes: Mapping[date, int] = MappingProxyType({}),
    most_series: int = _MOST_SERIES,
) -> None:
    """Replace `hours` (aware, on the hour) as AWS showed them at `observed_at`; a key that is missing cost nothing.

    Amounts are in units of 1e-10 USD, None where the source has no such cost type. Of more than `most_series` accounts
    and services, the smallest services of each account are summed as `other`. Hours that are older than two weeks are
    removed from the ledger. `cost_changes` is how often the ledger's cost of a day had changed when its hours were
    read.
    """
    numbers_read = sorted({HOUR.number(hour) for hour in hours})
    by_hour: defaultdict[int, dict[tuple[str, str], AnyUnits]] = defaultdict(dict)
    for (moment, account_id, service), units in _bounded(costs, most_series).items():
        by_hour[HOUR.number(moment)][account_id, service] = units
    at = to_milliseconds(observed_at)
    with ledger.transaction() as db:
        keys = {key for hour in numbers_read for key in by_hour[hour]}
        db.executemany("INSERT OR IGNORE INTO hour_series (account_id, service) VALUES (?, ?)", sorted(keys))
        numbers = {
            (account_id, service): number
            for number, account_id, service in db.execute("SELECT id, account_id, service FROM hour_series")
        }
        names = ", ".join(AMOUNTS)
        updates = ", ".join(f"{name} = excluded.{name}" for name in AMOUNTS)
        for hour in numbers_read:
            rows = {numbers[key]: units for key, units in by_hour[hour].items()}
            # A key that is gone costs nothing now: what was written of it becomes 0.
            for (number,) in db.execute("SELECT series FROM hour_costs WHERE hour = ?", (hour,)).fetchall():
                rows.setdefault(number, _NOTHING)
            db.executemany(
                f"INSERT INTO hour_costs (hour, series, {names}, observed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
                f" ON CONFLICT (hour, series) DO UPDATE SET {updates}, observed_at = excluded.observed_at",
                [
                    (hour, number, *(None if u is None else row_units(u) for u in units), at)
                    for number, units in rows.items()
                ],
            )
        db.executemany(
            # Two reads within a millisecond must be seen as two.
            "INSERT INTO hours (hour, read_at, source, cost_changes) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (hour) DO UPDATE SET read_at = MAX(read_at + 1, excluded.read_at),"
            " source = excluded.source, cost_changes = excluded.cost_changes",
            [(hour, at, source, cost_changes.get(day_of(HOUR.at(hour)), 0)) for hour in numbers_read],
        )
        oldest = HOUR.number(observed_at - _PRUNED_AFTER)
        for table in ("hour_costs", "hour_stamps", "hours", "history_hours"):
            db.execute(f"DELETE FROM {table} WHERE hour < ?", (oldest,))  # noqa: S608 # of ours


def _bounded(costs: Mapping[HourKey, AnyUnits], most: int) -> Mapping[HourKey, AnyUnits]:
    """The same, with at most `most` series but for one an account: the largest services of each account, and `other`."""
    sizes: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (_, account_id, service), units in costs.items():
        sizes[account_id][service] += max(abs(u or 0) for u in units)
    if sum(map(len, sizes.values())) <= most:
        return costs
    each = max(0, most // len(sizes) - 1)
    largest = {
        account_id: set(sorted(services, key=lambda name: (-services[name], name))[:each])
        for account_id, services in sizes.items()
    }
    found: dict[HourKey, AnyUnits] = {}
    for (hour, account_id, service), units in costs.items():
        key = (hour, account_id, service if service in largest[account_id] else OTHER)
        found[key] = _plus(found[key], units) if key in found else units
    return found


def _plus(one: AnyUnits, other: AnyUnits) -> AnyUnits:
    a, b, c, d, e = (None if x is None or y is None else x + y for x, y in zip(one, other, strict=True))
    return a, b, c, d, e


@dataclass(frozen=True, slots=True)
class HourState:
    """What is known of the last read of an hour."""

    read_at: datetime
    source: Source
    cost_changes: int


def read_hours(ledger: Ledger, start: datetime, end: datetime) -> dict[datetime, HourState]:
    """The hours of [start, end) that were read."""
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT hour, read_at, source, cost_changes FROM hours WHERE hour >= ? AND hour < ? ORDER BY hour",
            HOUR.numbers(start, end),
        ).fetchall()
    return {
        to_moment(hour * HOUR.milliseconds): HourState(to_moment(at), source, changes)
        for hour, at, source, changes in rows
    }


def sums(ledger: Ledger, start: datetime, end: datetime, cost_type: str) -> dict[HourKey, int | None]:
    """Units of 1e-10 USD of each hour of [start, end) by account id and service; None where that is not known."""
    if cost_type not in AMOUNTS:
        raise ValueError(f"{cost_type} is not a cost type")
    with ledger.connection() as db:
        rows = db.execute(
            f"SELECT hour, account_id, service, {cost_type} FROM hour_costs"  # noqa: S608 # checked above
            " JOIN hour_series ON hour_series.id = series WHERE hour >= ? AND hour < ?",
            HOUR.numbers(start, end),
        ).fetchall()
    return {
        (to_moment(hour * HOUR.milliseconds), account_id, service): units
        for hour, account_id, service, units in rows
    }

"""Usage in the ledger: what each poll added to the counters, the newest levels, and each day's totals.

A target is one account in one region, as one source (`cloudwatch`, `ec2`) sees it. Its counters begin at
zero at its epoch, the end of the first poll. Each period's amount is remembered until it is final, so that
a period is added once, late data adds its difference, and nothing is ever subtracted. Of periods that are
final their day remembers the sum for a while, so that what comes later still adds to it as a whole. A poll
is one transaction: whole or not at all.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import Enum

from exporter.core.moments import start_of_day, to_milliseconds, to_moment
from exporter.ledger.daily_values import DailyValue, first_moment, upsert
from exporter.ledger.file import Ledger
from exporter.ledger.usage_days import EPOCH_ORDINAL
from exporter.usage.metrics import DAY

_SERIES_KEPT = timedelta(days=15)  # CloudWatch itself lists a metric for two weeks after its last data
_DAYS_KEPT = timedelta(days=20)
SERIES_DAYS_KEPT = 8
_FLOAT_NOISE = 1e-9


class Form(Enum):
    """What the amounts of a reading are."""

    SUMS = "sums"
    """Sums of periods: they make a counter and daily totals."""
    DAILY_LEVELS = "daily levels"
    """A level each day: the newest is served, each is its day's total."""
    LEVELS = "levels"
    """Levels: the newest is served."""


@dataclass(frozen=True, slots=True)
class UsageTarget:
    """What the ledger knows of one target; periods end in epoch seconds."""

    id: int
    epoch: int | None
    covered_from: int | None
    """From here on, without a gap, ..."""
    read_through: int | None
    """... up to here, everything has been read."""
    polled_at: datetime | None
    daily_polled_at: datetime | None
    listed_at: datetime | None
    period: int | None
    """Seconds of the periods that were summed up."""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one resource; `variant` is a storage class or instance type, where the family has one."""

    metric: str
    resource_id: str = ""
    variant: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """A series that is to be polled; sums before `final_before` (epoch seconds) are final."""

    id: int
    series: Series
    final_before: int | None


@dataclass(frozen=True, slots=True)
class Reading:
    """The amounts of one series by the start of their period, in epoch seconds."""

    series: int
    metric: str
    form: Form
    amounts: Mapping[int, float]
    asked_from: int | None = None
    """Where the amounts begin, in epoch seconds; None where days are not to be remembered by series."""


@dataclass(frozen=True, slots=True)
class Poll:
    """Everything that one poll has read of a target, from `start` to before `through` (epoch seconds).

    Sums of periods of `period` seconds that begin at `final_before` or later may still change. `gap` says that something
    before `start` was never read, `daily` that the levels of whole days were read, too. A day's level
    counts once `settled_after` has passed since its end.
    """

    at: datetime
    start: int
    through: int
    final_before: int
    period: int
    readings: Iterable[Reading]
    gap: bool = False
    daily: bool = False
    settled_after: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Current:
    """What is to be served of one series, or of a family in the target where `resource_id` is empty."""

    metric: str
    resource_id: str
    variant: str
    total: float
    levels: tuple[float, ...] = ()
    """The newest level of each series, of those that are not out of date."""
    born: bool = True
    """Whether it has been served as a counter before; where not, it is 0 for now."""


@dataclass(slots=True)
class _Days:
    """Changes of a target's daily totals during one poll."""

    changes: dict[tuple[str, int], float] = field(default_factory=dict)

    def add(self, metric: str, day: int, amount: float) -> None:
        key = (metric, day)
        self.changes[key] = self.changes.get(key, 0.0) + amount


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else to_moment(milliseconds)


def _ordinal(seconds: int) -> int:
    return seconds // DAY + EPOCH_ORDINAL


_COLUMNS = "id, epoch, covered_from, read_through, polled_at, daily_polled_at, listed_at, period"


def _target(row: tuple[int, ...]) -> UsageTarget:
    number, epoch, covered, through, polled, daily, listed, period = row
    return UsageTarget(
        number, epoch, covered, through, _moment(polled), _moment(daily), _moment(listed), period
    )


def recount_from(target: UsageTarget, period: int) -> int | None:
    """Where sums over periods of another length than before may begin; None if the length has not changed."""
    if target.read_through is None or target.period in (None, period):
        return None
    return -(-target.read_through // period) * period


def target_of(ledger: Ledger, source: str, account_id: str, region: str) -> UsageTarget | None:
    """The state of a target; None if nothing of it was ever listed or polled."""
    with ledger.connection() as db:
        row = db.execute(
            f"SELECT {_COLUMNS} FROM usage_targets WHERE source = ? AND account_id = ? AND region = ?",  # noqa: S608
            (source, account_id, region),
        ).fetchone()
    return _target(row) if row else None


def families_of_account(ledger: Ledger, source: str, account_id: str) -> dict[str, int]:
    """How many series an account's usage is where resources are served together, by region."""
    with ledger.connection() as db:
        return dict(
            db.execute(
                "SELECT region, COUNT(*) FROM (SELECT DISTINCT region, metric, variant FROM usage_targets"
                " JOIN usage_series ON usage_series.target = usage_targets.id"
                " WHERE source = ? AND account_id = ?) GROUP BY region",
                (source, account_id),
            ).fetchall()
        )


def list_series(
    ledger: Ledger, source: str, account_id: str, region: str, found: Iterable[Series], at: datetime
) -> UsageTarget:
    """Record which series a target has now; those that are no longer listed stay."""
    with ledger.transaction(), ledger.connection() as db:
        db.execute(
            "INSERT INTO usage_targets (source, account_id, region, listed_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (source, account_id, region) DO UPDATE SET listed_at = excluded.listed_at",
            (source, account_id, region, to_milliseconds(at)),
        )
        target = target_of(ledger, source, account_id, region)
        assert target is not None
        db.executemany(
            "INSERT INTO usage_series (target, metric, resource_id, variant, dimensions, listed_at)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (target, metric, resource_id, variant)"
            " DO UPDATE SET listed_at = excluded.listed_at, dimensions = excluded.dimensions",
            [
                (target.id, s.metric, s.resource_id, s.variant, json.dumps(s.dimensions), to_milliseconds(at))
                for s in found
            ],
        )
    return target


def polled_at(ledger: Ledger) -> datetime | None:
    """When usage was last read of any account and region."""
    with ledger.connection() as db:
        (newest,) = db.execute("SELECT MAX(polled_at) FROM usage_targets").fetchone()
    return _moment(newest)


def listed(ledger: Ledger, target: UsageTarget, since: datetime) -> list[Listed]:
    """The target's series that were listed at `since` or later."""
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT id, metric, resource_id, variant, dimensions, final_before FROM usage_series"
            " WHERE target = ? AND listed_at >= ? ORDER BY id",
            (target.id, to_milliseconds(since)),
        ).fetchall()
    return [
        Listed(
            number,
            Series(metric, resource, variant, tuple((name, value) for name, value in json.loads(dimensions))),
            final_before,
        )
        for number, metric, resource, variant, dimensions, final_before in rows
    ]


# A poll


def commit(ledger: Ledger, target: UsageTarget, account_id: str, region: str, poll: Poll) -> None:
    """Add what a poll has read, and put each day's total that is complete where the dated history finds it."""
    days = _Days()
    daily_levels: set[str] = set()
    with ledger.transaction(), ledger.connection() as db:
        epoch = target.epoch if target.epoch is not None else poll.through
        if (since := recount_from(target, poll.period)) is not None:
            _count_from(db, target, since)
        for reading in poll.readings:
            if reading.form is Form.SUMS:
                _add_sums(db, reading, poll, epoch, days)
            elif reading.form is Form.DAILY_LEVELS:
                _add_levels_of_days(db, reading, days)
                daily_levels.add(reading.metric)
            else:
                _keep_highest_of_days(db, reading, poll.through)
            if reading.form is not Form.SUMS and reading.amounts:
                newest = max(reading.amounts)
                db.execute(
                    "UPDATE usage_series SET level = ?, level_at = ? WHERE id = ?",
                    (reading.amounts[newest], newest, reading.series),
                )
        covered_from = poll.start if target.covered_from is None or poll.gap else target.covered_from
        db.execute(
            "UPDATE usage_targets SET epoch = ?, covered_from = ?, read_through = ?, polled_at = ?,"
            " period = ?, daily_polled_at = COALESCE(?, daily_polled_at) WHERE id = ?",
            (
                epoch,
                covered_from,
                poll.through,
                to_milliseconds(poll.at),
                poll.period,
                to_milliseconds(poll.at) if poll.daily else None,
                target.id,
            ),
        )
        db.executemany(
            "INSERT INTO usage_days (target, metric, day, amount) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (target, metric, day) DO UPDATE SET amount = amount + excluded.amount",
            [(target.id, metric, day, amount) for (metric, day), amount in days.changes.items()],
        )
        complete = range(_ordinal(covered_from + DAY - 1), _ordinal(poll.through))
        settled = _ordinal(int((poll.at - poll.settled_after).timestamp()))
        before = 0 if target.read_through is None or poll.gap else _ordinal(target.read_through)

        def is_due(metric: str, day: int) -> bool:
            if metric in daily_levels:
                return day < settled
            # What was put before and has not changed is left alone.
            new = day >= before or (metric, day) in days.changes
            return new and day in complete and metric.endswith("_total")

        _put_days(ledger, db, target, account_id, region, poll.at, is_due)
        _retire(db, target, poll.at)


def _count_from(db: sqlite3.Connection, target: UsageTarget, since: int) -> None:
    """Amounts of hours and of minutes cannot be compared: what was read until here is final."""
    db.execute(
        "DELETE FROM usage_amounts WHERE series IN"
        " (SELECT id FROM usage_series WHERE target = ? AND metric LIKE '%\\_total' ESCAPE '\\')",
        (target.id,),
    )
    db.execute(
        "UPDATE usage_series SET final_before = ? WHERE target = ? AND final_before IS NOT NULL",
        (since, target.id),
    )


def _add_sums(db: sqlite3.Connection, reading: Reading, poll: Poll, epoch: int, days: _Days) -> None:
    (final_before,) = db.execute(
        "SELECT final_before FROM usage_series WHERE id = ?", (reading.series,)
    ).fetchone()
    held = dict(
        db.execute("SELECT period, amount FROM usage_amounts WHERE series = ?", (reading.series,)).fetchall()
    )
    added = 0.0
    kept: list[tuple[int, int, float]] = []
    by_day = _series_days(db, reading, poll.through, final_before)
    for day, more in _late(reading, by_day, final_before or 0).items():
        # The day of the epoch is left to its periods: only a part of it counts.
        if day * DAY >= epoch:
            added += more
        days.add(reading.metric, day + EPOCH_ORDINAL, more)
        by_day[day] += more
    for period, amount in sorted(reading.amounts.items()):
        if (final_before is not None and period < final_before) or period >= poll.through:
            continue
        more = amount - held.get(period, 0.0)
        if more <= 0:
            continue  # AWS has taken something back; a counter never falls
        if period >= epoch:
            added += more
        days.add(reading.metric, _ordinal(period), more)
        if period // DAY in by_day:
            by_day[period // DAY] += more
        if period >= poll.final_before:
            kept.append((reading.series, period, amount))
    # Never backwards: what was final stays final.
    final = max(poll.final_before, final_before or 0)
    db.executemany("INSERT OR REPLACE INTO usage_amounts (series, period, amount) VALUES (?, ?, ?)", kept)
    db.execute("DELETE FROM usage_amounts WHERE series = ? AND period < ?", (reading.series, final))
    _put_series_days(db, reading.series, by_day)
    db.execute(
        "UPDATE usage_series SET total = total + ?, final_before = ? WHERE id = ?",
        (added, final, reading.series),
    )


def _series_days(
    db: sqlite3.Connection, reading: Reading, through: int, final_before: int | None
) -> dict[int, float]:
    """The sums of the days (counted from 1970) of which each period has been added, new days with 0."""
    if reading.asked_from is None:
        return {}
    found: dict[int, float] = dict(
        db.execute("SELECT day, amount FROM usage_series_days WHERE series = ?", (reading.series,)).fetchall()
    )
    # Of an earlier day something was final before it was remembered.
    first = max(reading.asked_from, final_before or 0)
    for day in range(-(-first // DAY), -(-through // DAY)):
        found.setdefault(day, 0.0)
    return found


def _late(reading: Reading, by_day: Mapping[int, float], final_before: int) -> dict[int, float]:
    """What the days whose periods are all final have gained since."""
    if reading.asked_from is None:
        return {}
    whole = range(-(-reading.asked_from // DAY), final_before // DAY)
    sums: dict[int, float] = {}
    for period, amount in reading.amounts.items():
        if (day := period // DAY) in whole and day in by_day:
            sums[day] = sums.get(day, 0.0) + amount
    return {
        day: total - by_day[day] for day, total in sums.items() if total - by_day[day] > _FLOAT_NOISE * total
    }


def _put_series_days(db: sqlite3.Connection, series: int, by_day: Mapping[int, float]) -> None:
    if not by_day:
        return
    db.executemany(
        "INSERT INTO usage_series_days (series, day, amount) VALUES (?, ?, ?)"
        " ON CONFLICT (series, day) DO UPDATE SET amount = excluded.amount WHERE amount != excluded.amount",
        [(series, day, amount) for day, amount in by_day.items()],
    )
    oldest = max(by_day) - SERIES_DAYS_KEPT
    db.execute("DELETE FROM usage_series_days WHERE series = ? AND day < ?", (series, oldest))


def _keep_highest_of_days(db: sqlite3.Connection, reading: Reading, through: int) -> None:
    if reading.asked_from is None:
        return
    highest: dict[int, float] = {}
    whole = range(-(-reading.asked_from // DAY), through // DAY)
    for period, level in reading.amounts.items():
        if (day := period // DAY) in whole:
            highest[day] = max(level, highest.get(day, level))
    _put_series_days(db, reading.series, highest)


def _add_levels_of_days(db: sqlite3.Connection, reading: Reading, days: _Days) -> None:
    held = dict(
        db.execute("SELECT period, amount FROM usage_amounts WHERE series = ?", (reading.series,)).fetchall()
    )
    for period, amount in reading.amounts.items():
        days.add(reading.metric, _ordinal(period), amount - held.get(period, 0.0))
        db.execute(
            "INSERT OR REPLACE INTO usage_amounts (series, period, amount) VALUES (?, ?, ?)",
            (reading.series, period, amount),
        )


def _put_days(
    ledger: Ledger,
    db: sqlite3.Connection,
    target: UsageTarget,
    account_id: str,
    region: str,
    at: datetime,
    is_due: Callable[[str, int], bool],
) -> None:
    """Put the totals of those metrics and days that are due."""
    oldest = (at - _DAYS_KEPT).date().toordinal()
    rows = db.execute(
        "SELECT metric, day, amount FROM usage_days WHERE target = ? AND day >= ?", (target.id, oldest)
    ).fetchall()
    upsert(
        ledger,
        [
            DailyValue(
                date.fromordinal(day),
                f"{metric.removesuffix('_total')}_daily",
                account_id,
                region,
                amount,
            )
            for metric, day, amount in rows
            if is_due(metric, day)
        ],
        at,
    )
    db.execute("DELETE FROM usage_days WHERE target = ? AND day < ?", (target.id, oldest))
    db.execute(
        "DELETE FROM usage_amounts WHERE period < ? AND series IN (SELECT id FROM usage_series WHERE target = ?)",
        (first_moment((at - _DAYS_KEPT).date()), target.id),
    )


def _retire(db: sqlite3.Connection, target: UsageTarget, at: datetime) -> None:
    """Fold what resources that are long gone have added into their family's remainder, which only grows."""
    gone = db.execute(
        "SELECT id, metric, resource_id, variant, total FROM usage_series"
        " WHERE target = ? AND listed_at < ? AND resource_id != ''",
        (target.id, to_milliseconds(at - _SERIES_KEPT)),
    ).fetchall()
    for number, metric, resource, variant, total in gone:
        if metric.endswith("_total"):
            db.execute(
                "INSERT INTO usage_series (target, metric, resource_id, variant, dimensions, listed_at, total)"
                " VALUES (?, ?, '', ?, '[]', 0, ?) ON CONFLICT (target, metric, resource_id, variant)"
                " DO UPDATE SET total = total + excluded.total",
                (target.id, metric, variant, total),
            )
        db.execute("DELETE FROM usage_amounts WHERE series = ?", (number,))
        db.execute("DELETE FROM usage_series_days WHERE series = ?", (number,))
        db.execute("DELETE FROM usage_series WHERE id = ?", (number,))
        # Should it come back, its counter begins again at zero.
        db.execute(
            "DELETE FROM usage_born WHERE target = ? AND metric = ? AND resource_id = ? AND variant = ?",
            (target.id, metric, resource, variant),
        )


# What is served


def current(
    ledger: Ledger, target: UsageTarget, per_resource: frozenset[str], oldest_level: Mapping[str, int]
) -> list[Current]:
    """What is to be served of a target, each family per resource or in all.

    Levels from before `oldest_level` (epoch seconds, by metric) are out of date.
    """
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT metric, resource_id, variant, total, level, level_at FROM usage_series WHERE target = ?"
            " ORDER BY metric, resource_id, variant",
            (target.id,),
        ).fetchall()
        born = set(
            db.execute(
                "SELECT metric, resource_id, variant FROM usage_born WHERE target = ?", (target.id,)
            ).fetchall()
        )
    totals: dict[tuple[str, str, str], float] = {}
    levels: dict[tuple[str, str, str], list[float]] = {}
    for metric, resource, variant, total, level, level_at in rows:
        alone = metric in per_resource
        if alone and not resource:
            continue  # the remainder of resources that are gone
        key = (metric, resource if alone else "", variant)
        totals[key] = totals.get(key, 0.0) + total
        if level is not None and level_at >= oldest_level.get(metric, 0):
            levels.setdefault(key, []).append(level)
    return [Current(*key, total, tuple(levels.get(key, ())), key in born) for key, total in totals.items()]


def bear(ledger: Ledger, target: UsageTarget, keys: Iterable[tuple[str, str, str]]) -> None:
    """Record that these counters (metric, resource id, variant) have been seen at zero."""
    with ledger.transaction(), ledger.connection() as db:
        db.executemany(
            "INSERT OR IGNORE INTO usage_born (target, metric, resource_id, variant) VALUES (?, ?, ?, ?)",
            [(target.id, *key) for key in keys],
        )


def series_in_use(ledger: Ledger, metrics: Iterable[str], since: datetime) -> int:
    """How many series of these metrics were listed since."""
    wanted = tuple(metrics)
    marks = ", ".join("?" * len(wanted))
    with ledger.connection() as db:
        (count,) = db.execute(
            f"SELECT COUNT(*) FROM usage_series WHERE listed_at >= ? AND metric IN ({marks})",  # noqa: S608
            (to_milliseconds(since), *wanted),
        ).fetchone()
    return int(count)


def day_start(at: datetime) -> int:
    """Epoch seconds of the midnight (UTC) before `at`."""
    return int(start_of_day(at.date()).timestamp())

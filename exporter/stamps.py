"""What of the ledger's cost is in the dated history, and under which stamps.

A stamp is the timestamp of a written sample. It is reserved before it is sent and never used
twice; what was acknowledged counts as written, so the ledger itself is the queue.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from exporter.ledger import AMOUNTS, Ledger

LEAST_CHANGE_UNITS = 1_000_000
"""$0.0001: a smaller change of a written value is not written again."""

_COST_TYPE_FACT = "history_cost_type"
_LATEST_OFFSET_MS = 59 * 60_000  # UTC-12 to UTC+11 see noon to 12:59 UTC on the same date
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
_DAY_MS = 86_400_000
_MINUTE_MS = 60_000


def milliseconds(at: datetime) -> int:
    """Milliseconds since 1970."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def _start(day: date) -> int:
    return (day.toordinal() - _EPOCH_DAY) * _DAY_MS


def next_stamp(day: date, observed: int, last: int | None) -> int:
    """The stamp of a value of `day` that AWS showed at `observed`; all in milliseconds since 1970.

    Noon, plus a millisecond for each minute between the day's start and the observation; later
    than `last`, the newest stamp that was ever used for the series and day.
    """
    start = _start(day)
    minutes = max(0, (observed - start) // _MINUTE_MS)
    natural = start + _DAY_MS // 2 + min(minutes, _LATEST_OFFSET_MS)
    return natural if last is None else max(natural, last + 1)


def is_of_day(stamp: int, day: date) -> bool:
    """Whether a stamp lies in its day; thousands of forced rewrites would leave it."""
    return 0 <= stamp - _start(day) < _DAY_MS


@dataclass(frozen=True, slots=True)
class Change:
    """A value that the history does not hold yet."""

    day: date
    series: int
    account_id: str
    service: str
    units: int
    observed: int
    """When AWS showed it, in milliseconds since 1970."""
    last: int | None
    """The newest stamp ever used, None if there is none."""
    name: str | None
    """The account's name that the series and day were first written under."""
    written: int | None
    """The units that the history holds, None if that is not known."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A change and the stamp that it is sent under."""

    change: Change
    stamp: int
    name: str


@dataclass(frozen=True, slots=True)
class Written:
    """What the history should hold of one series on one day; None where that is not known."""

    series: int
    units: int | None
    refused: bool


class Stamps:
    """The ledger's record of the dated history; `lock` is held from a reservation to its acknowledgement."""

    def __init__(self, ledger: Ledger) -> None:
        """Reads and writes the tables `stamps`, `history_names` and `history_days`."""
        self.ledger = ledger
        self.lock = threading.Lock()

    def changed_days(self, start: date, end: date) -> list[tuple[date, int]]:
        """Days of [start, end) that were read after their end and not compared since, the newest first.

        Each with what `settle_day` wants.
        """
        with self.ledger.connection() as db:
            rows = db.execute(
                "SELECT days.day, days.read_at FROM days LEFT JOIN history_days USING (day)"
                " WHERE days.day >= ? AND days.day < ? AND days.read_at >= (days.day - ?) * 86400000"
                " AND days.read_at IS NOT history_days.read_at ORDER BY days.day DESC",
                (start.toordinal(), end.toordinal(), _EPOCH_DAY - 1),
            ).fetchall()
        return [(date.fromordinal(day), read_at) for day, read_at in rows]

    def days_read(self, start: date, end: date) -> list[date]:
        """Days of [start, end) that were read after their end, the oldest first."""
        with self.ledger.connection() as db:
            rows = db.execute(
                "SELECT day FROM days WHERE day >= ? AND day < ? AND read_at >= (day - ?) * 86400000 ORDER BY day",
                (start.toordinal(), end.toordinal(), _EPOCH_DAY - 1),
            ).fetchall()
        return [date.fromordinal(day) for (day,) in rows]

    def changes(self, day: date, cost_type: str, *, everything: bool = False) -> list[Change]:
        """What has changed on a day since it was written; with `everything`, all that is or should be there."""
        if cost_type not in AMOUNTS:
            raise ValueError(f"{cost_type} is not a cost type")
        units = f"cost.total_{cost_type}"
        known = "COALESCE(stamps.refused, stamps.units)"
        changed = (
            f"CASE WHEN {known} IS NULL THEN {units} != 0 OR stamps.stamp IS NOT NULL"
            f" ELSE ABS({units} - {known}) >= {LEAST_CHANGE_UNITS} END"
        )
        if everything:
            changed = f"({units} != 0 OR stamps.stamp IS NOT NULL)"
        with self.ledger.connection() as db:
            rows = db.execute(
                f"SELECT cost.series, account_id, service, {units}, observed_at, stamp, name, stamps.units"  # noqa: S608
                " FROM cost JOIN series ON series.id = cost.series"
                " LEFT JOIN stamps ON stamps.day = cost.day AND stamps.series = cost.series"
                f" LEFT JOIN history_names ON history_names.id = stamps.name_id"
                f" WHERE cost.day = ? AND {changed}",
                (day.toordinal(),),
            ).fetchall()
        return [
            Change(day, series, account, service, amount, observed, last, name, written)
            for series, account, service, amount, observed, last, name, written in rows
        ]

    def reserve(self, sent: Iterable[Sent]) -> None:
        """Use up the stamps; what the history holds of these series is not known from here on."""
        rows = list(sent)
        with self.ledger.transaction(), self.ledger.connection() as db:
            db.executemany(
                "INSERT OR IGNORE INTO history_names (name) VALUES (?)", {(row.name,) for row in rows}
            )
            db.executemany(
                "INSERT INTO stamps (day, series, stamp, name_id)"
                " VALUES (?, ?, ?, (SELECT id FROM history_names WHERE name = ?))"
                " ON CONFLICT (day, series) DO UPDATE SET stamp = excluded.stamp, units = NULL, refused = NULL",
                [(row.change.day.toordinal(), row.change.series, row.stamp, row.name) for row in rows],
            )

    def settle(self, taken: Iterable[Sent], refused: Iterable[Sent], days: Mapping[date, int]) -> None:
        """Record what the endpoint took and refused, and the days that are complete now."""
        rows: list[tuple[int | None, int | None, Sent]] = [(row.change.units, None, row) for row in taken]
        rows += [(row.change.written, row.change.units, row) for row in refused]
        with self.ledger.transaction(), self.ledger.connection() as db:
            db.executemany(
                # A newer reservation means that a newer value is on its way.
                "UPDATE stamps SET units = ?, refused = ? WHERE day = ? AND series = ? AND stamp = ?",
                [
                    (units, refusal, row.change.day.toordinal(), row.change.series, row.stamp)
                    for units, refusal, row in rows
                ],
            )
            db.executemany(
                "INSERT OR REPLACE INTO history_days (day, read_at) VALUES (?, ?)",
                [(day.toordinal(), read_at) for day, read_at in days.items()],
            )

    def begin(self, cost_type: int) -> None:
        """Have refused samples tried once more, and every day compared anew if the cost type has changed."""
        with self.ledger.transaction(), self.ledger.connection() as db:
            if self.ledger.fact(_COST_TYPE_FACT) != cost_type:
                db.execute("DELETE FROM history_days")
                self.ledger.remember(_COST_TYPE_FACT, cost_type)
            db.execute(
                "DELETE FROM history_days WHERE day IN (SELECT day FROM stamps WHERE refused IS NOT NULL)"
            )
            db.execute("UPDATE stamps SET refused = NULL WHERE refused IS NOT NULL")

    # What the history should hold

    def account_ids(self) -> frozenset[str]:
        """Every account that the ledger knows cost of."""
        with self.ledger.connection() as db:
            return frozenset(row[0] for row in db.execute("SELECT DISTINCT account_id FROM series"))

    def newest_written(self, end: date) -> date | None:
        """The newest day before `end` that the history holds values of."""
        with self.ledger.connection() as db:
            (day,) = db.execute(
                "SELECT MAX(day) FROM stamps WHERE day < ? AND units IS NOT NULL", (end.toordinal(),)
            ).fetchone()
        return date.fromordinal(day) if day is not None else None

    def sums(self, start: date, end: date) -> dict[tuple[date, str], tuple[int, int]]:
        """Units and number of values other than zero by day and account id over [start, end), as written."""
        with self.ledger.connection() as db:
            rows = db.execute(
                "SELECT day, account_id, SUM(units), SUM(units != 0) FROM stamps"
                " JOIN series ON series.id = stamps.series"
                " WHERE day >= ? AND day < ? AND units IS NOT NULL GROUP BY day, account_id",
                (start.toordinal(), end.toordinal()),
            ).fetchall()
        return {(date.fromordinal(day), account): (units, count) for day, account, units, count in rows}

    def written(self, day: date) -> dict[tuple[str, str, str], Written]:
        """What a day should hold by account id, account name as written, and service."""
        with self.ledger.connection() as db:
            rows = db.execute(
                "SELECT account_id, name, service, series, units, refused IS NOT NULL FROM stamps"
                " JOIN series ON series.id = stamps.series"
                " JOIN history_names ON history_names.id = stamps.name_id WHERE day = ?",
                (day.toordinal(),),
            ).fetchall()
        return {
            (account, name, service): Written(series, units, bool(refused))
            for account, name, service, series, units, refused in rows
        }

    def forget(self, day: date, seen: Mapping[int, int]) -> None:
        """Have series (and the newest stamp seen of each) of a day written again."""
        with self.ledger.transaction(), self.ledger.connection() as db:
            db.executemany(
                "UPDATE stamps SET units = NULL, refused = NULL, stamp = MAX(stamp, ?) WHERE day = ? AND series = ?",
                [(stamp, day.toordinal(), series) for series, stamp in seen.items()],
            )
            db.execute("DELETE FROM history_days WHERE day = ?", (day.toordinal(),))

    def forget_accounts(self, day: date, account_ids: Iterable[str]) -> None:
        """Have all of these accounts' series of a day written again."""
        with self.ledger.transaction(), self.ledger.connection() as db:
            db.executemany(
                "UPDATE stamps SET units = NULL, refused = NULL WHERE day = ?"
                " AND series IN (SELECT id FROM series WHERE account_id = ?)",
                [(day.toordinal(), account) for account in account_ids],
            )
            db.execute("DELETE FROM history_days WHERE day = ?", (day.toordinal(),))

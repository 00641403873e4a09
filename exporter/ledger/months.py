"""What is held of whole months by account and service, compared with what AWS says of them now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from exporter.core.amounts import AMOUNTS, Units
from exporter.core.moments import start_of_day, to_milliseconds
from exporter.core.money import exact_sum, joined
from exporter.ledger.database import Database

Key = tuple[str, str]
"""Linked account id, service."""

_COLUMNS = {"account": "account_id", "service": "service"}
_FRUITLESS_READS = 2
"""After so many reads that have not removed a difference, it is left alone until AWS says something else."""


@dataclass(frozen=True, slots=True)
class MonthDifferences:
    """Of [start, end) in one month: what AWS says minus what is held, in units of 1e-10 USD.

    `keys` has each account and service that differs, `one_way` each account whose total differs, and in which no
    cost has moved from one service to another.
    """

    start: date
    end: date
    keys: Mapping[Key, Units]
    one_way: Collection[str]


class CostMonths:
    """Compares months; `part` is `total`, or `other` for non-usage charges."""

    def __init__(self, database: Database) -> None:
        """`database` has the tables of cost."""
        self._database = database

    def is_whole(self, start: date, end: date, part: str) -> bool:
        """Whether each day of [start, end) was read after its end: half of a month is no month."""
        column = "read_at" if part == "total" else "other_read_at"
        first = to_milliseconds(start_of_day(start + timedelta(days=1))), start.toordinal()
        with self._database.connection() as db:
            (count,) = db.execute(
                f"SELECT COUNT(*) FROM days WHERE day >= ? AND day < ?"  # noqa: S608 # one of two columns
                f" AND {column} >= ? + (day - ?) * 86400000",
                (start.toordinal(), end.toordinal(), *first),
            ).fetchone()
        return bool(count == (end - start).days)

    def differences(self, part: str, start: date, end: date, seen: Mapping[Key, Units]) -> MonthDifferences:
        """What of [start, end), days of one month, differs from what is held; `seen` are AWS's sums by key.

        AWS rounds each sum by itself: a unit of 1e-10 USD a day is no difference.
        """
        held = self.held(part, start, end)
        rounding = (end - start).days + 1
        zero = Units()
        keys: dict[Key, Units] = {}
        counts: Counter[str] = Counter()
        for key in held.keys() | seen.keys():
            difference = Units(
                *(now - then for now, then in zip(seen.get(key, zero), held.get(key, zero), strict=True))
            )
            counts[key[0]] += 1
            if any(abs(units) > rounding for units in difference):
                keys[key] = difference
        by_account: dict[str, list[Units]] = {}
        for (account_id, _), difference in keys.items():
            by_account.setdefault(account_id, []).append(difference)
        one_way = {
            account_id
            for account_id, moved in by_account.items()
            if _goes_one_way(moved, rounding, counts[account_id])
        }
        return MonthDifferences(start, end, keys, one_way)

    def held(self, part: str, start: date, end: date) -> dict[Key, Units]:
        """What is held of [start, end), days of one month, by account and service; zeros too."""
        sums = ", ".join(exact_sum(f"{part}_{name}") for name in AMOUNTS)
        with self._database.connection() as db:
            rows = db.execute(
                f"SELECT account_id, service, summed.* FROM (SELECT series, {sums} FROM cost"  # noqa: S608
                " WHERE day >= ? AND day < ? GROUP BY series) AS summed JOIN series ON series.id = summed.series",
                (start.toordinal(), end.toordinal()),
            ).fetchall()
        return {
            (account_id, service): Units(*map(joined, halves[::2], halves[1::2]))
            for account_id, service, _, *halves in rows
        }

    def take(
        self, part: str, month: date, keys: Collection[Key], seen: Mapping[Key, Units], *, read: bool
    ) -> set[Key]:
        """Remember which keys of a month differ; returns those that another read may put right.

        `read` is whether everything that was found before has been read since: what still differs then, and
        what AWS says of it is still the same, is not paid for again and again.
        """
        ordinal = month.toordinal()
        with self._database.transaction() as db:
            known = {
                (account_id, service): (said, reads)
                for account_id, service, said, reads in db.execute(
                    "SELECT account_id, service, seen, reads FROM month_differences"
                    " WHERE part = ? AND month = ?",
                    (part, ordinal),
                )
            }
            db.execute("DELETE FROM month_differences WHERE part = ? AND month = ?", (part, ordinal))
            again = set()
            rows = []
            for key in keys:
                said = ",".join(map(str, seen.get(key, Units())))
                before, reads = known.get(key, (None, 0))
                reads = (reads + read) if before == said else 0
                rows.append((part, ordinal, *key, said, reads))
                if reads < _FRUITLESS_READS:
                    again.add(key)
            db.executemany("INSERT INTO month_differences VALUES (?, ?, ?, ?, ?, ?)", rows)
        return again

    def groups(self, start: date, end: date, kind: str | None = None, names: Collection[str] = ()) -> int:
        """Groups that a daily query of [start, end) returns of some accounts or services, by what is held."""
        nonzero = " OR ".join(f"total_{name} != 0" for name in AMOUNTS)
        where = f"day >= ? AND day < ? AND ({nonzero})"
        given: list[int | str] = [start.toordinal(), end.toordinal()]
        if kind is not None:
            marks = ", ".join("?" * len(names))
            where += f" AND series IN (SELECT id FROM series WHERE {_COLUMNS[kind]} IN ({marks}))"  # noqa: S608
            given += sorted(names)
        with self._database.connection() as db:
            (count,) = db.execute(f"SELECT COUNT(*) FROM cost WHERE {where}", given).fetchone()  # noqa: S608
        return int(count)


def _goes_one_way(moved: Collection[Units], rounding: int, keys: int) -> bool:
    """Whether the total of an account shows that its keys have moved: none of them makes up for another."""
    shows = False
    for amounts in zip(*moved, strict=True):
        if min(amounts) < -rounding and max(amounts) > rounding:
            return False
        shows = shows or abs(sum(amounts)) > rounding * keys
    return shows

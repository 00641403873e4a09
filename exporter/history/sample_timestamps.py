"""What of the ledger's dated values is in the dated history, and under which stamps.

A stamp is the timestamp of a written sample. It is reserved before it is sent and never used
twice; what was acknowledged counts as written, so the ledger itself is the queue.
"""

# ruff: noqa: S608 # the names of tables and columns are those of the sources

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property

from exporter.core.amounts import AMOUNTS
from exporter.core.metric import Family
from exporter.history.periods import DAY, Period
from exporter.ledger.daily_values import unpack_labels
from exporter.ledger.file import Ledger

LEAST_CHANGE_UNITS = 1_000_000
"""$0.0001: a smaller change of a written value is not written again by itself."""

MOST_UNSENT_UNITS = 50_000_000
"""$0.005: where the smaller changes of a day make more than this, regardless of their signs, all of them are written."""

DAILY = Family(
    "aws_cost_daily_usd",
    "Cost of a complete UTC day, written at that day, and again when AWS restates it; see docs/history.md.",
    ("account_id", "account", "service"),
)


@dataclass(frozen=True)
class DatedSource:
    """The tables of dated values of one kind, and what their families look like.

    A value is of a day or an hour, a family, an account, and one more label. Either is empty where the family does
    not have it. "Day" stands for the source's period below: the name of a column, of tables, of variables.
    """

    values: str
    series: str
    days: str
    stamps: str
    compared: str
    """The table of the days that have been compared with what was written."""
    units: str
    """The column of the amounts, with `{cost_type}` where there is one for each; NULL where that is not known."""
    family: str
    """The family's name, in SQL."""
    label: str
    """The column of the one more label."""
    families: tuple[Family, ...]
    packed: frozenset[str]
    """Families of which that label holds all labels beside the account's, as `pack_labels` has packed them."""
    units_per_one: int
    least_change: int
    """A smaller change of a written value is not written again by itself; 0: any change is."""
    most_unsent: int
    """A day whose smaller changes make more than this in sum is written again, however small each of them is."""
    writes_zeros: bool
    """Whether a value that was never written is written when it is 0."""
    cost_type_fact: str | None = None
    """The fact that remembers of which cost type the history is, where there are several."""
    period: Period = DAY
    most: timedelta | None = None
    """Older periods are not written; None: as old as the history's window allows."""

    def amount(self, cost_type: str) -> str:
        """The column of the amounts."""
        if cost_type not in AMOUNTS:
            raise ValueError(f"{cost_type} is not a cost type")
        return self.units.format(cost_type=cost_type)

    def to_write(self, now: datetime, window: timedelta) -> tuple[date, date]:
        """The days that may be written: complete, and their middle within the window."""
        return self.period.complete(now, window if self.most is None else min(window, self.most))

    def value(self, units: float) -> float:
        """What a sample of so many units shows."""
        return units / self.units_per_one

    def has_changed(self, units: float, written: float) -> bool:
        """Whether a value is to be written again by itself."""
        return abs(units - written) >= self.least_change and units != written

    def labels(self, family: str, account_id: str, name: str, label: str) -> dict[str, str]:
        """The labels of one series under the account's `name`; empty ones are those that it does not have."""
        if family in self.packed:
            return {"account_id": account_id, "account": name, **unpack_labels(label)}
        of_account = {"account_id": account_id, "account": name}
        return {each: of_account.get(each, label) for each in self._label_names[family]}

    def label_names(self, family: str, packed: Iterable[str]) -> frozenset[str]:
        """Every label that a series of the family may have, where these are its packed labels."""
        return frozenset(self._label_names[family]).union(*map(unpack_labels, packed))

    @cached_property
    def _label_names(self) -> dict[str, tuple[str, ...]]:
        return {family.name: family.labels for family in self.families}

    @property
    def tolerance(self) -> float:
        """Half of the least change, as a sample shows it."""
        return self.least_change / self.units_per_one / 2

    @property
    def selector(self) -> str:
        """PromQL that selects every series of these families that the history has written.

        Series that are scraped, too, have a job.
        """
        names = [family.name for family in self.families]
        return names[0] if len(names) == 1 else f'{{__name__=~"{"|".join(names)}",job=""}}'


COST = DatedSource(
    "cost", "series", "days", "stamps", "history_days", "cost.total_{cost_type}", f"'{DAILY.name}'", "service", (DAILY,),
    frozenset(), units_per_one=10**10, least_change=LEAST_CHANGE_UNITS, most_unsent=MOST_UNSENT_UNITS, writes_zeros=False,
    cost_type_fact="history_cost_type",
)  # fmt: skip


def daily_values(families: Iterable[Family], packed: Iterable[Family] = ()) -> DatedSource:
    """What `exporter.ledger.daily_values` holds: values of these families, and of those whose labels are packed.

    Each of `families` has the account's labels or not, and at most one label beside them.
    """
    packed = tuple(packed)
    return DatedSource(
        "dated_values", "dated_series", "dated_days", "dated_stamps", "dated_history_days", "dated_values.value", "family",
        "label", (*families, *packed), frozenset(family.name for family in packed), units_per_one=1, least_change=0,
        most_unsent=0, writes_zeros=True,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """A value that the history does not hold yet."""

    day: date
    series: int
    family: str
    account_id: str
    label: str
    """The service, region or unit, or several labels, as the family has it."""
    units: float
    observed: int
    """When AWS showed it, in milliseconds since 1970."""
    last: int | None
    """The newest stamp ever used, None if there is none."""
    name: str | None
    """The account's name that the series and day were first written under."""
    written: float | None
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
    units: float | None
    refused: bool


class Stamps:
    """The ledger's record of one source's history; `lock` is held from a reservation to its acknowledgement."""

    def __init__(self, ledger: Ledger, source: DatedSource = COST) -> None:
        """Reads the source's values, and writes its stamps and the names in `history_names`."""
        self.ledger = ledger
        self.source = source
        self._at = source.period.column
        self._number, self._key = source.period.number, source.period.at
        self.lock = threading.Lock()

    def changed_days(self, start: date, end: date) -> list[tuple[date, int]]:
        """Days of [start, end) that were read after their end and not compared since, the newest first.

        Each with what `settle_day` wants.
        """
        days, compared, at = self.source.days, self.source.compared, self._at
        with self.ledger.connection() as db:
            rows = db.execute(
                f"SELECT {days}.{at}, {days}.read_at FROM {days} LEFT JOIN {compared} USING ({at})"
                f" WHERE {days}.{at} >= ? AND {days}.{at} < ? AND {days}.read_at >= ({days}.{at} - ?) * ?"
                f" AND {days}.read_at IS NOT {compared}.read_at ORDER BY {days}.{at} DESC",
                (*self.source.period.numbers(start, end), *self.source.period.over),
            ).fetchall()
        return [(self._key(day), read_at) for day, read_at in rows]

    def days_read(self, start: date, end: date) -> list[date]:
        """Days of [start, end) that were read after their end, the oldest first."""
        with self.ledger.connection() as db:
            rows = db.execute(
                f"SELECT {self._at} FROM {self.source.days}"
                f" WHERE {self._at} >= ? AND {self._at} < ? AND read_at >= ({self._at} - ?) * ? ORDER BY {self._at}",
                (*self.source.period.numbers(start, end), *self.source.period.over),
            ).fetchall()
        return [self._key(day) for (day,) in rows]

    def changes(self, day: date, cost_type: str, *, everything: bool = False) -> list[Change]:
        """What of a day is to be written; with `everything`, all that is or should be there.

        That is what was never written or has changed enough, and all that has changed where what has changed too
        little to be written by itself makes more than `most_unsent` in sum.
        """
        source = self.source
        units = source.amount(cost_type)
        if source is COST and self.ledger.cost.lacking(cost_type, day, day + timedelta(days=1)):
            return []  # what is written of the day stays: the source has no other figure
        values, series, stamps = source.values, source.series, source.stamps
        known = f"COALESCE({stamps}.refused, {stamps}.units)"
        worth_it = "1" if source.writes_zeros else f"({units} != 0 OR {stamps}.stamp IS NOT NULL)"
        changed = f"CASE WHEN {known} IS NULL THEN {worth_it} ELSE {units} != {known} END"
        if everything:
            changed = worth_it
        with self.ledger.connection() as db:
            rows = db.execute(
                f"SELECT {values}.series, {source.family}, account_id, {source.label}, {units}, observed_at, stamp,"
                f" name, {stamps}.units, ABS({units} - {known}) FROM {values} JOIN {series} ON {series}.id = {values}.series"
                f" LEFT JOIN {stamps} ON {stamps}.{self._at} = {values}.{self._at} AND {stamps}.series = {values}.series"
                f" LEFT JOIN history_names ON history_names.id = {stamps}.name_id"
                f" WHERE {values}.{self._at} = ? AND {units} IS NOT NULL AND {changed}",
                (self._number(day),),
            ).fetchall()
        if not everything:
            # What was never written has no difference, and is always written.
            small = [change for *_, change in rows if change is not None and change < source.least_change]
            if sum(small) <= source.most_unsent:
                rows = [row for row in rows if row[-1] is None or row[-1] >= source.least_change]
        return [Change(day, *row) for *row, _ in rows]

    def reserve(self, sent: Iterable[Sent]) -> None:
        """Use up the stamps; what the history holds of these series is not known from here on."""
        rows = list(sent)
        with self.ledger.transaction(), self.ledger.connection() as db:
            db.executemany(
                "INSERT OR IGNORE INTO history_names (name) VALUES (?)", {(row.name,) for row in rows}
            )
            db.executemany(
                f"INSERT INTO {self.source.stamps} ({self._at}, series, stamp, name_id)"
                " VALUES (?, ?, ?, (SELECT id FROM history_names WHERE name = ?))"
                f" ON CONFLICT ({self._at}, series) DO UPDATE SET stamp = excluded.stamp, units = NULL, refused = NULL",
                [(self._number(row.change.day), row.change.series, row.stamp, row.name) for row in rows],
            )

    def settle(self, taken: Iterable[Sent], refused: Iterable[Sent], days: Mapping[date, int]) -> None:
        """Record what the endpoint took and refused, and the days that are complete now."""
        rows: list[tuple[float | None, float | None, Sent]] = [(row.change.units, None, row) for row in taken]
        rows += [(row.change.written, row.change.units, row) for row in refused]
        with self.ledger.transaction(), self.ledger.connection() as db:
            db.executemany(
                # A newer reservation means that a newer value is on its way.
                f"UPDATE {self.source.stamps} SET units = ?, refused = ?"
                f" WHERE {self._at} = ? AND series = ? AND stamp = ?",
                [
                    (units, refusal, self._number(row.change.day), row.change.series, row.stamp)
                    for units, refusal, row in rows
                ],
            )
            db.executemany(
                f"INSERT OR REPLACE INTO {self.source.compared} ({self._at}, read_at) VALUES (?, ?)",
                [(self._number(day), read_at) for day, read_at in days.items()],
            )

    def begin(self, cost_type: int) -> None:
        """Have every day of cost compared again if its type has changed."""
        fact = self.source.cost_type_fact
        if fact is not None and self.ledger.facts.get(fact) != cost_type:
            with self.ledger.transaction(), self.ledger.connection() as db:
                db.execute(f"DELETE FROM {self.source.compared}")
                self.ledger.facts.remember(fact, cost_type)

    def ask_again(self, start: date, end: date, most: int) -> int:
        """Have at most `most` refused samples of [start, end) sent again, and return how many.

        They are drawn at random, so that those which are refused each time do not keep the others waiting.
        """
        stamps = self.source.stamps
        with self.ledger.transaction(), self.ledger.connection() as db:
            rows = db.execute(
                f"SELECT {self._at}, series FROM {stamps} WHERE refused IS NOT NULL AND {self._at} >= ? AND {self._at} < ?"
                " ORDER BY RANDOM() LIMIT ?",
                (*self.source.period.numbers(start, end), most),
            ).fetchall()
            db.executemany(f"UPDATE {stamps} SET refused = NULL WHERE {self._at} = ? AND series = ?", rows)
            db.executemany(
                f"DELETE FROM {self.source.compared} WHERE {self._at} = ?", {(day,) for day, _ in rows}
            )
        return len(rows)

    def refused(self, start: date, end: date) -> dict[date, int]:
        """The number of refused samples of each day of [start, end) that has any."""
        with self.ledger.connection() as db:
            rows = db.execute(
                f"SELECT {self._at}, COUNT(*) FROM {self.source.stamps}"
                f" WHERE refused IS NOT NULL AND {self._at} >= ? AND {self._at} < ? GROUP BY {self._at}",
                self.source.period.numbers(start, end),
            ).fetchall()
        return {self._key(day): count for day, count in rows}

    # What the history should hold

    def account_ids(self) -> frozenset[str]:
        """Every account that the ledger knows values of."""
        with self.ledger.connection() as db:
            rows = db.execute(f"SELECT DISTINCT account_id FROM {self.source.series}").fetchall()
        return frozenset(account for (account,) in rows)

    def newest_written(self, end: date) -> date | None:
        """The newest day before `end` that the history holds values of."""
        with self.ledger.connection() as db:
            (day,) = db.execute(
                f"SELECT MAX({self._at}) FROM {self.source.stamps} WHERE {self._at} < ? AND units IS NOT NULL",
                (self._number(end),),
            ).fetchone()
        return self._key(day) if day is not None else None

    def sums(self, start: date, end: date) -> dict[tuple[date, str, str], tuple[float, int]]:
        """Units and number of values other than zero by day, family and account id over [start, end), as written."""
        series, stamps = self.source.series, self.source.stamps
        with self.ledger.connection() as db:
            rows = db.execute(
                f"SELECT {self._at}, {self.source.family}, account_id, TOTAL(units), SUM(units != 0) FROM {stamps}"
                f" JOIN {series} ON {series}.id = {stamps}.series"
                f" WHERE {self._at} >= ? AND {self._at} < ? AND units IS NOT NULL GROUP BY 1, 2, 3",
                self.source.period.numbers(start, end),
            ).fetchall()
        return {
            (self._key(day), family, account): (units, count) for day, family, account, units, count in rows
        }

    def label_names(self) -> dict[str, frozenset[str]]:
        """Every label that a series of the ledger may have, by family."""
        packed: dict[str, list[str]] = {}
        with self.ledger.connection() as db:
            for family in self.source.packed:
                rows = db.execute(
                    f"SELECT DISTINCT {self.source.label} FROM {self.source.series} WHERE {self.source.family} = ?",
                    (family,),
                )
                packed[family] = [label for (label,) in rows]
        return {
            family.name: self.source.label_names(family.name, packed.get(family.name, ()))
            for family in self.source.families
        }

    def written(self, day: date) -> dict[tuple[str, str, str, str], Written]:
        """What a day should hold by family, account id, account name as written, and the label beside it."""
        series, stamps = self.source.series, self.source.stamps
        with self.ledger.connection() as db:
            rows = db.execute(
                f"SELECT {self.source.family}, account_id, name, {self.source.label}, {stamps}.series, units,"
                f" refused IS NOT NULL FROM {stamps} JOIN {series} ON {series}.id = {stamps}.series"
                f" JOIN history_names ON history_names.id = {stamps}.name_id WHERE {self._at} = ?",
                (self._number(day),),
            ).fetchall()
        return {
            (family, account, name, label): Written(number, units, bool(refused))
            for family, account, name, label, number, units, refused in rows
        }

    def forget(self, day: date, seen: Mapping[int, int]) -> None:
        """Have series (and the newest stamp seen of each) of a day written again."""
        with self.ledger.transaction(), self.ledger.connection() as db:
            db.executemany(
                f"UPDATE {self.source.stamps} SET units = NULL, refused = NULL, stamp = MAX(stamp, ?)"
                f" WHERE {self._at} = ? AND series = ?",
                [(stamp, self._number(day), series) for series, stamp in seen.items()],
            )
            db.execute(f"DELETE FROM {self.source.compared} WHERE {self._at} = ?", (self._number(day),))

    def forget_accounts(self, day: date, account_ids: Iterable[str]) -> None:
        """Have all of these accounts' series of a day written again."""
        with self.ledger.transaction(), self.ledger.connection() as db:
            db.executemany(
                f"UPDATE {self.source.stamps} SET units = NULL, refused = NULL WHERE {self._at} = ?"
                f" AND series IN (SELECT id FROM {self.source.series} WHERE account_id = ?)",
                [(self._number(day), account) for account in account_ids],
            )
            db.execute(f"DELETE FROM {self.source.compared} WHERE {self._at} = ?", (self._number(day),))

"""Cost as AWS reported it last, by UTC day, linked account and service: what views, forecasts and answers ask for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import groupby, islice, takewhile
from operator import itemgetter

from exporter.core.amounts import AMOUNTS, Amounts, ChargeClass, CostRow, CostTypeNotAvailableError
from exporter.core.moments import start_of_day, to_moment
from exporter.core.money import exact_sum, joined, to_usd
from exporter.ledger.database import Database
from exporter.ledger.facts import Facts

_DAY_BEFORE_1970 = date(1970, 1, 1).toordinal() - 1


class CostTable:
    """Reads the tables of cost; ranges of days are half-open, [start, end)."""

    def __init__(self, database: Database, facts: Facts) -> None:
        """`facts` has the number of rows, because a scrape must not count millions."""
        self._database = database
        self._facts = facts

    def lacking(self, cost_type: str, start: date, end: date) -> tuple[date, ...]:
        """The days of [start, end) whose source does not have a cost type; ValueError if it is none."""
        if cost_type not in AMOUNTS:
            raise ValueError(f"{cost_type} is not a cost type")
        with self._database.connection() as db:
            rows = db.execute(
                "SELECT day FROM days WHERE day >= ? AND day < ? AND cost_types IS NOT NULL"
                " AND instr(',' || cost_types || ',', ',' || ? || ',') = 0 ORDER BY day",
                (start.toordinal(), end.toordinal(), cost_type),
            ).fetchall()
        return tuple(date.fromordinal(day) for (day,) in rows)

    def require(self, cost_type: str, start: date, end: date) -> None:
        """CostTypeNotAvailableError where a day of [start, end) has no such cost type, ValueError if it is none."""
        if lacking := self.lacking(cost_type, start, end):
            raise CostTypeNotAvailableError(
                f"{cost_type} cost of {lacking[0]} is not available: FOCUS has net_unblended and net_amortized only"
            )

    def sums(self, start: date, end: date, cost_type: str) -> dict[tuple[str, str], Decimal]:
        """Cost by (account id, service) over [start, end), in USD; keys that were ever seen there, zeros too."""
        self.require(cost_type, start, end)
        with self._database.connection() as db:
            rows = db.execute(
                # Summed before it is joined: half the time of the other way round.
                f"SELECT account_id, service, summed.* FROM (SELECT {exact_sum(f'total_{cost_type}')}, series"  # noqa: S608 # a known column
                " FROM cost WHERE day >= ? AND day < ? GROUP BY series) AS summed"
                " JOIN series ON series.id = summed.series",
                (start.toordinal(), end.toordinal()),
            ).fetchall()
        return {
            (account_id, service): to_usd(joined(high, low)) for account_id, service, high, low, _ in rows
        }

    def of_service(
        self, service: str, start: date, end: date, cost_type: str
    ) -> dict[tuple[date, str], Decimal]:
        """A service's cost by day and account id, in USD, of those that were seen on a day of [start, end)."""
        self.require(cost_type, start, end)
        with self._database.connection() as db:
            rows = db.execute(
                f"SELECT day, account_id, total_{cost_type} FROM cost JOIN series ON series.id = cost.series"  # noqa: S608 # a known column
                " WHERE day >= ? AND day < ? AND service = ?",
                (start.toordinal(), end.toordinal(), service),
            ).fetchall()
        return {(date.fromordinal(day), account_id): to_usd(units) for day, account_id, units in rows}

    def units(
        self,
        start: date,
        end: date,
        cost_type: str,
        *,
        by_day: bool = False,
        by_subject: bool = True,
        accounts: Collection[str] | None = None,
        services: Collection[str] | None = None,
    ) -> dict[tuple[date | None, str, str], int]:
        """Units of 1e-10 USD over [start, end) by day (None unless `by_day`), account id and service.

        Both are empty unless `by_subject`. Of all `accounts` and `services` unless some are given.
        """
        if cost_type not in AMOUNTS:
            raise ValueError(f"{cost_type} is not a cost type")
        given: list[int | str] = [start.toordinal(), end.toordinal()]
        where = ""
        for column, names in (("account_id", accounts), ("service", services)):
            if names is not None:
                where += f" AND {column} IN ({', '.join('?' * len(names))})"
                given += sorted(names)
        chosen = f" AND series IN (SELECT id FROM series WHERE TRUE{where})" if where else ""  # noqa: S608 # known columns
        day, series = "day" if by_day else "NULL", "series" if by_subject else "NULL"
        with self._database.connection() as db:
            rows = db.execute(
                # Summed before it is joined: half the time of the other way round.
                f"SELECT summed.*, account_id, service FROM (SELECT {exact_sum(f'total_{cost_type}')},"  # noqa: S608 # a known column
                f" {day} AS day_of_row, {series} AS number FROM cost WHERE day >= ? AND day < ?{chosen}"
                " GROUP BY day_of_row, number) AS summed LEFT JOIN series ON series.id = number",
                given,
            ).fetchall()
        return {
            (date.fromordinal(ordinal) if by_day else None, account_id or "", service or ""): joined(
                high, low
            )
            for high, low, ordinal, _, account_id, service in rows
        }

    def series(self) -> dict[int, tuple[str, str]]:
        """Account id and service by the number of the series."""
        with self._database.connection() as db:
            rows = db.execute("SELECT id, account_id, service FROM series").fetchall()
        return {number: (account_id, service) for number, account_id, service in rows}

    def day_units(self, day: date, cost_type: str) -> list[tuple[int, int]]:
        """The numbers of the series seen on one day, and their cost in units of 1e-10 USD."""
        self.require(cost_type, day, day + timedelta(days=1))
        with self._database.connection() as db:
            return db.execute(
                f"SELECT series, total_{cost_type} FROM cost WHERE day = ?",  # noqa: S608 # a known column
                (day.toordinal(),),
            ).fetchall()

    def day_parts(self, day: date, cost_type: str) -> list[tuple[int, int, int]]:
        """The series seen on one day: number, cost, and how much of it is no usage, in units of 1e-10 USD."""
        self.require(cost_type, day, day + timedelta(days=1))
        with self._database.connection() as db:
            return db.execute(
                f"SELECT series, total_{cost_type}, other_{cost_type} FROM cost WHERE day = ?",  # noqa: S608 # known columns
                (day.toordinal(),),
            ).fetchall()

    def keys_per_day(self, start: date, end: date) -> int:
        """The most (account, service) pairs with cost on one day of [start, end)."""
        with self._database.connection() as db:
            (count,) = db.execute(
                "SELECT COALESCE(MAX(keys), 0) FROM (SELECT COUNT(*) AS keys FROM cost WHERE day >= ?"
                " AND day < ? AND total_unblended != 0 GROUP BY day)",
                (start.toordinal(), end.toordinal()),
            ).fetchone()
        return int(count)

    def accounts_and_services(self, start: date, end: date) -> tuple[int, int]:
        """How many accounts, and how many services, have rows in [start, end)."""
        with self._database.connection() as db:
            accounts, services = db.execute(
                "SELECT COUNT(DISTINCT account_id), COUNT(DISTINCT service) FROM series WHERE id IN"
                " (SELECT DISTINCT series FROM cost WHERE day >= ? AND day < ?)",
                (start.toordinal(), end.toordinal()),
            ).fetchone()
        return int(accounts), int(services)

    def rows(self, start: date, end: date) -> Iterator[CostRow]:
        """Every row of [start, end), one per charge class, in the order of day, account and service."""
        totals = ", ".join(f"total_{name}" for name in AMOUNTS)
        others = ", ".join(f"other_{name}" for name in AMOUNTS)
        with self._database.connection() as db:
            found = db.execute(
                f"SELECT day, account_id, service, estimated, observed_at, {totals}, {others}"  # noqa: S608
                " FROM cost JOIN series ON series.id = cost.series WHERE day >= ? AND day < ?"
                " ORDER BY day, account_id, service",
                (start.toordinal(), end.toordinal()),
            ).fetchall()
        width = len(AMOUNTS)
        for day, account_id, service, estimated, at, *units in found:
            total, other = units[:width], units[width:]
            usage = [a - b for a, b in zip(total, other, strict=True)]
            for charge_class, amounts in ((ChargeClass.USAGE, usage), (ChargeClass.OTHER, other)):
                yield CostRow(
                    date.fromordinal(day),
                    account_id,
                    service,
                    charge_class,
                    Amounts(*map(to_usd, amounts)),
                    bool(estimated),
                    to_moment(at),
                )

    def is_estimated(self, day: date) -> bool:
        """Whether AWS called cost of a day estimated when it was read last."""
        with self._database.connection() as db:
            (estimated,) = db.execute(
                "SELECT MAX(estimated) FROM cost WHERE day = ?", (day.toordinal(),)
            ).fetchone()
        return bool(estimated)

    def assessed_day(self, now: datetime) -> date | None:
        """The newest settled day of the last 40.

        Settled is read at least 36 h after its end, or read twice after its end, at least 6 h
        apart, within 1%.
        """
        return next((day for day, seen in self._reads(now) if _settled(day, seen)), None)

    def complete_day(self, now: datetime) -> date | None:
        """The newest complete day of the last 40: the one definition of complete for every window of days.

        Complete is a day that is over, has cost, and was last read as long after its end as the source needs to book
        a day: as long as the slowest of the last seven days took until its total stayed within 1%, at most 36 h. While
        no day has shown that, 18 h.
        """
        reads, today = dict(self._reads(now)), now.date()
        needed = _booking_time(reads)
        return next(
            (
                day
                for day, seen in reads.items()
                if day < today and seen[-1][1] and _age(day, seen[-1][0]) >= needed
            ),
            None,
        )

    def _reads(self, now: datetime) -> Iterator[tuple[date, list[tuple[datetime, int]]]]:
        """When each of the last 40 days was read after its end, and its total; the newest day first."""
        first = (now - timedelta(days=40)).date()
        with self._database.connection() as db:
            rows = db.execute(
                "SELECT day, observed_at, unblended FROM day_totals WHERE day >= ?"
                " AND observed_at >= (day - ?) * 86400000 ORDER BY day DESC, observed_at",
                (first.toordinal(), _DAY_BEFORE_1970),
            ).fetchall()
        # A day at a time: who looks for the newest that is settled needs a few of them only.
        for ordinal, seen in groupby(rows, itemgetter(0)):
            yield date.fromordinal(ordinal), [(to_moment(at), units) for _, at, units in seen]

    def data_through(self, now: datetime) -> date | None:
        """The newest complete day that has been read after its end and has cost."""
        with self._database.connection() as db:
            row = db.execute(
                "SELECT day FROM day_totals WHERE observed_at >= (day - ?) * 86400000 AND unblended != 0"
                " AND day < ? ORDER BY day DESC LIMIT 1",
                (_DAY_BEFORE_1970, now.date().toordinal()),
            ).fetchone()
        return date.fromordinal(row[0]) if row else None

    def first_seen(self) -> dict[tuple[str, str], date]:
        """The first day with cost by (account id, service)."""
        with self._database.connection() as db:
            rows = db.execute(
                "SELECT account_id, service, first_day FROM series WHERE first_day IS NOT NULL"
            ).fetchall()
        return {(account_id, service): date.fromordinal(day) for account_id, service, day in rows}

    def row_count(self) -> int:
        """Rows of cost held, as counted by the last commit."""
        return self._facts.get("cost_rows") or 0


_LONGEST_BOOKING = timedelta(hours=36)
_UNKNOWN_BOOKING = timedelta(hours=18)  # AWS updates up to three times a day: two updates after the end
_BOOKED_BY = timedelta(hours=72)  # what moves later is a restatement
_LEARNT_FROM_DAYS = 7
_SLACK = timedelta(hours=1)  # a refresh need not come at the same minute of each day


def _age(day: date, at: datetime) -> timedelta:
    return at - start_of_day(day) - timedelta(days=1)


def _booking_time(reads: Mapping[date, list[tuple[datetime, int]]]) -> timedelta:
    """How long after its end a day is to be read so that its cost is booked, from the newest days that show it."""
    shown = (_booked_after(day, seen) for day, seen in reads.items())
    times = list(islice((time for time in shown if time is not None), _LEARNT_FROM_DAYS))
    return min(_LONGEST_BOOKING, max(times) - _SLACK) if times else _UNKNOWN_BOOKING


def _booked_after(day: date, seen: list[tuple[datetime, int]]) -> timedelta | None:
    """How long after its end a day was read first with a total that stayed; None if its reads do not show that."""
    ages = [(_age(day, at), units) for at, units in seen if _age(day, at) <= _BOOKED_BY]
    # One that was not read soon after its end, or not for long, shows nothing.
    if not ages or ages[0][0] >= _UNKNOWN_BOOKING or ages[-1][0] < timedelta(days=1) or not ages[-1][1]:
        return None
    booked = ages[-1][1]
    staying = takewhile(lambda read: abs(read[1] - booked) * 100 <= abs(booked), reversed(ages))
    return min(age for age, _ in staying)


def _settled(day: date, reads: list[tuple[datetime, int]]) -> bool:
    end = start_of_day(day) + timedelta(days=1)
    if reads[-1][0] >= end + timedelta(hours=36):
        return True
    if reads[-1][0] - reads[0][0] < timedelta(hours=6):
        return False  # without a look at each pair of many reads
    return any(
        later - earlier >= timedelta(hours=6) and abs(second - first) * 100 <= abs(first)
        for index, (earlier, first) in enumerate(reads)
        for later, second in reads[index + 1 :]
    )

"""Values of whole UTC days that are written at their dates, beside cost.

These are usage totals, the accounts' organizational units, and what was expected of each assessed day.

One table holds every family: a value belongs to a day, an account, and one more label. What is put here
is what the dated history should hold; `exporter.history.sample_timestamps` says what it does hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from exporter.declarations.collector import Family, start_of_day, to_milliseconds
from exporter.ledger.file import Ledger
from exporter.usage.metrics import USAGE_METRICS, daily_family

OU_INFO = Family(
    "aws_account_ou_info",
    "1 for each account and each organizational unit above it, by the unit's path; live, and at each day.",
    ("account_id", "account", "ou"),
)
RUNNING = "aws_ec2_instance_running_seconds_total"
RUNNING_HELP = "Seconds that EC2 instances have run."

_PAIR = ("account_id", "account", "service")
DAILY_USAGE = Family(
    "aws_cost_daily_usage_usd",
    "Usage of an assessed UTC day at amortized cost, written at that day: what is compared with the expected cost.",
    _PAIR,
)
DAILY_EXPECTED = Family(
    "aws_cost_daily_expected_usd",
    "Expected usage of an assessed UTC day at amortized cost, from the days before it, written at that day.",
    _PAIR,
)
DAILY_SCORE = Family(
    "aws_cost_daily_deviation_score",
    "How far the usage of an assessed UTC day is from the expected cost, in robust deviations, written at that day.",
    _PAIR,
)
ASSESSED_FAMILIES = (DAILY_USAGE, DAILY_EXPECTED, DAILY_SCORE)
"""What the assessment of a day leaves behind; exporter/anomalies/history.py keeps the values."""

USAGE_FAMILIES = (
    *(row.daily_family for row in USAGE_METRICS if row.dated),
    daily_family(RUNNING, RUNNING_HELP),
)
"""Daily usage totals."""

DATED_FAMILIES = (*USAGE_FAMILIES, OU_INFO, *ASSESSED_FAMILIES)
"""Every dated family other than cost. The last label of each is the one beside the account."""

_OUS_A_TRANSACTION = 20_000


@dataclass(frozen=True, slots=True)
class Value:
    """What one series is on one day."""

    day: date
    family: str
    account_id: str
    label: str
    value: float


def put(ledger: Ledger, values: Iterable[Value], at: datetime) -> int:
    """Take over what has been observed at `at`; returns how many values are new or have changed."""
    rows = list(values)
    if not rows:
        return 0
    observed = to_milliseconds(at)
    with ledger.transaction(), ledger.connection() as db:
        keys = {(row.family, row.account_id, row.label) for row in rows}
        db.executemany(
            "INSERT OR IGNORE INTO dated_series (family, account_id, label) VALUES (?, ?, ?)", keys
        )
        by_day: dict[date, list[Value]] = {}
        for row in rows:
            by_day.setdefault(row.day, []).append(row)
        changes: dict[int, int] = {}
        for day, of_day in by_day.items():
            before = db.total_changes
            db.executemany(
                "INSERT INTO dated_values (day, series, value, observed_at)"
                " VALUES (?, (SELECT id FROM dated_series WHERE family = ? AND account_id = ? AND label = ?), ?, ?)"
                " ON CONFLICT (day, series) DO UPDATE SET value = excluded.value, observed_at = excluded.observed_at"
                " WHERE value != excluded.value",
                [
                    (day.toordinal(), row.family, row.account_id, row.label, row.value, observed)
                    for row in of_day
                ],
            )
            if db.total_changes > before:
                changes[day.toordinal()] = db.total_changes - before
        db.executemany(
            # Whoever follows the days must see two changes within a millisecond as two.
            "INSERT INTO dated_days (day, read_at) VALUES (?, ?)"
            " ON CONFLICT (day) DO UPDATE SET read_at = MAX(read_at + 1, excluded.read_at)",
            [(day, observed) for day in changes],
        )
    return sum(changes.values())


def totals(
    ledger: Ledger, start: date, end: date, families: Sequence[str]
) -> list[tuple[date, str, str, str, float]]:
    """Day, family, account id, label and value of each value of [start, end), in that order."""
    marks = ", ".join("?" * len(families))
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT day, family, account_id, label, value FROM dated_values"  # noqa: S608 # only marks
            " JOIN dated_series ON dated_series.id = dated_values.series"
            f" WHERE day >= ? AND day < ? AND family IN ({marks}) ORDER BY day, family, account_id, label",
            (start.toordinal(), end.toordinal(), *families),
        ).fetchall()
    return [(date.fromordinal(day), *rest) for day, *rest in rows]


# The accounts' organizational units


def ancestors(ou: str) -> tuple[str, ...]:
    """The paths of a unit and of each unit above it, nearest last; the root alone for `/`."""
    parts = [part for part in ou.split("/") if part]
    if not parts:
        return ("/",)
    return tuple("/" + "/".join(parts[: depth + 1]) for depth in range(len(parts)))


def place_days(ledger: Ledger, account_ids: Iterable[str], days_back: int, now: datetime) -> int:
    """Put the units of these accounts at each complete day that has none yet; returns the values put."""
    today = now.date()
    oldest = today - timedelta(days=days_back)
    with ledger.connection() as db:
        newest = dict(
            db.execute(
                "SELECT account_id, MAX(day) FROM dated_values"
                " JOIN dated_series ON dated_series.id = dated_values.series WHERE family = ? GROUP BY account_id",
                (OU_INFO.name,),
            ).fetchall()
        )
    by_day: dict[date, list[str]] = {}
    for account_id in account_ids:
        known = newest.get(account_id)
        day = max(date.fromordinal(known) + timedelta(days=1), oldest) if known else oldest
        while day < today:
            by_day.setdefault(day, []).append(account_id)
            day += timedelta(days=1)
    put_in_all = 0
    values: list[Value] = []
    for day in sorted(by_day):  # so that the newest day says where a stopped process has to go on
        ous = ledger.account_ous(on=day)
        values += _placed(day, by_day[day], ous)
        if len(values) >= _OUS_A_TRANSACTION:
            put_in_all += put(ledger, values, now)
            values = []
    return put_in_all + put(ledger, values, now)


def _placed(day: date, account_ids: Iterable[str], ous: Mapping[str, str]) -> Iterable[Value]:
    for account_id in account_ids:
        if account_id in ous:
            for ou in ancestors(ous[account_id]):
                yield Value(day, OU_INFO.name, account_id, ou, 1.0)


def first_moment(day: date) -> int:
    """Epoch seconds at which a day begins."""
    return int(start_of_day(day).timestamp())

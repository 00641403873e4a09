"""Values of whole UTC days that are written at their dates, beside cost.

These are usage totals, the accounts' organizational units, and what was expected of each assessed day.

One table holds every family: a value belongs to a day, an account, and one more label. What is put here
is what the dated history should hold; `exporter.history.sample_timestamps` says what it does hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from exporter.core.moments import start_of_day, to_milliseconds
from exporter.ledger.file import Ledger


@dataclass(frozen=True, slots=True)
class DailyValue:
    """What one series is on one day."""

    day: date
    family: str
    account_id: str
    label: str
    value: float


def upsert(ledger: Ledger, values: Iterable[DailyValue], at: datetime) -> int:
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
        by_day: dict[date, list[DailyValue]] = {}
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


def first_moment(day: date) -> int:
    """Epoch seconds at which a day begins."""
    return int(start_of_day(day).timestamp())

"""Values of whole UTC days that are written at their dates, beside cost.

These are usage totals, the accounts' organizational units and groups, sums of cost, and what was expected of each
assessed day.

One table holds every family: a value belongs to a day, an account, and one more label. Either is empty where the
family does not have it; of a family with several more labels they are packed into one. What is put here
is what the dated history should hold; `exporter.history.sample_timestamps` says what it does hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from exporter.core.metric import Family
from exporter.core.moments import month_start, start_of_day, to_milliseconds
from exporter.ledger.file import Ledger

Key = tuple[str, str, str]
"""Family, account id, and the label beside it."""


@dataclass(frozen=True, slots=True)
class DailyValue:
    """What one series is on one day."""

    day: date
    family: str
    account_id: str
    label: str
    value: float


def pack_labels(labels: Mapping[str, str]) -> str:
    """Several labels as the one that a value has; equal labels are packed equally, empty ones are left out."""
    return json.dumps({name: labels[name] for name in sorted(labels) if labels[name]}, separators=(",", ":"))


def unpack_labels(label: str) -> dict[str, str]:
    """The labels that `pack_labels` was given."""
    labels: dict[str, str] = json.loads(label)
    return labels


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


def series_with_values(ledger: Ledger, start: date, end: date, families: Sequence[str]) -> set[Key]:
    """The series that are not 0 on each of the days of [start, end)."""
    marks = ", ".join("?" * len(families))
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT DISTINCT family, account_id, label FROM dated_values"  # noqa: S608 # only marks
            " JOIN dated_series ON dated_series.id = dated_values.series"
            f" WHERE day >= ? AND day < ? AND value != 0 AND family IN ({marks})",
            (start.toordinal(), end.toordinal(), *families),
        )
        return set(rows)


# Values that follow from others


def replacing(
    day: date, held: Mapping[Key, float], values: Mapping[Key, float], least: float
) -> list[DailyValue]:
    """What turns the values that are held of a day into `values`, where that differs by at least `least`.

    Zeros only where something is held: it cannot be deleted.
    """
    return [
        DailyValue(day, *key, values.get(key, 0.0))
        for key in values.keys() | held.keys()
        if (values.get(key, 0.0) if key not in held else abs(values.get(key, 0.0) - held[key]) >= least)
    ]


def held_values(ledger: Ledger, day: date, families: Iterable[Family]) -> dict[Key, float]:
    """The values of a day by family, account id and label."""
    names = [family.name for family in families]
    return {
        (family, account_id, label): value
        for _, family, account_id, label, value in totals(ledger, day, day + timedelta(days=1), names)
    }


def version_of(*parts: object) -> int:
    """A number that differs, but for a chance of 1 in 10^16, where any of the parts prints differently."""
    text = "\n".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest())


def derived_versions(ledger: Ledger, kind: str) -> dict[date, int]:
    """The version of what the values of one kind were derived from, by day."""
    with ledger.connection() as db:
        rows = db.execute("SELECT day, version FROM derived_days WHERE kind = ?", (kind,)).fetchall()
    return {date.fromordinal(day): version for day, version in rows}


def oldest_day(now: datetime, window: timedelta, history_months: int) -> date:
    """The first day to derive values of: wholly within `window`, and in the months that the ledger is to hold."""
    return max(month_start(now.date(), history_months), (now - window).date() + timedelta(days=1))


def changed_days(
    ledger: Ledger, kind: str, made_of: Mapping[date, object], made_with: object
) -> Iterator[tuple[date, int]]:
    """The days of `made_of` that are out of date, newest first, with their new versions.

    The values of a day follow from what `made_of` has of it, and all of them from `made_with`.
    """
    held = derived_versions(ledger, kind)
    for day in sorted(made_of, reverse=True):
        wanted = version_of(made_with, made_of[day])
        if held.get(day) != wanted:
            yield day, wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Portions:
    """How many values are derived in one call, and committed in one transaction."""

    a_call: int = 100_000
    """A few seconds, in which changed cost waits for its turn."""
    a_transaction: int = 5_000


def derive(
    ledger: Ledger,
    kind: str,
    out_of_date: Iterable[tuple[date, int]],
    values_of: Callable[[date], Sequence[DailyValue]],
    at: datetime,
    stopped: Callable[[], bool],
    portions: Portions,
) -> bool:
    """Take over the values of days that are out of date, with their new versions; True if some are left.

    The values and the version of a day are committed together, so that a day is either derived or still out of date.
    """
    count = 0
    values: list[DailyValue] = []
    versions: dict[date, int] = {}
    for day, version in out_of_date:
        if stopped() or count >= portions.a_call:
            _commit_derived(ledger, kind, values, versions, at)
            return True
        found = values_of(day)
        values += found
        versions[day] = version
        count += len(found)
        if len(values) >= portions.a_transaction:
            _commit_derived(ledger, kind, values, versions, at)
            values, versions = [], {}
    _commit_derived(ledger, kind, values, versions, at)
    return False


def _commit_derived(
    ledger: Ledger, kind: str, values: Iterable[DailyValue], versions: Mapping[date, int], at: datetime
) -> None:
    if not versions:
        return
    with ledger.transaction() as db:
        upsert(ledger, values, at)
        db.executemany(
            "INSERT OR REPLACE INTO derived_days VALUES (?, ?, ?)",
            [(kind, day.toordinal(), version) for day, version in versions.items()],
        )


def first_moment(day: date) -> int:
    """Epoch seconds at which a day begins."""
    return int(start_of_day(day).timestamp())

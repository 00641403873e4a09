"""Compares what was read by a dimension with the cost in the ledger, without a request."""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import date

from exporter.core.amounts import AMOUNTS
from exporter.core.money import exact_sum, exact_sum_of_sums, joined
from exporter.cube.dimensions import Dimension
from exporter.cube.values import Beside
from exporter.ledger.file import Ledger

_ROUNDING = 10_000
"""AWS rounds each amount to a unit of 1e-10 USD, so sums of many rows may differ by this much."""

_COLUMNS: Mapping[Beside, str] = {"account": "account_id", "service": "service"}


def differences(
    ledger: Ledger, dimension: Dimension, beside: Beside, days: Set[date]
) -> dict[date, frozenset[str]]:
    """The accounts or services whose keys of a day do not add up to their cost in the ledger; days without a difference are left out."""
    found = {}
    for day in days:
        cost, keys = _of_cost(ledger, beside, day), _of_keys(ledger, dimension, beside, day)
        zero = (0,) * len(AMOUNTS)
        subjects = frozenset(
            subject
            for subject in cost.keys() | keys.keys()
            if any(
                abs(a - b) > _ROUNDING
                for a, b in zip(cost.get(subject, zero), keys.get(subject, zero), strict=True)
            )
        )
        if subjects:
            found[day] = subjects
    return found


def confirm(ledger: Ledger, dimension: Dimension, beside: Beside, days: Mapping[date, int]) -> None:
    """Take the days, with how often their cost has changed, as up to date."""
    if not days:
        return
    with ledger.transaction() as db:
        db.executemany(
            "UPDATE cube_reads SET cost_changes = ? WHERE dimension = ? AND beside = ? AND day = ?",
            [(changes, dimension.name, beside, day.toordinal()) for day, changes in days.items()],
        )


def _of_cost(ledger: Ledger, beside: Beside, day: date) -> dict[str, tuple[int, ...]]:
    column = _COLUMNS[beside]
    sums = ", ".join(exact_sum(f"total_{name}") for name in AMOUNTS)
    with ledger.connection() as db:
        rows = db.execute(
            f"SELECT {column}, {sums} FROM cost JOIN series ON series.id = cost.series"  # noqa: S608 # known columns
            f" WHERE day = ? GROUP BY {column}",
            (day.toordinal(),),
        ).fetchall()
    return {subject: _joined(halves) for subject, *halves in rows}


def _of_keys(ledger: Ledger, dimension: Dimension, beside: Beside, day: date) -> dict[str, tuple[int, ...]]:
    column = _COLUMNS[beside]
    sums = ", ".join(exact_sum_of_sums(name) for name in AMOUNTS)
    with ledger.connection() as db:
        rows = db.execute(
            f"SELECT {column}, {sums} FROM cube_values JOIN cube_keys ON cube_keys.id = key"  # noqa: S608 # known columns
            f" WHERE day = ? AND dimension = ? AND {column} != '' GROUP BY {column}",
            (day.toordinal(), dimension.name),
        ).fetchall()
    return {subject: _joined(halves) for subject, *halves in rows}


def _joined(halves: list[int | None]) -> tuple[int, ...]:
    return tuple(map(joined, halves[::2], halves[1::2]))

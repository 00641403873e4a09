"""What both sources have of a month, by service: how far cost differs where an export takes over from Cost Explorer.

A month is compared at no charge where the export replaces days that the ledger has from Cost Explorer, and for one
request by `doctor --compare-month`, which leaves what it found beside the ledger for the running exporter.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

from exporter.core.amounts import AMOUNTS, Units
from exporter.core.metric import Family, Sample
from exporter.core.moments import month_start, start_of_day, to_milliseconds
from exporter.core.money import to_usd
from exporter.cost.settings import CostSettings
from exporter.cube.dimensions import OTHER
from exporter.declarations.view import ViewContext
from exporter.ledger.file import Ledger

log = logging.getLogger(__name__)

AGREES_WITHIN = 10**8
"""Units of 1e-10 USD: services that differ by less than a cent agree."""
_BOOKED_AFTER = timedelta(hours=36)  # the end of a day: before, both sources still add to it
_MONTHS_KEPT = 13
_NAMED_SERVICES = 20
_DAY = timedelta(days=1)

_MONTH = ("month",)
DIFFERENCE = Family(
    "aws_cost_source_difference_usd",
    "Cost of the data export minus cost of Cost Explorer, of the same days of a month, as they were compared last; the"
    f' {_NAMED_SERVICES} services that differ most, from a cent on, the sum of all others is "other".',
    (*_MONTH, "service"),
)
COMPARED = Family(
    "aws_cost_source_compared_usd",
    "Cost of the days of a month that were compared, as Cost Explorer has them.",
    _MONTH,
)
COMPARED_DATES = Family(
    "aws_spend_exporter_export_month_compared_dates",
    "Days of a month that were compared between the data export and Cost Explorer.",
    _MONTH,
)
COMPARED_AT = Family(
    "aws_spend_exporter_export_month_compared_timestamp_seconds",
    "When a month of the data export was compared with Cost Explorer last.",
    _MONTH,
    is_summable=False,
)
FAMILIES = (DIFFERENCE, COMPARED, COMPARED_DATES, COMPARED_AT)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceComparison:
    """Days of one month by service, in units of 1e-10 USD: of the export, and of Cost Explorer."""

    days: tuple[date, ...]
    """Ascending, at least one."""
    compared_at: datetime
    cost_types: tuple[str, ...]
    """Those that the export has; amounts of others mean nothing."""
    exported: Mapping[str, Units]
    reported: Mapping[str, Units]

    @property
    def month(self) -> date:
        """The first day of the month."""
        return month_start(self.days[0])

    def services(self, cost_type: str) -> set[str]:
        """Those that cost something in either source."""
        place = AMOUNTS.index(cost_type)
        return {
            name for side in (self.exported, self.reported) for name, units in side.items() if units[place]
        }

    def differences(self, cost_type: str) -> dict[str, int]:
        """The services that differ by a cent or more, the largest first: units of the export minus Cost Explorer's."""
        place, nothing = AMOUNTS.index(cost_type), Units()
        found = {
            name: self.exported.get(name, nothing)[place] - self.reported.get(name, nothing)[place]
            for name in self.services(cost_type)
        }
        differing = [(name, units) for name, units in found.items() if abs(units) >= AGREES_WITHIN]
        return dict(sorted(differing, key=lambda each: (-abs(each[1]), each[0])))

    def totals(self, cost_type: str) -> tuple[int, int]:
        """Units of all services: of the export, and of Cost Explorer."""
        place = AMOUNTS.index(cost_type)
        exported, reported = (
            sum(units[place] for units in side.values()) for side in (self.exported, self.reported)
        )
        return exported, reported


# Comparing


@dataclass(frozen=True, slots=True)
class ReplacedDays:
    """What Cost Explorer had of days that an export replaces, by service."""

    days: Sequence[date]
    reported: Mapping[str, Units]

    def compare(self, ledger: Ledger, cost_types: Sequence[str], now: datetime) -> None:
        """Keep how the export's cost of these days, which is in the ledger by now, differs."""
        found = SourceComparison(
            days=tuple(self.days),
            compared_at=now,
            cost_types=tuple(cost_types),
            exported=by_service(ledger, self.days),
            reported=self.reported,
        )
        remember(ledger, found, now)


def replaced_days(ledger: Ledger, days: Collection[date], delivered_at: datetime) -> ReplacedDays | None:
    """Those of a month's days that an export of `delivered_at` is about to replace, and that both sources have booked.

    None without any. Of a day that was read before it was booked, or that is known to have changed since, what Cost
    Explorer has is not known.
    """
    first, end = min(days), max(days) + _DAY
    states, confirmed = ledger.reads.day_states(first, end), ledger.reads.confirmed_at(first, end)
    comparable = [
        day
        for day in sorted(states.keys() & set(days) & confirmed.keys())
        if states[day].source == "cost_explorer"
        and states[day].whole_at is not None
        and not states[day].moved
        and min(confirmed[day], delivered_at) >= start_of_day(day + _DAY) + _BOOKED_AFTER
    ]
    return ReplacedDays(comparable, by_service(ledger, comparable)) if comparable else None


def by_service(ledger: Ledger, days: Sequence[date]) -> dict[str, Units]:
    """What the ledger holds of ascending days of one month."""
    found: dict[str, Units] = {}
    for start, end in _runs(days):
        for (_, service), units in ledger.months.held("total", start, end).items():
            before = found.get(service, Units())
            found[service] = Units(*(a + b for a, b in zip(before, units, strict=True)))
    return found


def _runs(days: Sequence[date]) -> Iterator[tuple[date, date]]:
    """Ranges [start, end) of days that follow each other."""
    start = None
    for day, following in zip_longest(days, days[1:]):
        start = start or day
        if following != day + _DAY:
            yield start, day + _DAY
            start = None


# Keeping


def remember(ledger: Ledger, found: SourceComparison, now: datetime) -> bool:
    """Keep a comparison unless a later one of its month is kept; returns whether it was. Old months are dropped."""
    with ledger.transaction() as db:
        oldest = month_start(now.date(), _MONTHS_KEPT)
        db.execute("DELETE FROM source_comparisons WHERE month < ?", (oldest.toordinal(),))
        if found.month < oldest:
            return False
        cursor = db.execute(
            "INSERT INTO source_comparisons VALUES (?, ?, ?) ON CONFLICT (month) DO UPDATE SET"
            " compared_at = excluded.compared_at, comparison = excluded.comparison"
            " WHERE excluded.compared_at > compared_at",
            (found.month.toordinal(), to_milliseconds(found.compared_at), _to_text(found)),
        )
        return cursor.rowcount > 0


def comparisons(ledger: Ledger) -> list[SourceComparison]:
    """The last comparison of each month, the oldest month first."""
    with ledger.connection() as db:
        rows = db.execute("SELECT comparison FROM source_comparisons ORDER BY month").fetchall()
    return [_from_text(text) for (text,) in rows]


def _to_text(found: SourceComparison) -> str:
    return json.dumps(
        {
            "days": [day.isoformat() for day in found.days],
            "compared_at": found.compared_at.isoformat(),
            "cost_types": found.cost_types,
            "exported": found.exported,
            "reported": found.reported,
        }
    )


def _from_text(text: str) -> SourceComparison:
    """ValueError, LookupError, TypeError or AttributeError for what no version of ours wrote."""
    read: dict[str, Any] = json.loads(text)
    return SourceComparison(
        days=tuple(map(date.fromisoformat, read["days"])),
        compared_at=datetime.fromisoformat(read["compared_at"]),
        cost_types=tuple(read["cost_types"]),
        exported={name: Units(*map(int, units)) for name, units in read["exported"].items()},
        reported={name: Units(*map(int, units)) for name, units in read["reported"].items()},
    )


def leave(data_dir: Path, found: SourceComparison) -> None:
    """Leave a comparison for the exporter, which alone writes its ledger; OSError."""
    path = data_dir / f"compared-{found.month:%Y-%m}.json"
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(_to_text(found), encoding="utf-8")
    partial.replace(path)


def take_left(ledger: Ledger, now: datetime) -> bool:
    """Keep the comparisons that were left beside the ledger; returns whether there was a new one."""
    is_new = False
    for path in sorted(ledger.path.parent.glob("compared-*.json")):
        try:
            is_new = remember(ledger, _from_text(path.read_text(encoding="utf-8")), now) or is_new
            path.unlink()
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            log.warning("a comparison of both sources cannot be taken", extra={"path": path, "error": error})
    return is_new


# Serving


def render(view: ViewContext[Any]) -> Iterator[Sample]:
    """Each month that was compared, where the export has the configured cost type."""
    cost_type = view.sections.of(CostSettings).cost_type
    for found in comparisons(view.ledger):
        if cost_type not in found.cost_types:
            continue
        month = f"{found.month:%Y-%m}"
        exported, reported = found.totals(cost_type)
        named = dict(list(found.differences(cost_type).items())[:_NAMED_SERVICES])
        for service, units in named.items():
            yield DIFFERENCE(to_usd(units), month=month, service=service)
        yield DIFFERENCE(to_usd(exported - reported - sum(named.values())), month=month, service=OTHER)
        yield COMPARED(to_usd(reported), month=month)
        yield COMPARED_DATES(len(found.days), month=month)
        yield COMPARED_AT(found.compared_at.timestamp(), month=month)

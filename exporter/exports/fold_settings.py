"""What one fold of a month is given, and what it found: both cross between two processes as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

Table = Literal["cur2", "focus_1_0", "focus_1_2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldSettings:
    """How the files of one month are folded."""

    month: date
    """Its first day."""
    table: Table
    tags: tuple[str, ...] = ()
    cost_categories: tuple[str, ...] = ()
    resources: int = 500
    """How many resources of an account keep their id; the others are summed."""
    memory_mb: int = 512
    """About what the process of the fold may take; more is spilled to disk."""
    threads: int = 1
    """A second one shares the work of a file, and takes a third more CPU: both group nearly every key of it."""
    spill: Path
    """A folder for the database of the fold and for what does not fit into memory."""
    hours_from: date | None = None
    """Hours are kept from this day on; None keeps none."""

    @property
    def last_day(self) -> date:
        """The last day of the month."""
        return (self.month.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        hours = self.hours_from.isoformat() if self.hours_from else None
        return {
            **asdict(self),
            "month": self.month.isoformat(),
            "spill": str(self.spill),
            "hours_from": hours,
        }

    @classmethod
    def from_json(cls, read: Mapping[str, Any]) -> FoldSettings:
        """What `to_json` has written."""
        hours = read["hours_from"]
        return cls(
            **{
                **read,
                "month": date.fromisoformat(read["month"]),
                "spill": Path(read["spill"]),
                "hours_from": date.fromisoformat(hours) if hours else None,
                "tags": tuple(read["tags"]),
                "cost_categories": tuple(read["cost_categories"]),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldResult:
    """What a fold has written and found."""

    rows: int
    """Rows written to lines.parquet."""
    lines: int
    """Lines read, split-cost lines included."""
    files: Mapping[str, int]
    """Lines by file."""
    unknown_charge_types: Mapping[str, tuple[int, int]]
    """Lines and units of 1e-10 USD by line type, of those that count as unblended because no rule is known."""
    unknown_services: Mapping[str, int]
    """Units by service, of those that the shipped map of names does not have."""
    currencies: tuple[str, ...]
    cost_types: tuple[str, ...]
    """The cost types, and `list_cost`, that the month has; the columns of the others are NULL."""
    tags_seen: tuple[str, ...]
    """The keys of tags and cost categories as the files' maps have them."""
    unknown_dimensions: tuple[str, ...]
    """Columns of keys that are NULL throughout, since no file has them."""
    days: tuple[date, date] | None
    """The first and last day that a line is of; None without lines. Cost of days outside of the month is on its ends."""
    hourly: bool
    paths: Mapping[str, Path]
    """The files written: `lines`, and `hours`, `split` and `commitments` where there is something."""

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        days = [day.isoformat() for day in self.days] if self.days else None
        paths = {name: str(path) for name, path in self.paths.items()}
        return {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "days": days,
            "paths": paths,
        }

    @classmethod
    def from_json(cls, read: Mapping[str, Any]) -> FoldResult:
        """What `to_json` has written."""
        days = [date.fromisoformat(day) for day in read["days"] or ()]
        return cls(
            **{
                **read,
                "days": (days[0], days[1]) if days else None,
                "paths": {name: Path(path) for name, path in read["paths"].items()},
                "unknown_charge_types": {
                    name: (lines, units) for name, (lines, units) in read["unknown_charge_types"].items()
                },
                **{
                    name: tuple(read[name])
                    for name in ("currencies", "cost_types", "tags_seen", "unknown_dimensions")
                },
            }
        )

"""List prices: a table shipped with its date, rows read from the Pricing API over it, and the configuration's over both.

A price that is not known is None, never zero. Rows are by the hour, by the GB and month, or by the piece
and month, as AWS prices them; their names say which product they are of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from exporter.core.money import to_units, to_usd
from exporter.ledger.file import Ledger

EVERYWHERE = "*"
"""In the configuration's prices: in each region without such a row."""


class Scale(StrEnum):
    """How a row of us-east-1 scales to a region without such a row; prices.json tells what each means."""

    COMPUTE = "compute"
    STORAGE = "storage"
    SAME = "same"
    UNSCALED = "unscaled"


@dataclass(frozen=True, slots=True)
class Row:
    """A list price in us-east-1, in US dollars, and how it scales."""

    usd: Decimal
    scale: Scale


@dataclass(frozen=True, slots=True)
class Region:
    """A region's usual ratios to us-east-1, and the prices that are known there."""

    compute: Decimal
    storage: Decimal
    rows: Mapping[str, Decimal]

    def scaled(self, row: Row) -> Decimal | None:
        """The price of a row of us-east-1 here; None where it is not known."""
        match row.scale:
            case Scale.COMPUTE:
                return row.usd * self.compute
            case Scale.STORAGE:
                return row.usd * self.storage
            case Scale.SAME:
                return row.usd
            case Scale.UNSCALED:
                return row.usd if self.compute == 1 else None


@dataclass(frozen=True, slots=True)
class Shipped:
    """The table that comes with the exporter."""

    as_of: datetime
    source: str
    rows: Mapping[str, Row]
    regions: Mapping[str, Region]

    def usd(self, key: str, region: str) -> Decimal | None:
        """A row of the region; else that of us-east-1 as it scales; None where neither is known."""
        known = self.regions.get(region)
        if known is None:
            return None
        if key in known.rows:
            return known.rows[key]
        row = self.rows.get(key)
        return None if row is None else known.scaled(row)


def _rows(tables: Mapping[str, Mapping[str, str]]) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for scale, table in tables.items():
        for key, usd in table.items():
            if key in rows:
                raise ValueError(f"{key} is priced twice: as {rows[key].scale} and as {scale}")
            rows[key] = Row(Decimal(usd), Scale(scale))
    return rows


def _region(known: Mapping[str, Any]) -> Region:
    rows = {key: Decimal(usd) for key, usd in known["rows"].items()}
    return Region(Decimal(known["compute"]), Decimal(known["storage"]), rows)


@cache
def shipped() -> Shipped:
    """What prices.json holds; ValueError if a row is in two of its tables."""
    data = json.loads(resources.files("exporter.inventory").joinpath("prices.json").read_text())
    return Shipped(
        datetime.fromisoformat(data["as_of"]).replace(tzinfo=UTC),
        data["source"],
        _rows(data["rows"]),
        {name: _region(known) for name, known in data["regions"].items()},
    )


@dataclass(frozen=True, slots=True)
class PriceTable:
    """List prices in US dollars by row and region."""

    overrides: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)
    read: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)
    """Rows of the Pricing API by (region, key)."""
    read_at: datetime | None = None
    """When the oldest region of `read` was read."""

    def usd(self, key: str, region: str) -> Decimal | None:
        """The price of a row in a region, None where it is not known."""
        for place in (region, EVERYWHERE):
            if key in self.overrides.get(place, {}):
                return self.overrides[place][key]
        found = self.read.get((region, key))
        return shipped().usd(key, region) if found is None else found

    @property
    def as_of(self) -> datetime:
        """The date of the table: when the Pricing API was read, else that of the shipped one."""
        return self.read_at or shipped().as_of


def save_prices(ledger: Ledger, region: str, rows: Mapping[str, Decimal], at: datetime) -> None:
    """Keep what the Pricing API says of a region, instead of what it said before."""
    with ledger.transaction(), ledger.connection() as db:
        db.execute("DELETE FROM prices WHERE region = ?", (region,))
        db.executemany(
            "INSERT INTO prices (region, key, units, read_at) VALUES (?, ?, ?, ?)",
            [(region, key, to_units(usd), int(at.timestamp())) for key, usd in rows.items()],
        )


def prices_read_at(ledger: Ledger) -> dict[str, datetime]:
    """When the Pricing API was read for each region."""
    with ledger.connection() as db:
        rows = db.execute("SELECT region, MIN(read_at) FROM prices GROUP BY region").fetchall()
    return {region: datetime.fromtimestamp(at, UTC) for region, at in rows}


def load_prices(
    ledger: Ledger, overrides: Mapping[str, Mapping[str, Decimal]], region: str | None = None
) -> PriceTable:
    """The table with what the ledger keeps of the Pricing API: of one region, or only its date."""
    with ledger.connection() as db:
        rows = db.execute("SELECT key, units FROM prices WHERE region = ?", (region,)).fetchall()
        (oldest,) = db.execute("SELECT MIN(read_at) FROM prices").fetchone()
    return PriceTable(
        overrides,
        {(str(region), key): to_usd(units) for key, units in rows},
        None if oldest is None else datetime.fromtimestamp(oldest, UTC),
    )

"""List prices: a table shipped with its date, rows read from the Pricing API over it, and the configuration's over both.

A price that is not known is None, never zero. Rows are by the hour, by the GB and month, or by the piece
and month, as AWS prices them; their names say which product they are of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

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
class Source:
    """Where prices are from: what published them, its version (may be empty), and their date."""

    name: str
    version: str
    date: date


@dataclass(frozen=True, slots=True)
class Row:
    """A list price in us-east-1, in US dollars, how it scales, and where it is from."""

    usd: Decimal
    scale: Scale
    source: Source


_BASE = "us-east-1"
_SCALES = {
    "ec2": Scale.COMPUTE,
    "rds": Scale.COMPUTE,
    "elasticache": Scale.COMPUTE,
    "ebs": Scale.STORAGE,
}
"""How rows of a source scale that prices.json does not have; others do not: they are known where they are written down."""


@dataclass(frozen=True, slots=True)
class Region:
    """A region's usual ratios to us-east-1 (None where they are not known), and the prices that are known there."""

    compute: Decimal | None
    storage: Decimal | None
    rows: Mapping[str, tuple[Decimal, Source]]

    def scaled(self, row: Row) -> Decimal | None:
        """The price of a row of us-east-1 here; None where it is not known."""
        match row.scale:
            case Scale.COMPUTE:
                return None if self.compute is None else row.usd * self.compute
            case Scale.STORAGE:
                return None if self.storage is None else row.usd * self.storage
            case Scale.SAME:
                return row.usd
            case Scale.UNSCALED:
                return row.usd if self.compute == 1 else None


@dataclass(frozen=True, slots=True)
class Shipped:
    """The table that comes with the exporter."""

    as_of: datetime
    """The date of its oldest source."""
    sources: tuple[Source, ...]
    rows: Mapping[str, Row]
    regions: Mapping[str, Region]

    def usd(self, key: str, region: str) -> Decimal | None:
        """A row of the region; else that of us-east-1 as it scales; None where neither is known."""
        known = self.regions.get(region)
        if known is None:
            return None
        if key in known.rows:
            return known.rows[key][0]
        row = self.rows.get(key)
        return None if row is None else known.scaled(row)

    def source(self, key: str, region: str) -> Source | None:
        """Where the price of a row in a region is from; None where it has none."""
        if self.usd(key, region) is None:
            return None
        own = self.regions[region].rows.get(key)
        return own[1] if own is not None else self.rows[key].source


class PriceFile(NamedTuple):
    """A file of `price_tables/`: the exact prices of one source by region and row."""

    source: Source
    regions: Mapping[str, Mapping[str, Decimal]]


def price_file(data: Mapping[str, Any]) -> PriceFile:
    """Read what `prices --update` writes; KeyError, TypeError or ValueError if it is something else."""
    return PriceFile(
        _source(data["source"]),
        {
            region: {key: Decimal(usd) for key, usd in rows.items()}
            for region, rows in data["regions"].items()
        },
    )


def _source(data: Mapping[str, str]) -> Source:
    return Source(data["name"], data.get("version", ""), date.fromisoformat(data["date"]))


def _rows(tables: Mapping[str, Mapping[str, str]], source: Source) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for scale, table in tables.items():
        for key, usd in table.items():
            if key in rows:
                raise ValueError(f"{key} is priced twice: as {rows[key].scale} and as {scale}")
            rows[key] = Row(Decimal(usd), Scale(scale), source)
    return rows


@cache
def shipped() -> Shipped:
    """What prices.json and the files of `price_tables/` hold, the newest source first; ValueError if a row is twice in one."""
    folder = resources.files("exporter.inventory")
    data = json.loads(folder.joinpath("prices.json").read_text())
    base = _source(data["source"])
    rows = _rows(data["rows"], base)
    own = {
        region: {key: (Decimal(usd), base) for key, usd in known["rows"].items()}
        for region, known in data["regions"].items()
    }
    files = [
        price_file(json.loads(path.read_text()))
        for path in sorted(folder.joinpath("price_tables").iterdir(), key=lambda path: path.name)
        if path.name.endswith(".json")
    ]
    for source, regions in sorted(files, key=lambda file: file.source.date):
        for region, prices in regions.items():
            of_region = own.setdefault(region, {})
            for key, usd in prices.items():
                if region == _BASE:
                    kind = _SCALES.get(key.partition(".")[0], Scale.UNSCALED)
                    rows[key] = Row(usd, rows[key].scale if key in rows else kind, source)
                else:
                    of_region[key] = (usd, source)
    sources = (base, *(file.source for file in files))
    oldest = min(source.date for source in sources)
    return Shipped(
        datetime(oldest.year, oldest.month, oldest.day, tzinfo=UTC),
        sources,
        rows,
        {region: _region(data["regions"].get(region, {}), known) for region, known in own.items()},
    )


def _region(ratios: Mapping[str, Any], rows: Mapping[str, tuple[Decimal, Source]]) -> Region:
    compute, storage = (Decimal(ratios[name]) if name in ratios else None for name in ("compute", "storage"))
    return Region(compute, storage, rows)


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

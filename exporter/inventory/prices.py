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
from functools import cache
from importlib import resources
from typing import Any

from exporter.core.money import to_units, to_usd
from exporter.ledger.file import Ledger

EVERYWHERE = "*"
"""In the configuration's prices: in each region that has no row of its own."""

_COMPUTE = ("ec2.", "rds.", "elasticache.", "fargate.", "kinesis.", "dynamodb.")
_STORAGE = (
    "ebs.",
    "efs.",
    "dynamodb.storage",
    "dynamodb.infrequent.storage",
    "logs.",
    "rds.storage.",
    "rds.snapshot",
    "rds.aurora.snapshot",
)
_SAME_EVERYWHERE = ("vpc.public_ipv4", "secrets.", "kms.", "eks.")


@dataclass(frozen=True, slots=True)
class Shipped:
    """The table that comes with the exporter."""

    as_of: datetime
    source: str
    rows: Mapping[str, Decimal]
    regions: Mapping[str, Mapping[str, Any]]

    def usd(self, key: str, region: str) -> Decimal | None:
        """A row of the region; else that of us-east-1 by the region's usual ratio; None where neither is known."""
        known = self.regions.get(region)
        if known is None:
            return None
        if key in known["rows"]:
            return Decimal(known["rows"][key])
        row = self.rows.get(key)
        if row is None or region == "us-east-1":
            return row
        if key.startswith(_SAME_EVERYWHERE):
            return row
        for prefixes, ratio in ((_STORAGE, "storage"), (_COMPUTE, "compute")):
            if key.startswith(prefixes):
                return row * Decimal(known[ratio])
        # Load balancers, NAT gateways and endpoints have no ratio worth the name.
        return row if Decimal(known["compute"]) == 1 else None


@cache
def shipped() -> Shipped:
    """What prices.json holds."""
    data = json.loads(resources.files("exporter.inventory").joinpath("prices.json").read_text())
    return Shipped(
        datetime.fromisoformat(data["as_of"]).replace(tzinfo=UTC),
        data["source"],
        {key: Decimal(usd) for key, usd in data["rows"].items()},
        data["regions"],
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

"""`prices --update`: a file of list prices from the Pricing API's own answers, which cost nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.aws.charges import MemoryCharges
from exporter.aws.meter import Meter
from exporter.aws.settings import make_aws
from exporter.config.model import Config
from exporter.core.moments import utc_now
from exporter.core.money import usd_text
from exporter.inventory.price_queries import ENDPOINT, RegionPrices, read_region
from exporter.inventory.prices import price_file, shipped

_SOURCE = "AWS Pricing API, GetProducts"


class _NoPaidCalls:
    """Ceilings of zero: a paid request is refused before it is sent."""

    def limits(self, budget: str) -> dict[str, Decimal | None]:
        return {"day": Decimal(0)}


@dataclass(frozen=True, slots=True)
class RegionChange:
    """What the Pricing API says of a region, against the table that is shipped; numbers of rows."""

    region: str
    rows: int
    new: int
    """Rows that the shipped table has no price of, there."""
    changed: Mapping[str, tuple[Decimal, Decimal]]
    """Before and now, of rows whose price is another one."""
    ambiguous: frozenset[str]


def read_prices(
    config: Config, regions: Sequence[str], progress: Callable[[int, int], None]
) -> dict[str, RegionPrices]:
    """Every row of these regions; AwsError, then nothing is returned.

    `progress` is called with the number of regions done and of all regions.
    """
    meter = Meter(MemoryCharges(), _NoPaidCalls(), utc_now, CollectorRegistry())
    found = {}
    with closing(make_aws(config.aws, meter)) as aws:

        def pages(params: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
            return aws.paginate(None, "pricing", "GetProducts", ENDPOINT, params)

        for number, region in enumerate(regions):
            progress(number, len(regions))
            found[region] = read_region(pages, region)
        progress(len(regions), len(regions))
    return found


def write_prices(path: Path, found: Mapping[str, RegionPrices], day: date) -> None:
    """Replace the file at once, so that it is never half of one; OSError."""
    data = {
        "source": {
            "name": _SOURCE,
            "version": max((prices.version for prices in found.values()), default=""),
            "date": day.isoformat(),
        },
        "regions": {
            region: {key: usd_text(usd.normalize()) for key, usd in sorted(prices.rows.items())}
            for region, prices in sorted(found.items())
        },
    }
    price_file(data)  # what is written can be read
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def changes(found: Mapping[str, RegionPrices]) -> list[RegionChange]:
    """What is other than in the shipped table."""
    table = shipped()
    lines = []
    for region, prices in sorted(found.items()):
        before = {key: table.usd(key, region) for key in prices.rows}
        lines.append(
            RegionChange(
                region,
                len(prices.rows),
                sum(usd is None for usd in before.values()),
                {
                    key: (usd, prices.rows[key])
                    for key, usd in before.items()
                    if usd is not None and usd != prices.rows[key]
                },
                prices.ambiguous,
            )
        )
    return lines

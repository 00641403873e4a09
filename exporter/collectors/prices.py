"""List prices from the Pricing API, which is free, into the ledger: they go before the shipped table's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from pydantic import Field

from exporter.aws.partitions import billing_region
from exporter.core.fields import CollectorSettings, Duration, Region
from exporter.core.metric import Sample
from exporter.core.moments import times_a_month
from exporter.core.places import Scope, Target
from exporter.declarations.calls import CheckCall, FreeCall, Scale
from exporter.declarations.collector import Collector
from exporter.declarations.context import Context
from exporter.inventory.price_queries import PAGES_OF_A_REGION, read_region
from exporter.inventory.prices import prices_read_at, save_prices


class PricesSettings(CollectorSettings):
    """List prices for the inventory; its requests are free."""

    interval: Duration = Field(default=timedelta(days=7), description="Time between two reads of a region.")
    regions: tuple[Region, ...] = Field(
        default=(), description="Regions whose prices are read; empty: those that are collected from."
    )


def collect(ctx: Context[PricesSettings], target: Target) -> Iterable[Sample]:
    """Read each region that was not read within the interval; its rows change all at once."""
    endpoint = billing_region("pricing", target.partition)
    read = prices_read_at(ctx.ledger)
    for region in ctx.settings.regions or ctx.regions():
        now = ctx.clock()
        if region in read and now < read[region] + ctx.settings.interval:
            continue
        found = read_region(
            lambda params: ctx.paginate_payer(target, "pricing", "GetProducts", endpoint, params), region
        )
        save_prices(ctx.ledger, region, found.rows, now)
    return ()


def free_calls(settings: PricesSettings, scale: Scale) -> Iterator[FreeCall]:
    """Pages of a 30-day month."""
    reads = times_a_month(settings.interval)
    regions = len(settings.regions) or scale.regions
    yield FreeCall(
        service="pricing",
        operation="GetProducts",
        per_month=reads * regions * PAGES_OF_A_REGION,
        note=f"list prices, about {PAGES_OF_A_REGION} pages each region and read",
    )


COLLECTOR = Collector(
    name="prices",
    help="List prices from the Pricing API, instead of those that come with the exporter.",
    scope=Scope.PAYER,
    settings=PricesSettings,
    families=(),
    iam_actions=("pricing:GetProducts",),
    check=CheckCall(
        service="pricing",
        operation="GetProducts",
        params=lambda target: {"ServiceCode": "AmazonEC2", "MaxResults": 1},
    ),
    collect=collect,
    free_calls=free_calls,
)

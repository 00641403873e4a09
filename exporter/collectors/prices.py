"""List prices from the Pricing API, which is free, into the ledger: they go before the shipped table's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from pydantic import Field

from exporter.aws.errors import AwsError, Kind, reading
from exporter.core.fields import CollectorSettings, Duration, Region
from exporter.core.metric import Sample
from exporter.core.moments import times_a_month
from exporter.core.places import Scope, Target
from exporter.declarations.calls import FreeCall, Scale
from exporter.declarations.collector import Collector
from exporter.declarations.context import Context
from exporter.inventory.prices import prices_read_at, save_prices

_ENDPOINT = "us-east-1"  # one of the few that the Pricing API has
_PAGES_OF_A_REGION = 20


class PricesSettings(CollectorSettings):
    """List prices for the inventory; its requests are free."""

    interval: Duration = Field(default=timedelta(days=7), description="Time between two reads of a region.")
    regions: tuple[Region, ...] = Field(
        default=(), description="Regions whose prices are read; empty: those that are collected from."
    )


Attributes = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Query:
    """Products of one service, and the row of the price table that each of them is; None for none."""

    service: str
    filters: Mapping[str, str]
    key: Callable[[Attributes], str | None]


_ENGINES = {
    "MySQL": "mysql",
    "PostgreSQL": "postgres",
    "MariaDB": "mariadb",
    "Aurora MySQL": "aurora-mysql",
    "Aurora PostgreSQL": "aurora-postgresql",
}


def _database(product: Attributes) -> str | None:
    engine = _ENGINES.get(product.get("databaseEngine", ""))
    other = product.get("licenseModel") != "No license required" or "IOOptimized" in product["usagetype"]
    return None if engine is None or other else f"rds.{engine}.{product['instanceType']}"


def _usage(usage: str, row: str) -> Callable[[Attributes], str | None]:
    # With or without the region before it, and nothing else: what ends alike is another product.
    wanted = re.compile(rf"([A-Z]+\d*-)?{re.escape(usage)}")
    return lambda product: row if wanted.fullmatch(product["usagetype"]) else None


QUERIES = (
    Query(
        "AmazonEC2",
        {
            "productFamily": "Compute Instance",
            "operatingSystem": "Linux",
            "tenancy": "Shared",
            "preInstalledSw": "NA",
            "capacitystatus": "Used",
            "marketoption": "OnDemand",
        },
        lambda product: f"ec2.{product['instanceType']}",
    ),
    Query(
        "AmazonEC2",
        {"productFamily": "Storage"},
        lambda product: f"ebs.{product['volumeApiName']}" if product.get("volumeApiName") else None,
    ),
    Query("AmazonEC2", {"productFamily": "Storage Snapshot"}, _usage("EBS:SnapshotUsage", "ebs.snapshot")),
    Query("AmazonEC2", {"productFamily": "NAT Gateway"}, _usage("NatGateway-Hours", "nat.hour")),
    Query("AmazonRDS", {"productFamily": "Database Instance", "deploymentOption": "Single-AZ"}, _database),
    Query(
        "AmazonElastiCache",
        {"productFamily": "Cache Instance", "cacheEngine": "Redis"},
        lambda product: f"elasticache.{product['instanceType']}",
    ),
    Query(
        "AmazonElastiCache",
        {"productFamily": "Cache Instance", "cacheEngine": "Valkey"},
        lambda product: f"elasticache.valkey.{product['instanceType']}",
    ),
    Query(
        "AWSELB",
        {"productFamily": "Load Balancer-Application"},
        _usage("LoadBalancerUsage", "elb.application"),
    ),
    Query("AWSELB", {"productFamily": "Load Balancer-Network"}, _usage("LoadBalancerUsage", "elb.network")),
)


def collect(ctx: Context[PricesSettings], target: Target) -> Iterable[Sample]:
    """Read each region that was not read within the interval; its rows change all at once."""
    read = prices_read_at(ctx.ledger)
    for region in ctx.settings.regions or ctx.regions():
        now = ctx.clock()
        if region in read and now < read[region] + ctx.settings.interval:
            continue
        rows: dict[str, Decimal] = {}
        for query in QUERIES:
            rows.update(_rows(ctx, target, query, region))
        if not rows:
            raise AwsError(Kind.DATA_UNAVAILABLE, f"the Pricing API lists nothing for {region}")
        save_prices(ctx.ledger, region, rows, now)
    return ()


def _rows(
    ctx: Context[PricesSettings], target: Target, query: Query, region: str
) -> Iterator[tuple[str, Decimal]]:
    filters = {"regionCode": region, **query.filters}
    params = {
        "ServiceCode": query.service,
        "Filters": [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in filters.items()],
    }
    for page in ctx.paginate_payer(target, "pricing", "GetProducts", _ENDPOINT, params):
        for text in page["PriceList"]:
            with reading(f"a product of {query.service}"):
                product = json.loads(text)
                key = query.key(product["product"]["attributes"])
                usd = _on_demand(product)
            # What is free of charge here is paid for elsewhere: no price is no zero.
            if key is not None and usd:
                yield key, usd


def _on_demand(product: Mapping[str, Any]) -> Decimal | None:
    """The price of the first unit, in US dollars; None where there is none."""
    for term in product["terms"].get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            if Decimal(dimension.get("beginRange", "0")) == 0 and "USD" in dimension["pricePerUnit"]:
                return Decimal(dimension["pricePerUnit"]["USD"])
    return None


def free_calls(settings: PricesSettings, scale: Scale) -> Iterator[FreeCall]:
    """Pages of a 30-day month."""
    reads = times_a_month(settings.interval)
    regions = len(settings.regions) or scale.regions
    yield FreeCall(
        service="pricing",
        operation="GetProducts",
        per_month=reads * regions * _PAGES_OF_A_REGION,
        note=f"list prices, about {_PAGES_OF_A_REGION} pages each region and read",
    )


COLLECTOR = Collector(
    name="prices",
    help="List prices from the Pricing API, instead of those that come with the exporter.",
    scope=Scope.PAYER,
    settings=PricesSettings,
    families=(),
    iam_actions=("pricing:GetProducts",),
    collect=collect,
    free_calls=free_calls,
)

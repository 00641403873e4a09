"""Products of the Pricing API, and the row of the price table that each of them is.

The API lists everything that a service sells: only what is paid on demand, by the expected unit, without a
licence of one's own, a dedicated host or a capacity reservation, is a row. Where two products or two terms
say different prices of one row, the row has no price: a guess would be worse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from exporter.aws.errors import AwsError, Kind, reading
from exporter.core.money import parse_amount

ENDPOINT = "us-east-1"
"""One of the few regions that the Pricing API has."""
PAGES_OF_A_REGION = 60
"""About how many pages the queries of a region have."""

Attributes = Mapping[str, str]
Pages = Callable[[Mapping[str, Any]], Iterator[Mapping[str, Any]]]
"""Every page of GetProducts with these parameters; AwsError."""

_HOURS = frozenset({"hrs", "hours", "hour"})
_GB_MONTHS = frozenset({"gb-mo", "gb-month"})


@dataclass(frozen=True, slots=True)
class Query:
    """Products of one service, the row of the price table that each of them is (None for none), and its units."""

    service: str
    filters: Mapping[str, str]
    key: Callable[[Attributes], str | None]
    units: frozenset[str] = _HOURS


@dataclass(frozen=True, slots=True)
class RegionPrices:
    """What the Pricing API says of one region, in US dollars by row."""

    rows: Mapping[str, Decimal]
    ambiguous: frozenset[str]
    """Rows of which it says several prices; they are not among `rows`."""
    version: str
    """The newest version of a price list that an answer was from; empty where none says it."""


def _instance(product: Attributes) -> str | None:
    # `RunInstances` alone is Linux; `RunInstances:0010` and the like are other systems and licences.
    plain = product.get("operation", "RunInstances") == "RunInstances"
    used = re.fullmatch(r"([A-Z]+\d*-)?BoxUsage(:.+)?", product["usagetype"])
    licence = product.get("licenseModel", "No License required")
    return f"ec2.{product['instanceType']}" if plain and used and licence == "No License required" else None


_ENGINES = {
    "MySQL": "mysql",
    "PostgreSQL": "postgres",
    "MariaDB": "mariadb",
    "Aurora MySQL": "aurora-mysql",
    "Aurora PostgreSQL": "aurora-postgresql",
}
_EDITIONS = {
    ("Oracle", "Enterprise"): "oracle-ee",
    ("Oracle", "Standard Two"): "oracle-se2",
    ("SQL Server", "Enterprise"): "sqlserver-ee",
    ("SQL Server", "Standard"): "sqlserver-se",
    ("SQL Server", "Web"): "sqlserver-web",
    ("SQL Server", "Express"): "sqlserver-ex",
}
_LICENCES = {"No license required": "", "License included": "", "Bring your own license": "byol."}


def _database(product: Attributes) -> str | None:
    name = product.get("databaseEngine", "")
    engine = _ENGINES.get(name)
    licence = product.get("licenseModel", "")
    if engine is None:
        engine = _EDITIONS.get((name, product.get("databaseEdition", "")))
    elif licence != "No license required":
        return None
    if engine is None or licence not in _LICENCES:
        return None
    # Not I/O-Optimized, nor a mirror, nor with the vCPUs cut: these are `InstanceUsageIOOptimized:` and the like.
    if not re.fullmatch(r"([A-Z]+\d*-)?InstanceUsage:.+", product["usagetype"]):
        return None
    return f"rds.{engine}.{_LICENCES[licence]}{product['instanceType']}"


def _usage(usage: str, row: str) -> Callable[[Attributes], str | None]:
    # With or without the region before it, and nothing else: what ends alike is another product.
    wanted = re.compile(rf"([A-Z]+\d*-)?{re.escape(usage)}")
    return lambda product: row if wanted.fullmatch(product["usagetype"]) else None


_FARGATE = {
    "Fargate-vCPU-Hours:perCPU": "fargate.vcpu",
    "Fargate-GB-Hours": "fargate.gb",
    "Fargate-ARM-vCPU-Hours:perCPU": "fargate.arm.vcpu",
    "Fargate-ARM-GB-Hours": "fargate.arm.gb",
}


def _fargate(product: Attributes) -> str | None:
    # The prefix is in capitals, as in EUC1- and USE1-: spot and Windows say more before and behind.
    return _FARGATE.get(re.sub(r"^[A-Z]+\d*-(?=Fargate)", "", product["usagetype"]))


def _cache(row: str) -> Callable[[Attributes], str | None]:
    node = re.compile(r"([A-Z]+\d*-)?NodeUsage:.+")
    return lambda product: (
        f"{row}.{product['instanceType']}" if node.fullmatch(product["usagetype"]) else None
    )


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
        _instance,
    ),
    Query(
        "AmazonEC2",
        {"productFamily": "Storage"},
        lambda product: f"ebs.{product['volumeApiName']}" if product.get("volumeApiName") else None,
        _GB_MONTHS,
    ),
    Query(
        "AmazonEC2",
        {"productFamily": "Storage Snapshot"},
        _usage("EBS:SnapshotUsage", "ebs.snapshot"),
        _GB_MONTHS,
    ),
    Query("AmazonEC2", {"productFamily": "NAT Gateway"}, _usage("NatGateway-Hours", "nat.hour")),
    Query("AmazonRDS", {"productFamily": "Database Instance", "deploymentOption": "Single-AZ"}, _database),
    Query(
        "AmazonElastiCache",
        {"productFamily": "Cache Instance", "cacheEngine": "Redis"},
        _cache("elasticache"),
    ),
    Query(
        "AmazonElastiCache",
        {"productFamily": "Cache Instance", "cacheEngine": "Valkey"},
        _cache("elasticache.valkey"),
    ),
    Query("AmazonECS", {"productFamily": "Compute"}, _fargate, _HOURS | {"vcpu-hours", "gb-hours"}),
    Query(
        "AWSELB",
        {"productFamily": "Load Balancer-Application"},
        _usage("LoadBalancerUsage", "elb.application"),
    ),
    Query("AWSELB", {"productFamily": "Load Balancer-Network"}, _usage("LoadBalancerUsage", "elb.network")),
)


def read_region(pages: Pages, region: str) -> RegionPrices:
    """Ask for every product of a region that the table has a row for; AwsError, also where there is none."""
    found: dict[str, set[Decimal]] = {}
    version = ""
    for query in QUERIES:
        for product in _products(pages, query, region):
            with reading(f"a product of {query.service}"):
                version = max(version, str(product.get("version", "")))
                key = query.key(product["product"]["attributes"])
                prices = on_demand(product, query.units)
            if key is not None:
                found.setdefault(key, set()).update(prices)
    if not any(found.values()):
        raise AwsError(Kind.DATA_UNAVAILABLE, f"the Pricing API lists nothing for {region}")
    return RegionPrices(
        {key: min(prices) for key, prices in sorted(found.items()) if len(prices) == 1},
        frozenset(key for key, prices in found.items() if len(prices) > 1),
        version,
    )


def _products(pages: Pages, query: Query, region: str) -> Iterator[Mapping[str, Any]]:
    filters = {"regionCode": region, **query.filters}
    params = {
        "ServiceCode": query.service,
        "Filters": [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in filters.items()],
    }
    for page in pages(params):
        with reading(f"products of {query.service}"):
            products = [json.loads(text) for text in page["PriceList"]]
        yield from products


def on_demand(product: Mapping[str, Any], units: Iterable[str]) -> frozenset[Decimal]:
    """The prices of the first unit, in US dollars, without those that are zero.

    What is free of charge here (an instance under a reservation, on a dedicated host) is paid for elsewhere.
    """
    prices = set()
    for term in product["terms"].get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            usd = parse_amount(dimension["pricePerUnit"].get("USD", "0"))
            first = parse_amount(dimension.get("beginRange", "0")) == 0
            if first and usd and str(dimension.get("unit", "")).lower() in units:
                prices.add(usd)
    return frozenset(prices)

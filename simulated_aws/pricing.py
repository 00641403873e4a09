"""The Pricing API: GetProducts in its real shape, JSON documents as strings, in pages, for some products."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import product
from typing import Any

from simulated_aws.input_model import check_input
from simulated_aws.service_catalog import region_prefix
from simulated_aws.wire import AwsCall, AwsError, Tokens

ENDPOINTS = ("us-east-1", "eu-central-1", "ap-south-1")
_RATIOS = {"us-east-1": Decimal(1), "us-west-2": Decimal(1)}
_SIZES = {"large": 1, "xlarge": 2, "2xlarge": 4, "4xlarge": 8, "8xlarge": 16, "12xlarge": 24, "16xlarge": 32}
_FAMILIES = {
    # Dollars an hour of the size `large`, no list that was ever published.
    "m5": "0.097", "m6i": "0.099", "m7i": "0.103", "m6g": "0.078", "c5": "0.086", "c6i": "0.087", "c6g": "0.069",
    "c7g": "0.074", "r5": "0.128", "r6i": "0.129", "r6g": "0.102", "r7g": "0.109",
    "c7i": "0.092", "m8g": "0.091", "r8g": "0.121",
}  # fmt: skip
_EBS = {"gp2": "0.11", "gp3": "0.09", "io1": "0.13", "st1": "0.046", "sc1": "0.016"}


def price_of(region: str, usd: str, times: int = 1) -> Decimal:
    """What the simulated list says: a tenth more outside the United States."""
    return Decimal(usd) * times * _RATIOS.get(region, Decimal("1.1"))


class Pricing:
    """Answers GetProducts."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def answer(self, call: AwsCall) -> dict[str, Any]:
        """The response members of one call; AwsError otherwise."""
        if call.operation != "GetProducts":
            raise AwsError("UnknownOperationException", f"{call.operation} is not part of this simulation.")
        check_input("pricing", "GetProducts", call.params)
        wanted = {each["Field"]: each["Value"] for each in call.params.get("Filters", ())}
        if any(each["Type"] != "TERM_MATCH" for each in call.params.get("Filters", ())):
            raise AwsError("InvalidParameterException", "Only TERM_MATCH is simulated.")
        region = wanted.get("regionCode", "us-east-1")
        found = [
            each
            for each in products(region)
            if each["serviceCode"] == call.params["ServiceCode"]
            and all(_field(each, name) == value for name, value in wanted.items())
        ]
        page, more = self._tokens.page(call, found, int(call.params.get("MaxResults") or 100))
        return {"FormatVersion": "aws_v1", "PriceList": [json.dumps(each) for each in page], **more}


def _field(found: Mapping[str, Any], name: str) -> Any:
    if name in ("productFamily", "sku"):
        return found["product"][name]
    return found["product"]["attributes"].get(name)


def products(region: str) -> Iterator[dict[str, Any]]:
    """Every product of a region."""
    for of_service in (_instances, _disks, _gateways, _databases, _containers, _caches, _load_balancers):
        yield from of_service(region, region_prefix(region))


def _instances(region: str, prefix: str) -> Iterator[dict[str, Any]]:
    for (family, usd), (size, times), (system, software, used, usage) in product(
        _FAMILIES.items(),
        _SIZES.items(),
        (
            ("Linux", "NA", "Used", "BoxUsage"),
            ("Windows", "NA", "Used", "BoxUsage"),
            ("Linux", "SQL Std", "Used", "BoxUsage"),
            ("Linux", "NA", "UnusedCapacityReservation", "UnusedBox"),
        ),
    ):
        kind = f"{family}.{size}"
        plain = system == "Linux" and software == "NA"
        yield _product(
            "AmazonEC2", "Compute Instance", region, "Hrs", price_of(region, usd, times) * (1 if plain else 2),
            instanceType=kind, operatingSystem=system, preInstalledSw=software, tenancy="Shared",
            capacitystatus=used, marketoption="OnDemand", usagetype=f"{prefix}{usage}:{kind}",
            operation="RunInstances" if plain else "RunInstances:0002", licenseModel="No License required",
        )  # fmt: skip
    # What the filters of a reader let through, or what it forgets to filter: none of it is a list price of m5.large.
    large = price_of(region, _FAMILIES["m5"])
    for usage, operation, licence, tenancy in (
        ("BoxUsage", "RunInstances:0800", "Bring your own license", "Shared"),
        ("HostBoxUsage", "RunInstances", "No License required", "Host"),
        ("DedicatedUsage", "RunInstances", "No License required", "Dedicated"),
        ("Reservation", "RunInstances", "No License required", "Shared"),
    ):
        yield _product(
            "AmazonEC2", "Compute Instance", region, "Hrs", large * 3, instanceType="m5.large",
            operatingSystem="Linux", preInstalledSw="NA", tenancy=tenancy, capacitystatus="Used",
            marketoption="OnDemand", usagetype=f"{prefix}{usage}:m5.large", operation=operation,
            licenseModel=licence,
        )  # fmt: skip
    for unit, kind, more in (("Quantity", "x9.large", Decimal(0)), ("Hrs", "x8.large", large)):
        # Of an odd unit; and said twice, with two prices.
        for price in sorted({large, large + more}):
            yield _product(
                "AmazonEC2", "Compute Instance", region, unit, price, instanceType=kind,
                operatingSystem="Linux", preInstalledSw="NA", tenancy="Shared", capacitystatus="Used",
                marketoption="OnDemand", usagetype=f"{prefix}BoxUsage:{kind}", operation="RunInstances",
                licenseModel="No License required", said=str(price),
            )  # fmt: skip


def _disks(region: str, prefix: str) -> Iterator[dict[str, Any]]:
    for kind, usd in _EBS.items():
        yield _product("AmazonEC2", "Storage", region, "GB-Mo", price_of(region, usd), volumeApiName=kind,
                       usagetype=f"{prefix}EBS:VolumeUsage.{kind}")  # fmt: skip
    yield _product("AmazonEC2", "Storage Snapshot", region, "GB-Mo", price_of(region, "0.055"),
                   usagetype=f"{prefix}EBS:SnapshotUsage")  # fmt: skip


def _gateways(region: str, prefix: str) -> Iterator[dict[str, Any]]:
    for usage, unit in (("NatGateway-Hours", "Hrs"), ("NatGateway-Bytes", "GB")):
        yield _product("AmazonEC2", "NAT Gateway", region, unit, price_of(region, "0.046"),
                       group="NGW:NatGateway", usagetype=f"{prefix}{usage}")  # fmt: skip


def _databases(region: str, prefix: str) -> Iterator[dict[str, Any]]:
    for (engine, edition, licence, usd), (deployment, times) in product(
        (
            ("MySQL", "", "No license required", "0.22"),
            ("PostgreSQL", "", "No license required", "0.23"),
            ("Aurora MySQL", "", "No license required", "0.27"),
            ("Oracle", "Standard Two", "License included", "0.49"),
            ("Oracle", "Standard Two", "Bring your own license", "0.24"),
            ("Oracle", "Enterprise", "Bring your own license", "0.24"),
            ("SQL Server", "Standard", "License included", "0.98"),
            ("SQL Server", "Web", "License included", "0.33"),
        ),
        (("Single-AZ", 1), ("Multi-AZ", 2)),
    ):
        yield _product(
            "AmazonRDS", "Database Instance", region, "Hrs", price_of(region, usd, times),
            instanceType="db.r6g.large", databaseEngine=engine, deploymentOption=deployment,
            licenseModel=licence, usagetype=f"{prefix}InstanceUsage:db.r6g.large",
            **({"databaseEdition": edition} if edition else {}),
        )  # fmt: skip
    yield _product(
        "AmazonRDS", "Database Instance", region, "Hrs", price_of(region, "0.36"),
        instanceType="db.r6g.large", databaseEngine="Aurora MySQL", deploymentOption="Single-AZ",
        licenseModel="No license required", usagetype=f"{prefix}InstanceUsageIOOptimized:db.r6g.large",
    )  # fmt: skip


def _containers(region: str, prefix: str) -> Iterator[dict[str, Any]]:
    # The price list of ECS has a prefix in us-east-1, too.
    for usage, unit, usd in (
        ("Fargate-vCPU-Hours:perCPU", "hours", "0.041"),
        ("Fargate-GB-Hours", "hours", "0.0045"),
        ("Fargate-ARM-vCPU-Hours:perCPU", "hours", "0.033"),
        ("Fargate-ARM-GB-Hours", "hours", "0.0036"),
        ("Fargate-Windows-vCPU-Hours:perCPU", "hours", "0.047"),
        ("Fargate-Windows-OS-Hours:perCPU", "hours", "0.046"),
        ("Fargate-EphemeralStorage-GB-Hours", "GB-Hours", "0.0001"),
        ("SpotUsage-Fargate-vCPU-Hours:perCPU", "hours", "0.012"),
    ):
        yield _product("AmazonECS", "Compute", region, unit, price_of(region, usd),
                       usagetype=f"{prefix or 'USE1-'}{usage}")  # fmt: skip


def _caches(region: str, prefix: str) -> Iterator[dict[str, Any]]:
    for engine, usd in (("Redis", "0.21"), ("Memcached", "0.21"), ("Valkey", "0.17")):
        yield _product("AmazonElastiCache", "Cache Instance", region, "Hrs", price_of(region, usd),
                       instanceType="cache.r6g.large", cacheEngine=engine,
                       usagetype=f"{prefix}NodeUsage:cache.r6g.large")  # fmt: skip


def _load_balancers(region: str, prefix: str) -> Iterator[dict[str, Any]]:
    for family in ("Application", "Network"):
        for usage, unit, usd in (("LoadBalancerUsage", "Hrs", "0.023"), ("LCUUsage", "LCU-Hrs", "0.008")):
            yield _product("AWSELB", f"Load Balancer-{family}", region, unit, price_of(region, usd),
                           usagetype=f"{prefix}{usage}")  # fmt: skip


def _product(
    service: str, family: str, region: str, unit: str, usd: Decimal, **attributes: str
) -> dict[str, Any]:
    named = ":".join((service, family, region, *attributes.values()))
    sku = hashlib.sha256(named.encode()).hexdigest()[:16].upper()
    rate = f"{sku}.JRTCKXETXF.6YS6EN2CT7"
    term: dict[str, Any] = {
        "priceDimensions": {
            rate: {
                "unit": unit,
                "endRange": "Inf",
                "description": f"${usd} per {unit}",
                "appliesTo": [],
                "rateCode": rate,
                "beginRange": "0",
                "pricePerUnit": {"USD": f"{usd:.10f}"},
            }
        },
        "sku": sku,
        "effectiveDate": "2026-01-01T00:00:00Z",
        "offerTermCode": "JRTCKXETXF",
        "termAttributes": {},
    }
    # As of caches and databases: what a reservation covers is a free dimension of the same product.
    covered = {
        **term,
        "offerTermCode": "6QCMYABX3D",
        "priceDimensions": {
            f"{sku}.6QCMYABX3D.6YS6EN2CT7": {
                **term["priceDimensions"][rate],
                "description": "reserved instance applied",
                "pricePerUnit": {"USD": "0.0000000000"},
            }
        },
    }
    terms = {f"{sku}.JRTCKXETXF": term}
    if service == "AmazonElastiCache":
        terms[f"{sku}.6QCMYABX3D"] = covered
    return {
        "product": {
            "productFamily": family,
            "attributes": {
                "servicecode": service,
                "regionCode": region,
                "locationType": "AWS Region",
                **attributes,
            },
            "sku": sku,
        },
        "serviceCode": service,
        "terms": {"OnDemand": terms},
        "version": "20260101000000",
        "publicationDate": "2026-01-01T00:00:00Z",
    }

"""List prices: the shipped table, the Pricing API over it, the configuration over both; unknown is absent."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import boto3
import pytest
from inventory_harness import World, world_of

from exporter.inventory.price_queries import QUERIES, on_demand
from exporter.inventory.prices import PriceTable, Scale, shipped
from simulated_aws import SimulatedAws


@pytest.mark.parametrize(
    ("key", "region", "usd"),
    [
        ("ebs.gp3", "us-east-1", "0.08"),
        ("ebs.gp2", "us-east-1", "0.1"),
        ("ebs.io1", "us-east-1", "0.125"),
        ("ebs.st1", "us-east-1", "0.045"),
        ("ebs.sc1", "us-east-1", "0.015"),
        ("ebs.snapshot", "us-east-1", "0.05"),
        ("vpc.public_ipv4", "us-east-1", "0.005"),
        ("nat.hour", "us-east-1", "0.045"),
        ("elb.application", "us-east-1", "0.0225"),
        ("eks.cluster", "us-east-1", "0.1"),
        ("secrets.secret", "us-east-1", "0.4"),
        ("kms.key", "us-east-1", "1"),
        ("logs.storage", "us-east-1", "0.03"),
        ("ec2.m6i.large", "us-east-1", "0.096"),
        ("ec2.m6i.large", "eu-west-1", "0.107"),  # a row for the region
        ("ebs.sc1", "eu-west-1", "0.0165"),  # by the ratio of storage
        ("vpc.public_ipv4", "eu-central-1", "0.005"),  # the same everywhere
        ("elb.gateway", "eu-west-1", None),  # neither a row nor a ratio
        ("ec2.m6i.large", "xx-nowhere-1", None),
        ("ec2.unheard-of.large", "us-east-1", None),
    ],
)
def test_the_shipped_table(key: str, region: str, usd: str | None) -> None:
    assert PriceTable().usd(key, region) == (None if usd is None else Decimal(usd))


def test_the_shipped_table_says_when_and_where_it_is_from() -> None:
    assert shipped().as_of < datetime.now(UTC)
    for name, region in shipped().regions.items():
        for key in (*shipped().rows, *region.rows):
            source = shipped().source(key, name)
            assert (source is None) == (PriceTable().usd(key, name) is None)
            assert source is None or (source.name and source.date <= datetime.now(UTC).date())
    assert all(row.usd > 0 for row in shipped().rows.values())
    for region in shipped().regions.values():
        assert min(filter(None, (region.compute, region.storage)), default=1) > Decimal("0.5")
        # A type may be in GovCloud and not in us-east-1.
        assert region.compute is None or set(region.rows) <= set(shipped().rows)


def test_the_table_tells_how_each_of_its_rows_scales() -> None:
    table = json.loads(resources.files("exporter.inventory").joinpath("prices.json").read_text())
    assert list(table["scales"]) == list(table["rows"]) == list(Scale)
    for rows in table["rows"].values():
        assert list(rows) == sorted(rows)


_CORRECTED = {"elasticache.cache.m6g.12xlarge": "3.557", "elasticache.cache.r5.4xlarge": "1.724"}
"""Rows that were recorded wrong: what they are in us-east-1."""
_FARGATE = {
    ("eu-central-1", "fargate.gb"): "0.00511", ("eu-central-1", "fargate.vcpu"): "0.04656",
    ("ap-northeast-1", "fargate.gb"): "0.00553", ("ap-northeast-1", "fargate.vcpu"): "0.05056",
    ("ap-northeast-1", "fargate.arm.gb"): "0.00442", ("ap-northeast-1", "fargate.arm.vcpu"): "0.04045",
}  # fmt: skip
"""Elsewhere, but where it is the same as in us-east-1, it was a ratio, and up to 12% off."""


def test_prices_are_those_that_were_recorded_in_every_region() -> None:
    """The record was made before EC2 had another source, and judges it; how a row scales is not changed by accident."""
    with (Path(__file__).parent / "recorded_prices.csv").open() as file:
        recorded = list(csv.DictReader(file))
    table = PriceTable()
    for row in recorded:
        key = row.pop("row")
        found = {region: table.usd(key, region) for region in row}
        expected = {region: Decimal(usd) if usd else None for region, usd in row.items()}
        if key in _CORRECTED:
            now, before = Decimal(_CORRECTED[key]), expected["us-east-1"]
            assert before
            assert found["us-east-1"] == now
            # The ratios are as they were.
            assert {region: usd and usd / now for region, usd in found.items()} == pytest.approx(
                {region: usd and usd / before for region, usd in expected.items()}
            )
        elif key.startswith("fargate."):
            same = {"us-east-1", "us-east-2", "us-west-2"}
            own = {region: Decimal(usd) for (region, row_key), usd in _FARGATE.items() if row_key == key}
            assert found == {
                region: usd if region in same else own.get(region) for region, usd in expected.items()
            }
        else:
            assert found == expected, key
    assert len(recorded) == 651
    # GovCloud is later, and has no ratios: only what is written down is known there.
    assert set(shipped().regions) - set(recorded[0]) == {"us-gov-east-1", "us-gov-west-1"}


@pytest.mark.parametrize(
    ("key", "region", "usd"),
    [
        ("ec2.c5a.large", "us-east-1", "0.077"),
        ("ec2.a1.metal", "us-east-1", "0.408"),
        ("ec2.c5a.large", "us-gov-west-1", "0.092"),
        ("ec2.c5a.large", "eu-west-1", "0.0858242"),  # by the ratio of compute
        ("rds.mysql.db.m5.large", "us-gov-west-1", None),  # neither a row nor a ratio
    ],
)
def test_ec2_is_known_of_every_type(key: str, region: str, usd: str | None) -> None:
    assert PriceTable().usd(key, region) == (None if usd is None else Decimal(usd))
    families = {row.split(".")[1] for row in shipped().rows if row.startswith("ec2.")}
    assert {
        "c5d",
        "c5n",
        "m5d",
        "r5d",
        "c7a",
        "r7a",
        "m7i-flex",
        "i3en",
        "i4i",
        "g6",
        "p4d",
        "p5",
        "inf2",
        "m8g",
    } <= families
    assert len([row for row in shipped().rows if row.startswith("ec2.")]) == 1367


def test_the_configuration_goes_before_the_pricing_api_and_that_before_the_table() -> None:
    table = PriceTable(
        {"eu-west-1": {"kms.key": Decimal(3)}, "*": {"kms.key": Decimal(2), "own.row": Decimal(7)}},
        {("us-east-1", "ebs.gp3"): Decimal("0.09"), ("eu-west-1", "kms.key"): Decimal(9)},
    )
    assert table.usd("kms.key", "eu-west-1") == 3
    assert table.usd("kms.key", "us-east-1") == 2
    assert table.usd("own.row", "ap-south-1") == 7
    assert table.usd("ebs.gp3", "us-east-1") == Decimal("0.09")
    assert table.usd("ebs.gp3", "us-west-2") == Decimal("0.08")


def volumes(world: World, region: str) -> dict[str, Decimal | None]:
    """Prices of the volumes in an account, by what they are."""
    account = world.aws.accounts[1].id
    return {
        f"{resource.subtype}, {resource.state}": resource.monthly_usd
        for (kind, _), resource in world.resources(account, region).items()
        if kind == "ec2:volume" and resource.state == "available"
    }


AGE = "aws_spend_exporter_price_table_timestamp_seconds"


def test_the_pricing_api_takes_the_place_of_the_table_and_its_age_is_served(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    with world_of(tmp_path, aws, {"services": ["ec2"]}, collectors={"prices": {"enabled": True}}) as world:
        assert world.collect() == 0
        assert world.total(AGE) == shipped().as_of.timestamp()
        # 500 GB at 0.10; 100 GB at 0.125 and 1,000 IOPS at 0.065
        assert volumes(world, "us-east-1") == {"gp2, available": 50, "io1, available": Decimal("77.5")}
        assert volumes(world, "eu-west-1")["gp2, available"] == 55

        assert world.collect("prices") == 0, world.failures()
        pages = len(aws.requests.entries(service="pricing"))
        assert pages >= 2 * len(QUERIES)
        assert world.collect() == 0
        assert world.total(AGE) == int(world.now.timestamp())
        # 0.11 and 0.13 in the simulated list, a tenth more in Europe; the IOPS are not in it.
        assert volumes(world, "us-east-1") == {"gp2, available": 55, "io1, available": Decimal("78.0")}
        assert volumes(world, "eu-west-1")["gp2, available"] == Decimal("60.5")

        # Within the interval nothing is asked again, after it everything.
        assert world.collect("prices") == 0
        assert len(aws.requests.entries(service="pricing")) == pages
        world.now += timedelta(days=8)
        assert world.collect("prices") == 0
        assert len(aws.requests.entries(service="pricing")) == 2 * pages


def test_where_the_pricing_api_is_not_permitted_the_table_holds(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.faults.add("access_denied", service="pricing")
    with world_of(tmp_path, aws, {"services": ["ec2"]}, collectors={"prices": {"enabled": True}}) as world:
        assert world.collect("prices") == 1
        assert world.collect() == 0
        assert {failure[0::3] for failure in world.failures()} == {("prices", "access_denied")}
        assert world.total(AGE) == shipped().as_of.timestamp()
        assert volumes(world, "us-east-1")["gp2, available"] == 50


def test_own_prices_hold_and_a_price_that_is_not_known_is_absent(aws: SimulatedAws, tmp_path: Path) -> None:
    own = {"*": {"ebs.gp2": 0.02}}
    with world_of(tmp_path, aws, {"services": ["ec2"], "prices": own}) as world:
        assert world.collect() == 0
        assert volumes(world, "us-east-1")["gp2, available"] == 10
        spot = [
            resource
            for account in aws.accounts
            for region in aws.spec.regions
            for (kind, _), resource in world.resources(account.id, region).items()
            if kind == "ec2:instance" and (resource.lifecycle, resource.state) == ("spot", "running")
        ]
        assert spot
        served = world.samples()["aws_resource_estimated_monthly_cost_usd"]
        for resource in spot:
            assert resource.monthly_usd is None
            assert not [labels for labels in served if ("resource_id", resource.id) in labels]


def test_products_come_in_pages_as_strings(aws: SimulatedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = boto3.session.Session().client("pricing", region_name="us-east-1", endpoint_url=aws.url)
    filters = [
        {"Type": "TERM_MATCH", "Field": name, "Value": value}
        for name, value in (
            ("regionCode", "eu-west-1"),
            ("operatingSystem", "Linux"),
            ("capacitystatus", "Used"),
        )
    ]
    pages = list(
        client.get_paginator("get_products").paginate(
            ServiceCode="AmazonEC2", Filters=filters, PaginationConfig={"PageSize": 50}
        )
    )
    client.close()
    products = [json.loads(text) for page in pages for text in page["PriceList"]]
    assert [len(page["PriceList"]) for page in pages] == [50, 50, 50, 50, 17]
    assert {product["product"]["attributes"]["regionCode"] for product in products} == {"eu-west-1"}
    (large,) = (
        product
        for product in products
        if product["product"]["attributes"]["instanceType"] == "m6i.large"
        and product["product"]["attributes"]["preInstalledSw"] == "NA"
    )
    assert on_demand(large, {"hrs"}) == {Decimal("0.1089")}


@pytest.mark.parametrize("text", ["[]", "{}", '{"product": {"attributes": {}}}', "no JSON"])
def test_a_product_that_is_none_is_an_error(
    aws: SimulatedAws, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws._pricing, "answer", lambda call: {"FormatVersion": "aws_v1", "PriceList": [text]})
    with world_of(tmp_path, aws, {"services": ["sns"]}, collectors={"prices": {"enabled": True}}) as world:
        assert world.collect("prices") == 1
        assert {failure[3] for failure in world.failures()} == {"malformed_response"}

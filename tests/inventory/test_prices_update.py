"""`prices --update` makes a table from the Pricing API's own answers, over HTTP, and takes no product that is something else."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli.main import main
from exporter.inventory.price_queries import QUERIES, on_demand
from exporter.inventory.prices import price_file
from simulated_aws import SimulatedAws

# By hand, from what the simulated list says: a tenth more in Europe.
US = {
    "ec2.m5.large": "0.097",
    "ec2.m5.xlarge": "0.194",
    "ebs.gp3": "0.09",
    "ebs.snapshot": "0.055",
    "nat.hour": "0.046",
    "elb.application": "0.023",
    "rds.mysql.db.r6g.large": "0.22",
    "rds.aurora-mysql.db.r6g.large": "0.27",
    "rds.oracle-se2.db.r6g.large": "0.49",
    "rds.oracle-se2.byol.db.r6g.large": "0.24",
    "rds.oracle-ee.byol.db.r6g.large": "0.24",
    "rds.sqlserver-se.db.r6g.large": "0.98",
    "rds.sqlserver-web.db.r6g.large": "0.33",
    "elasticache.cache.r6g.large": "0.21",
    "elasticache.valkey.cache.r6g.large": "0.17",
    "fargate.vcpu": "0.041",
    "fargate.gb": "0.0045",
    "fargate.arm.vcpu": "0.033",
    "fargate.arm.gb": "0.0036",
}


def run(aws: SimulatedAws, folder: Path, *arguments: str) -> Result:
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"aws": {"endpoint_url": aws.url}}))
    return CliRunner().invoke(main, ["prices", "-c", str(config), *arguments])


def test_the_table_is_made_of_what_is_sold_on_demand(aws: SimulatedAws, tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    done = run(
        aws, tmp_path, "--update", str(file), "--region", "us-east-1", "--region", "eu-west-1", "--json"
    )
    assert done.exit_code == 0, done.output
    source, regions = price_file(json.loads(file.read_text()))
    assert (source.name, source.version) == ("AWS Pricing API, GetProducts", "20260101000000")
    assert set(regions) == {"us-east-1", "eu-west-1"}
    for region, factor in (("us-east-1", Decimal(1)), ("eu-west-1", Decimal("1.1"))):
        prices = regions[region]
        assert {key: prices[key] for key in US} == {key: Decimal(usd) * factor for key, usd in US.items()}
        # Neither what has an odd unit, nor what has two prices, nor licences, hosts, spot or Windows.
        assert not {"ec2.x8.large", "ec2.x9.large"} & set(prices)
        assert {key for key in prices if key.startswith("fargate.")} == {
            key for key in US if key.startswith("fargate.")
        }
        assert {key for key in prices if key.startswith("rds.")} == {
            key for key in US if key.startswith("rds.")
        } | {"rds.postgres.db.r6g.large"}
    printed = json.loads(done.stdout)
    assert [(row["region"], row["rows"], row["ambiguous"]) for row in printed["regions"]] == [
        (region, len(regions[region]), ["ec2.x8.large"]) for region in ("eu-west-1", "us-east-1")
    ]
    assert printed["regions"][1]["changed"]["ec2.m5.large"] == {"before_usd": "0.096", "usd": "0.097"}
    # Free calls only, each page of them, and nothing but what is permitted.
    asked = aws.requests.entries()
    assert {(entry.service, entry.operation) for entry in asked} == {("pricing", "GetProducts")}
    assert len(asked) == 2 * len(QUERIES) + 2  # the instances of a region are two pages


def test_a_table_says_what_changed_and_progress_keeps_out_of_standard_output(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    done = run(aws, tmp_path, "--update", str(tmp_path / "p.json"), "--region", "us-east-1")
    assert done.exit_code == 0, done.output
    assert "us-east-1" in done.stdout
    assert "p.json" in done.stdout.replace("\n", "")
    assert "Reading prices" not in done.stdout


def test_a_failure_is_tried_again_and_one_that_stays_leaves_the_file_as_it_was(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    file = tmp_path / "prices.json"
    aws.faults.add("throttle", service="pricing", count=2)
    assert run(aws, tmp_path, "--update", str(file), "--region", "us-east-1").exit_code == 0
    before = file.read_text()
    aws.faults.add("access_denied", service="pricing")
    done = run(aws, tmp_path, "--update", str(file), "--region", "us-east-1")
    assert done.exit_code == 1
    assert "nothing is written" in done.output
    assert file.read_text() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_the_sources_are_listed_and_aws_is_not_asked(aws: SimulatedAws, tmp_path: Path) -> None:
    done = run(aws, tmp_path, "--json")
    sources = json.loads(done.stdout)["sources"]
    assert sum(source["rows"] for source in sources) > 3000
    assert all(source["name"] and source["date"] for source in sources)
    assert "Sources of list prices" in run(aws, tmp_path).stdout
    assert aws.requests.entries() == []


def dimension(usd: str, unit: str = "Hrs", begin: str = "0", currency: str = "USD") -> dict[str, Any]:
    return {"unit": unit, "beginRange": begin, "pricePerUnit": {currency: usd}}


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ([[dimension("0.1")]], {"0.1"}),
        ([[dimension("0.0000000000")], [dimension("0.1")]], {"0.1"}),  # reserved instance applied
        ([[dimension("0.1"), dimension("0.05", begin="100")]], {"0.1"}),  # a tier
        ([[dimension("0.1", unit="Quantity")]], set()),
        ([[dimension("0.7", currency="CNY")]], set()),
        ([[dimension("0.1")], [dimension("0.2")]], {"0.1", "0.2"}),  # two prices are none
        ([], set()),
    ],
)
def test_a_price_is_that_of_the_first_unit(terms: list[list[dict[str, Any]]], expected: set[str]) -> None:
    product = {
        "terms": {
            "OnDemand": {
                f"t{number}": {
                    "priceDimensions": {f"d{place}": each for place, each in enumerate(dimensions)}
                }
                for number, dimensions in enumerate(terms)
            }
        }
    }
    assert on_demand(product, {"hrs"}) == {Decimal(usd) for usd in expected}


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{2}-[a-z]+-\d", fullmatch=True),
        st.dictionaries(st.text(min_size=1), st.decimals(0, 10**6, places=10)),
    ),
    st.dates(),
)
def test_a_file_is_read_as_it_is_written(regions: dict[str, dict[str, Decimal]], day: Any) -> None:
    from exporter.core.money import usd_text

    data = {
        "source": {"name": "x", "version": "", "date": day.isoformat()},
        "regions": {
            region: {key: usd_text(usd) for key, usd in rows.items()} for region, rows in regions.items()
        },
    }
    read = price_file(json.loads(json.dumps(data)))
    assert (read.source.date, read.regions) == (day, regions)

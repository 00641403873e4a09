"""What a resource cost by a data export, beside its list price: joined by Prometheus as documented."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from inventory_harness import world_of

from simulated_aws import OrganizationSpec, SimulatedAws

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
FEBRUARY, MARCH = date(2026, 2, 1), date(2026, 3, 1)
COST, PRICE = "aws_resource_cost_usd", "aws_resource_estimated_monthly_cost_usd"
FILES = ("ec2", "vpc", "rds", "lambda", "dynamodb", "elbv2")
DOCUMENT = Path(__file__).parents[2] / "docs/inventory.md"


def documented_join() -> str:
    """The query of docs/inventory.md."""
    (query,) = re.findall(r"```promql\n([^`]*aws_resource_cost_usd[^`]*)```", DOCUMENT.read_text())
    return str(query).strip()


def check_query(folder: Path, series: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Let promtool evaluate the join over these series."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    path = folder / "join.yml"
    asked = {"expr": documented_join(), "eval_time": "1m", "exp_samples": expected}
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [asked]}
    path.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(
        [program, "test", "rules", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[:5000]


def selector(name: str, labels: dict[str, str]) -> str:
    joined = ", ".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{joined}}}"


def test_cost_of_a_month_is_joined_with_the_list_price_of_the_resource(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = OrganizationSpec(
        seed=5, accounts=2, services=8, now=NOW, days=60, regions=("us-east-1",), inventory_resources=True
    )
    with SimulatedAws(spec) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        aws.exports.create(hourly=False, months=1)
        more = {
            "collectors": {
                "cost": {"enabled": True, "source": "data_export", "history_months": 1},
                "cost_export": {"export": "cost"},
            }
        }
        with world_of(tmp_path, aws, {"services": list(FILES)}, **more) as world:
            assert world.collect("cost_export") == 0
            assert world.collect() == 0
            samples = world.samples()
            series = [
                {"series": selector(name, dict(key)), "values": f"{value!r}x5"}
                for name in (COST, PRICE)
                for key, value in samples[name].items()
            ]
            at = aws.exports.refreshed("cost")
            bill = aws.truth.totals(FEBRUARY, MARCH, at, ("account", "resource"), "AmortizedCost")
            expected = []
            for account in aws.accounts:
                for resource in (
                    each for name in FILES for each in aws.inventory.truth(account.id, name, "us-east-1")
                ):
                    key = next(
                        (
                            key
                            for key in ((account.id, resource.arn), (account.id, resource.id))
                            if key in bill
                        ),
                        None,
                    )
                    if (
                        key is None
                        or not bill[key]
                        or not resource.monthly_usd
                        or resource.state == "terminated"
                    ):
                        continue
                    labels = {
                        "account_id": account.id,
                        "region": resource.region,
                        "resource_type": resource.type,
                        "resource_id": resource.id,
                    }
                    expected.append(
                        {
                            "labels": selector("", labels),
                            "value": float(bill[key]) / float(resource.monthly_usd),
                        }
                    )
            assert len(expected) > 10
            check_query(tmp_path, series, expected)

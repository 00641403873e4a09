"""What only an export shows is on /metrics without a paid request; commitments change their source with the configuration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from running_exporter import (
    InProcess,
    MakeAws,
    ShiftedClock,
    check_with_promtool,
    collectors,
    in_process,
    organization,
)
from waiting import wait_for

from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack

START = datetime(2026, 5, 17, 12, 30, tzinfo=UTC)
INFO = "aws_commitment_info"


def configuration(aws: SimulatedAws, **chosen: Any) -> dict[str, Any]:
    return organization(
        aws={"endpoint_url": aws.url},
        collectors=collectors(cost={"source": "data_export", "history_months": 1}, **chosen)
        | {"cost_export": {"export": "cost"}},
    )


def change(exporter: InProcess, folder: Path, config: dict[str, Any]) -> None:
    whole = {"data_dir": str(folder / "data"), "server": {"port": 0}, **config}
    (folder / "config.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    assert exporter.reload().status_code == 200


def plan_types(exporter: InProcess) -> set[str]:
    """What AWS calls the Savings Plans: lines do not say it, Cost Explorer does."""
    found = exporter.samples().get(INFO, [])
    return {labels.get("type", "") for labels, _ in found if labels["kind"] == "savings_plans"}


def check_answers(aws: SimulatedAws, exporter: InProcess) -> None:
    """The JSON API answers about the month to date what the families show of it."""
    month = {"start": f"{START:%Y-%m}-01", "end": START.date().isoformat()}
    split = exporter.get("/api/v1/costs", params={**month, "by": "account,cluster,namespace,kind"}).json()
    refreshed = aws.exports.refreshed("cost")
    assert refreshed is not None
    for name, column in (("usd", "split_cost"), ("unused_usd", "unused_cost")):
        true = aws.exports.split_totals(
            START.date().replace(day=1),
            START.date() + timedelta(days=1),
            refreshed,
            ("account", "cluster", "namespace", "kind"),
            column,
        )
        assert {
            (row["account_id"], row["cluster"], row["namespace"], row["kind"]): Decimal(row[name])
            for row in split["rows"]
        } == true
        assert Decimal(split[f"total_{name}"]) == sum(true.values()) > 0
    listed = exporter.get("/api/v1/costs", params={**month, "by": "account", "cost_type": "list"}).json()
    family = exporter.samples()["aws_cost_list_price_usd"]
    assert {row["account_id"]: pytest.approx(float(row["usd"])) for row in listed["rows"]} == {
        labels["account_id"]: value for labels, value in family if labels["period"] == "month_to_date"
    }


def test_the_families_of_lines_are_served(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=START, accounts=3, services=17, days=60, varied_charges=True)
    aws.exports.create(manual_discounts=True, split_costs=True, hourly=False, months=1)
    clock = ShiftedClock(START)
    with in_process(tmp_path, aws, configuration(aws), clock) as exporter:
        wait_for("last month is served", lambda: exporter.value(
            "aws_cost_list_price_usd", period="month", account_id=aws.payer_id
        ))  # fmt: skip
        samples = exporter.samples()
        assert {
            (name, labels.get("period", ""))
            for name in samples
            for labels, _ in samples[name]
            if name.startswith(("aws_resource_", "aws_split_", "aws_cost_list_", "aws_effective_", INFO))
        } == {
            ("aws_resource_cost_usd", "day"),
            ("aws_resource_cost_usd", "month"),
            ("aws_split_cost_usd", "day"),
            ("aws_split_cost_usd", "month_to_date"),
            ("aws_split_unused_cost_usd", "day"),
            ("aws_split_unused_cost_usd", "month_to_date"),
            ("aws_cost_list_price_usd", "month"),
            ("aws_cost_list_price_usd", "month_to_date"),
            ("aws_effective_savings_usd", "month"),
            ("aws_effective_savings_usd", "month_to_date"),
            ("aws_effective_savings_ratio", "month"),
            ("aws_effective_savings_ratio", "month_to_date"),
            (INFO, ""),
        }
        assert {labels["kind"] for labels, _ in samples["aws_commitment_used_by_id_usd"]} == {
            "savings_plans", "reservations",
        }  # fmt: skip
        check_with_promtool(exporter.get("/metrics").text)
        check_answers(aws, exporter)
        assert plan_types(exporter) == {""}
        assert aws.requests.count("ce") == 0

        change(exporter, tmp_path, configuration(aws, commitments={"each": True, "reservations": []}))
        wait_for("Cost Explorer serves each plan", lambda: {""} != plan_types(exporter) != set())
        assert aws.requests.count("ce") > 0
        assert {labels["kind"] for labels, _ in exporter.samples()[INFO]} == {"savings_plans"}
        asked = aws.requests.count("ce")

        change(exporter, tmp_path, configuration(aws, commitments={"each": False, "reservations": []}))
        wait_for("the export serves them again", lambda: plan_types(exporter) == {""})
        change(exporter, tmp_path, configuration(aws))
        clock.advance(timedelta(minutes=1))
        wait_for("also with the collector off", lambda: plan_types(exporter) == {""})
        assert aws.requests.count("ce") == asked
        errors = exporter.samples().get("aws_spend_exporter_collector_errors_total", [])
        assert {labels["collector"] for labels, value in errors if value} == set()

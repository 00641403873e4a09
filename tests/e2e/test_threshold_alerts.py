"""Thresholds are served for what discovery and the ledger know, and the rules understand what is served."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from running_exporter import Client, MakeAws, collectors, in_process, organization, warm
from waiting import wait_for

from exporter.core.exposition import render_labels
from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack

RULES = Path(__file__).parents[2] / "prometheus/rules/thresholds.yml"
THRESHOLDS = {
    "organization": {"day": 0, "month": 1e9},
    "ous": {"overrides": {"/Workloads/*": {"day": 0}, "/Gone": {"day": 0}}},
    "groups": {"team": {"overrides": {"shop": {"day": 0}, "nobody": {"day": 0}}}},
    "accounts": {"default": {"day": 1e9}, "overrides": {"prod": {"day": 0}}},
    "services": {"overrides": {"Amazon Elastic Compute Cloud*": {"day": 0}, "No Such Service": {"day": 0}}},
    "account_services": {"overrides": {"prod": {"Amazon Elastic Compute Cloud*": {"day": 0}}}},
}


@pytest.fixture
def aws(make_aws: MakeAws) -> SimulatedAws:
    aws = make_aws()
    warm(aws)
    return aws


def settings(thresholds: dict[str, Any] = THRESHOLDS) -> dict[str, Any]:
    groups = {"team": [{"value": "shop", "accounts": ["prod", "staging"]}]}
    accounts = {"discovery": "organizations", "role_name": "aws-spend-exporter-member", "groups": groups}
    return organization(
        accounts=accounts, thresholds=thresholds, collectors=collectors(cost={"history_months": 1})
    )


def subjects(client: Client) -> set[tuple[str, str, float]]:
    return {
        (labels["scope"], labels["subject"], value)
        for labels, value in client.samples().get("aws_cost_threshold_usd", [])
    }


def test_every_scope_is_served_and_what_matches_nothing_is_logged_once(
    aws: SimulatedAws, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with in_process(tmp_path, aws, settings()) as exporter:
        wait_for("it is ready", exporter.is_ready)
        served = wait_for(
            "services are known",
            lambda: {s for s in subjects(exporter) if s[0] == "service"} and subjects(exporter),
        )
        exporter.service.runner.views.render()
    accounts = {account.name: account.id for account in aws.accounts if account.state == "ACTIVE"}
    services = {service for scope, service, _ in served if scope == "service"}
    (ec2,) = services
    assert ec2.startswith("Amazon Elastic Compute Cloud")
    prod = f"prod ({accounts['prod']})"
    ous = {f"/{account.ou}" for account in aws.accounts if account.name in accounts}
    assert served == {
        ("organization", "all accounts", 0),
        ("organization", "all accounts", 1e9),
        *{("ou", f"OU {ou}", 0) for ou in ous if ou.startswith("/Workloads/")},
        ("group", "team shop", 0),
        ("account", prod, 0),
        *{("account", f"{name} ({id_})", 1e9) for name, id_ in accounts.items() if name != "prod"},
        ("service", ec2, 0),
        ("account_service", f"{ec2} of {prod}", 0),
    }
    event = "a threshold matches nothing that has cost or is collected"
    assert [vars(record)["setting"] for record in caplog.records if record.getMessage() == event] == [
        "thresholds.ous.overrides./Gone",
        "thresholds.groups.team.overrides.nobody",
        "thresholds.services.overrides.No Such Service",
    ]


def test_the_rules_fire_on_what_the_exporter_serves(aws: SimulatedAws, tmp_path: Path) -> None:
    """The labels of spend and of thresholds meet in every scope, and an account's groups reach the alert."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    with in_process(tmp_path, aws, settings()) as exporter:
        wait_for("it is ready", exporter.is_ready)
        wait_for("services are known", lambda: {s for s in subjects(exporter) if s[0] == "service"})
        samples = exporter.samples()
    families = ("aws_cost_threshold_usd", "aws_cost_yesterday_usd", "aws_account_group_info")
    served = [
        (name, {**labels, "job": "aws-spend-exporter"}, value)
        for name in families
        for labels, value in samples[name]
    ]
    ids = {account.name: account.id for account in aws.accounts}
    served += [
        ("aws_account_ou_info", {"account_id": ids[account.name], "ou": f"/{account.ou}"}, 1)
        for account in aws.accounts
    ]
    expected = {
        "all accounts": "",
        "team shop": "shop",
        f"prod ({ids['prod']})": "shop",
        **{
            labels["subject"]: "shop" if labels["scope"] == "account_service" else ""
            for labels, _ in samples["aws_cost_threshold_usd"]
            if labels["scope"] in {"ou", "service", "account_service"}
        },
    }
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": f"{name}{render_labels(labels, labels.values())}", "values": f"{value}x10"}
                    for name, labels, value in served
                ],
                "promql_expr_test": [
                    {
                        "expr": "sum by (subject, team) (ALERTS{alertstate='firing'})",
                        "eval_time": "5m",
                        "exp_samples": [
                            {"labels": render_labels(("subject", "team"), (subject, team)), "value": 1}
                            for subject, team in expected.items()
                        ],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [promtool, "test", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_of_two_shards_the_first_serves_the_thresholds_and_groups_of_all_accounts(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    """The services of accounts are known where cost is read, and one shard alone reads it."""
    served = []
    for index, count in ((0, 1), (0, 2), (1, 2)):
        folder = tmp_path / f"{index}-of-{count}"
        folder.mkdir()
        with in_process(folder, aws, settings() | {"shard": {"index": index, "count": count}}) as exporter:
            wait_for("it is ready", exporter.is_ready)
            if index == 0:
                wait_for("services are known", lambda: {s for s in subjects(exporter) if s[0] == "service"})
            groups = exporter.samples().get("aws_account_group_info", [])
            served.append((subjects(exporter), sorted(labels["account"] for labels, _ in groups)))
    whole, first, second = served
    assert whole[1] == ["prod", "staging"]
    assert first == whole
    assert second == (set(), [])

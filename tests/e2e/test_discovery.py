"""Which accounts are collected: found, chosen, grouped, lost and found again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from running_exporter import Client, MakeAws, collectors, in_process, organization, warm
from waiting import wait_for

from exporter.collection.due import Patience
from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack

ACTIVE = {
    "management", "prod", "staging", "data-platform", "sandbox", "dev", "shared-services", "security",
    "machine-learning",
}  # fmt: skip


@pytest.fixture
def aws(make_aws: MakeAws) -> SimulatedAws:
    aws = make_aws()
    warm(aws)
    return aws


def settings(**accounts: Any) -> dict[str, Any]:
    base = {"discovery": "organizations", "role_name": "aws-spend-exporter-member"}
    return organization(accounts=base | accounts)


def infos(client: Client) -> dict[str, dict[str, str]]:
    return {labels["account"]: labels for labels, _ in client.samples().get("aws_account_info", [])}


def collected(client: Client) -> set[str]:
    return {labels["account"] for labels, _ in client.samples().get("aws_ec2_instances", [])}


def test_an_organization_is_found_without_its_suspended_accounts(aws: SimulatedAws, tmp_path: Path) -> None:
    with in_process(tmp_path, aws, settings()) as exporter:
        wait_for("it is ready", exporter.is_ready)
        found = infos(exporter)
        assert set(found) == collected(exporter) == ACTIVE
        assert {name: labels["account_id"] for name, labels in found.items()} == {
            account.name: account.id for account in aws.accounts if account.name in ACTIVE
        }
        assert {name: labels["ou"] for name, labels in found.items()} == {
            account.name: f"/{account.ou}" for account in aws.accounts if account.name in ACTIVE
        }
        assert {labels["state"] for labels in found.values()} == {"ACTIVE"}
        assert exporter.value("aws_spend_exporter_accounts") == len(ACTIVE)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"include": ["prod", "s*"]}, {"prod", "staging", "sandbox", "shared-services", "security"}),
        ({"exclude": ["s*"]}, ACTIVE - {"staging", "sandbox", "shared-services", "security"}),
        (
            {"include": ["/Workloads/*"], "exclude": ["prod"]},
            {"staging", "data-platform", "dev", "machine-learning"},
        ),
        ({"include": ["/Infrastructure"]}, {"shared-services", "security"}),
    ],
    ids=["included by name and glob", "excluded by glob", "a unit without one account", "a unit"],
)
def test_accounts_are_included_and_excluded(
    aws: SimulatedAws, tmp_path: Path, chosen: dict[str, Any], expected: set[str]
) -> None:
    with in_process(tmp_path, aws, settings(**chosen)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        assert set(infos(exporter)) == collected(exporter) == expected
    assert {entry.account_id for entry in aws.requests.entries(service="ec2")} == {
        account.id for account in aws.accounts if account.name in expected
    }


def test_groups_follow_ids_globs_units_and_tags(aws: SimulatedAws, tmp_path: Path) -> None:
    prod = aws.organization.find("prod").id
    groups = {
        "team": [
            {"value": "by-id", "accounts": [prod]},
            {"value": "by-glob", "accounts": ["st*"]},
            {"value": "by-unit", "ous": ["/Workloads/Dev*"]},
            {"value": "by-tag", "tags": {"team": "security", "environment": "shared"}},
        ]
    }
    with in_process(tmp_path, aws, settings(groups=groups)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        teams = {name: labels.get("team", "") for name, labels in infos(exporter).items()}
    assert teams == dict.fromkeys(ACTIVE, "") | {
        "prod": "by-id",
        "staging": "by-glob",  # the first rule that matches wins
        "shared-services": "",
        "dev": "by-unit",
        "security": "by-tag",
    }


def test_static_accounts_need_no_organizations_call(aws: SimulatedAws, tmp_path: Path) -> None:
    ids = {name: aws.organization.find(name).id for name in ("management", "prod", "staging")}
    static = [
        {"id": ids["management"]},
        {"id": ids["prod"], "name": "shop", "regions": ["eu-west-1"], "groups": {"team": "shop"}},
        {
            "id": ids["staging"],
            "role_arn": f"arn:aws:iam::{ids['staging']}:role/aws-spend-exporter-member",
        },
    ]
    with in_process(tmp_path, aws, settings(discovery="static", static=static)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        assert set(infos(exporter)) == {ids["management"], "shop", ids["staging"]}
        assert infos(exporter)["shop"]["team"] == "shop"
        regions = {
            labels["region"]
            for labels, _ in exporter.samples()["aws_ec2_instances"]
            if labels["account"] == "shop"
        }
        assert regions == {"eu-west-1"}
        assert exporter.failures("ec2_instances") == {}
    assert aws.requests.count("organizations") == 0


def test_the_payer_alone_assumes_no_role(aws: SimulatedAws, tmp_path: Path) -> None:
    with in_process(tmp_path, aws, settings(discovery="payer")) as exporter:
        wait_for("it is ready", exporter.is_ready)
        assert set(infos(exporter)) == collected(exporter) == {aws.payer_id}
    assert aws.requests.count("sts", "AssumeRole") == aws.requests.count("organizations") == 0


def test_regions_are_discovered_by_account(aws: SimulatedAws, tmp_path: Path) -> None:
    with in_process(tmp_path, aws, settings() | {"regions": "discover"}) as exporter:
        wait_for("it is ready", exporter.is_ready)
        found = {
            (labels["account"], labels["region"]) for labels, _ in exporter.samples()["aws_ec2_instances"]
        }
    assert found == {(name, region) for name in ACTIVE for region in aws.spec.regions}


def test_an_account_that_leaves_takes_its_outcomes_with_it_and_a_new_one_comes(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    organization = aws.organization
    prod = organization.find("prod")
    with in_process(tmp_path, aws, settings(include=["prod", "dev"])) as exporter:
        wait_for("it is ready", exporter.is_ready)
        aws.faults.add("access_denied", account="dev", service="ec2")
        runner = exporter.service.runner
        collector = exporter.collector("ec2_instances")
        assert runner.collect_now(collector) == 2
        assert set(exporter.failures("ec2_instances")) == {"dev"}

        index = organization.accounts.index(prod)
        organization.accounts[index] = replace(prod, state="SUSPENDED")
        runner.discovery.run()
        assert collected(exporter) == {"dev"}
        assert set(infos(exporter)) == {"dev"}
        dev = organization.find("dev")
        organization.accounts[organization.accounts.index(dev)] = replace(dev, state="SUSPENDED")
        runner.discovery.run()
        text = exporter.get("/metrics").text
        assert prod.id not in text
        assert dev.id not in text

        organization.accounts[index] = prod
        runner.discovery.run()
        assert runner.collect_now(collector) == 0
        assert collected(exporter) == {"prod"}


def test_a_rename_changes_the_label_and_makes_no_second_series(aws: SimulatedAws, tmp_path: Path) -> None:
    organization = aws.organization
    prod = organization.find("prod")
    config = settings(include=[prod.id]) | {
        "collectors": collectors(cost={"history_months": 1}, ec2_instances={})
    }
    with in_process(tmp_path, aws, config) as exporter:
        wait_for("it is ready", exporter.is_ready)
        wait_for("cost is served", lambda: exporter.samples().get("aws_cost_yesterday_usd"))
        organization.accounts[organization.accounts.index(prod)] = replace(prod, name="shop")
        runner = exporter.service.runner
        runner.discovery.run()
        for collector in runner.collectors:
            if collector.name == "ec2_instances":
                runner.collect_now(collector)
        for name in ("aws_account_info", "aws_ec2_instances", "aws_cost_yesterday_usd"):
            found = {
                labels["account"] for labels, _ in exporter.samples()[name] if labels["account_id"] == prod.id
            }
            assert found == {"shop"}, name


def test_a_name_that_was_given_or_found_wins_over_that_of_cost_explorer(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    """In the dated history too, and also of an account that is not collected from."""
    prod, staging, dev = (aws.organization.find(name).id for name in ("prod", "staging", "dev"))
    static = [{"id": prod, "name": "shop"}, {"id": staging, "name": "rehearsal"}, {"id": dev}]
    config = settings(discovery="static", static=static, exclude=["rehearsal"]) | {
        # Enough for the account that was suspended 45 days ago, also on the first of a month.
        "collectors": collectors(cost={"history_months": 3})
    }
    with in_process(tmp_path, aws, config) as exporter:
        wait_for("it is ready", exporter.is_ready)
        assert set(infos(exporter)) == {"shop", dev}
        costs = {
            labels["account_id"]: labels["account"]
            for labels, _ in exporter.samples()["aws_cost_last_month_usd"]
        }
        told = {account.id: account.name for account in aws.accounts}
        names = {**told, prod: "shop", staging: "rehearsal"}
        assert exporter.service.ledger.accounts.names() == names
        assert {prod, staging, dev} <= costs.keys()
        assert costs == {account_id: names[account_id] for account_id in costs}


@pytest.mark.fault(
    "Organizations denies after the accounts are known", "the known accounts are collected from"
)
def test_a_discovery_that_fails_later_keeps_the_known_accounts(aws: SimulatedAws, tmp_path: Path) -> None:
    with in_process(tmp_path, aws, settings()) as exporter:
        wait_for("it is ready", exporter.is_ready)
        aws.faults.add("access_denied", service="organizations")
        runner = exporter.service.runner
        runner.discovery.run()
        assert exporter.is_ready()
        assert "accounts of all accounts: access_denied" in exporter.get("/-/ready").text
        assert set(infos(exporter)) == collected(exporter) == ACTIVE
        errors = {
            labels["kind"]: value
            for labels, value in exporter.samples()["aws_spend_exporter_collector_errors_total"]
            if labels["collector"] == "accounts" and value
        }
        assert errors == {"access_denied": 1}
        aws.faults.clear()
        runner.discovery.run()
        assert "access_denied" not in exporter.get("/-/ready").text


@pytest.mark.fault("the last page of accounts fails", "a failed discovery, not a smaller organization")
def test_a_page_of_accounts_that_fails_is_a_failed_discovery_and_not_a_smaller_organization(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(accounts=45)
    aws.faults.add("last_page_fails", operation="ListAccounts", count=4)
    config = settings() | {"collectors": collectors()}
    with in_process(tmp_path, aws, config) as exporter:
        wait_for("it has failed", lambda: "failed: server_error" in exporter.get("/-/ready").text)
        assert infos(exporter) == {}
        exporter.service.runner.discovery.run()
        assert len(infos(exporter)) == 44


@pytest.mark.fault(
    "Organizations denies at the start", "not ready with the reason, and ready once it is allowed"
)
def test_a_discovery_that_fails_at_the_start_says_why_and_recovers_by_itself(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    fault = aws.faults.add("access_denied", service="organizations")
    patience = Patience(first_retry=timedelta(seconds=0.5))
    with in_process(tmp_path, aws, settings(), patience=patience) as exporter:
        wait_for(
            "it says why",
            lambda: exporter.get("/-/ready").text.startswith(
                "Not ready: account discovery failed: access_denied"
            ),
        )
        assert exporter.get("/-/ready").status_code == 503
        assert exporter.get("/-/healthy").status_code == 200
        assert exporter.failures("accounts") or "access_denied" in exporter.get("/metrics").text
        aws.faults.clear(fault)
        wait_for("it is ready", exporter.is_ready)
        assert collected(exporter) == ACTIVE


def test_groups_go_by_the_name_that_was_given_by_hand(aws: SimulatedAws, tmp_path: Path) -> None:
    prod = aws.organization.find("prod").id
    groups = {
        "team": [{"value": "shop", "accounts": ["shop-*"]}],
        "environment": [{"value": "live", "tags": {"environment": "production"}}],
    }
    static = [{"id": prod, "name": "shop-production"}]
    with in_process(tmp_path, aws, settings(groups=groups, static=static)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        labels = infos(exporter)["shop-production"]
    assert (labels["team"], labels["environment"]) == ("shop", "live")

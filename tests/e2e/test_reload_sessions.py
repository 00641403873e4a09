"""A reload makes anew only what its new settings touch: one AssumeRole an account and hour holds across it."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from running_exporter import (
    Exporter,
    MakeAws,
    MakeExporter,
    ShiftedClock,
    collectors,
    in_process,
    organization,
    warm,
)
from waiting import wait_for

from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack


@pytest.fixture
def aws(make_aws: MakeAws) -> SimulatedAws:
    aws = make_aws(accounts=3)
    warm(aws)
    return aws


def assumed(aws: SimulatedAws) -> Counter[str]:
    """How often the role of each account was assumed, by the account's name."""
    names = {account.id: account.name for account in aws.accounts}
    return Counter(
        names[(entry.params or {})["RoleArn"].split(":")[4]]
        for entry in aws.requests.entries(operation="AssumeRole")
    )


def reload(exporter: Exporter, aws: SimulatedAws, config: Mapping[str, Any], by_signal: bool = False) -> None:
    """Reload, and wait until every account has been read again."""
    exporter.configure(config)
    asked = aws.requests.count("ec2", "DescribeInstances")
    if by_signal:
        exporter.signal(signal.SIGHUP)
    else:
        assert exporter.reload().status_code == 200
    wait_for("all is asked again", lambda: aws.requests.count("ec2", "DescribeInstances") >= asked + 6)
    wait_for("it is ready", exporter.is_ready)


def test_a_reload_of_anything_else_keeps_sessions_and_clients(
    aws: SimulatedAws, make_exporter: MakeExporter
) -> None:
    exporter = make_exporter(aws, organization()).start()
    wait_for("it is ready", exporter.is_ready)
    clients = exporter.value("aws_spend_exporter_aws_clients")
    once = {"prod": 1, "staging": 1}
    assert assumed(aws) == once

    reload(exporter, aws, organization(thresholds={"organization": {"day": 7}}))
    reload(exporter, aws, organization(log={"level": "debug"}), by_signal=True)
    reload(exporter, aws, organization(aws={"read_timeout": "2s", "run_deadline": "5m"}))
    assert assumed(aws) == once
    assert exporter.value("aws_spend_exporter_aws_clients") == clients
    assert exporter.stop() < 30


def test_an_account_whose_role_changed_gets_a_new_session_and_the_others_keep_theirs(
    aws: SimulatedAws, make_exporter: MakeExporter
) -> None:
    exporter = make_exporter(aws, organization()).start()
    wait_for("it is ready", exporter.is_ready)
    prod = aws.organization.find("prod").id
    accounts = organization()["accounts"]
    reload(
        exporter, aws, organization(accounts=accounts | {"static": [{"id": prod, "external_id": "another"}]})
    )
    assert assumed(aws) == {"prod": 2, "staging": 1}
    exporter.stop()


@pytest.mark.parametrize(
    "change", [{"read_timeout": "3s"}, {"region": "eu-west-1"}], ids=["timeout", "region"]
)
def test_a_change_of_how_aws_is_reached_makes_all_anew(
    aws: SimulatedAws, make_exporter: MakeExporter, change: dict[str, str]
) -> None:
    exporter = make_exporter(aws, organization()).start()
    wait_for("it is ready", exporter.is_ready)
    reload(exporter, aws, organization(aws={"read_timeout": "2s"} | change))
    assert assumed(aws) == {"prod": 2, "staging": 2}
    exporter.stop()


@pytest.mark.fault("keys in the credentials file are replaced", "a reload takes the new ones")
def test_keys_that_were_replaced_in_the_credentials_file_are_taken_by_a_reload(
    aws: SimulatedAws, make_exporter: MakeExporter
) -> None:
    environment = aws.environment()
    keys = {name: environment.pop(name) for name in list(environment) if "KEY" in name or "TOKEN" in name}
    exporter = make_exporter(environment, organization())
    file = exporter.folder / ".aws" / "credentials"
    file.parent.mkdir()
    file.write_text("[default]\n" + "".join(f"{name.lower()} = {key}\n" for name, key in keys.items()))
    exporter.start()
    wait_for("it is ready", exporter.is_ready)
    reload(exporter, aws, organization())
    assert assumed(aws) == {"prod": 1, "staging": 1}
    with file.open("a") as more:
        more.write("[another]\n")
    reload(exporter, aws, organization())
    assert assumed(aws) == {"prod": 2, "staging": 2}
    exporter.stop()


def test_whom_aws_refused_is_asked_again_at_once(aws: SimulatedAws, make_exporter: MakeExporter) -> None:
    """Who mends a role and reloads does not wait for the minute that a refusal is remembered."""
    fault = aws.faults.add("access_denied", operation="AssumeRole", account="prod")
    exporter = make_exporter(aws, organization()).start()
    wait_for("it is ready", exporter.is_ready)
    assert exporter.failures("ec2_instances") == {"prod": {"access_denied"}}
    aws.faults.clear(fault)
    reload(exporter, aws, organization())
    assert exporter.failures("ec2_instances") == {}
    assert assumed(aws) == {"prod": 2, "staging": 1}
    exporter.stop()


def test_an_answer_that_was_paid_for_before_a_reload_is_shown_as_the_new_configuration_says(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    now = datetime(2026, 5, 17, 9, 30, tzinfo=UTC)
    aws = make_aws(now=now, accounts=3)
    clock = ShiftedClock(now)

    def config(cost_type: str) -> dict[str, Any]:
        cost = {"history_months": 1, "refresh": "full", "cost_type": cost_type}
        return {
            "data_dir": str(tmp_path / "data"),
            "server": {"port": 0},
            "collectors": collectors(cost=cost),
        }

    def served() -> dict[tuple[str, str], float]:
        return {
            (labels["account_id"], labels["service"]): value
            for labels, value in exporter.samples().get("aws_cost_month_to_date_usd", [])
        }

    with in_process(tmp_path, aws, config("unblended"), clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
        ledger, before = exporter.service.ledger, exporter.service.runner
        clock.advance(timedelta(hours=7))
        slow = aws.faults.add("latency", service="ce", seconds=10, count=1)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(before.refresh, "cost")
            wait_for("Cost Explorer is asked", lambda: aws.faults.hits(slow))
            (tmp_path / "config.yaml").write_text(json.dumps(config("net_unblended")))
            assert exporter.reload().status_code == 200
        wait_for("it is ready", exporter.is_ready)
        # It was asked before the reload, and comes after what the next runner has asked.
        wait_for("the late answer is committed", lambda: not before._stream._running)

        month = now.date().replace(day=1), now.date() + timedelta(days=1)
        held = ledger.cost.sums(*month, "net_unblended")
        assert held != ledger.cost.sums(*month, "unblended")
        expected = {key: pytest.approx(float(usd)) for key, usd in held.items()}
        assert served() == expected


def test_what_a_reload_switches_off_is_counted_no_more(
    aws: SimulatedAws, make_exporter: MakeExporter
) -> None:
    """Dashboards take a collector for on while its failures are counted, and say of the others that they are off."""

    def counted(exporter: Exporter) -> dict[str, float]:
        """Failures of all kinds, by unit."""
        found: Counter[str] = Counter()
        for labels, value in exporter.samples()["aws_spend_exporter_collector_errors_total"]:
            found[labels["collector"]] += value
        return dict(found)

    aws.faults.add("throttle", service="budgets")
    exporter = make_exporter(aws, organization(collectors=collectors(ec2_instances={}, budgets={}))).start()
    wait_for("budgets have failed", lambda: counted(exporter)["budgets"])
    wait_for("it is ready", exporter.is_ready)
    before = counted(exporter)

    reload(exporter, aws, organization(collectors=collectors(ec2_instances={}, budgets={"interval": "2h"})))
    assert counted(exporter)["budgets"] >= before["budgets"]

    reload(exporter, aws, organization(collectors=collectors(ec2_instances={})))
    assert counted(exporter).keys() == before.keys() - {"budgets"}

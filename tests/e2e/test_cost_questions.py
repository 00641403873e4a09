"""Questions by several dimensions, as they are typed and over the JSON API: answered from months of lines, or refused with a price."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lines_of_months import Line, commit_export, commit_values
from running_exporter import InProcess, ShiftedClock, collectors, in_process, organization
from waiting import wait_for

from exporter.aws.cost_explorer import USAGE_RECORD_TYPES
from exporter.collection.plan import make_plan, scale_for
from exporter.config.read import load_config
from exporter.core.money import to_units
from simulated_aws import OrganizationSpec, SimulatedAws

pytestmark = pytest.mark.stack

NOW = datetime(2026, 5, 17, 12, 30, tzinfo=UTC)
MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
EC2 = "Amazon Elastic Compute Cloud - Compute"
CONFIG = {"cost": {"history_months": 3}, "cost_breakdowns": {"by": ["charge_type"]}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SimulatedAws, InProcess]]:
    """March by region beside the account, as Cost Explorer reports it, and April from an export."""
    spec = OrganizationSpec(seed=3, accounts=4, services=5, days=120, instances=1, now=NOW)
    with SimulatedAws(spec) as aws, pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment().items():
            patch.setenv(name, value)
        config = organization(aws={"endpoint_url": aws.url}, collectors=collectors(**CONFIG))
        folder = tmp_path_factory.mktemp("questions")
        with in_process(folder, aws, config, ShiftedClock(NOW)) as exporter:
            wait_for("it is ready", exporter.is_ready)
            ledger = exporter.service.ledger
            march, april = lines_of(aws, MARCH), lines_of(aws, APRIL)
            days = sorted({line.day for line in march})
            commit_values(ledger, "region", "account", days, march, NOW)
            commit_export(ledger, APRIL, april, at=NOW)
            yield aws, exporter


def lines_of(aws: SimulatedAws, month: date) -> list[Line]:
    """What the simulated organisation cost, unblended."""
    found = []
    for number in range(30):
        day = month + timedelta(days=number)
        totals = aws.truth.totals(
            day,
            day + timedelta(days=1),
            at=NOW,
            by=("account", "service", "region", "usage_type", "record_type"),
            metric="UnblendedCost",
        )
        found += [
            Line(
                day,
                account,
                service,
                to_units(usd),
                region,
                usage_type,
                charge_type=record_type,
            )
            for (account, service, region, usage_type, record_type), usd in totals.items()
        ]
    return found


def typed(exporter: InProcess, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "costs", "--url", exporter.url, *arguments],
        cwd=Path(exporter.service.config.data_dir),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_several_dimensions_are_answered_to_the_last_digit(world: tuple[SimulatedAws, InProcess]) -> None:
    aws, exporter = world
    truth = aws.truth.totals(
        APRIL,
        date(2026, 5, 1),
        at=NOW,
        by=("region", "usage_type", "account", "service"),
        metric="UnblendedCost",
    )
    expected: dict[tuple[str, str, str], Decimal] = {}
    for (region, usage_type, account, service), usd in truth.items():
        if service == EC2:
            key = region, usage_type, account
            expected[key] = expected.get(key, Decimal(0)) + usd
    expected = {key: usd for key, usd in expected.items() if usd}
    assert len(expected) > 5
    asked = ("--by", "region,usage-type", "--by", "account", "--service", "ec2", "--from", "2026-04-01")
    data = json.loads(typed(exporter, *asked, "--to", "2026-04-30", "--json").stdout)
    found = {
        (row["region"], row["usage_type"], row["account_id"]): Decimal(row["usd"]) for row in data["rows"]
    }
    assert {key: usd for key, usd in found.items() if usd} == expected
    assert Decimal(data["total_usd"]) == sum(expected.values())
    assert (data["missing_days"], data["not_available"]) == ([], [])
    text = typed(exporter, *asked, "--to", "2026-04-30", "--csv").stdout
    rows = {
        (row["region"], row["usage_type"], row["account_id"]): Decimal(row["usd"])
        for row in csv.DictReader(io.StringIO(text))
    }
    assert rows == found


def test_a_range_over_two_sources_adds_up_to_the_ledger(world: tuple[SimulatedAws, InProcess]) -> None:
    _, exporter = world
    april = {"start": "2026-04-01", "end": "2026-04-30"}
    regions = exporter.get("/api/v1/costs", params={**april, "by": "region,account"}).json()
    accounts = exporter.get("/api/v1/costs", params={**april, "by": "account"}).json()
    assert regions["total_usd"] == accounts["total_usd"]
    both = exporter.get(
        "/api/v1/costs", params={"start": "2026-03-01", "end": "2026-04-30", "by": ["month", "region"]}
    ).json()
    assert {row["month"] for row in both["rows"]} == {"2026-03", "2026-04"}
    assert both["missing_days"] == ["2026-03-31"], "it was not read by region"


def test_options_are_filters(world: tuple[SimulatedAws, InProcess]) -> None:
    _, exporter = world
    april = ("--from", "2026-04-01", "--to", "2026-04-30")
    regions = json.loads(typed(exporter, *april, "--by", "region", "--json").stdout)["rows"]
    name = regions[0]["region"]
    options = ("--region", name, "--usage-type", "nothing of that", "--charge-type", "Usage")
    done = typed(exporter, *april, "--by-account", *options, code=1)
    assert "usage_type: found 'nothing of that', expected a value that has cost" in done.stderr
    one = json.loads(typed(exporter, *april, "--by", "region", "--region", name, "--json").stdout)
    same = json.loads(typed(exporter, *april, "--by", "region", "--where", f"region={name}", "--json").stdout)
    assert one["rows"] == same["rows"] == [regions[0]]
    account = exporter.get("/api/v1/accounts").json()["rows"][0]
    for given in (("--account", account["account"]), ("--where", f"account={account['account_id']}")):
        data = json.loads(typed(exporter, *april, "--by", "region", "--by-account", *given, "--json").stdout)
        assert {row["account_id"] for row in data["rows"]} == {account["account_id"]}
    table = typed(exporter, *april, "--by", "tag:team,region")
    assert "(none)" in table.stdout
    assert "Total $" in table.stderr


def test_more_rows_than_the_limit_are_counted_and_in_the_total(world: tuple[SimulatedAws, InProcess]) -> None:
    _, exporter = world
    asked: dict[str, Any] = {"start": "2026-04-01", "end": "2026-04-30", "by": "day,account,usage_type"}
    whole = exporter.get("/api/v1/costs", params=asked).json()
    some = exporter.get("/api/v1/costs", params={**asked, "limit": 3}).json()
    assert some["rows"] == whole["rows"][:3]
    assert some["total_usd"] == whole["total_usd"]
    assert some["rows_left_out"] == len(whole["rows"]) - 3
    shown = sum(Decimal(row["usd"]) for row in some["rows"])
    assert shown + Decimal(some["usd_left_out"]) == Decimal(whole["total_usd"])


@pytest.mark.parametrize(
    ("by", "reason"),
    [
        (
            "region,usage-type",
            "region and usage type are known from 2026-04-01 on, where the data export begins;"
            " Cost Explorer, which was read before, reports two keys at a time",
        ),
        (
            "resource",
            "resource is known from 2026-04-01 on, where the data export begins;"
            " Cost Explorer, which was read before, keeps resources for 14 days only",
        ),
        (
            "pod",
            "pod is not known from Cost Explorer, which has no split cost: set collectors.cost.source: data_export (S3"
            " requests only; docs/data-exports.md) and switch on split cost allocation data in the billing preferences",
        ),
        ("colour", "found 'colour', expected one of account, service, hour, day, month, region"),
    ],
)
def test_what_is_not_stored_is_refused_with_where_it_begins(
    by: str, reason: str, world: tuple[SimulatedAws, InProcess]
) -> None:
    _, exporter = world
    done = typed(exporter, "--by", by, "--from", "2026-03-01", "--to", "2026-04-30", code=1)
    assert reason in done.stderr


def test_what_was_never_read_of_resources_says_where_they_come_from(
    world: tuple[SimulatedAws, InProcess],
) -> None:
    _, exporter = world
    done = typed(exporter, "--by", "resource", "--from", "2020-03-01", "--to", "2020-03-31", code=1)
    assert "set collectors.cost.source: data_export (S3 requests only; docs/data-exports.md)" in done.stderr


def test_the_api_refuses_what_only_an_export_has_with_what_to_switch_on(
    world: tuple[SimulatedAws, InProcess],
) -> None:
    _, exporter = world

    def refused(month: str, **asked: str) -> str:
        days = {"start": f"{month}-01", "end": f"{month}-31"}
        reply = exporter.get("/api/v1/costs", params={**days, **asked})
        assert reply.status_code == 400
        return str(reply.json())

    switch = "set collectors.cost.source: data_export (S3 requests only; docs/data-exports.md)"
    assert "list prices are known from 2026-04-01 on, where the data export begins" in refused(
        "2026-03", cost_type="list", by="region"
    )
    assert f"list prices are not known from Cost Explorer, which has none: {switch}" in refused(
        "2020-03", cost_type="list"
    )
    for month in ("2026-03", "2020-03"):
        assert f"{switch} and switch on split cost allocation data" in refused(month, by="namespace,day")


@pytest.mark.parametrize(
    ("by", "collector", "settings", "said"),
    [
        (
            "usage-type",
            "cost_breakdowns",
            {"by": ["charge_type", "usage_type"]},
            "usage_type is not read: add usage_type to collectors.cost_breakdowns.by",
        ),
        (
            "charge-type,service",
            "cost_breakdowns",
            {"by": ["charge_type"], "services": ["charge_type"]},
            "charge_type beside service is not read: add charge_type to collectors.cost_breakdowns.services",
        ),
        (
            "tag:team,service",
            "cost_breakdowns",
            {"by": ["charge_type"], "tags": ["team"], "services": ["tag:team"]},
            "tag:team beside service is not read: add team to collectors.cost_breakdowns.tags"
            " and add tag:team to collectors.cost_breakdowns.services",
        ),
        (
            "hour,account",
            "cost_hours",
            {"accounts": True},
            "; set collectors.cost_hours.enabled: true and set collectors.cost_hours.accounts: true",
        ),
    ],
    ids=["by", "services", "tags", "hours"],
)
def test_a_refusal_prices_what_to_switch_on_as_plan_does(
    by: str, collector: str, settings: dict[str, Any], said: str, world: tuple[SimulatedAws, InProcess]
) -> None:
    _, exporter = world
    ledger, config = exporter.service.ledger, exporter.service.config
    done = typed(exporter, "--by", by, "--from", "2026-03-01", "--to", "2026-03-31", code=1)
    path = Path(config.data_dir) / "more.json"
    more = organization(collectors=collectors(**{**CONFIG, collector: settings}))
    path.write_text(json.dumps({"data_dir": str(config.data_dir), **more}))
    then = load_config(path, {})
    scale, sources = scale_for(config, ledger, NOW)
    usd = sum(
        sign * line.usd
        for sign, priced in ((1, then), (-1, config))
        for line in make_plan(priced, scale, sources, NOW).lines
        if line.collector == collector
    )
    assert usd > 0
    assert f"{said} (about ${usd:.2f} a month)" in done.stderr


def test_a_spike_in_an_export_is_explained_with_the_finding_and_no_request_is_paid_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 5, 20, 13, tzinfo=UTC)
    tested = date(2026, 5, 18)
    spec = OrganizationSpec(seed=3, accounts=3, services=4, days=120, instances=1, now=now)
    with SimulatedAws(spec) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        account = max(aws.accounts, key=lambda account: account.daily_usd)
        aws.inject_spike(account.id, EC2, 4, since=tested, days=1)
        aws.exports.create(manual_discounts=True, hourly=False, months=3)
        config = organization(
            aws={"endpoint_url": aws.url},
            collectors=collectors(cost={"source": "data_export", "history_months": 3}, anomaly_causes={})
            | {"cost_export": {"export": "cost"}},
        )
        with in_process(tmp_path, aws, config, ShiftedClock(now)) as exporter:
            wait_for("it is ready", exporter.is_ready)
            served = wait_for(
                "the cause is known", lambda: exporter.samples().get("aws_cost_anomaly_cause_usd")
            )
            assert "aws_cost_anomaly_cause_due_timestamp_seconds" not in exporter.samples()
            assert exporter.service.runner.collect_now(exporter.collector("anomaly_causes")) == 0
            (cause,) = (
                row["cause"]
                for row in exporter.get("/api/v1/anomalies").json()["findings"]
                if (row["kind"], row["account_id"], row["service"]) == ("spike", account.id, EC2)
            )

            def usage(day: date) -> dict[tuple[str, ...], Decimal]:
                return aws.truth.totals(
                    day,
                    day + timedelta(days=1),
                    aws.exports.refreshed("cost"),
                    ("usage_type", "operation", "resource"),
                    "AmortizedCost",
                    where=lambda key: (
                        (key.account_id, key.service) == (account.id, EC2)
                        and key.record_type in USAGE_RECORD_TYPES
                    ),
                )

            before, after = usage(date.fromisoformat(cause["compared_with"])), usage(tested)
            grew: dict[tuple[str, str], Decimal] = {}
            for usage_type, operation, resource in before.keys() | after.keys():
                key = usage_type, operation
                part = (*key, resource)
                grew[key] = (
                    grew.get(key, Decimal(0)) + after.get(part, Decimal(0)) - before.get(part, Decimal(0))
                )
            assert {(row["usage_type"], row["operation"]): Decimal(row["usd"]) for row in cause["grew"]} == {
                key: usd for key, usd in grew.items() if usd > 0
            }
            named = [each for row in cause["grew"] for each in row["resources"]]
            assert named
            for row in cause["grew"]:
                for each in row["resources"]:
                    part = row["usage_type"], row["operation"], each["resource"]
                    assert Decimal(each["usd"]) == after[part] - before.get(part, Decimal(0))
            shown = {labels.get("resource", "") for labels, _ in served if labels["service"] == EC2}
            assert shown & {each["resource"] for each in named}
            assert aws.requests.count("ce") == 0

"""An injected spike is the same finding in metrics, API and alerts, and one paid request names what grew."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from running_exporter import (
    InProcess,
    MakeAws,
    MakeExporter,
    ShiftedClock,
    collectors,
    in_process,
    organization,
)
from waiting import wait_for

from demo.control import changed_since
from exporter.anomalies.settings import AnomalySettings

pytestmark = pytest.mark.stack

RULES = Path(__file__).resolve().parents[2] / "prometheus/rules/anomalies.yml"
ALERTS = {
    "spike": "AwsCostSpike",
    "drop": "AwsCostDrop",
    "new_service": "AwsServiceNew",
    "stopped_service": "AwsServiceStopped",
}
NOW = datetime(2026, 5, 20, 13, tzinfo=UTC)
TESTED = NOW.date() - timedelta(days=2)
EC2 = "Amazon Elastic Compute Cloud - Compute"

Finding = tuple[str, str, str]


def in_api(exporter: InProcess) -> list[dict[str, Any]]:
    answer = exporter.get("/api/v1/anomalies").json()
    assert answer["assessed_day"] == str(TESTED)
    return list(answer["findings"])


def alerts(exporter: InProcess, folder: Path, findings: set[Finding]) -> None:
    """Let promtool evaluate the shipped rules over what is served now: these findings' alerts fire and no other."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    series = []
    for name, samples in exporter.samples().items():
        if name in ("aws_cost_anomaly_usd", "aws_cost_anomaly_unsent_info"):
            for labels, value in samples:
                inner = ",".join(f'{key}="{text}"' for key, text in labels.items())
                series.append({"series": f"{name}{{{inner}}}", "values": f"{value}x10"})
    # Without the annotations, of which the rules' own tests take care.
    rules = yaml.safe_load(RULES.read_text())
    for rule in rules["groups"][0]["rules"]:
        del rule["annotations"]
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    static = {rule["alert"]: rule["labels"] for rule in rules["groups"][0]["rules"]}
    shown = {
        (labels["kind"], labels["account_id"], labels["service"]): labels["account"]
        for labels, _ in exporter.samples().get("aws_cost_anomaly_usd", [])
    }
    cases = [
        {
            "eval_time": "5m",
            "alertname": alert,
            "exp_alerts": [
                {
                    "exp_labels": {
                        "account_id": account_id,
                        "account": shown[kind, account_id, service],
                        "service": service,
                        **static[alert],
                    }
                }
                for found, account_id, service in findings
                if found == kind
            ],
        }
        for kind, alert in ALERTS.items()
    ]
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": cases}],
    }
    (folder / "test.yml").write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_injected_spike_is_the_same_everywhere_and_its_cause_is_asked_for_once(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOW, accounts=4, services=6)
    account = max(aws.accounts, key=lambda account: account.daily_usd)
    aws.inject_spike(account.id, EC2, 4, since=TESTED, days=1)
    other = min(aws.accounts, key=lambda account: account.daily_usd)
    aws.inject_service(other.id, "New Service", 77, since=TESTED)
    config = organization(
        aws={"endpoint_url": aws.url},
        collectors=collectors(cost={"history_months": 3}, anomaly_causes={}),
    )
    clock = ShiftedClock(NOW)
    with in_process(tmp_path, aws, config, clock) as exporter:

        def explained() -> bool:
            return "aws_cost_anomaly_cause_due_timestamp_seconds" not in exporter.samples()

        wait_for("it is ready", exporter.is_ready)
        causes = exporter.collector("anomaly_causes")
        # Nothing but the read of cost makes it due, and no alert waits any longer.
        wait_for(
            "the cause is known", lambda: exporter.samples().get("aws_cost_anomaly_cause_usd") and explained()
        )
        rows = in_api(exporter)
        findings = {(row["kind"], row["account_id"], row["service"]) for row in rows}
        assert findings >= {("spike", account.id, EC2), ("new_service", other.id, "New Service")}

        samples = exporter.samples()
        served = {
            (labels["kind"], labels["account_id"], labels["service"]): value
            for labels, value in samples["aws_cost_anomaly_usd"]
        }
        assert served == pytest.approx(
            {(row["kind"], row["account_id"], row["service"]): row["usd"] for row in rows}, abs=0.0001
        )
        alerts(exporter, tmp_path, findings)

        # Amounts and causes are AWS's own.
        def usage(day: Any) -> dict[str, float]:
            totals = aws.truth.totals(
                day,
                day + timedelta(days=1),
                at=NOW,
                by=("usage_type",),
                metric="AmortizedCost",
                where=lambda key: (
                    (key.account_id, key.service) == (account.id, EC2)
                    and key.record_type
                    in ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation")
                ),
            )
            return {name: float(usd) for (name,), usd in totals.items()}

        (spike,) = (row for row in rows if row["kind"] == "spike" and row["account_id"] == account.id)
        assert spike["cost_usd"] == pytest.approx(sum(usage(TESTED).values()), abs=0.01)
        before = usage(datetime.fromisoformat(spike["cause"]["compared_with"]).date())
        grew = {name: usd - before.get(name, 0) for name, usd in usage(TESTED).items()}
        assert {row["usage_type"]: float(row["usd"]) for row in spike["cause"]["grew"]} == pytest.approx(
            {name: usd for name, usd in grew.items() if usd > 0}
        )
        assert {row["operation"] for row in spike["cause"]["grew"]} >= {"RunInstances"}
        assert {
            (labels["usage_type"], labels.get("region", "")): value
            for labels, value in samples["aws_cost_anomaly_cause_usd"]
            if (labels["account_id"], labels["service"]) == (account.id, EC2)
        } == pytest.approx(
            {
                (row["usage_type"], row["region"] or ""): float(row["usd"])
                for row in spike["cause"]["grew"][:5]
            }
        )

        asked = [entry for entry in aws.requests.entries() if entry.operation == "GetCostAndUsage"]
        assert exporter.service.runner.collect_now(causes) == 0
        clock.advance(timedelta(hours=3))
        assert exporter.service.runner.collect_now(causes) == 0
        again = [entry for entry in aws.requests.entries() if entry.operation == "GetCostAndUsage"]
        assert len(again) == len(asked)


def test_of_twenty_spikes_of_a_day_a_few_are_messages_and_the_others_are_listed(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    """A week has ten; no restart and no further read makes them more."""
    aws = make_aws(now=NOW, accounts=24, services=2)
    for account in aws.accounts:
        aws.inject_spike(account.id, EC2, 1 + 2000 / account.daily_usd, since=TESTED, days=1)
    config = organization(
        aws={"endpoint_url": aws.url},
        ceilings={"cost": {"day": None, "month": None}, "first_fill": None},
        collectors=collectors(cost={"history_months": 3, "refresh": "full"}),
    )
    clock = ShiftedClock(NOW)

    def marked(exporter: InProcess, name: str) -> dict[Finding, float]:
        return {
            (labels["kind"], labels["account_id"], labels["service"]): value
            for labels, value in exporter.samples().get(name, [])
        }

    decided: list[set[Finding]] = []
    for _ in range(2):
        with in_process(tmp_path, aws, config, clock) as exporter:
            wait_for("it is ready", exporter.is_ready)
            for _ in range(2):
                clock.advance(timedelta(hours=1))
                assert exporter.service.runner.collect_now(exporter.collector("cost")) == 0
                findings = marked(exporter, "aws_cost_anomaly_usd")
                unsent = marked(exporter, "aws_cost_anomaly_unsent_info").keys()
                assert {kind for kind, _, service in findings if service == EC2} == {"spike"}
                assert len([each for each in findings if each[2] == EC2]) >= 20
                decided.append(findings.keys() - unsent)
                # The largest first.
                sizes = {each: abs(value) for each, value in findings.items()}
                sent = sorted(findings.keys() - unsent, key=sizes.__getitem__)
                assert max(sizes[each] for each in unsent) <= sizes[sent[0]]
            alerts(exporter, tmp_path, decided[-1])
            listed = exporter.get("/api/v1/summary").json()["listed"]
            rest = {
                (each["kind"], each["account_id"], each["service"]): float(each["usd"]) for each in listed
            }
            assert rest == pytest.approx({each: findings[each] for each in unsent}, abs=0.01)
            assert len(listed) == len(unsent)
            assert {each["day"] for each in listed} == {str(TESTED)}
    assert decided == [decided[0]] * 4
    assert 0 < len(decided[0]) <= AnomalySettings().messages_per_week == 10


DATES = [
    *(f"2026-06-0{day}T{hour}" for day in range(1, 8) for hour in ("00:05", "11:55", "12:05", "23:50")),
    *("2026-06-11T06:00", "2026-06-30T18:00", "2026-12-31T06:00", "2027-01-01T18:00"),
    *("2028-02-29T00:05", "2028-02-29T23:50", "2028-03-01T06:00", "2028-03-05T12:05"),
]
SHORT = {"2026-06-05T12:05", "2026-06-06T00:05", "2027-01-01T18:00", "2028-02-29T00:05"}


@pytest.mark.parametrize(
    "now", [pytest.param(at, marks=[] if at in SHORT else [pytest.mark.long]) for at in DATES]
)
def test_what_the_demo_injects_is_found_on_every_date(now: str, make_aws: MakeAws, tmp_path: Path) -> None:
    """Cost is there already, as it is in a demo; the change comes after it, and is read a moment later."""
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    aws = make_aws(now=at, accounts=3, services=4)
    account = max(aws.accounts, key=lambda account: account.daily_usd)
    config = organization(
        aws={"endpoint_url": aws.url},
        ceilings={"cost": {"day": None, "month": None}, "first_fill": None},
        collectors=collectors(cost={"history_months": 3, "interval": "3s", "refresh": "full"}),
    )
    clock = ShiftedClock(at)
    with in_process(tmp_path, aws, config, clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
        wait_for("the past is read", lambda: exporter.value("aws_spend_exporter_ledger_missing_dates") == 0)
        aws.inject_spike(account.id, EC2, 4, since=changed_since(at.date()))
        cost = exporter.collector("cost")

        def found() -> bool:
            clock.advance(timedelta(seconds=5))
            exporter.service.runner.collect_now(cost)
            return any(
                (labels["kind"], labels["account_id"], labels["service"]) == ("spike", account.id, EC2)
                for labels, _ in exporter.samples().get("aws_cost_anomaly_usd", [])
            )

        wait_for("the spike is found", found, 40)


CAUSE_DUE = "aws_cost_anomaly_cause_due_timestamp_seconds"
FOR_A_CAUSE = {"service": "ce", "operation": "GetCostAndUsage", "resource": "OPERATION"}


def test_causes_are_not_asked_for_past_their_limit(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOW, accounts=5, services=6)
    for account in aws.accounts:
        aws.inject_spike(account.id, EC2, 9, since=TESTED, days=1)
    config = organization(
        aws={"endpoint_url": aws.url},
        collectors=collectors(cost={"history_months": 3}, anomaly_causes={"requests_per_day": 2}),
    )
    with in_process(tmp_path, aws, config, ShiftedClock(NOW)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        cost = exporter.collector("cost")
        assert exporter.service.runner.collect_now(cost) == 0
        wait_for("two are explained", lambda: sum(bool(row["cause"]) for row in in_api(exporter)) == 2)
        assert exporter.service.runner.collect_now(exporter.collector("anomaly_causes")) == 0
        explained = [row for row in in_api(exporter) if row["cause"]]
        assert len(in_api(exporter)) > 2
        # The largest first.
        assert explained == [row for row in in_api(exporter) if row["kind"] == "spike"][:2]
        assert CAUSE_DUE not in exporter.samples()


def test_no_alert_waits_where_a_ceiling_is_reached(make_aws: MakeAws, tmp_path: Path) -> None:
    """The spike comes after cost was read; its cause would pass the ceiling, and is not paid for."""
    aws = make_aws(now=NOW, accounts=3, services=4)
    account = max(aws.accounts, key=lambda account: account.daily_usd)
    config = organization(
        aws={"endpoint_url": aws.url},
        ceilings={"cost": {"day": None, "month": None}, "first_fill": None},
        collectors=collectors(
            cost={"history_months": 3, "interval": "1h", "refresh": "full"}, anomaly_causes={}
        ),
    )
    clock = ShiftedClock(NOW)
    with in_process(tmp_path, aws, config, clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
        wait_for("the past is read", lambda: exporter.value("aws_spend_exporter_ledger_missing_dates") == 0)
        denied = aws.faults.add("access_denied", **FOR_A_CAUSE)
        aws.inject_spike(account.id, EC2, 9, since=TESTED, days=1)
        cost = exporter.collector("cost")

        def found() -> bool:
            clock.advance(timedelta(hours=1))
            assert exporter.service.runner.collect_now(cost) == 0
            return "aws_cost_anomaly_usd" in exporter.samples()

        wait_for("it is found", found)
        wait_for("its cause is refused", lambda: exporter.failures("anomaly_causes"))
        wait_for("no alert waits", lambda: CAUSE_DUE not in exporter.samples())

        # Another spike does not even begin to wait, for a ceiling either.
        aws.faults.clear(denied)
        spent = exporter.value("aws_spend_exporter_api_charges_usd_total", operation="GetCostAndUsage")
        limit = {"cost": {"day": 0.01, "month": 0.01}, "first_fill": None}
        exporter.service._meter.ceilings = type(exporter.service.config.ceilings).model_validate(limit)
        assert exporter.service.runner.collect_now(exporter.collector("anomaly_causes")) == 1
        assert exporter.failures("anomaly_causes") == {"management": {"ceiling_reached"}}
        assert (
            exporter.value("aws_spend_exporter_api_charges_usd_total", operation="GetCostAndUsage") == spent
        )
        assert CAUSE_DUE not in exporter.samples()


def test_a_kill_while_a_cause_is_asked_for_neither_loses_the_alert_nor_holds_it_longer(
    make_aws: MakeAws, make_exporter: MakeExporter
) -> None:
    aws = make_aws(accounts=3, services=4)
    account = max(aws.accounts, key=lambda account: account.daily_usd)
    # Early enough to be of the assessed day, at any hour and on any date.
    aws.inject_spike(account.id, EC2, 9, since=changed_since(datetime.now(UTC).date()))
    hanging = aws.faults.add("hang", **FOR_A_CAUSE)
    exporter = make_exporter(
        aws, organization(collectors=collectors(cost={"history_months": 3}, anomaly_causes={}))
    )
    exporter.start()

    def due() -> list[tuple[dict[str, str], float]]:
        return exporter.samples().get(CAUSE_DUE, [])

    waits = wait_for("an alert waits", due)
    spike = {"account_id": account.id, "service": EC2}
    (_, until) = next(each for each in waits if spike.items() <= each[0].items())
    assert 0 < until - datetime.now(UTC).timestamp() <= 600
    assert exporter.value("aws_cost_anomaly_usd", **spike, kind="spike")
    exporter.kill()
    exporter.start()
    again = wait_for("it waits again", due)
    assert until in [value for labels, value in again if spike.items() <= labels.items()]
    aws.faults.clear(hanging)
    wait_for(
        "its cause has come",
        lambda: any(
            spike.items() <= labels.items()
            for labels, _ in exporter.samples().get("aws_cost_anomaly_cause_usd", [])
        ),
    )
    wait_for("no alert waits", lambda: not due())
    assert exporter.value("aws_cost_anomaly_usd", **spike, kind="spike")

"""Prometheus' and Alertmanager's configuration: valid, tested for every alert, and explained for every alert."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = sorted((ROOT / "prometheus/rules").glob("*.yml"))
UNIT_TESTS = sorted((ROOT / "prometheus/tests").glob("*.yml"))
ALERTMANAGER = ROOT / "alertmanager/alertmanager.yml"

# Which receivers an alert ends at, in the order of the routes.
ROUTES = {
    "AccountDailySpendAboveThreshold": "telex-spend",
    "AccountMonthlySpendAboveThreshold": "telex-spend",
    "OrganizationDailySpendAboveThreshold": "telex-spend",
    "OrganizationMonthlySpendAboveThreshold": "telex-spend",
    "CostDataStale": "telex",
    "CostDataAbsent": "telex",
    "ExporterDown": "telex",
    "AccountCollectionFailing": "telex",
    "AccountCollectionStalled": "telex",
    "RequestCeilingReached": "telex",
    "RelayDown": "outside-telex,telex",
    "RelayDeliveryFailing": "outside-telex,telex",
    "AlertNotificationsFailing": "outside-telex,telex",
    "RuleEvaluationFailing": "outside-telex,telex",
    "AwsCostSpike": "telex",
    "AwsCostDrop": "telex",
    "AwsServiceNew": "telex",
    "AwsServiceStopped": "telex",
    "Watchdog": "dead-mans-switch",
}
SEVERITIES = {"critical", "warning", "none"}


def alert_rules() -> dict[str, dict]:
    rules = [
        rule
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    names = [rule["alert"] for rule in rules]
    assert len(names) == len(set(names)), "an alert's name stands twice"
    return dict(zip(names, rules, strict=True))


ALERTS = alert_rules()


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    program = shutil.which(str(command[0]))
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        [program, *map(str, command[1:])], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_configuration() -> None:
    run("promtool", "check", "config", ROOT / "prometheus/prometheus.yml")


def test_rules_pass_every_lint() -> None:
    run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *RULES)


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_rules_do_what_their_unit_tests_say(path: Path) -> None:
    run("promtool", "test", "rules", path)


def test_prometheus_has_room_for_the_dated_history() -> None:
    config = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
    assert config["storage"]["tsdb"]["out_of_order_time_window"] == "450d"
    assert {
        job["job_name"]: [target for group in job["static_configs"] for target in group["targets"]]
        for job in config["scrape_configs"]
    } == {
        "aws-spend-exporter": ["exporter:9998"],
        "aws-spend-exporter-relay": ["relay:8000"],
        "prometheus": ["prometheus:9090"],
        "alertmanager": ["alertmanager:9093"],
    }


def test_alertmanager_accepts_the_configuration() -> None:
    run("amtool", "check-config", ALERTMANAGER)


@pytest.mark.parametrize("name", ALERTS)
def test_alert_says_how_bad_it_is_what_it_is_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["labels"]["component"]
    annotations = rule["annotations"]
    assert {"title", "summary", "description", "runbook_url"} <= annotations.keys()
    assert "{{" not in annotations["title"], "a title heads a whole group"
    assert annotations["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    if "aws_cost_threshold_usd" in rule["expr"]:
        assert {"spend", "threshold", "period"} <= annotations.keys()


@pytest.mark.parametrize("name", ALERTS)
def test_alert_is_tested_to_fire_and_to_stay_quiet(name: str) -> None:
    cases = [
        case
        for path in UNIT_TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
        if case["alertname"] == name
    ]
    assert any(case["exp_alerts"] for case in cases), f"no test lets {name} fire"
    if name != "Watchdog":  # which never stays quiet
        assert any(not case["exp_alerts"] for case in cases), f"no test keeps {name} quiet"


@pytest.mark.parametrize("name", ALERTS)
def test_alert_has_a_runbook_section(name: str) -> None:
    text = (ROOT / "docs/runbook.md").read_text()
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"docs/runbook.md has no section {name}"
    for question in ("**Means.**", "**Check.**", "**Silence.**"):
        assert question in section[1], f"{name}: {question}"


def test_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    sections = set(re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE))
    assert sections == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_alert_is_routed(name: str) -> None:
    labels = [f"{key}={value}" for key, value in ALERTS[name]["labels"].items()]
    run(
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={ALERTMANAGER}",
        f"--verify.receivers={ROUTES[name]}",
        f"alertname={name}",
        *labels,
    )


def test_an_alert_of_somebody_else_reaches_telex() -> None:
    for labels in (["alertname=Own"], ["alertname=Own", "severity=critical", "team=platform"]):
        run(
            "amtool", "config", "routes", "test",
            f"--config.file={ALERTMANAGER}", "--verify.receivers=telex", *labels,
        )  # fmt: skip


def test_spend_alerts_repeat_daily_and_send_no_recovery() -> None:
    """The end of a day or month is no recovery."""
    config = yaml.safe_load(ALERTMANAGER.read_text())
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    assert [hook["send_resolved"] for hook in receivers["telex-spend"]["webhook_configs"]] == [False]
    (route,) = [route for route in config["route"]["routes"] if route["receiver"] == "telex-spend"]
    assert (route["group_by"], route["repeat_interval"]) == (["period"], "24h")


def test_what_is_wrong_with_telex_leaves_through_another_receiver_too() -> None:
    receivers = {
        receiver["name"]: receiver for receiver in yaml.safe_load(ALERTMANAGER.read_text())["receivers"]
    }
    for name in ("dead-mans-switch", "outside-telex"):
        assert "relay" not in str(receivers[name])


def test_an_organization_alert_inhibits_nothing() -> None:
    """It would silence every account: they share the absence of its account_id."""
    for rule in yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]:
        assert not any("organization" in matcher for matcher in rule["source_matchers"])
        assert any("scope=" in matcher or "alertname" in matcher for matcher in rule["source_matchers"])


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_accounts_are_aggregated_by_id(path: Path) -> None:
    """Names of accounts are not unique."""
    for labels in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", path.read_text()):
        names = {name.strip() for name in labels.split(",")}
        # In an annotation one account is already selected by its id.
        if "account" in names and "account_id" not in names:
            assert re.search(
                rf"by \({re.escape(labels)}\) \(aws_account_info{{account_id=%q}}\)", path.read_text()
            )

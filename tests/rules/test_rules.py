"""Prometheus' and Alertmanager's configuration: valid, tested for every alert, and explained for every alert."""

import os
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

TEAMS = ROOT / "alertmanager/teams.example.yml"

# Which receivers an alert ends at, in the order of the routes: in the shipped file, and in the one for teams.
# Alerts on an account's spend, resources and anomalies are tried with `team=platform` in the latter.
_DELIVERY = ("outside-telex,telex", "outside-telex,critical")
_ANOMALY = ("telex-spend", "platform-spend,telex-spend")
_ROUTES = {
    "AwsDailySpendAboveThreshold": ("telex-spend", "platform-spend,telex-spend"),
    "AwsMonthlySpendAboveThreshold": ("telex-spend", "platform-spend,telex-spend"),
    "AwsMonthProjectedAboveThreshold": ("telex-spend", "platform-spend,telex-spend"),
    "AwsResourceCountJump": ("telex", "platform,telex"),
    "AwsUnusedResourcesAboveThreshold": ("telex", "platform,telex"),
    "AwsMissingTagsAboveThreshold": ("telex", "platform,telex"),
    "AwsCostDataStale": ("telex", "telex"),
    "AwsCostDataAbsent": ("telex", "critical"),
    "AwsHistoryWriteFailing": ("telex", "telex"),
    "AwsHistorySamplesRejected": ("telex", "telex"),
    "AwsHistoryDiverging": ("telex", "telex"),
    "AwsLedgerSnapshotFailing": ("telex", "telex"),
    "AwsSpendExporterDown": ("telex", "critical"),
    "AwsSpendReloadFailed": ("telex", "telex"),
    "AwsAccountCollectionFailing": ("telex", "telex"),
    "AwsAccountCollectionStalled": ("telex", "telex"),
    "AwsCollectionLagging": ("telex", "telex"),
    "AwsRequestCeilingReached": ("telex", "telex"),
    "AwsSpendRelayDown": _DELIVERY,
    "AwsSpendRelayDeliveryFailing": _DELIVERY,
    "AwsSpendNotificationsFailing": _DELIVERY,
    "AwsSpendRulesFailing": _DELIVERY,
    "AwsSpendRelayMemoryFailing": ("telex", "telex"),
    "AwsSpendTemplateFailing": ("telex", "telex"),
    "AwsSpendDigestFailing": ("telex", "telex"),
    "AwsTelexIntegrationFailing": ("telex", "telex"),
    "AwsCostSpike": _ANOMALY,
    "AwsCostDrop": _ANOMALY,
    "AwsServiceNew": _ANOMALY,
    "AwsServiceStopped": _ANOMALY,
    "AwsUsageAnomaly": _ANOMALY,
    "AwsSpendWatchdog": ("dead-mans-switch", "dead-mans-switch"),
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


def severities(name: str) -> set[str]:
    """What an alert's severity may be: itself, or each that its template can choose."""
    severity = ALERTS[name]["labels"]["severity"]
    return {severity} if severity in SEVERITIES else set(re.findall(r"}}(\w+){{", severity))


def route(config: Path, receivers: str, *labels: str) -> None:
    """Fails unless an alert with these labels ends at the receivers."""
    run(
        "amtool", "config", "routes", "test", f"--config.file={config}", f"--verify.receivers={receivers}",
        *labels,
    )  # fmt: skip


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    program = shutil.which(str(command[0]))
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        [program, *map(str, command[1:])],
        cwd=cwd,
        env=os.environ | {"GOGC": "400"},  # a tenth of promtool's CPU goes into collecting garbage
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
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
    run("amtool", "check-config", ALERTMANAGER, TEAMS)


@pytest.mark.parametrize("name", ALERTS)
def test_alert_says_how_bad_it_is_what_it_is_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert severities(name)
    assert severities(name) <= SEVERITIES
    assert name.startswith("Aws")
    assert rule["labels"]["component"]
    annotations = rule["annotations"]
    assert {"title", "summary", "description", "runbook_url"} <= annotations.keys()
    assert "{{" not in annotations["title"], "a title heads a whole group"
    assert annotations["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    if "aws_cost_threshold_usd" in rule["expr"]:
        assert {"threshold", "period"} <= annotations.keys()
        assert {"spend", "projection"} & annotations.keys()


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
    if name != "AwsSpendWatchdog":  # which never stays quiet
        assert any(not case["exp_alerts"] for case in cases), f"no test keeps {name} quiet"


@pytest.mark.parametrize("name", ALERTS)
def test_alert_has_one_runbook_section(name: str) -> None:
    text = (ROOT / "docs/runbook.md").read_text()
    sections = re.findall(rf"^## {name}\n(.*?)(?=^##? |\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(sections) == 1, f"docs/runbook.md has {len(sections)} sections {name}"
    (section,) = sections
    for question in ("**Means.**", "**Check.**", "**Fix.**", "**Silence.**"):
        assert question in section, f"{name}: {question}"
    looks = re.findall(r"^\d\. (?:.+\n(?:   .+\n)*)", section, re.MULTILINE)
    assert len(looks) == 3, f"{name}: three first looks"
    for look in looks:
        assert any(_QUERY.search(code) for code in _code(look)), f"{name}: no query in {look!r}"


def _code(text: str) -> list[str]:
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


_QUERY = re.compile(r"\w ?[({].*[)}]|^[a-z]+(_[a-z]+){2,}( |$)")


def test_prometheus_understands_every_query_of_the_runbook(tmp_path: Path) -> None:
    sections = (ROOT / "docs/runbook.md").read_text().split("\n## ")[1:]
    checks = [re.search(r"\*\*Check\.\*\*(.*?)\n\*\*Fix", section, re.DOTALL) for section in sections]
    queries = sorted(
        {code for check in checks if check for code in _code(check[1]) if _QUERY.search(code)}
        - {"config.yaml", "access_denied"}
    )
    assert len(queries) > 2 * len(ALERTS)
    # The names of metrics that stand in no rule are at least well-formed: each query is checked as a rule.
    rules = [
        {"record": "check:query", "expr": query, "labels": {"n": str(n)}} for n, query in enumerate(queries)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "runbook", "rules": rules}]}))
    run("promtool", "check", "rules", path)


def test_the_page_on_alerts_lists_each_with_what_it_is_and_how_bad() -> None:
    rows = re.findall(
        r"^\| (Aws[\w, ]+) \| (\w+) \| (.+) \|$", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE
    )
    listed = {name: (component, words) for names, component, words in rows for name in names.split(", ")}
    assert listed.keys() == ALERTS.keys()
    for name, (component, words) in listed.items():
        assert component == ALERTS[name]["labels"]["component"]
        assert severities(name) <= set(re.findall(r"\w+", words)), name


def test_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    text = (ROOT / "docs/runbook.md").read_text()
    assert sorted(re.findall(r"^## (\w+)$", text, re.MULTILINE)) == sorted(ALERTS)
    chapters = re.findall(r"^# (.+)$", text, re.MULTILINE)
    assert len(chapters) == len(set(chapters))


@pytest.mark.parametrize("name", ALERTS)
def test_alert_is_routed(name: str) -> None:
    shipped, teams = _ROUTES[name]
    labels = {key: value for key, value in ALERTS[name]["labels"].items() if "{{" not in value}
    for severity in severities(name):
        given = [
            f"{key}={value}" for key, value in {"alertname": name, **labels, "severity": severity}.items()
        ]
        route(ALERTMANAGER, shipped, *given)
        if teams.startswith("platform"):
            common = "critical-spend" if severity == "critical" else "telex-spend"
            route(TEAMS, teams.replace("telex-spend", common), *given, "team=platform")
        else:
            route(TEAMS, teams, *given)


@pytest.mark.parametrize(
    ("labels", "own", "common"),
    [
        (("component=cost", "period=day", "severity=warning"), "data-spend", "telex-spend"),
        (("component=cost", "period=month", "severity=critical"), "data-spend", "critical-spend"),
        (("component=anomaly", "severity=warning"), "data-spend", "telex-spend"),
        (("component=resources", "severity=warning"), "data", "telex"),
    ],
)
def test_a_team_without_a_channel_is_read_of_in_the_common_one(
    labels: tuple[str, ...], own: str, common: str
) -> None:
    route(TEAMS, f"{own},{common}", *labels, "team=data")
    route(TEAMS, common, *labels)
    route(TEAMS, common, *labels, "team=nobody")


def test_an_alert_of_another_project_reaches_telex() -> None:
    route(ALERTMANAGER, "telex", "alertname=Own")
    route(ALERTMANAGER, "telex", "alertname=Own", "severity=critical", "team=platform")
    route(TEAMS, "telex", "alertname=Own")
    route(TEAMS, "critical", "alertname=Own", "severity=critical")


def test_no_route_or_test_is_left_of_an_alert_that_is_gone() -> None:
    assert set(_ROUTES) <= set(ALERTS)
    tested = {
        case["alertname"]
        for path in UNIT_TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
    }
    assert tested == set(ALERTS)


@pytest.mark.parametrize("path", [ALERTMANAGER, TEAMS], ids=lambda path: path.name)
def test_spend_alerts_repeat_daily_and_anomalies_hardly_and_send_no_recovery(path: Path) -> None:
    """The end of a day or month is no recovery; a finding that stands for a week is no news each day."""
    config = yaml.safe_load(path.read_text())
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    spend = [
        route
        for parent in [config["route"], *config["route"]["routes"]]
        for route in parent.get("routes", [])
        if any("period=~" in matcher or "anomaly" in matcher for matcher in route["matchers"])
    ]
    assert len(spend) >= 2
    for route in spend:
        assert [hook["send_resolved"] for hook in receivers[route["receiver"]]["webhook_configs"]] == [False]
        is_anomaly = any("anomaly" in matcher for matcher in route["matchers"])
        # Alertmanager forgets what it has sent after five days.
        assert route["repeat_interval"] == ("96h" if is_anomaly else "24h")
        # Anomalies are grouped by their alert, as is everything.
        assert route.get("group_by", ["alertname"]) in (["period"], ["alertname"])


@pytest.mark.parametrize("path", [ALERTMANAGER, TEAMS], ids=lambda path: path.name)
def test_no_notification_is_larger_than_the_relay_takes(path: Path) -> None:
    hooks = [
        hook
        for receiver in yaml.safe_load(path.read_text())["receivers"]
        for hook in receiver.get("webhook_configs", [])
        if hook["url"].startswith("http://relay:8000/alerts")
    ]
    assert {hook["max_alerts"] for hook in hooks} == {200}


def test_the_file_for_teams_is_the_shipped_one_with_more() -> None:
    shipped, teams = (yaml.safe_load(path.read_text()) for path in (ALERTMANAGER, TEAMS))
    assert teams["inhibit_rules"] == shipped["inhibit_rules"]
    assert {key: value for key, value in teams["route"].items() if key != "routes"} == {
        key: value for key, value in shipped["route"].items() if key != "routes"
    }
    # Beside the teams' routes, only the receiver of what is critical differs.
    common = [route for route in teams["route"]["routes"] if "team=" not in str(route["matchers"])]
    common = [route for route in common if route["receiver"] != "critical-spend"]
    for ours, theirs in zip(shipped["route"]["routes"], common, strict=True):
        ours = {**ours, "receiver": theirs["receiver"], "matchers": theirs["matchers"]}
        assert theirs == ours
    assert {receiver["name"] for receiver in shipped["receivers"]} <= {
        receiver["name"] for receiver in teams["receivers"]
    }


@pytest.mark.parametrize(("path", "others"), [(ALERTMANAGER, 0), (TEAMS, 2)], ids=["shipped", "teams"])
def test_the_relay_is_shown_a_password_that_no_file_here_keeps(path: Path, others: int) -> None:
    hooks = [
        hook
        for receiver in yaml.safe_load(path.read_text())["receivers"]
        for hook in receiver.get("webhook_configs", [])
    ]
    relay = [hook for hook in hooks if hook["url"].startswith("http://relay:8000/alerts")]
    assert len(relay) == len(hooks) - others
    for hook in relay:
        assert hook["http_config"] == {
            "basic_auth": {"username": "alertmanager", "password_file": "/run/relay/password"}
        }


def test_what_is_wrong_with_telex_leaves_through_another_receiver_too() -> None:
    receivers = {
        receiver["name"]: receiver for receiver in yaml.safe_load(ALERTMANAGER.read_text())["receivers"]
    }
    for name in ("dead-mans-switch", "outside-telex"):
        assert "relay" not in str(receivers[name])
        # Empty in the shipped file, which says so; another test delivers through those of the other file.
        assert receivers[name].keys() == {"name"}


def test_an_organization_alert_inhibits_nothing() -> None:
    """It would silence every account: they share the absence of its account_id."""
    for rule in yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]:
        assert not any("organization" in matcher for matcher in rule["source_matchers"])
        assert any("scope=" in matcher or "alertname" in matcher for matcher in rule["source_matchers"])
        if any("scope=" in matcher for matcher in rule["source_matchers"]):
            assert rule["equal"] == ["account_id", "period"]


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

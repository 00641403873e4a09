"""What a panel says of its collectors, by Prometheus' own arithmetic: off, not read, nothing scraped, or that there is nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from exporter.collectors import all_collectors
from exporter.core.places import Scope
from exporter.declarations.collector import AnyCollector
from grafana.builder import collected, usage
from grafana.builder.collected import ALERTS, ANOMALY_CAUSES, EC2_INSTANCES, INVENTORY, Collected
from grafana.builder.dashboards import anomalies
from grafana.builder.style import STATE, ranking_bars, stat_panel

Json = dict[str, Any]
Served = tuple[str, ...]

_NOW = 3600  # in seconds since the first sample, as timestamps are written below
_ACCOUNT, _OTHER = "123456789012", "210987654321"
_NONE_CHOSEN = "()"  # what Grafana writes for a variable without values
_NOTHING_SCRAPED = "nothing was scraped at the end of the range"
_UNREAD, _TOO_OLD = "not read yet: see Exporter", "not read recently: see Exporter"
_FAILS = "some reads fail"
_WATCHDOG = 'ALERTS{alertname="AwsSpendWatchdog", alertstate="firing", severity="none"} 1'


def _on(collector: str, interval: int = 600) -> Served:
    """What an exporter serves of a collector from its start."""
    return (
        f'aws_spend_exporter_collector_errors_total{{collector="{collector}", kind="throttled"}} 1',
        f'aws_spend_exporter_collector_interval_seconds{{collector="{collector}"}} {interval}',
    )


def _read(collector: str, seconds_ago: int, account: str = "") -> Served:
    name = "aws_spend_exporter_collector_last_success_timestamp_seconds"
    return (f'{name}{{collector="{collector}", account_id="{account}"}} {_NOW - seconds_ago}',)


def _failing(collector: str, account: str) -> Served:
    name = "aws_spend_exporter_collector_failure_info"
    return (f'{name}{{collector="{collector}", account_id="{account}", kind="access_denied"}} 1',)


_COST = (*_on("cost"), *_read("cost", 60))
_CAUSES = _on("anomaly_causes")
_INVENTORY = (*_COST, *_on("inventory"))
_FRESH = (*_INVENTORY, *_read("inventory", 60))


@pytest.mark.parametrize(
    ("served", "text"),
    [
        ((), _NOTHING_SCRAPED),
        (_COST, "off: switch on collectors.inventory"),
        (_INVENTORY, _UNREAD),
        ((*_INVENTORY, *_read("inventory", 3 * 600 - 1)), None),
        ((*_INVENTORY, *_read("inventory", 3 * 600)), _TOO_OLD),
        ((*_COST, *_on("inventory", interval=5), *_read("inventory", 899)), None),
        ((*_COST, *_on("inventory", interval=5), *_read("inventory", 900)), _TOO_OLD),
    ],
    ids=[
        "nothing scraped",
        "off",
        "not read",
        "read",
        "too old",
        "read within a quarter of an hour",
        "older than a quarter of an hour",
    ],
)
@pytest.mark.fault("a collector has not succeeded for three intervals", "panels say so instead of none or 0")
def test_the_state_of_a_collector(served: Served, text: str | None, tmp_path: Path) -> None:
    zero = INVENTORY.or_zero("sum(aws_resources)")
    _hold(
        tmp_path,
        served,
        (INVENTORY.state("type"), _rows(INVENTORY, text)),
        (zero, [] if text else [("{}", 0)]),
    )


def test_one_of_two_collectors_is_enough(tmp_path: Path) -> None:
    old = (*_INVENTORY, *_read("inventory", 7200))
    served = (*old, *_on("ec2_instances"), *_read("ec2_instances", 60))
    _hold(tmp_path, served, (EC2_INSTANCES.state("type"), []))


def test_configured_accounts_do_not_age(tmp_path: Path) -> None:
    served = (*_on("accounts"), *_read("accounts", 7200))
    zero = collected.ACCOUNTS.or_zero("sum(aws_resources)")
    _hold(tmp_path, served, (collected.ACCOUNTS.state("subject"), []), (zero, [("{}", 0)]))


@pytest.mark.parametrize(
    ("served", "chosen", "text"),
    [
        (_failing("inventory", _ACCOUNT), _ACCOUNT, _FAILS),
        (_failing("inventory", _ACCOUNT), f"({_ACCOUNT}|{_OTHER})", _FAILS),
        (_failing("inventory", _ACCOUNT), _OTHER, None),
        (_failing("inventory", _ACCOUNT), _NONE_CHOSEN, None),
        (_failing("usage", _ACCOUNT), _ACCOUNT, None),
        ((*_failing("inventory", _ACCOUNT), *_read("inventory", 1799, _ACCOUNT)), _ACCOUNT, None),
        ((*_failing("inventory", _ACCOUNT), *_read("inventory", 1800, _ACCOUNT)), _ACCOUNT, _FAILS),
        ((*_failing("inventory", _ACCOUNT), *_read("inventory", 60, _OTHER)), _ACCOUNT, _FAILS),
    ],
    ids=[
        *("chosen", "one of a group", "another account", "all accounts", "another collector"),
        *("served still", "served no longer", "another is served still"),
    ],
)
@pytest.mark.fault("an account denies every read", "its panels say so instead of none or 0")
def test_chosen_accounts_that_fail(served: Served, chosen: str, text: str | None, tmp_path: Path) -> None:
    """Only while the last good values of a chosen account are not served any more."""
    zero = INVENTORY.or_zero("sum(aws_resources)")
    _hold(
        tmp_path,
        (*_FRESH, *served),
        (INVENTORY.state("type"), _rows(INVENTORY, text)),
        (zero, [] if text else [("{}", 0)]),
        chosen=chosen,
    )


def test_values_stand_beside_accounts_that_fail(tmp_path: Path) -> None:
    served = (*_FRESH, *_failing("inventory", _ACCOUNT), f'aws_resources{{account_id="{_OTHER}"}} 7')
    values = INVENTORY.or_zero("sum(aws_resources)")
    _hold(
        tmp_path,
        served,
        (values, [("{}", 7)]),
        (INVENTORY.state("type"), _rows(INVENTORY, _FAILS)),
        chosen=f"({_ACCOUNT}|{_OTHER})",
    )


def test_a_collector_that_was_read_nowhere_recently_has_one_state(tmp_path: Path) -> None:
    served = (*_INVENTORY, *_failing("inventory", _ACCOUNT), *_read("inventory", 7200, _ACCOUNT))
    _hold(tmp_path, served, (INVENTORY.state("type"), _rows(INVENTORY, _TOO_OLD)), chosen=_ACCOUNT)


def test_accounts_fail_alone_where_each_is_read_by_itself() -> None:
    def by_account(collector: AnyCollector) -> bool:
        return collector.scope is not Scope.PAYER

    scopes = {collector.name: by_account(collector) for collector in all_collectors()} | {"accounts": False}
    declared = [value for value in vars(collected).values() if isinstance(value, Collected)]
    assert declared
    for value in declared:
        if value is not collected.LIST_PRICES:  # they are the same for all accounts
            assert {scopes[name] for name in value.collectors} == {value.by_account}, value


@pytest.mark.parametrize(
    ("served", "text"),
    [
        ((*_on("cost"), *_read("cost", 7200), *_CAUSES, *_read("anomaly_causes", 60)), _TOO_OLD),
        ((*_COST, *_CAUSES), _UNREAD),
        ((*_COST, *_CAUSES, *_read("anomaly_causes", 60)), None),
        ((*_COST, *_on("cost_export"), *_read("cost_export", 60)), None),
        (_COST, "off: switch on collectors.anomaly_causes"),
        ((), _NOTHING_SCRAPED),
    ],
    ids=["old findings", "causes not read", "both read", "from an export", "off", "nothing scraped"],
)
def test_causes_need_the_findings_that_they_explain(served: Served, text: str | None, tmp_path: Path) -> None:
    """The collector of causes goes on succeeding on what the ledger has."""
    _hold(tmp_path, served, (ANOMALY_CAUSES.state("type"), _rows(ANOMALY_CAUSES, text)))


@pytest.mark.parametrize(
    ("served", "text"),
    [
        ((), _NOTHING_SCRAPED),
        (_COST, "alert rules are not loaded"),
        ((*_COST, _WATCHDOG), None),
        ((_WATCHDOG,), None),
    ],
    ids=["nothing scraped", "no rules", "rules", "rules without an exporter"],
)
@pytest.mark.fault("Prometheus has not loaded the rules", "panels of alerts say so instead of none or 0")
def test_whether_alerts_are_known(served: Served, text: str | None, tmp_path: Path) -> None:
    zero = ALERTS.or_zero('count(ALERTS{severity="warning"})')
    _hold(
        tmp_path,
        served,
        (ALERTS.state("about"), _rows(ALERTS, text)),
        (zero, [] if text else [("{}", 0)]),
    )


def test_open_alerts_are_told_apart(tmp_path: Path) -> None:
    """By collector where an alert is of one; by its subject alone where it has one."""
    firing = 'ALERTS{alertstate="firing", severity="warning", alertname='
    served = (
        f'{firing}"AwsAccountCollectionStalled", collector="cost", account_id=""}} 1',
        f'{firing}"AwsAccountCollectionStalled", collector="usage", account_id=""}} 1',
        f'{firing}"AwsDailySpendAboveThreshold", subject="prod", account_id="{_ACCOUNT}", instance="a"}} 1',
        f'{firing}"AwsDailySpendAboveThreshold", subject="prod", account_id="{_ACCOUNT}", instance="b"}} 1',
    )
    panel = _built(next(panel for panel in _panels(anomalies) if panel["title"] == "Open alerts"))
    (expr,) = (target["expr"] for target in panel["targets"] if target["refId"] != STATE)
    trimmed = f'label_replace({expr}, "about", "$1", "about", " *(.*?) *")'
    _hold(
        tmp_path,
        served,
        (
            trimmed,
            [
                ('{alertname="AwsAccountCollectionStalled", severity="warning", about="cost"}', 1),
                ('{alertname="AwsAccountCollectionStalled", severity="warning", about="usage"}', 1),
                ('{alertname="AwsDailySpendAboveThreshold", severity="warning", about="prod"}', 1),
            ],
        ),
    )


@pytest.mark.parametrize(
    ("served", "service", "text"),
    [
        (_COST, usage.COMPUTE, "off: switch on collectors.ec2_running"),
        (_COST, usage.LAMBDA, "off: switch on collectors.usage"),
        (_COST, "Tax", None),
        ((), usage.LAMBDA, _NOTHING_SCRAPED),
        ((), "", _NOTHING_SCRAPED),
    ],
    ids=["EC2", "Lambda", "Tax", "Lambda, nothing scraped", "none is known, nothing scraped"],
)
@pytest.mark.parametrize("build", [usage.usage_of_service, usage.unit_costs_of_service])
def test_a_service_needs_the_collector_that_counts_it(
    build: Any, served: Served, service: str, text: str | None, tmp_path: Path
) -> None:
    panel = _built(build(12, 9))
    (expr,) = (target["expr"] for target in panel["targets"] if target["refId"] == STATE)
    label = "account" if panel["type"] == "table" else "state"
    found = f'count by ({label}) (label_replace({expr}, "x", "", "", ""))'
    _hold(
        tmp_path,
        served,
        (found.replace("$service", service), [(f'{{{label}="{text}"}}', 1)] if text else []),
    )


def test_a_text_has_no_bar() -> None:
    panel = _built(INVENTORY.in_values(ranking_bars("Bars", "", width=6, height=5), "inventory"))
    found = {each["id"]: each["value"] for each in _of_state(panel)}
    texts = found["mappings"][0]["options"]
    assert (found["min"], found["max"]) == (0, 1)
    assert max(map(int, texts)) <= found["min"]


def test_what_holds_beside_values_takes_no_room_in_a_tile() -> None:
    """Grafana draws all values of a tile as small as the longest of them: some failures are not said there, rules in short."""

    def asked(panel: Any) -> str:
        return next(str(target["expr"]) for target in panel["targets"] if target["refId"] == STATE)

    tile = _built(INVENTORY.in_values(stat_panel("Tile", "", width=6, height=5), "Resources"))
    bars = _built(INVENTORY.in_values(ranking_bars("Bars", "", width=6, height=5), "inventory"))
    assert _FAILS in asked(bars)
    assert _FAILS not in asked(tile)
    alerts = _built(ALERTS.in_values(stat_panel("Tile", "", width=6, height=5), "Alerts"))
    mappings = next(each["value"] for each in _of_state(alerts) if each["id"] == "mappings")
    assert max(len(to["text"]) for to in mappings[0]["options"].values() if "rules" in to["text"]) < 15


def _rows(source: Any, text: str | None) -> list[tuple[str, float]]:
    """The one row of a state, with the value that a panel of values has this text for."""
    if text is None:
        return []
    panel = _built(source.in_values(ranking_bars("Bars", "", width=6, height=5), "inventory"))
    mappings = next(each["value"] for each in _of_state(panel) if each["id"] == "mappings")
    (value,) = (int(value) for value, to in mappings[0]["options"].items() if to["text"] == text)
    label = {INVENTORY: "type", ANOMALY_CAUSES: "type", ALERTS: "about"}[source]
    return [(f'{{{label}="{text}"}}', value)]


def _of_state(panel: Json) -> list[Json]:
    (override,) = (
        each for each in panel["fieldConfig"]["overrides"] if each["matcher"]["id"] == "byFrameRefID"
    )
    properties: list[Json] = override["properties"]
    return properties


def _built(panel: Any) -> Json:
    built: Json = json.loads(JSONEncoder().encode(panel.build() if hasattr(panel, "build") else panel))
    return built


def _panels(dashboard: Any) -> list[Json]:
    panels: list[Json] = json.loads(JSONEncoder().encode(dashboard.build()))["panels"]
    return panels


def _hold(
    folder: Path, served: Served, *queries: tuple[str, list[tuple[str, float]]], chosen: str = _NONE_CHOSEN
) -> None:
    """Each query answers these labels and values an hour after the first sample."""
    series = [one.rpartition(" ") for one in served]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": f"{value}x60"} for name, _, value in series],
        "promql_expr_test": [
            {
                "expr": expr.replace("$accounts", chosen),
                "eval_time": f"{_NOW}s",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in answer],
            }
            for expr, answer in queries
        ],
    }
    (folder / "states.yml").write_text(yaml.safe_dump({"tests": [test]}), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "test", "rules", str(folder / "states.yml")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""The committed dashboards are what the builder writes, and keep the rules."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import grafana_lint as lint
import jsonschema
import pytest
import yaml

from exporter.anomalies.families import CAUSE
from exporter.anomalies.settings import Kind
from exporter.generated.reference import family_rows
from exporter.relay.metrics import RelayMetrics
from grafana import build
from grafana.builder.promql import RANKED
from grafana.builder.style import STATE

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((Path(__file__).parent / "schema" / "grafana.schema.json").read_text(encoding="utf-8"))
OVERVIEW = json.loads((build.OUTPUT / "overview.json").read_text(encoding="utf-8"))

# What recording rules keep stands in front of their names.
RECORDED = {
    "account": {"account_id", "account"},
    "service": {"service"},
    "organization": set(),
    "scope": {
        "scope",
        "subject",
        "period",
        "account_id",
        "account",
        "ou",
        "group",
        "group_value",
        "service",
    },
}
_SUFFIXES = {"histogram": ("_bucket", "_count", "_sum")}
DECLARED: lint.Declared = (
    {
        family["name"] + suffix: {*family["labels"], "job", "instance"}
        for family in family_rows()
        for suffix in _SUFFIXES.get(family["type"], ("",))
    }
    | {
        sample.name: {*sample.labels, "job", "instance"}
        for family in RelayMetrics(["default"]).registry.collect()
        for sample in family.samples
    }
    | {
        # Prometheus' own, with the labels that our rules give.
        "ALERTS": {
            "alertname",
            "alertstate",
            "severity",
            "component",
            "account_id",
            "account",
            "service",
            "period",
            "subject",
            "collector",
            "resource_type",
            "region",
            "metric",
            "channel",
            "integration",
            "rule_group",
            "template",
            "result",
            "instance",
        },
    }
    | {
        rule["record"]: RECORDED[rule["record"].partition(":")[0]]
        for path in (ROOT / "prometheus" / "rules").glob("*.yml")
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
)


def test_the_committed_dashboards_are_what_the_builder_writes() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in build.OUTPUT.glob("*.json")}
    assert committed == build.render(), "run `make dashboards`"


def test_a_dashboard_keeps_the_rules(dashboard: lint.Json) -> None:
    assert lint.faults(dashboard, DECLARED) == []


def test_queries_and_pages_are_short(dashboard: lint.Json) -> None:
    """As they are sent for the largest organization as for the smallest, while no accounts are chosen."""
    values = lint.everything(dashboard)
    sizes = {where: len(lint.resolve(text, values).encode()) for where, text in lint.expressions(dashboard)}
    assert {where: size for where, size in sizes.items() if size >= 8_000} == {}
    assert sum(sizes.values()) < 60_000


def test_queries_name_a_group_of_a_hundred_accounts_as_rarely_as_they_can(dashboard: lint.Json) -> None:
    """Their ids are most of what is sent: 1,300 bytes each time. What is ranked is named by its ids alone."""
    chosen = "(" + "|".join(f"{100000000000 + number}" for number in range(100)) + ")"
    values = lint.everything(dashboard) | {"accounts": chosen}
    for variable in dashboard["templating"]["list"]:
        if variable["name"].startswith(RANKED):
            values[variable["name"]] = chosen[: 1 + 13 * 20 - 1] + ")"
    sizes = {where: len(lint.resolve(text, values).encode()) for where, text in lint.expressions(dashboard)}
    assert {where: size for where, size in sizes.items() if size >= 9_000} == {}
    assert sum(sizes.values()) < 185_000


def test_a_row_that_says_a_state_has_no_other_texts(dashboard: lint.Json) -> None:
    """A column that has no text for a missing value shows that of a table without rows, such as "none"."""
    silent = []
    for panel in dashboard["panels"]:
        if panel["type"] != "table" or STATE not in {target["refId"] for target in panel["targets"]}:
            continue
        (names,) = (each["options"] for each in panel["transformations"] if each["id"] == "organize")
        texts = {
            override["matcher"]["options"]
            for override in panel["fieldConfig"]["overrides"]
            if any(each["id"] in ("noValue", "custom.hidden") for each in override["properties"])
        }
        values = {name for field, name in names["renameByName"].items() if field.startswith("Value")}
        silent += [f"{panel['title']}: {name}" for name in values - texts]
    assert silent == []


def test_uids_are_unique() -> None:
    uids = [json.loads(text)["uid"] for text in build.render().values()]
    assert sorted(uids) == sorted(set(uids))


def test_a_dashboard_is_valid_by_grafanas_own_schema(dashboard: lint.Json) -> None:
    assert _schema_errors(dashboard) == []


def test_the_schema_refuses_a_misspelt_option() -> None:
    broken = _copy(OVERVIEW)
    broken["panels"][0]["options"]["grafMode"] = "none"
    broken["refrsh"] = "5m"
    assert len(_schema_errors(broken)) == 2


def test_the_account_variable_shows_names_and_chooses_ids() -> None:
    """The regex picks value and text from what query_result lists, in whichever order labels come."""
    variable = next(v for v in OVERVIEW["templating"]["list"] if v["name"] == "account")
    pattern = re.compile(variable["regex"].removeprefix("/").removesuffix("/g").replace("(?<", "(?P<"))
    listed = '{account="prod",account_id="123456789012",text="prod · 123456789012"} 1 1700000000000'
    found: dict[str, str] = {}
    for match in pattern.finditer(listed):
        found |= {name: value for name, value in match.groupdict().items() if value}
    assert found == {"value": "123456789012", "text": "prod · 123456789012"}


def _at(title: str) -> int:
    return next(at for at, panel in enumerate(OVERVIEW["panels"]) if panel["title"] == title)


def _set_expr(text: str) -> Callable[[lint.Json], None]:
    def change(dashboard: lint.Json) -> None:
        dashboard["panels"][0]["targets"][0]["expr"] = text

    return change


def _set_link(old: str, new: str) -> Callable[[lint.Json], None]:
    def change(dashboard: lint.Json) -> None:
        for panel in lint.panels(dashboard):
            for link in lint.column_links(panel):
                link["url"] = link["url"].replace(old, new)

    return change


def _filter_nothing_by(name: str) -> Callable[[lint.Json], None]:
    def change(dashboard: lint.Json) -> None:
        for panel in lint.panels(dashboard):
            for target in panel["targets"]:
                target["expr"] = target["expr"].replace(f"${name}", "")
        (variable,) = (v for v in dashboard["templating"]["list"] if v["name"] == name)
        variable["hide"] = 0

    return change


def _put(*path_and_value: Any) -> Callable[[lint.Json], None]:
    *path, last, value = path_and_value

    def change(dashboard: lint.Json) -> None:
        at: Any = dashboard
        for key in path:
            at = at[key]
        at[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_set_expr("sum by (account) (aws_cost_yesterday_usd)"), "aggregates by account alone"),
        (_set_expr("sum without (account_id) (aws_cost_yesterday_usd)"), "aggregates by account alone"),
        (
            _set_expr("aws_cost_yesterday_usd * on (account) aws_cost_today_usd"),
            "matches on account alone",
        ),
        (_set_expr("sum(aws_cost_yesterdy_usd)"), "undeclared metric aws_cost_yesterdy_usd"),
        (_set_expr('sum(aws_cost_yesterday_usd{region="x"})'), "aws_cost_yesterday_usd has no label region"),
        (_set_expr("sum(aws_cost_daily_usd)"), "dated history outside"),
        (_set_expr("sum(sum_over_time(aws_cost_daily_usd[30d]))"), "dated history outside"),
        (_set_expr("sum(last_over_time(aws_cost_daily_usd[2d]))"), "dated history outside"),
        (_set_expr("sum(aws_cost_yesterday_usd"), "does not parse"),
        (_set_expr('sum(aws_cost_yesterday_usd{x="$nobody"})'), "unknown variable"),
        (_set_expr('sum({service="x"})'), "selector without a metric name"),
        (_put("timezone", "browser"), "timezone"),
        (_put("editable", True), "editable"),
        (_put("uid", "x"), "uid"),
        (_put("panels", 1, "id", 1), "panel id 1 occurs 2 times"),
        (_put("panels", 1, "gridPos", "x", 3), "overlaps"),
        (_put("panels", 1, "gridPos", "w", 30), "outside of the grid"),
        (_put("panels", 0, "description", "Cost."), "description"),
        (_put("panels", 0, "datasource", "uid", "abc"), "fixed datasource"),
        (_put("panels", 0, "targets", 0, "datasource", "uid", "abc"), "fixed datasource"),
        (_put("panels", 0, "targets", 0, "legendFormat", "__auto"), "legend"),
        (_put("panels", 0, "fieldConfig", "defaults", "unit", "short"), "money, but the unit is short"),
        (_put("panels", 0, "fieldConfig", "defaults", "noValue", ""), "says nothing"),
        (_put("panels", _at("Daily run by service"), "targets", 0, "interval", "1h"), "min step of 1d"),
        (_put("panels", _at("Accounts"), "fieldConfig", "defaults", "unit", "currencyUSD"), "falls on ids"),
        (_put("panels", _at("Accounts"), "fieldConfig", "overrides", []), "column In the range has no unit"),
        (_put("panels", _at("Movers of a day"), "gridPos", "w", 6), "pixels of columns do not fit"),
        (_set_expr("count(aws_cost_yesterday_usd)"), "no money, but the unit is currencyUSD"),
        (_put("links", []), "no links to the other dashboards"),
        (_put("links", 0, "placement", "inControlsMenu"), "a placement"),
        (_put("links", 0, "keepTime", False), "no links to the other dashboards"),
        (_set_link("&${account:queryparam}", ""), "loses range or filters"),
        (_set_link("&${__url_time_range}", ""), "loses range or filters"),
        (_set_link(":percentencode", ""), "breaks at an &"),
        (_put("templating", "list", 5, "skipUrlSync", False), "variable accounts is handed on"),
        (_put("time", "from", "now-24h"), "no links to the other dashboards"),
        (_filter_nothing_by("region"), "variable region is shown and filters nothing"),
        (_put("templating", "list", 1, "datasource", None), "fixed datasource"),
        (_put("templating", "list", []), "variable datasource is missing"),
        (_put("templating", "list", -1, "current", {}), "does not begin with the provisioned data source"),
    ],
)
def test_the_lint_catches(change: Callable[[lint.Json], None], fault: str) -> None:
    broken = _copy(OVERVIEW)
    change(broken)
    assert fault in "\n".join(lint.faults(broken, DECLARED))


def test_provisioning_takes_its_places_from_the_environment() -> None:
    """Provisioning files expand $NAME but know no default values, so none may be written there."""
    folder = ROOT / "grafana" / "provisioning"
    datasource = yaml.safe_load((folder / "datasources" / "aws-spend.yml").read_text(encoding="utf-8"))
    provider = yaml.safe_load((folder / "dashboards" / "aws-spend.yml").read_text(encoding="utf-8"))
    assert [(d["type"], d["url"]) for d in datasource["datasources"]] == [("prometheus", "$PROMETHEUS_URL")]
    assert [(p["type"], p["options"]) for p in provider["providers"]] == [
        ("file", {"path": "$DASHBOARDS_PATH"})
    ]


def _schema_errors(dashboard: lint.Json) -> list[str]:
    validator = jsonschema.Draft7Validator
    dashboard = _copy(dashboard)
    for annotation in dashboard["annotations"].get("list", []):
        # These are the Prometheus datasource's own; the schema knows what all datasources have in common.
        for own in ("titleFormat", "textFormat", "target"):
            annotation.pop(own)
    errors = [
        f"{error.json_path}: {error.message}"
        for error in validator(SCHEMA["dashboard"]).iter_errors(dashboard)
    ]
    for panel in lint.panels(dashboard):
        parts = {"Options": panel["options"], "FieldConfig": panel["fieldConfig"]["defaults"].get("custom")}
        for part, value in parts.items():
            schema = SCHEMA["panels"][panel["type"]].get(part)
            if schema is not None and value is not None:
                errors += [
                    f"{panel['title']} {part} {error.json_path}: {error.message}"
                    for error in validator(schema).iter_errors(value)
                ]
    return errors


def _copy(dashboard: lint.Json) -> lint.Json:
    copied: lint.Json = json.loads(json.dumps(dashboard))
    return copied


def test_every_kind_of_finding_has_a_name_that_people_read() -> None:
    (panel,) = (panel for panel in lint.panels(OVERVIEW) if panel["title"] == "Open anomalies")
    (mapping,) = (
        found
        for override in panel["fieldConfig"]["overrides"]
        for setting in override["properties"]
        if setting["id"] == "mappings"
        for found in setting["value"]
    )
    assert set(mapping["options"]) == set(get_args(Kind))
    assert mapping["options"]["dip"] == {"text": "Low day"}


def test_contributors_are_shown_with_all_that_tells_them_apart() -> None:
    (panel,) = _panels("Top contributors")
    (columns,) = (each["options"] for each in panel["transformations"] if each["id"] == "organize")
    assert set(columns["renameByName"]) == {*CAUSE.labels, "Value #A"}
    assert f"sum by ({', '.join(sorted(CAUSE.labels))})" in _with_sorted_labels(panel["targets"][0]["expr"])


def _with_sorted_labels(expression: str) -> str:
    return re.sub(
        r"\bby \(([\w, ]+)\)",
        lambda found: f"by ({', '.join(sorted(found[1].split(', ')))})",
        expression,
    )


def _panels(title: str) -> list[lint.Json]:
    """The panels of this title, of all dashboards."""
    pages = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(build.OUTPUT.glob("*.json"))]
    return [panel for page in pages for panel in page["panels"] if panel["title"] == title]


def _overridden(panel: lint.Json, column: str) -> lint.Json:
    return {
        value["id"]: value["value"]
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"]["options"] == column
        for value in override["properties"]
    }


def test_a_bar_against_list_price_is_not_full_at_once_the_list_price() -> None:
    """A bar of a percentage that has no maximum is full at 100%."""
    assert [panel["fieldConfig"]["defaults"]["max"] for panel in _panels("Bill against list price")] == [2, 2]


def test_a_change_is_coloured_by_its_part_and_not_by_its_dollars() -> None:
    """Movers begin at a dollar, so that red is a notable part of notable dollars."""
    for panel in _panels("Movers of a week") + _panels("Movers of a day"):
        assert "thresholds" not in _overridden(panel, "Change")
        colours = _overridden(panel, "Change %")
        assert colours["custom.cellOptions"] == {"type": "color-text"}
        assert [(step["value"], step["color"]) for step in colours["thresholds"]["steps"]] == [
            (None, "green"),
            (-0.1, "text"),
            (0.1, "red"),
        ]


@pytest.mark.parametrize("title", ["Duration of a run", "Series served", "Ledger", "Resources over time"])
def test_lines_that_began_a_moment_ago_are_points(title: str) -> None:
    (panel,) = _panels(title)
    assert panel["fieldConfig"]["defaults"]["custom"]["showPoints"] == "always"

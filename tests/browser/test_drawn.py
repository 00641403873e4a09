"""Every dashboard in a real browser, with Grafana's own libraries: it draws, filters, and keeps to UTC."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import drawing
import pytest
from demo_stack import SPIKED

from demo.stack import Stack
from grafana import build

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

Json = dict[str, Any]

# Browser zone, and the zone of the dashboard when its viewer overrules UTC.
ZONES = {
    "utc": {},
    "pinned at UTC-5": {"browserZone": "America/Bogota"},
    "pinned at UTC+5:30": {"browserZone": "Asia/Kolkata"},
    "overruled at UTC-5": {"browserZone": "America/Bogota", "timezone": "browser"},
    "overruled at UTC+5:30": {"browserZone": "Asia/Kolkata", "timezone": "browser"},
}
# Panels that are empty in the demo while nothing is wrong: it has no ceilings, the first
# service of all no unit cost, and resources need an export.
MAY_BE_EMPTY = {
    "exporter": {"Dollars left for AWS requests"},
    "service": {"Unit cost", "Bill against list price"},
    "where": {"Daily cost by resource"},
}
# Widths of screens in pixels.
FIRST, *WIDER = 1280, 1366, 1600
DAILY = "Daily run and its moving average"
FILTERED = tuple(name for name in drawing.DASHBOARDS if name != "exporter")
# Dashboards that are looked at for a whole month of the past.
PAST = "allocation", "anomalies", "overview", "usage", "where"
GOOD_NEWS = {
    *("none", "nothing", "none missing", "nothing fails", "none failed", "no spike"),
    *("no budget", "no budgets", "no thresholds", "no ceilings"),
}
# Of a chain that has just been started, lines have no point in each of the steps of a day; bars of an hour have one.
SINCE = {"exporter": "now-1h", "inventory": "now-1h"}
DAYS = "Daily run by service"


@pytest.fixture(scope="module")
def account(stack: Stack) -> str:
    return next(account for account, name in stack.simulator.member_names().items() if name == SPIKED[0])


@pytest.fixture(scope="module")
def drawn(stack: Stack, account: str) -> dict[str, Json]:
    """Everything that the tests look at, drawn in one go."""
    if (reason := drawing.missing()) is not None:
        pytest.skip(f"{reason}; `make browser` sees to it")
    jobs: dict[str, Json] = {}
    for name in drawing.DASHBOARDS:
        jobs[name] = {"dashboard": name, "from": SINCE.get(name), "width": FIRST, "widths": WIDER}
    for name in FILTERED:
        jobs[f"{name} filtered"] = {
            "dashboard": name,
            "variables": {"account": account, "service": SPIKED[1]},
        }
    for zone, settings in ZONES.items():
        jobs[f"zone {zone}"] = {"dashboard": "trends", "panels": [DAILY], "from": "now-10d"} | settings
    for name in PAST:
        jobs[f"{name} of the past"] = {"dashboard": name} | _last_month()
    for hour in (3, 14):
        jobs[f"a day from {hour}:00"] = {"dashboard": "overview", "panels": [DAYS]} | _a_day(hour)
    jobs["group"] = {"dashboard": "overview", "panels": ["Accounts"], "variables": {"group": "/Sandbox"}}
    reports = drawing.draw(stack.urls["prometheus"], list(jobs.values()), timeout=380)
    return dict(zip(jobs, reports, strict=True))


@pytest.mark.parametrize("name", drawing.DASHBOARDS)
def test_every_panel_draws_without_an_error(name: str, drawn: dict[str, Json]) -> None:
    report = drawn[name]
    faults = [*report["complaints"]]
    faults += [
        f"variable {v}: {state['error']}" for v, state in report["variables"].items() if state["error"]
    ]
    titles = [panel["title"] for panel in json.loads(build.render()[f"{name}.json"])["panels"]]
    assert [panel["title"] for panel in report["panels"]] == titles
    for panel in report["panels"]:
        title = panel["title"]
        faults += [f"{title}: {error}" for error in panel["errors"]]
        if not panel["drawn"] and title not in MAY_BE_EMPTY.get(name, set()):
            faults.append(f"{title}: not drawn")
        if panel["drawn"] and panel["type"] == "timeseries" and title not in MAY_BE_EMPTY.get(name, set()):
            if panel["inked"] < 2000:
                faults.append(f"{title}: an empty chart")
            # Tax and support are grey.
            # A line that began a minute ago is a dot.
            if panel["coloured"] < 8 and title != "Tax, support, fees and credits":
                faults.append(f"{title}: axes alone")
        if re.search(r"\b(NaN|undefined|Infinity|\[object)\b", panel["text"]):
            faults.append(f"{title}: {panel['text']}")
    assert faults == []


@pytest.mark.parametrize("name", drawing.DASHBOARDS)
def test_ids_are_never_money(name: str, drawn: dict[str, Json], stack: Stack) -> None:
    """A currency as the unit of a whole table also falls on its ids; an account then reads "$953 Bil"."""
    ids = {*stack.simulator.member_names()}
    fields = [field for panel in drawn[name]["panels"] for field in panel["fields"]]
    shown = [(text, value) for f in fields for text, value in zip(f["texts"], f["values"][-50:], strict=True)]
    assert [text for text, value in shown if str(value) in ids and text != value] == []


@pytest.mark.parametrize("name", FILTERED)
def test_the_variables_filter(name: str, drawn: dict[str, Json], account: str, stack: Stack) -> None:
    """With one account and one service chosen no panel shows another's name."""
    shown = {variable["name"]: variable.get("hide", 0) for variable in _variables(name)}
    text = "\n".join(panel["text"] for panel in drawn[f"{name} filtered"]["panels"])
    if not shown["account"]:
        names = stack.simulator.member_names()
        assert [other for other in names if other != account and other in text] == []
        assert account in text or name == "trends"
    if not shown["service"]:
        services = {service for _, _, service in stack.costs} - {SPIKED[1]}
        assert [service for service in services if service in text] == []


def test_a_group_filters_and_only_its_accounts_can_be_chosen(drawn: dict[str, Json], stack: Stack) -> None:
    report = drawn["group"]
    assert [option["label"].split(" · ")[0] for option in report["variables"]["account"]["options"]] == [
        "sandbox"
    ]
    accounts = next(panel for panel in report["panels"] if panel["title"] == "Accounts")
    assert _column(accounts, "Account") == ["sandbox"]


def test_the_account_variable_shows_names_and_chooses_ids(drawn: dict[str, Json], stack: Stack) -> None:
    options = {o["value"]: o["label"] for o in drawn["overview"]["variables"]["account"]["options"]}
    for account, name in stack.simulator.member_names().items():
        if account in options:
            assert options[account] == f"{name} · {account}"
    assert len(options) > 3


@pytest.mark.parametrize("zone", [zone for zone in ZONES if zone != "utc"])
def test_a_day_costs_the_same_for_every_viewer(zone: str, drawn: dict[str, Json]) -> None:
    """Pinned to UTC, bars also stand at the same moments; overruled, they stand at the viewer's midnights."""
    usual, there = (list(_days(drawn[f"zone {which}"])) for which in ("utc", zone))
    if zone.startswith("pinned"):
        assert there == usual
        return
    # At the edges of the range, and for the days that still grow, a viewer elsewhere may see another day.
    settled = [value for _, value in usual[1:-3]]
    assert [value for _, value in there if value in settled] == settled
    offset = {"overruled at UTC-5": 5 * 3600, "overruled at UTC+5:30": 18.5 * 3600}[zone]
    assert {at / 1000 % 86_400 for at, _ in there} == {offset}


def _last_month() -> dict[str, str]:
    """The whole calendar month before this one, as a range that does not move."""
    end = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    start = (end - timedelta(days=1)).replace(day=1)
    return {"from": start.isoformat(), "to": (end - timedelta(seconds=1)).isoformat()}


def _a_day(hour: int) -> dict[str, str]:
    """The 24 hours that ended at this hour, three days ago."""
    end = datetime.now(UTC).replace(hour=hour, minute=0, second=0, microsecond=0) - timedelta(days=3)
    return {"from": (end - timedelta(days=1)).isoformat(), "to": end.isoformat()}


@pytest.mark.parametrize(("hour", "count"), [(3, 2), (14, 1)])
def test_a_range_of_24_hours_counts_the_days_that_it_draws(
    hour: int, count: int, drawn: dict[str, Json]
) -> None:
    """A bar has at most 200 pixels: of a day that began long before the range, nothing is left to be drawn."""
    (panel,) = drawn[f"a day from {hour}:00"]["panels"]
    end = datetime.fromisoformat(_a_day(hour)["to"]).replace(hour=0)
    midnights = [(end - timedelta(days=ago)).timestamp() * 1000 for ago in reversed(range(count))]
    fields = iter(panel["fields"])
    shown = {
        # To draw bars, Grafana appends empty days.
        tuple(at for at, usd in zip(times["values"], days["values"], strict=False) if usd is not None)
        for times, days in zip(fields, fields, strict=True)
    }
    assert shown == {tuple(midnights)}
    assert panel["coloured"] > 2000


@pytest.mark.parametrize("name", PAST)
def test_a_month_of_the_past_is_drawn(name: str, drawn: dict[str, Json]) -> None:
    """No query is refused, charts of cost hold something, and where nothing was known no panel has good news."""
    report = drawn[f"{name} of the past"]
    faults = [*report["complaints"]]
    for panel in report["panels"]:
        faults += [f"{panel['title']}: {error}" for error in panel["errors"]]
        if GOOD_NEWS & set(panel["text"].splitlines()):
            faults.append(f"{panel['title']}: {panel['text']}")
        is_empty = panel["title"] in MAY_BE_EMPTY.get(name, set())
        if panel["title"].startswith("Daily ") and panel["inked"] < 2000 and not is_empty:
            faults.append(f"{panel['title']}: an empty chart")
        # What is left of a difference of floats is neither a cost nor the end of one.
        if "-$0.00" in panel["text"] or "NaN" in panel["text"]:
            faults.append(f"{panel['title']}: {panel['text']}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", drawing.DASHBOARDS)
def test_every_other_dashboard_is_a_click_away(name: str, drawn: dict[str, Json]) -> None:
    """Grafana 12 hides links of a placement, 13 puts them into a menu; here they are in a row above the panels."""
    titles = {other: json.loads(text)["title"] for other, text in build.render().items()}
    expected = sorted(title for other, title in titles.items() if other != f"{name}.json")
    for report in (drawn[name], *drawn[name]["widths"].values()):
        assert sorted(link["title"] for link in report["links"]) == expected
        assert len({link["top"] for link in report["links"]}) == 1


def test_thirteen_months_are_thirteen_bars(drawn: dict[str, Json]) -> None:
    """With a name for each month, and no bar of a service that cost nothing."""
    panel = next(p for p in drawn["overview"]["panels"] if p["type"] == "barchart")
    months = next(field for field in panel["fields"] if field["name"] == "Time")
    assert len(set(months["texts"])) in (12, 13)
    assert panel["bars"] >= 12


@pytest.mark.parametrize("name", drawing.DASHBOARDS)
@pytest.mark.parametrize("width", [FIRST, *WIDER])
def test_no_amount_is_cut(name: str, width: int, drawn: dict[str, Json]) -> None:
    """Neither numbers nor what they are called, in tables, tiles, bars and legends; and no row of bars."""
    report = drawn[name] if width == FIRST else drawn[name]["widths"][str(width)]
    faults: dict[str, None] = {}
    for panel in report["panels"]:
        numeric = {field["name"] for field in panel["fields"] if field["numeric"]}
        for cut in panel["cut"]:
            # A name in a table or beside a bar may end in an ellipsis.
            if cut["column"] in numeric if cut["column"] else not _is_name(panel, cut["text"]):
                faults[f"{panel['title']}: {cut['column']} {cut['text']} is cut"] = None
        for column in panel["narrow"]:
            faults[f"{panel['title']}: {column} holds no large amount"] = None
    assert not faults, "\n".join(faults)


def _is_name(panel: Json, text: str) -> bool:
    return panel["type"] == "bargauge" and any(field["name"] == text for field in panel["fields"])


@pytest.mark.parametrize("name", drawing.DASHBOARDS)
def test_every_table_shows_its_values(name: str, drawn: dict[str, Json]) -> None:
    """A value's column has the name of its query once a second query says what is off: what is renamed must exist."""
    panels = json.loads(build.render()[f"{name}.json"])["panels"]
    shown = {panel["title"]: set(panel["columns"]) for panel in drawn[name]["panels"]}
    missing = {
        panel["title"]: _values(panel) - _hidden(panel) - shown[panel["title"]]
        for panel in panels
        if panel["type"] == "table" and shown[panel["title"]]  # without a row there is no column
    }
    assert {title: columns for title, columns in missing.items() if columns} == {}


def _values(panel: Json) -> set[str]:
    """The names that a table gives to values; a label that no row has is no column."""
    (organize,) = (each["options"] for each in panel["transformations"] if each["id"] == "organize")
    return {name for field, name in organize["renameByName"].items() if field.startswith("Value")}


@pytest.mark.parametrize("name", drawing.DASHBOARDS)
def test_hidden_columns_are_hidden_in_every_grafana(name: str, drawn: dict[str, Json]) -> None:
    """A column that a link needs, or that says the same in each row, is not shown."""
    panels = json.loads(build.render()[f"{name}.json"])["panels"]
    hidden = {panel["title"]: _hidden(panel) for panel in panels if panel["type"] == "table"}
    shown = {
        panel["title"]: set(panel["columns"]) & hidden[panel["title"]]
        for panel in drawn[name]["panels"]
        if panel["type"] == "table"
    }
    assert {title: columns for title, columns in shown.items() if columns} == {}


def _hidden(panel: Json) -> set[str]:
    return {
        override["matcher"]["options"]
        for override in panel["fieldConfig"]["overrides"]
        if any(found["id"] in ("custom.hidden", "custom.hideFrom") for found in override["properties"])
    }


@pytest.mark.parametrize("name", drawing.DASHBOARDS)
def test_what_is_on_is_not_called_off(name: str, drawn: dict[str, Json]) -> None:
    texts = "\n".join(panel["text"] for panel in drawn[name]["panels"])
    assert (
        re.findall(
            r"off: .+|not read .*|nothing was scraped.*|fails for .*|reads fail|.*not loaded|no alert rules",
            texts,
        )
        == []
    )


def _days(report: Json) -> Iterator[tuple[float, float]]:
    panel = next(p for p in report["panels"] if p["title"] == DAILY)
    times = next(field for field in panel["fields"] if field["name"] == "Time")["values"]
    values = next(field for field in panel["fields"] if field["name"] == "Day")["values"]
    return zip(times, (round(value, 6) for value in values), strict=True)


def _column(panel: Json, name: str) -> list[Any]:
    return list(next(field for field in panel["fields"] if field["name"] == name)["values"])


def _variables(name: str) -> list[Json]:
    variables: list[Json] = json.loads(build.render()[f"{name}.json"])["templating"]["list"]
    return variables

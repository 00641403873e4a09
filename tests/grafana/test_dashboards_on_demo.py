"""Every query of every dashboard on the demo's data: it answers, names what it shows, and equals the ledger."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import asking
import grafana_lint as lint
import pytest
import requests
from demo_stack import SPIKED
from dimension_values import DIMENSION_VALUES
from panel_values import VALUES
from prometheus_client.parser import text_string_to_metric_families
from test_dashboards import OVERVIEW

from demo.stack import Stack
from grafana import build
from grafana.builder.style import STATE
from grafana.builder.usage import LAMBDA

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

MOST_SERIES = 100
PATIENCE = 30.0
FEWER_SERVICES = "fewer services than are shown by name"

# Queries that rightly find nothing in the demo, and why.
EMPTY = {
    "exporter: Dollars left for AWS requests/A": "the demo has no ceilings",
    "overview: Daily run by service/B": FEWER_SERVICES,
    "overview: Monthly cost by service/B": FEWER_SERVICES,
    "account: Daily run by service/B": FEWER_SERVICES,
    "overview: Daily run by account/B": "fewer accounts than are shown by name",
    "overview: Projection of budget/B": "no account is chosen: the organization's budget counts",
    "allocation: Projection of budget/B": "no account is chosen: the organization's budget counts",
    "anomalies: Expected against actual/D": "no account is chosen: the sum of all bands says nothing",
    "anomalies: Projection of budget/B": "no account is chosen: the organization's budget counts",
    "account: Projection of budget/A": "the account has a budget, which counts",
    "service: Daily cost by account/B": "fewer accounts than are shown by name",
    "service: Bill against list price/A": "functions have no list price: they are charged by use",
    "usage: EC2 instance hours/A": "hours are counted since the start: no day is complete",
    "usage: Unit costs/C": "hours are counted since the start: no day is complete",
    "account: Unit costs/C": "hours are counted since the start: no day is complete",
    "usage: API and CDN requests/Z": "the demo's bill names neither",
    "usage: Messages/Z": "the demo's bill names neither",
    "usage: Streams and network load balancers/Z": "the demo's bill does not name Kinesis",
    "where: Daily cost by resource/A": "resources need an export",
    "where: Resources/A": "resources need an export",
}
# What is not there says so.
SAID = {"where: Daily cost by resource/S", "where: Resources/S"}
NO_CHOICE = "variable top12_resources"

# Absent until AWS has booked the first cost of the day or month, hours after it began.
BOOKED = ("aws_cost_today_usd", "aws_cost_month_to_date_usd")
# The same days of last month, while no day of this one is complete.
FIRST_OF_A_MONTH = {"account: This month/B", "overview: This month/B", "service: This month/B"}


def chosen(dashboard: lint.Json, stack: Stack) -> dict[str, str]:
    """All of everything, and one account or service where a dashboard is of one."""
    values = lint.everything(dashboard)
    names = {name: account for account, name in stack.simulator.member_names().items()}
    for variable in dashboard["templating"]["list"]:
        if variable["name"] in ("account", "service") and not variable.get("includeAll"):
            values[variable["name"]] = names[SPIKED[0]] if variable["name"] == "account" else LAMBDA
            values |= {"accounts": values[variable["name"]]} if variable["name"] == "account" else {}
    if "allocation" in values:
        values |= {"allocation": "tag:team", "kind": "tag", "key_label": "tag_key", "key": "team"}
    return values


def unbooked(stack: Stack, values: dict[str, str]) -> list[str]:
    """Which of `BOOKED` the exporter serves no series of yet, of what is chosen."""
    text = requests.get(stack.urls["exporter"] + "/metrics", timeout=60).text
    booked = {
        family.name
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name in BOOKED
        and re.fullmatch(values["account"], sample.labels["account_id"])
        and re.fullmatch(values["service"], sample.labels["service"])
    }
    return [name for name in BOOKED if name not in booked]


def waits_for(target: lint.Json, families: list[str]) -> bool:
    """Whether a target can show nothing without one of these families: it is what is shown, or nothing else will do."""
    shown = re.search(r"aws_\w+", target["expr"])
    return (shown is not None and shown[0] in families) or (
        " or " not in target["expr"] and any(f"{family}{{" in target["expr"] for family in families)
    )


def _answer(ask: Callable[[], asking.Series]) -> asking.Series:
    """The first answer that holds something: on a busy machine a scrape may fail, and until the next nothing is live."""
    deadline = time.monotonic() + PATIENCE
    while not (series := ask()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return series


def test_every_query_answers_and_names_its_series(dashboard: lint.Json, stack: Stack) -> None:
    assert faults_of(dashboard, stack, EMPTY, SAID, {NO_CHOICE}) == []


def faults_of(
    dashboard: lint.Json,
    stack: Stack,
    empty: Collection[str],
    said: Collection[str],
    no_choice: Collection[str],
    either: Collection[str] = (),
) -> list[str]:
    """What of a dashboard's queries has no answer though it is not `empty`, or an answer that it should not have.

    `said` names the queries for a state that has something to say, `no_choice` the variables without a value, `either`
    queries that may have an answer or none.
    """
    url, values, name = stack.urls["prometheus"], chosen(dashboard, stack), _name(dashboard)
    faults: list[str] = []
    absent = unbooked(stack, values)
    empty = {*empty, *(FIRST_OF_A_MONTH if datetime.now(UTC).day == 1 else ())}
    for panel in lint.panels(dashboard):
        for target in panel.get("targets", []):
            where = f"{name}: {panel['title']}/{target['refId']}"
            # Nothing else is off in the demo.
            is_state = target["refId"] == STATE and where not in said
            nothing = where in empty or is_state or waits_for(target, absent)
            ask = partial(asking.run, url, target, values)
            series = ask() if nothing else _answer(ask)
            if nothing != (not series) and where not in either:
                faults.append(f"{where}: {len(series)} series")
            if len(series) > MOST_SERIES:
                faults.append(f"{where}: {len(series)} series")
            if target.get("format") != "table":
                names = [asking.legend(target, one["metric"]) for one in series]
                if any("?" in legend or not legend.strip() for legend in names) or len(set(names)) < len(
                    names
                ):
                    faults.append(f"{where}: series called {names}")
    now = time.time()
    values |= lint.grafana(now - 30 * asking.DAY, now) | asking.complete(url, now - 30 * asking.DAY, now)
    for where, text in lint.expressions(dashboard):
        now = time.time()
        resolved = lint.resolve(text, values | lint.grafana(now - 30 * asking.DAY, now))
        if (
            "variable " in where
            and where not in no_choice
            and not _answer(partial(asking.instant, url, resolved))
        ):
            faults.append(f"{where}: no choice")
    return faults


def test_all_of_the_chain_has_the_time_of_its_tests(stack: Stack) -> None:
    """Also where tests/moments.py has moved it."""
    (prometheus,) = asking.instant(stack.urls["prometheus"], "vector(time())")
    assert float(prometheus["value"][1]) == pytest.approx(time.time(), abs=60)
    assert stack.simulator.today() == datetime.now(UTC).date()


def test_no_reason_is_left_over() -> None:
    known = {
        f"{_name(dashboard)}: {panel['title']}/{target['refId']}"
        for dashboard in map(json.loads, build.render().values())
        for panel in lint.panels(dashboard)
        for target in panel.get("targets", [])
    }
    assert (EMPTY.keys() | FIRST_OF_A_MONTH) - known == set()


def test_a_value_of_each_panel_is_what_the_ledger_or_the_exporter_says(
    dashboard: lint.Json, stack: Stack
) -> None:
    """Every panel is compared; what moves between two requests is asked again until both agree."""
    name = _name(dashboard)
    checks = (VALUES | DIMENSION_VALUES)[name]
    drawn = [panel["title"] for panel in lint.panels(dashboard) if panel["type"] != "text"]
    assert sorted(checks) == sorted(drawn)
    faults = []
    values = chosen(dashboard, stack)
    month = [family for family in unbooked(stack, values) if "month" in family]
    for panel in lint.panels(dashboard):
        if any(waits_for(target, month) for target in panel.get("targets", [])):
            continue
        world = World(stack, panel, values)
        deadline = time.monotonic() + PATIENCE
        while True:
            shown, known = checks[panel["title"]](world)
            if math.isclose(shown, known, rel_tol=1e-9, abs_tol=1e-9):
                break
            if time.monotonic() > deadline:
                faults.append(f"{panel['title']}: shows {shown}, and it is {known}")
                break
            time.sleep(0.5)
    assert faults == []


def test_thirteen_months_of_daily_run_by_service_are_those_of_the_ledger(stack: Stack) -> None:
    """What people open first: each of the past 390 days, each service, to the cent; the spike is among them."""
    panels = {panel["title"]: panel for panel in lint.panels(OVERVIEW)}
    today = datetime.now(UTC).date()
    first = today - timedelta(days=390)

    def shown(title: str) -> dict[tuple[str, str], float]:
        days: dict[tuple[str, str], float] = {}
        for target in panels[title]["targets"]:
            series = asking.run(stack.urls["prometheus"], target, lint.everything(OVERVIEW), days=390)
            for one in series:
                for at, value in one["values"]:
                    day = datetime.fromtimestamp(at, UTC).date()
                    if day < today - timedelta(days=1):
                        days[one["metric"].get("service", "Other"), day.isoformat()] = float(value)
        return days

    middle = first + timedelta(days=200)  # at most a year is answered at once
    rows = [
        *_costs(stack, first, middle, "service,day")["rows"],
        *_costs(stack, middle + timedelta(days=1), today - timedelta(days=2), "service,day")["rows"],
    ]
    known = {(row["service"], row["day"]): float(row["usd"]) for row in rows}
    bars, other = shown("Daily run by service"), shown("Tax, support, fees and credits")
    assert bars.keys() | other.keys() == known.keys()
    assert max(abs(bars.get(key, 0) + other.get(key, 0) - known[key]) for key in known) < 0.005
    usual = [value for (service, day), value in bars.items() if service == SPIKED[1]]
    assert bars[SPIKED[1], (today - timedelta(days=2)).isoformat()] > 1.5 * sorted(usual)[len(usual) // 2]


def test_thirty_assessed_days_have_expectation_band_and_score_on_the_first_day(stack: Stack) -> None:
    """The chain was started minutes ago, at any hour: the past is there, each day at its date."""
    dashboard = json.loads(build.render()["anomalies.json"])
    url, values = stack.urls["prometheus"], chosen(dashboard, stack)
    targets = {
        f"{panel['title']}/{target['refId']}": target
        for panel in lint.panels(dashboard)
        for target in panel.get("targets", [])
    }
    assessed = _assessed_day(stack)
    wanted = {assessed - timedelta(days=ago) for ago in range(30)}
    for where in ("Expected against actual/B", "Expected against actual/C", "Score/A"):
        series = asking.run(url, targets[where], values, days=40)
        days = {datetime.fromtimestamp(at, UTC).date() for one in series for at, _ in one["values"]}
        assert (where, wanted - days, {day for day in days if day > assessed}) == (where, set(), set())
    account = next(account for account, name in stack.simulator.member_names().items() if name == SPIKED[0])
    assert asking.run(url, targets["Expected against actual/D"], values, days=40) == []
    (unit, *_) = (
        one["metric"]["ou"]
        for one in asking.instant(url, f'aws_account_ou_info{{account_id="{account}", job!=""}}')
    )
    now = time.time()
    values = asking.choose(url, dashboard, now - 40 * asking.DAY, now, group=(unit,))
    assert account in values["accounts"]
    assert asking.run(url, targets["Expected against actual/D"], values, days=40) == []
    values = asking.choose(url, dashboard, now - 40 * asking.DAY, now, account=(account,))
    by_ref = {
        ref: dict(asking.run(url, targets[f"Expected against actual/{ref}"], values, days=40)[0]["values"])
        for ref in "BCD"
    }
    for at, end in by_ref["D"].items():
        # The end of the band lies beyond the expectation, on the side of the usage.
        usage, expected = float(by_ref["B"][at]), float(by_ref["C"][at])
        assert math.isfinite(float(end))
        if datetime.fromtimestamp(at, UTC).date() == assessed:
            assert expected < float(end) < usage


def _assessed_day(stack: Stack) -> date:
    (found,) = asking.instant(stack.urls["prometheus"], "max(aws_cost_anomaly_day_timestamp_seconds)")
    return datetime.fromtimestamp(float(found["value"][1]), UTC).date()


def test_the_variables_filter(dashboard: lint.Json, stack: Stack) -> None:
    """One account, one service and its organizational unit: nothing else is left in any panel."""
    values = chosen(dashboard, stack)
    hidden = {v["name"] for v in dashboard["templating"]["list"] if v.get("hide") == lint.HIDDEN}
    account = next(account for account, name in stack.simulator.member_names().items() if name == SPIKED[0])
    if "account" not in hidden:
        values |= dict.fromkeys(("account", "accounts", "furthest", "named"), account)
    if "service" not in hidden:
        values["service"] = SPIKED[1]
    others = []
    for panel in lint.panels(dashboard):
        for target in panel.get("targets", []):
            for series in asking.run(stack.urls["prometheus"], target, values):
                labels = series["metric"]
                if "account" not in hidden and labels.get("account_id", account) != account:
                    others.append(f"{panel['title']}: {labels}")
                if "service" not in hidden and "{{service}}" in target.get("legendFormat", ""):
                    others += [f"{panel['title']}: {labels}"] * (labels["service"] != SPIKED[1])
    assert others == []


@dataclass
class World:
    """What one panel shows, and what the exporter knows."""

    stack: Stack
    panel: lint.Json
    values: dict[str, str]
    today: date = field(default_factory=lambda: datetime.now(UTC).date())

    def shown(self, ref: str = "A", **labels: str) -> float:
        """The sum of a target's series with these labels; for a range, their newest values."""
        found = [one for one in self.series(ref) if labels.items() <= one["metric"].items()]
        return sum(float((one.get("value") or one["values"][-1])[1]) for one in found) if found else math.nan

    def on_day(self, ago: int, ref: str = "A", days: int = 30, **labels: str) -> float:
        """The sum of a range's values at the start of a day."""
        day = self.today - timedelta(days=ago)
        return sum(
            float(value)
            for one in self.series(ref, days)
            if labels.items() <= one["metric"].items()
            for at, value in one["values"]
            if datetime.fromtimestamp(at, UTC).date() == day
        )

    def count(self, ref: str = "A") -> float:
        """How many series there are."""
        return float(len(self.series(ref)))

    def series(self, ref: str, days: int = 30) -> asking.Series:
        target = next(target for target in self.panel["targets"] if target["refId"] == ref)
        return asking.run(self.stack.urls["prometheus"], target, self.values, days)

    def newest_written(self, family: str = "aws_cost_daily_by_service_usd") -> int:
        """How many days ago the newest day began of which there is dated history of a family."""
        midnight = int(time.time()) // asking.DAY * asking.DAY
        for ago in range(1, 5):
            written = f"group(last_over_time({family}[1d] @ {midnight - (ago - 1) * asking.DAY}))"
            if asking.instant(self.stack.urls["prometheus"], written):
                return ago
        raise AssertionError("no dated history")

    def dimension(self, by: str, first: int, last: int) -> dict[tuple[str, ...], float]:
        """Dollars in the ledger from so many days ago until so many by these keys, of what is chosen."""
        start, end = (self.today - timedelta(days=ago) for ago in (first, last))
        names = by.split(",")
        rows = _costs(self.stack, start, end, by, **self.kept())["rows"]
        return {
            tuple(row[name.replace("account", "account_id")] for name in names): float(row["usd"])
            for row in rows
        }

    def non_usage(self, first: int, last: int, **only: str) -> float:
        """Dollars in dated history that are no usage, from so many days ago until so many, of what is chosen."""
        midnight = int(time.time()) // asking.DAY * asking.DAY
        matchers = ", ".join(f'{label}="{value}"' for label, value in (self.kept() | only).items())
        return self.ask(
            f"sum(sum_over_time(last_over_time(aws_cost_daily_non_usage_usd{{{matchers}}}[1d])"
            f"[{first - last + 1}d:1d] @ {midnight - (last - 1) * asking.DAY} offset -1ms))"
        )

    def kept(self) -> dict[str, str]:
        """The chosen account and service as labels; nothing where all are chosen."""
        variables = {"account_id": "account", "service": "service"}
        return {label: self.values[name] for label, name in variables.items() if self.values[name] != ".*"}

    def ask(self, promql: str) -> float:
        """A query of our own; for what the exporter does not know, e.g. the relay's counters."""
        return sum(float(one["value"][1]) for one in asking.instant(self.stack.urls["prometheus"], promql))

    def cost(self, first: int, last: int, **only: str) -> float:
        """Dollars in the ledger from so many days ago until so many, both included, of what is chosen."""
        start, end = (self.today - timedelta(days=ago) for ago in (first, last))
        return float(_costs(self.stack, start, end, "day", **(self.kept() | only))["total_usd"])

    def accounts_with_cost(self, first: int, last: int) -> float:
        """In how many accounts there was cost from so many days ago until so many, of what is chosen."""
        start, end = (self.today - timedelta(days=ago) for ago in (first, last))
        rows = _costs(self.stack, start, end, "account", **self.kept())["rows"]
        return float(sum(float(row["usd"]) > 0 for row in rows))

    def usage(self, family: str, first: int, last: int, **only: str) -> float:
        """Dated usage in the ledger from so many days ago until so many, both included, of what is chosen."""
        kept = {"account_id": self.values["account"]} if self.values["account"] != ".*" else {}
        start, end = (self.today - timedelta(days=ago) for ago in (first, last))
        rows = _ask_exporter(
            self.stack, "usage", start=start.isoformat(), end=end.isoformat(), metric=family, **(kept | only)
        )["rows"]
        return float(sum(row["total"] for row in rows))

    def month(self, **only: str) -> float:
        """Dollars in the ledger of this calendar month."""
        return self.cost(self.today.day - 1, 0, **only)

    def all_cost(self, first: int, last: int) -> float:
        """Dollars in the ledger, regardless of the filters."""
        start, end = (self.today - timedelta(days=ago) for ago in (first, last))
        return float(_costs(self.stack, start, end, "day")["total_usd"])

    def largest(self, ref: str) -> float:
        """The largest value that a target shows."""
        return max((float(one["value"][1]) for one in self.series(ref)), default=math.nan)

    def grouped(self, name: str, by: tuple[str, ...]) -> dict[tuple[str, ...], float]:
        """What the exporter serves for what is chosen, summed up by labels."""
        sums: dict[tuple[str, ...], float] = {}
        for labels, value in self.samples(name):
            if labels.get("resource_id") != "other":
                key = tuple(labels[label] for label in by)
                sums[key] = sums.get(key, 0) + value
        return sums

    def metric(self, name: str, reduce: Callable[[list[float]], float] = sum, **labels: str) -> float:
        """What the exporter serves, summed up."""
        return reduce(
            [value for have, value in self.samples(name) if labels.items() <= have.items()] or [math.nan]
        )

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """What the exporter serves, of the account if one is chosen."""
        account = self.values["account"]
        text = requests.get(self.stack.urls["exporter"] + "/metrics", timeout=60).text
        return [
            (sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
            and (account == ".*" or sample.labels.get("account_id", account) == account)
        ]


def _costs(stack: Stack, start: date, end: date, by: str, **only: str) -> dict[str, Any]:
    return _ask_exporter(
        stack, "costs", start=start.isoformat(), end=end.isoformat(), by=by.split(","), **only
    )


def _ask_exporter(stack: Stack, endpoint: str, **params: Any) -> dict[str, Any]:
    answer = requests.get(f"{stack.urls['exporter']}/api/v1/{endpoint}", params=params, timeout=60)
    assert answer.ok, answer.text
    said: dict[str, Any] = answer.json()
    return said


def _name(dashboard: lint.Json) -> str:
    return str(dashboard["uid"]).removeprefix("aws-spend-")

"""Allocation and Where it goes: cost by one dimension, in ranges of now and of the past, and never by a filter that it lacks.

Lines of a bill are written down, as families and their sums, into a real Prometheus; each panel is compared with what the
lines come to.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import asking
import filled_prometheus
import grafana_lint as lint
import pytest
from dimension_bill import (
    DAY,
    DAYS,
    ENV_SINCE,
    LINES,
    MIDNIGHT,
    NAMES,
    NEWEST_WRITTEN,
    NOW,
    TODAY,
    TRANSFER,
    UNITS,
    Line,
    day,
    openmetrics,
)

from grafana import build
from grafana.builder.collected import FEWER_FILTERS
from grafana.builder.style import STATE


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with filled_prometheus.running(tmp_path_factory.mktemp("prometheus"), openmetrics()) as url:
        yield url


@dataclass(frozen=True)
class Range:
    """A range of time that is chosen, in seconds."""

    start: float
    end: float

    @property
    def written(self) -> list[int]:
        """Days ago of its days that are over at its end, and written; the newest last."""
        first = int((MIDNIGHT - self.start // DAY * DAY) // DAY)
        return [
            ago for ago in range(first, NEWEST_WRITTEN - 1, -1) if MIDNIGHT - (ago - 1) * DAY <= self.end + 1
        ]


def _at(moment: date) -> float:
    return float(MIDNIGHT + (moment - TODAY).days * DAY)


_LAST = (TODAY.replace(day=1) - timedelta(days=1)).replace(day=1)
RANGES = {
    "a past week": Range(MIDNIGHT - 33 * DAY, MIDNIGHT - 26 * DAY),
    "a month by the second": Range(_at((_LAST - timedelta(days=1)).replace(day=1)), _at(_LAST) - 1),
    "30 days": Range(MIDNIGHT - 30 * DAY, NOW),
    "this month, which ends in the future": Range(MIDNIGHT - 20 * DAY, MIDNIGHT + 10 * DAY - 1),
    "13 months": Range(MIDNIGHT - 395 * DAY, NOW),
}


@pytest.fixture(params=RANGES)
def chosen_range(request: pytest.FixtureRequest) -> Range:
    return RANGES[request.param]


class Page:
    """A dashboard in a range, with what is chosen."""

    def __init__(self, url: str, name: str, span: Range, chosen: Mapping[str, tuple[str, ...]]) -> None:
        self.url, self.range, self.chosen = url, span, chosen
        self.dashboard = json.loads((build.OUTPUT / f"{name}.json").read_text(encoding="utf-8"))
        self.values = asking.choose(url, self.dashboard, span.start, span.end, **chosen)

    def ask(self, title: str, ref: str = "A", days: float | None = None) -> asking.Series:
        panel = next(panel for panel in lint.panels(self.dashboard) if panel["title"] == title)
        target = next(target for target in panel["targets"] if target["refId"] == ref)
        span = (self.range.end - self.range.start) / DAY if days is None else days
        return asking.run(self.url, target, self.values, days=span, end=self.range.end)

    def table(self, title: str, *by: str, ref: str = "A") -> dict[Any, float]:
        rows = {
            tuple(one["metric"].get(label, "") for label in by): float(one["value"][1])
            for one in self.ask(title, ref)
        }
        return rounded({key if len(key) > 1 else key[0]: value for key, value in rows.items()})

    def bars(self, title: str) -> dict[tuple[str, int], float]:
        return rounded(
            {
                (one["metric"]["key"], int((MIDNIGHT - at // DAY * DAY) // DAY)): float(value)
                for one in self.ask(title)
                for at, value in one["values"]
            }
        )

    def numbers(self, title: str, *refs: str) -> list[float | None]:
        found = [self.ask(title, ref) for ref in refs]
        return [round(float(one[0]["value"][1]), 6) if one else None for one in found]

    def said(self, title: str) -> list[str]:
        """The texts of the panel's states."""
        return [
            next(iter(value for name, value in one["metric"].items() if name != "account_id"))
            for one in self.ask(title, STATE)
        ]

    def cost(self, by: Callable[[Line], Any], days: list[int]) -> dict[Any, float]:
        """What the chosen lines cost on these days; nothing that is zero."""
        found: dict[Any, float] = defaultdict(float)
        for line in LINES:
            filters = {
                "account": "account_id",
                "service": "service",
                "region": "region",
                "usage_type": "usage_type",
            }
            if all(
                line.labels[label] in self.chosen.get(name, (line.labels[label],))
                for name, label in filters.items()
            ):
                found[by(line)] += sum(line.usd(ago) for ago in days)
        return rounded(found)


def rounded(values: Mapping[Any, float]) -> dict[Any, float]:
    return {key: round(value, 4) for key, value in values.items() if abs(value) > 1e-6}


def largest(values: Mapping[Any, float], count: int) -> dict[Any, float]:
    return dict(sorted(values.items(), key=lambda one: -one[1])[:count])


def named(values: Mapping[str, float], what: str, without: str, most: int = 12) -> dict[str, str]:
    """What each key is called in a panel that shows the largest apart."""
    shown = largest({key: usd for key, usd in values.items() if key}, most)
    return {key: key if key in shown else f"Other {what}s" if key else without for key in values}


def of(label: str) -> Callable[[Line], str]:
    return lambda line: line.labels[label]


def summed(values: Mapping[Any, float], key: Callable[[Any], Any]) -> dict[Any, float]:
    found: dict[Any, float] = defaultdict(float)
    for each, usd in values.items():
        found[key(each)] += usd
    return rounded(found)


CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "all": {},
    "an account": {"account": ("100000000001",)},
    "one that ended": {"account": ("100000000002",)},
    "a region": {"region": ("eu-west-1",)},
    "a usage type": {"usage_type": ("EUW1-BoxUsage:m3.large",), "account": ("100000000000",)},
    "services": {"service": ("Amazon (a|b) [c]+", "AWS Lambda")},
    "a service and a region": {"service": ("Amazon (a|b) [c]+",), "region": ("eu-west-1",)},
}
TABLES = {"Services": "service", "Regions": "region", "Usage types": "usage_type"}


@pytest.mark.parametrize("chosen", CHOICES.values(), ids=CHOICES)
def test_where_it_goes_shows_what_is_known_of_the_filters(
    prometheus: str, chosen_range: Range, chosen: dict[str, tuple[str, ...]]
) -> None:
    """The sums of just what is chosen, or none and the command that has them."""
    page = Page(prometheus, "where", chosen_range, chosen)
    days = chosen_range.written
    filters = {"service", "region", "usage_type"} & chosen.keys()
    total = page.cost(lambda line: "", days).get("")
    by_account = page.cost(lambda line: (line.account, NAMES[line.account]), days)
    assert page.numbers("In the range", "A") == [total if len(filters) < 2 else None]
    assert page.table("Accounts", "account_id", "account") == (by_account if len(filters) < 2 else {})
    for title, dimension in TABLES.items():
        known = not filters - {dimension}
        found = page.table(title, dimension)
        costs = page.cost(of(dimension), days)
        assert found == (largest(costs, 20) if known else {}), title
        texts = [text for text in page.said(title) if text.startswith("aws-spend-exporter")]
        options = [
            f" --service '{chosen['service'][-1]}'" if "service" in filters - {dimension} else "",
            f" --region {chosen['region'][0]}" if "region" in filters - {dimension} else "",
            f" --usage-type {chosen['usage_type'][0]}" if "usage_type" in filters - {dimension} else "",
            f" --account {chosen['account'][0]}" if "account" in chosen else "",
        ]
        span = f" --from {chosen_range.start:.0f} --to {chosen_range.end:.0f}"
        by = dimension.replace("_", "-")
        if known:
            assert texts == []
        elif total:
            assert len(texts) == 1
            begin = f"aws-spend-exporter costs --by {by}"
            if len(chosen.get("service", ())) > 1:
                assert texts[0].startswith(f"{begin} --service '")
            else:
                assert texts == [begin + "".join(options) + span]


@pytest.mark.parametrize("chosen", CHOICES.values(), ids=CHOICES)
def test_days_by_a_dimension_name_the_largest_of_the_range(
    prometheus: str, chosen_range: Range, chosen: dict[str, tuple[str, ...]]
) -> None:
    page = Page(prometheus, "where", chosen_range, chosen)
    for dimension, title in (("region", "region"), ("usage_type", "usage type")):
        is_known = not ({"service", "region", "usage_type"} & chosen.keys()) - {dimension}
        names = named(page.cost(of(dimension), chosen_range.written), title, f"(no {title})")
        expected: dict[tuple[str, int], float] = defaultdict(float)
        for ago in chosen_range.written:
            for key, usd in page.cost(of(dimension), [ago]).items():
                expected[names[key], ago] += usd
        found = page.bars(f"Daily cost by {title}")
        assert found == (rounded(expected) if is_known else {})
        assert (FEWER_FILTERS in page.said(f"Daily cost by {title}")) == (not is_known)


def test_data_transfer_stands_apart(prometheus: str, chosen_range: Range) -> None:
    page = Page(prometheus, "where", chosen_range, {})
    costs = page.cost(of("usage_type"), chosen_range.written)
    moved = {key: usd for key, usd in costs.items() if key in TRANSFER}
    total, part = sum(costs.values()), sum(moved.values())
    assert page.numbers("Data transfer", "A", "B") == [part, pytest.approx(part / total, abs=1e-6)]
    by_account = page.table("Data transfer by account", "account_id", "usage_type")
    assert by_account == {
        key: usd
        for key, usd in page.cost(
            lambda line: (line.account, line.labels["usage_type"]), chosen_range.written
        ).items()
        if key[1] in TRANSFER
    }
    shown = page.bars("Daily data transfer")
    assert summed(shown, lambda key: key[1]) == {
        ago: page.cost(lambda line: line.labels["usage_type"] in TRANSFER, [ago])[True]
        for ago in chosen_range.written
    }


def test_each_step_is_a_click_that_keeps_what_is_chosen() -> None:
    dashboard = json.loads((build.OUTPUT / "where.json").read_text(encoding="utf-8"))
    steps: dict[str, str] = {}
    for panel in lint.panels(dashboard):
        for link in lint.column_links(panel):
            path, _, query = link["url"].partition("?")
            assert path == "/d/aws-spend-where"
            ((variable, value),) = re.findall(
                r"var-(\w+)=\$\{__data\.fields\[\"([\w ]+)\"\]:percentencode\}", query
            )
            assert value.lower().replace(" ", "_").removesuffix("_id") == variable
            kept = {*re.findall(r"\$\{(\w+):queryparam\}", query)}
            assert kept | {variable} == {
                "datasource",
                "grouping",
                "group",
                "account",
                "service",
                "region",
                "usage_type",
            }
            assert query.endswith("&${__url_time_range}")
            steps[panel["title"]] = variable
    assert steps == {
        "Accounts": "account",
        "Services": "service",
        "Regions": "region",
        "Usage types": "usage_type",
        "Data transfer by account": "account",
        "Resources": "account",
    }


def test_an_hour_stands_at_its_begin(prometheus: str) -> None:
    page = Page(prometheus, "where", RANGES["30 days"], {})
    (series,) = page.ask("Hourly cost by service")
    found = {int(at): float(value) for at, value in series["values"]}
    assert found == {MIDNIGHT - 2 * DAY + 3600 * hour: 1.0 + hour for hour in range(24)}
    for filters in ({"region": ("eu-west-1",)}, {"service": ("Amazon EC2",)}, {"account": ("100000000001",)}):
        assert Page(prometheus, "where", RANGES["30 days"], filters).ask("Hourly cost by service") == []


def test_what_is_off_or_not_there_says_so(prometheus: str) -> None:
    """Of a range that ends now; where nothing was scraped, what is written needs no word."""
    page = Page(prometheus, "where", RANGES["30 days"], {})
    assert page.values["dimensions"] == "(region|usage_type)"
    for title in ("Daily cost by region", "Regions", "Daily cost by usage type", "Data transfer"):
        assert page.said(title) == [], title
    for title in ("Daily cost by charge type", "Charge types", "Not usage"):
        assert page.said(title) == ["no day by charge type in this range"]
    for title in ("Daily cost by resource", "Resources"):
        assert page.said(title) == ["only from an export: collectors.cost.source"]
    to_come = Page(prometheus, "where", RANGES["this month, which ends in the future"], {})
    assert to_come.said("Regions") == []
    past = Page(prometheus, "where", RANGES["a past week"], {})
    assert past.said("Regions") == []
    assert past.said("Charge types") == ["nothing was scraped at the end of the range"]
    before = Range(MIDNIGHT - 800 * DAY, MIDNIGHT - 790 * DAY)
    assert Page(prometheus, "where", before, {}).said("Regions") == [
        "nothing was scraped at the end of the range"
    ]


ALLOCATIONS = {
    "tag:team": ("team", "(no tag:team)"),
    "cost_category:team": ("category", "(no cost_category:team)"),
    "tag:env": ("env", "(no tag:env)"),
}


def _written(allocation: str, days: list[int]) -> list[int]:
    return [ago for ago in days if ago <= (ENV_SINCE if allocation == "tag:env" else DAYS)]


@pytest.fixture(params=ALLOCATIONS)
def allocation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("chosen", [{}, {"account": ("100000000001",)}], ids=["all", "an account"])
def test_an_allocation_is_of_the_range(
    prometheus: str, chosen_range: Range, allocation: str, chosen: dict[str, tuple[str, ...]]
) -> None:
    label, without = ALLOCATIONS[allocation]
    days = _written(allocation, chosen_range.written)
    page = Page(prometheus, "allocation", chosen_range, chosen | {"allocation": (allocation,)})
    costs = page.cost(of(label), days)
    names = named(costs, "value", without)
    by_name = summed(costs, names.__getitem__)
    assert page.table("By $allocation", "key") == by_name
    total = sum(costs.values())
    shares = page.table("By $allocation", "key", ref="B")
    assert shares == pytest.approx({key: usd / total for key, usd in by_name.items()}, abs=1e-4)
    none = costs.get("", 0.0)
    of_all, dollars = page.numbers("Not allocated", "A", "C")
    assert (of_all, dollars) == (
        (pytest.approx(none / total, abs=1e-5), none or None) if total else (None, None)
    )
    usage = None
    if label == "team":
        usage = page.cost(lambda line: line.number == 4, days).get(True, 0) / total
    assert page.numbers("Not allocated", "B") == [usage if usage is None else pytest.approx(usage, abs=1e-5)]
    bars: dict[tuple[str, int], float] = defaultdict(float)
    for ago in days:
        for key, usd in page.cost(of(label), [ago]).items():
            bars[names[key], ago] += usd
    assert page.bars("Daily cost by value") == rounded(bars)
    pairs = page.cost(lambda line: (line.account, line.labels[label] or without), days)
    shown = page.table("Values in accounts", "account_id", "key")
    assert sorted(shown.values()) == sorted(largest(pairs, 20).values())
    assert shown.items() <= pairs.items()


@pytest.mark.parametrize("chosen", [{}, {"account": ("100000000001",)}], ids=["all", "an account"])
def test_a_range_is_compared_with_the_one_before_only_where_both_are_written(
    prometheus: str, chosen_range: Range, allocation: str, chosen: dict[str, tuple[str, ...]]
) -> None:
    label, without = ALLOCATIONS[allocation]
    page = Page(prometheus, "allocation", chosen_range, chosen | {"allocation": (allocation,)})
    now = chosen_range.written
    before = [ago + len(now) for ago in now]
    if _written(allocation, before + now) != before + now or before[0] > DAYS:
        for title in ("By $allocation", "Movers"):
            assert page.ask(title, "C" if title != "Movers" else "A") == []
        return
    costs, earlier = page.cost(of(label), now), page.cost(of(label), before)
    names = named(costs, "value", without)
    changes = {key: costs.get(key, 0) - earlier.get(key, 0) for key in costs.keys() | earlier.keys()}
    assert page.table("By $allocation", "key", ref="D") == summed(
        changes, lambda key: names.get(key, "Other values")
    )
    assert page.table("By $allocation", "key", ref="C") == summed(
        earlier, lambda key: names.get(key, "Other values")
    )

    def pair(line: Line) -> tuple[str, str]:
        return line.account, line.labels[label] or without

    there = {account for account, _ in page.cost(pair, now)}
    runs, of_before = page.cost(pair, now), page.cost(pair, before)
    moved = {
        key: runs.get(key, 0) - of_before.get(key, 0)
        for key in runs.keys() | of_before.keys()
        if key[0] in there
    }
    moved = {key: usd for key, usd in moved.items() if abs(usd) >= 1}
    shown = page.table("Movers", "account_id", "key")
    assert sorted(map(abs, shown.values())) == sorted(map(abs, moved.values()))[-8:]
    assert shown.items() <= moved.items()


def test_months_are_whole_months_at_their_first_days(prometheus: str, allocation: str) -> None:
    """Thirteen, this one as far as it is written; none whose 1st is not written."""
    label, without = ALLOCATIONS[allocation]
    first = (TODAY.replace(day=1) - timedelta(days=360)).replace(day=1)
    start = _at(first)
    page = Page(prometheus, "allocation", Range(start, NOW), {"allocation": (allocation,)})
    days = _written(allocation, page.range.written)
    names = named(page.cost(of(label), days), "value", without)
    expected: dict[tuple[str, int], float] = defaultdict(float)
    for ago in days:
        begin = (TODAY - day(ago).replace(day=1)).days
        if begin <= max(days) and _written(allocation, [begin]):
            for key, usd in page.cost(of(label), [ago]).items():
                expected[names[key], begin] += usd
    found = page.bars("Monthly cost by value")
    assert found == rounded(expected)
    assert len({ago for _, ago in found}) >= (1 if label == "env" else 12)


def test_groups_are_those_of_each_account(prometheus: str, chosen_range: Range) -> None:
    page = Page(prometheus, "allocation", chosen_range, {"grouping": ("ou",)})
    assert page.table("Groups", "in") == page.cost(
        lambda line: UNITS.get(line.account, "(none)"), chosen_range.written
    )


def test_the_share_of_each_day(prometheus: str) -> None:
    page = Page(prometheus, "allocation", RANGES["30 days"], {"allocation": ("tag:team",)})
    days = {
        ref: {
            int((MIDNIGHT - at // DAY * DAY) // DAY): float(value)
            for one in page.ask("Not allocated, by day", ref)
            for at, value in one["values"]
        }
        for ref in "AB"
    }
    for ref, numbers in (("A", (4, 15)), ("B", (4,))):
        assert days[ref] == pytest.approx(
            {
                ago: page.cost(lambda line, of=numbers: line.number in of, [ago])[True]
                / sum(page.cost(lambda line: "", [ago]).values())
                for ago in RANGES["30 days"].written
            }
        )


def test_what_covers_most_is_allocated_by_first(prometheus: str, chosen_range: Range) -> None:
    page = Page(prometheus, "allocation", chosen_range, {})
    variable = next(v for v in page.dashboard["templating"]["list"] if v["name"] == "allocation")
    listed = asking.options(prometheus, variable, page.values, chosen_range.start, chosen_range.end)
    newest = int((MIDNIGHT - int(page.values["complete"])) // DAY) + 1
    days = [ago for ago in range(newest + 30, newest - 1, -1) if ago >= NEWEST_WRITTEN]
    covered = {
        name: sum(usd for key, usd in page.cost(of(label), _written(name, days)).items() if key)
        for name, (label, _) in ALLOCATIONS.items()
        if _written(name, chosen_range.written)
    }
    assert listed == sorted(covered, key=lambda name: -covered[name])


def test_a_service_that_is_chosen_is_asked_of_the_command(prometheus: str) -> None:
    """Tags are not known by service: no panel shows the sum of all services for one."""
    chosen = {"allocation": ("tag:team",), "service": ("AWS Lambda",)}
    page = Page(prometheus, "allocation", RANGES["30 days"], chosen)
    for title in ("By $allocation", "Values in accounts", "Movers", "Not allocated", "Daily cost by value"):
        assert page.ask(title) == [], title
    span = f"--from {page.range.start:.0f} --to {page.range.end:.0f}"
    assert page.said("By $allocation") == [
        f"aws-spend-exporter costs --by 'tag:team' --service 'AWS Lambda' {span}"
    ]
    assert page.said("Daily cost by value") == [FEWER_FILTERS]


def test_without_a_tag_or_category_a_panel_says_what_to_switch_on(prometheus: str) -> None:
    before = Range(MIDNIGHT - 800 * DAY, MIDNIGHT - 790 * DAY)
    page = Page(prometheus, "allocation", before, {})
    assert page.values["allocation"] == "none"
    assert page.said("By $allocation") == ["nothing was scraped at the end of the range"]
    assert page.ask("By $allocation") == []

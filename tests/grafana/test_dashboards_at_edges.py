"""What a range holds at the edges of days and months, of hours, of a future, and under unusual names.

A dated history, and what an exporter served beside it each hour, in a real Prometheus at dates of a leap year; none of
it depends on now.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any

import asking
import filled_prometheus
import grafana_lint as lint
import pytest

from grafana import build
from grafana.builder.promql import LEAST_CHANGE_USD
from grafana.builder.style import STATE

DAY = 86_400
DAYS = 75
SERVED_DAYS = 4  # of each hour of so many days there is a scrape

CREDITS = "AWS Credits"
SERVICES = ("Amazon (a|b) [c]{2}+$", "AWS \\ Cost.*^?", CREDITS, "Tax")
ACCOUNTS = ("200000000001", "200000000002", "200000000003", "200000000004")
RENAMED, ENDED = ACCOUNTS[2], ACCOUNTS[3]
RENAMED_AGO, ENDED_AGO = 1, 9

Key = tuple[str, str]
PAIRS: list[Key] = list(product(ACCOUNTS, SERVICES))

MOMENTS = {
    "the first minute of a month": datetime(2028, 3, 1, 0, 1, tzinfo=UTC),
    "the first minutes of a month": datetime(2028, 3, 1, 0, 3, tzinfo=UTC),
    "the end of a leap day": datetime(2028, 2, 29, 23, 50, tzinfo=UTC),
    "an afternoon": datetime(2028, 3, 31, 15, 1, tzinfo=UTC),
    "the third of a year": datetime(2028, 1, 3, 6, 1, tzinfo=UTC),
}


def name(account: str, ago: int) -> str:
    """Two accounts have the same name, and one of them got it yesterday."""
    if account == RENAMED:
        return 'old "name" \\ {x}' if ago > RENAMED_AGO else "twin"
    return {ACCOUNTS[0]: "twin", ENDED: "gone"}.get(account, 'the "best"')


@dataclass(frozen=True)
class World:
    """What is charged on each day before a moment, in eighths of a dollar, so that sums are exact."""

    now: datetime
    url: str = ""

    @property
    def today(self) -> date:
        return self.now.date()

    def day(self, ago: int) -> date:
        return self.today - timedelta(days=ago)

    def midnight(self, ago: int) -> float:
        return datetime.combine(self.day(ago), datetime.min.time(), UTC).timestamp()

    def ago(self, moment: float) -> int:
        return (self.today - datetime.fromtimestamp(moment, UTC).date()).days

    @property
    def is_noticed(self) -> bool:
        """Whether the exporter has noticed the midnight that began today."""
        return self.ago(self.now.timestamp() - 125) == 0

    def complete(self, end: float) -> int:
        """Days ago of the newest complete day, as it is served at the end of a range, or is written."""
        return 2 if self.is_noticed or end > self.now.timestamp() else 3

    def whole(self, account: str, service: str, ago: int) -> float:
        if account == ENDED and ago < ENDED_AGO:
            return 0
        if service == "Tax":
            return 90.5 if self.day(ago).day == 1 else 0
        if service == CREDITS:  # more than all the usage on some days
            return -20.25 if self.day(ago).day % 3 == 0 else 0
        return 1 + 2 * SERVICES.index(service) + ACCOUNTS.index(account) + 0.125 * (ago % 7)

    def other(self, account: str, service: str, ago: int) -> float:
        return self.whole(account, service, ago) if service in ("Tax", CREDITS) else 0

    def run(self, account: str, service: str, ago: int) -> float:
        return self.whole(account, service, ago) - self.other(account, service, ago)

    def cost(
        self,
        of: Callable[[str, str, int], float],
        by: Callable[[str, str, int], Any],
        days: list[int],
        pairs: list[Key] = PAIRS,
    ) -> dict[Any, float]:
        found: dict[Any, float] = defaultdict(float)
        for (account, service), ago in product(pairs, days):
            found[by(account, service, ago)] += of(account, service, ago)
        return rounded(found)

    def samples(self) -> str:
        """The dated history until the day before yesterday, and what was served each hour."""
        lines: dict[str, list[str]] = defaultdict(list)

        def add(family: str, labels: dict[str, str], at: float, value: float) -> None:
            written = ",".join(f"{key}={json.dumps(text)}" for key, text in labels.items())
            lines[family].append(f"{family}{{{written}}} {value} {at:.3f}")

        def day_of(prefix: str, ago: int, at: float, extra: dict[str, str]) -> None:
            sums: dict[tuple[str, str], float] = defaultdict(float)
            for account, service in PAIRS:
                usd = self.whole(account, service, ago)
                of_account = {"account_id": account, "account": name(account, ago)}
                if usd:
                    add(f"{prefix}_usd", {**of_account, "service": service, **extra}, at, usd)
                    sums["service", service] += usd
                    sums["account", account] += usd
                if other := self.other(account, service, ago):
                    add(f"{prefix}_non_usage_usd", {**of_account, "service": service, **extra}, at, other)
            for (kind, key), usd in sums.items():
                labels = (
                    {"service": key} if kind == "service" else {"account_id": key, "account": name(key, ago)}
                )
                add(f"{prefix}_by_{kind}_usd", labels | extra, at, usd)

        for ago in range(DAYS, 1, -1):
            noon = self.midnight(ago) + DAY / 2
            day_of("aws_cost_daily", ago, noon, {})
            add("aws_cost_daily_non_usage_known", {}, noon, 1)
            for account in ACCOUNTS:
                if account != ENDED or ago >= ENDED_AGO:
                    group = {"account_id": account, "account": name(account, ago), "ou": "Root"}
                    add("aws_account_info", group, noon, 1)
        scraped = {"job": "aws-spend-exporter", "instance": "exporter:9464"}
        now = self.now.timestamp()
        moments = sorted(
            {*(now // 3600 * 3600 - 3600 * n + 150 for n in range(1, 24 * SERVED_DAYS)), now - 5}
        )
        for at in moments:
            # Midnight is noticed within two minutes.
            today = self.ago(at - 120)
            for ago, which in ((today, "today"), (today + 1, "yesterday")):
                day_of(f"aws_cost_{which}", ago, at, scraped)
            month = self.day(today).replace(day=1)
            for account, service in PAIRS:
                usd = sum(
                    self.whole(account, service, a) for a in range(today, today + 31) if self.day(a) >= month
                )
                labels = {"account_id": account, "account": name(account, today), "service": service}
                if usd:
                    add("aws_cost_month_to_date_usd", labels | scraped, at, usd)
            add("aws_cost_complete_through_timestamp_seconds", scraped, at, self.midnight(today + 1))
            for account in ACCOUNTS[:3]:
                group = {"account_id": account, "account": name(account, today), "ou": "Root"}
                add("aws_account_info", group | scraped, at, 1)
        text = []
        for family, found in lines.items():
            series: dict[str, list[str]] = defaultdict(list)
            for line in found:
                series[line[: line.rindex("} ")]].append(line)
            text += [f"# TYPE {family} gauge", *(line for one in series.values() for line in one)]
        return "\n".join([*text, "# EOF", ""])


@pytest.fixture(scope="module", params=MOMENTS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    there = World(MOMENTS[request.param])
    with filled_prometheus.running(tmp_path_factory.mktemp("prometheus"), there.samples()) as url:
        yield World(there.now, url)


@dataclass
class Page:
    """A dashboard in a range of seconds, with what is chosen."""

    world: World
    name: str
    start: float
    end: float
    chosen: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        self.dashboard: lint.Json = json.loads((build.OUTPUT / f"{self.name}.json").read_text("utf-8"))
        self.values = asking.choose(self.world.url, self.dashboard, self.start, self.end, **self.chosen)

    def ask(self, title: str, ref: str = "A") -> asking.Series:
        panel = next(panel for panel in lint.panels(self.dashboard) if panel["title"] == title)
        target = next(target for target in panel["targets"] if target["refId"] == ref)
        days = (self.end - self.start) / DAY
        return asking.run(self.world.url, target, self.values, days=days, end=self.end)

    def number(self, title: str, ref: str = "A") -> float | None:
        found = self.ask(title, ref)
        assert len(found) <= 1
        return round(float(found[0]["value"][1]), 4) if found else None

    def table(self, title: str, ref: str, *by: str) -> dict[Any, float]:
        rows = {
            tuple(one["metric"].get(label, "") for label in by): float(one["value"][1])
            for one in self.ask(title, ref)
        }
        return rounded({key if len(key) > 1 else key[0]: value for key, value in rows.items()})

    def bars(self, title: str, ref: str, by: str) -> dict[tuple[str, int], float]:
        found: dict[tuple[str, int], float] = {}
        for series in self.ask(title, ref):
            for at, value in series["values"]:
                key = series["metric"].get(by, ""), self.world.ago(at)
                assert key not in found
                found[key] = float(value)
        return rounded(found)


def rounded(values: dict[Any, float]) -> dict[Any, float]:
    return {key: round(value, 4) for key, value in values.items() if abs(value) > 1e-6}


def everything(*_: Any) -> str:
    return ""


def of_service(account: str, service: str, ago: int) -> str:
    return service


def pair(account: str, service: str, ago: int) -> tuple[str, str, str]:
    return account, name(account, ago), service


def ranges(world: World) -> dict[str, tuple[float, float]]:
    """Those that end now, and the whole month, which ends in the future."""
    now = world.now.timestamp()
    first = world.today.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return {
        "24 hours": (now - DAY, now),
        "an hour": (now - 3600, now),
        "a week": (world.midnight(7), now),
        "30 days": (world.midnight(30), now),
        "this month": (
            world.midnight((world.today - first).days),
            world.midnight((world.today - following).days) - 1,
        ),
    }


RANGES = ("24 hours", "an hour", "a week", "30 days", "this month")


@pytest.fixture(params=RANGES)
def page_of(request: pytest.FixtureRequest, world: World) -> Callable[..., Page]:
    start, end = ranges(world)[request.param]
    return lambda dashboard, **chosen: Page(world, dashboard, start, end, chosen)


CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "all": {},
    "an account": {"account": (RENAMED,)},
    "a service": {"service": (SERVICES[0],)},
    "two services": {"service": (SERVICES[1], CREDITS)},
}


def pairs_of(chosen: dict[str, tuple[str, ...]]) -> list[Key]:
    accounts, services = chosen.get("account", ACCOUNTS), chosen.get("service", SERVICES)
    return [(a, s) for a, s in PAIRS if a in accounts and s in services]


@pytest.mark.parametrize("chosen", CHOICES.values(), ids=CHOICES)
def test_figures_are_those_of_the_days_that_are_over(
    world: World, page_of: Callable[..., Page], chosen: dict[str, tuple[str, ...]]
) -> None:
    page = page_of("overview", **chosen)
    pairs = pairs_of(chosen)
    first = world.today.replace(day=1)
    this_month = [ago for ago in range(DAYS) if world.day(ago) >= first]
    if page.end > world.now.timestamp():
        shown = [ago for ago in this_month if ago > 1]
    elif world.is_noticed:
        shown = this_month
    else:  # what is served is still the month before
        shown = [ago for ago in range(1, DAYS) if world.day(ago) >= world.day(1).replace(day=1)]
    to_date = world.cost(world.whole, everything, shown, pairs)
    assert page.number("This month") == (to_date or {"": None})[""]
    newest = world.day(world.complete(page.end))
    k = newest.day if newest >= first else 0
    last = (first - timedelta(days=1)).replace(day=1)
    k = min(k, (first - last).days)
    same = [ago for ago in range(DAYS) if last <= world.day(ago) < first and world.day(ago).day <= k]
    matched = [ago for ago in range(DAYS) if first <= world.day(ago) and world.day(ago).day <= k]
    before, now = (world.cost(world.whole, everything, days, pairs) for days in (same, matched))
    change = pytest.approx(now[""] / before[""] - 1, abs=1e-4) if before and now else None
    assert page.number("This month", "B") == change
    over = [ago for ago in range(2, DAYS) if page.start < world.midnight(ago - 1) <= page.end + 1]
    assert (
        page.number("The range shown") == (world.cost(world.whole, everything, over, pairs) or {"": None})[""]
    )


def test_directions_and_movers_are_those_of_the_newest_complete_days(
    world: World, page_of: Callable[..., Page]
) -> None:
    trends, overview = page_of("trends"), page_of("overview")
    complete = world.complete(trends.end)
    newest, before = (
        world.cost(world.run, everything, list(range(complete + n, complete + n + 28)))[""] for n in (0, 28)
    )
    assert trends.number("Direction") == pytest.approx(newest / before - 1, abs=1e-4)
    days = list(range(complete, complete + 7))
    runs = world.cost(world.run, pair, days)
    earlier = world.cost(world.run, pair, [ago + 7 for ago in days])
    changes = {key: runs.get(key, 0) - earlier.get(key, 0) for key in runs.keys() | earlier.keys()}
    changes = {key: usd for key, usd in changes.items() if abs(usd) >= LEAST_CHANGE_USD}
    shown = overview.table("Movers of a week", "A", "account_id", "account", "service")
    assert shown.items() <= changes.items()
    assert sorted(map(abs, shown.values())) == sorted(map(abs, changes.values()))[-8:]


def test_bars_are_of_each_day_once(world: World, page_of: Callable[..., Page]) -> None:
    page = page_of("overview")
    now = world.now.timestamp()
    midnights = range(int(page.start // DAY * DAY), int(min(page.end, now)), DAY)
    # Of a bar that begins too long before the range, nothing would be seen.
    days = [world.ago(at) for at in midnights if at >= page.start - (page.end - page.start) / 4]
    if page.end > now or page.end % DAY <= 120:
        days = [ago for ago in days if ago > 1]
    expected = world.cost(world.run, lambda a, s, ago: (s, ago), days)
    assert page.bars("Daily run by service", "A", "service") == expected
    by_account = world.cost(world.run, lambda a, s, ago: (a, ago), days)
    assert page.bars("Daily run by account", "A", "account_id") == by_account
    fees = world.cost(world.other, lambda a, s, ago: (s, ago), days)
    assert page.bars("Tax, support, fees and credits", "A", "service") == fees


def test_a_group_that_holds_no_account_shows_nothing(world: World, page_of: Callable[..., Page]) -> None:
    page = page_of("overview", grouping=("ou",), group=("Elsewhere",))
    assert page.values["accounts"] == "none"
    for panel in lint.panels(page.dashboard):
        if panel["title"] in ("Can I trust this?", "Projection of budget"):
            continue
        for target in panel["targets"]:
            if target["refId"] != STATE:
                assert page.ask(panel["title"], target["refId"]) == [], (panel["title"], target["refId"])


def test_accounts_are_chosen_by_their_newest_names_in_full(
    world: World, page_of: Callable[..., Page]
) -> None:
    page = page_of("overview")
    variable = next(v for v in page.dashboard["templating"]["list"] if v["name"] == "account")
    query = lint.resolve(variable["query"]["query"], page.values | lint.grafana(page.start, page.end))
    shown = {}
    for series in asking.instant(world.url, query[len("query_result(") : -1], page.end):
        line = "{" + ",".join(f'{label}="{value}"' for label, value in series["metric"].items()) + "} 1"
        (text,) = re.findall(variable["regex"].split("|")[1].replace("?<", "?P<").removesuffix("/g"), line)
        shown[series["metric"]["account_id"]] = text
    is_future = page.end > world.now.timestamp()
    newest = 2 if is_future else 0 if world.is_noticed else 1  # days ago
    expected = {account: f"{name(account, newest)} · {account}" for account in ACCOUNTS}
    assert shown.items() <= expected.items()
    assert is_future or shown.keys() >= {*ACCOUNTS} - {ENDED}

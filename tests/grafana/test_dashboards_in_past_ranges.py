"""Each cost panel shows what was charged in the range that is chosen, ranked and named by that range.

A year of dated history of accounts that come, go and change their names, in a real Prometheus; what was written down
is summed here for each range and compared.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any

import asking
import filled_prometheus
import grafana_lint as lint
import pytest

from grafana import build
from grafana.builder.usage import of_chosen_service, only_for

DAY = 86_400
DAYS = 430
NOW = time.time()
MIDNIGHT = int(NOW) // DAY * DAY
TODAY = datetime.fromtimestamp(MIDNIGHT, UTC).date()

# Days ago of the first and the last day with cost.
ACCOUNTS = {
    "100000000000": (DAYS, 0),
    "100000000001": (DAYS, 0),
    "100000000002": (DAYS, 150),
    "100000000003": (40, 0),
    "100000000004": (DAYS, 10),
}
TEAMS = {"100000000000": "red", "100000000002": "red"}
USAGE = {
    **{f"Service {n:02d} (a & b)": (DAYS, 0) for n in range(14)},
    "Ended": (DAYS, 60),
    "New": (35, 0),
}
FEES = {"Tax": 700.5, "AWS Support (Business)": 300.25}  # on the 1st, in each account
UPFRONT = "Service 03 (a & b)"  # has a fee of the 1st within a service that is used

NEVER_EMPTY = {"datasource", "grouping", "complete", "kind", "key_label", "through", "comparable", "total"}

Key = tuple[str, str]


def read(dashboard: str) -> lint.Json:
    """A dashboard as it is committed."""
    found: lint.Json = json.loads((build.OUTPUT / f"{dashboard}.json").read_text(encoding="utf-8"))
    return found


def name(account: str, ago: int) -> str:
    return "before" if account == "100000000001" and ago > 100 else f"team-{account[-1]}"


def day(ago: int) -> date:
    return TODAY - timedelta(days=ago)


def usage(account: str, service: str, ago: int) -> float:
    """In eighths of a dollar, so that sums are exact; another service leads in each half of the history."""
    (first, last), (begins, ends) = ACCOUNTS[account], USAGE[service]
    if not min(first, begins) >= ago >= max(last, ends):
        return 0
    n = list(USAGE).index(service)
    rank = n + 1 if ago > 200 else len(USAGE) - n
    return 4.0 * rank + int(account[-1]) + 0.125 * (ago % 7)


def other(account: str, service: str, ago: int) -> float:
    first, last = ACCOUNTS[account]
    if day(ago).day != 1 or not first >= ago >= last:
        return 0
    return 50.0 if service == UPFRONT else FEES.get(service, 0)


def whole(account: str, service: str, ago: int) -> float:
    return (usage(account, service, ago) if service in USAGE else 0) + other(account, service, ago)


def run(account: str, service: str, ago: int) -> float:
    return whole(account, service, ago) - other(account, service, ago)


PAIRS: list[Key] = list(product(ACCOUNTS, [*USAGE, *FEES]))
NEWEST_WRITTEN = 2  # days ago; yesterday is not written yet
SCRAPED = 'job="aws-spend-exporter",instance="exporter:9464"'


def labels(account: str, service: str = "", ago: int = 0) -> str:
    one = f'account_id="{account}",account="{name(account, ago)}"'
    return f'{one},service="{service}"' if service else one


def openmetrics() -> str:
    """Dated history at noon, with a restatement, and one scrape of now."""
    dated: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))

    def write(family: str, series: str, ago: int, value: float) -> None:
        noon = MIDNIGHT - ago * DAY + DAY // 2
        lines = dated[family][series]
        if ago % 10 == 0:
            lines.append(f"{family}{{{series}}} {value + 1234} {noon}.060")
        lines.append(f"{family}{{{series}}} {value} {noon}.900")

    for ago in range(DAYS, NEWEST_WRITTEN - 1, -1):
        for account, service in PAIRS:
            if value := whole(account, service, ago):
                write("aws_cost_daily_usd", labels(account, service, ago), ago, value)
            if value := other(account, service, ago):
                write("aws_cost_daily_non_usage_usd", labels(account, service, ago), ago, value)
        sums(
            lambda suffix, series, usd, ago=ago: write(f"aws_cost_daily{suffix}_usd", series, ago, usd), [ago]
        )
        write("aws_cost_daily_non_usage_known", "", ago, 1)
        for account, (first, last) in ACCOUNTS.items():
            if first >= ago >= last:
                group = (
                    f'{labels(account, ago=ago)},team="{TEAMS.get(account, "blue")}",ou="Root",state="ACTIVE"'
                )
                write("aws_account_info", group, ago, 1)
    for month in complete_months():
        days = [ago for ago in range(DAYS, 0, -1) if day(ago).replace(day=1) == month]
        at = (TODAY - month).days
        sums(lambda suffix, series, usd, at=at: write(f"aws_cost_monthly{suffix}_usd", series, at, usd), days)
        for account, service in PAIRS:
            if value := sum(whole(account, service, ago) for ago in days):
                write("aws_cost_monthly_usd", labels(account, service, at), at, value)
    text = []
    for family, series in dated.items():
        text.append(f"# TYPE {family} gauge")
        text += [line for lines in series.values() for line in lines]
    return "\n".join([*text, *scraped(), "# EOF", ""])


def sums(write: Callable[..., None], days: list[int]) -> None:
    """Hand over the sums by service and by account."""
    for suffix, of in (("_by_service", 1), ("_by_account", 0)):
        for key in dict.fromkeys(pair[of] for pair in PAIRS):
            value = sum(whole(*pair, ago) for pair in PAIRS if pair[of] == key for ago in days)
            if value:
                write(suffix, f'service="{key}"' if of else labels(key, ago=days[-1]), value)


def complete_months() -> list[date]:
    months = sorted({day(ago).replace(day=1) for ago in range(DAYS, 0, -1)})
    return [month for month in months[1:] if month != TODAY.replace(day=1)]


def scraped() -> Iterator[str]:
    def gauge(family: str, series: Mapping[str, float]) -> Iterator[str]:
        yield f"# TYPE {family} gauge"
        for one, value in series.items():
            yield f"{family}{{{one}{',' if one else ''}{SCRAPED}}} {value} {int(NOW)}"

    for when, ago in (("today", 0), ("yesterday", 1)):
        pairs = {labels(*pair): whole(*pair, ago) for pair in PAIRS if whole(*pair, ago)}
        yield from gauge(f"aws_cost_{when}_usd", pairs)
        fees = {labels(*pair): other(*pair, ago) for pair in PAIRS if other(*pair, ago)}
        yield from gauge(f"aws_cost_{when}_non_usage_usd", fees)
        for suffix in ("_by_service", "_by_account"):
            found: dict[str, float] = {}

            def keep(
                kind: str, series: str, usd: float, into: dict[str, float] = found, only: str = suffix
            ) -> None:
                if kind == only:
                    into[series] = usd

            sums(keep, [ago])
            yield from gauge(f"aws_cost_{when}{suffix}_usd", found)
    month = {labels(*pair): sum(whole(*pair, ago) for ago in range(TODAY.day)) for pair in PAIRS}
    yield from gauge("aws_cost_month_to_date_usd", {one: usd for one, usd in month.items() if usd})
    yield from gauge("aws_cost_complete_through_timestamp_seconds", {"": MIDNIGHT - DAY})
    yield from gauge(
        "aws_account_info",
        {
            f'{labels(a)},team="{TEAMS.get(a, "blue")}",ou="Root",state="ACTIVE"': 1
            for a, (_, last) in ACCOUNTS.items()
            if last < 1
        },
    )


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
    def days(self) -> list[int]:
        """Days ago of its days, of which the first and the last may be in it in part, oldest first."""
        first = int((MIDNIGHT - self.start // DAY * DAY) // DAY)
        last = int((MIDNIGHT - (self.end - 1) // DAY * DAY) // DAY)
        return list(range(first, last - 1, -1))

    @property
    def over(self) -> list[int]:
        """Those that are over at its end, and written."""
        return [
            ago for ago in self.days if ago >= NEWEST_WRITTEN and MIDNIGHT - (ago - 1) * DAY <= self.end + 1
        ]


def _month_before(first: date) -> date:
    return (first - timedelta(days=1)).replace(day=1)


def _at(moment: date) -> float:
    return float(MIDNIGHT + (moment - TODAY).days * DAY)


_LAST = _month_before(TODAY.replace(day=1))
RANGES = {
    "a past week": Range(MIDNIGHT - 33 * DAY, MIDNIGHT - 26 * DAY),
    "a past month": Range(_at(_month_before(_LAST)), _at(_LAST)),
    "a month by the second": Range(_at(_month_before(_LAST)), _at(_LAST) - 1),
    "a box": Range(MIDNIGHT - 215 * DAY + 19_980, MIDNIGHT - 181 * DAY + 51_600),
    "a 1st": Range(_at(_LAST), _at(_LAST) + DAY),
    "30 days": Range(MIDNIGHT - 30 * DAY, NOW),
    "13 months": Range(MIDNIGHT - 395 * DAY, NOW),
}


@dataclass
class Page:
    """A dashboard in a range, with what is chosen."""

    url: str
    dashboard: lint.Json
    range: Range
    chosen: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        self.values = asking.choose(self.url, self.dashboard, self.range.start, self.range.end, **self.chosen)

    def ask(self, title: str, ref: str = "A") -> asking.Series:
        panel = next(panel for panel in lint.panels(self.dashboard) if panel["title"] == title)
        target = next(target for target in panel["targets"] if target["refId"] == ref)
        days = (self.range.end - self.range.start) / DAY
        return asking.run(self.url, target, self.values, days=days, end=self.range.end)

    def bars(self, title: str, *refs: str) -> dict[tuple[str, int], float]:
        """The value of each bar that is not zero, by name and days ago."""
        panel = next(panel for panel in lint.panels(self.dashboard) if panel["title"] == title)
        found: dict[tuple[str, int], float] = {}
        for ref in refs or ("A",):
            target = next(target for target in panel["targets"] if target["refId"] == ref)
            for series in self.ask(title, ref):
                for at, value in series["values"]:
                    key = asking.legend(target, series["metric"]), int((MIDNIGHT - at // DAY * DAY) // DAY)
                    assert key not in found
                    found[key] = float(value)
        return rounded(found)

    def table(self, title: str, ref: str, *by: str) -> dict[Any, float]:
        """What is not zero."""
        return rounded(self.rows(title, ref, *by))

    def rows(self, title: str, ref: str, *by: str) -> dict[Any, float]:
        rows = {
            tuple(one["metric"].get(label, "") for label in by): round(float(one["value"][1]), 4)
            for one in self.ask(title, ref)
        }
        return {key if len(key) > 1 else key[0]: value for key, value in rows.items()}

    def number(self, title: str, ref: str = "A") -> float:
        (one,) = self.ask(title, ref)
        return round(float(one["value"][1]), 4)

    def cost(
        self, of: Callable[[str, str, int], float], by: Callable[[str, str, int], Any], days: list[int]
    ) -> dict[Any, float]:
        """What was charged to the chosen accounts and services on these days; nothing that is zero."""
        accounts, services = self.chosen.get("account", tuple(ACCOUNTS)), self.chosen.get("service", ())
        found: dict[Any, float] = defaultdict(float)
        for (account, service), ago in product(PAIRS, days):
            if account in accounts and (not services or service in services):
                found[by(account, service, ago)] += of(account, service, ago)
        return rounded(found)


def rounded(values: Mapping[Any, float]) -> dict[Any, float]:
    return {key: round(value, 4) for key, value in values.items() if abs(value) > 1e-6}


def largest(values: Mapping[Any, float], count: int) -> dict[Any, float]:
    return dict(sorted(values.items(), key=lambda one: -one[1])[:count])


def everything(*_: Any) -> str:
    return ""


def of_account(account: str, service: str, ago: int) -> tuple[str, str]:
    return account, name(account, ago)


def of_service(account: str, service: str, ago: int) -> str:
    return service


CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "all": {},
    "an account that ended": {"account": ("100000000002",)},
    "two accounts, two services": {
        "account": ("100000000000", "100000000001"),
        "service": ("Service 03 (a & b)", "Ended"),
    },
    "a service": {"service": ("Service 12 (a & b)",)},
}


@pytest.fixture(params=RANGES)
def chosen_range(request: pytest.FixtureRequest) -> Range:
    return RANGES[request.param]


@pytest.fixture(params=CHOICES)
def choice(request: pytest.FixtureRequest) -> dict[str, tuple[str, ...]]:
    return CHOICES[request.param]


def test_daily_bars_are_the_run_of_the_range_ranked_by_it(
    prometheus: str, chosen_range: Range, choice: dict[str, tuple[str, ...]]
) -> None:
    page = Page(prometheus, read("overview"), chosen_range, choice)
    days = _shown(page.range)
    known = page.cost(run, lambda a, s, ago: (s, ago), days)
    leading = largest(page.cost(run, of_service, page.range.over), 12)
    expected: dict[tuple[str, int], float] = defaultdict(float)
    for (service, ago), usd in known.items():
        expected[service if service in leading else "Other services", ago] += usd
    assert page.bars("Daily run by service", "A", "B") == rounded(expected)
    by_account = page.cost(run, lambda a, s, ago: (f"{name(a, ago)} · {a}", ago), days)
    assert page.bars("Daily run by account", "A", "B") == by_account
    fees = page.cost(other, lambda a, s, ago: (s, ago), days)
    assert page.bars("Tax, support, fees and credits") == fees


def test_tables_are_ranked_by_the_range(
    prometheus: str, chosen_range: Range, choice: dict[str, tuple[str, ...]]
) -> None:
    page = Page(prometheus, read("overview"), chosen_range, choice)
    over = page.range.over
    services = page.cost(whole, of_service, over)
    assert page.table("Services", "A", "service") == services
    shown = [one["metric"]["service"] for one in page.ask("Services")]
    assert [services[service] for service in shown] == sorted(services.values(), reverse=True)
    assert page.table("Accounts", "A", "account_id", "account") == page.cost(whole, of_account, over)
    pairs = page.cost(whole, lambda a, s, ago: (a, name(a, ago), s), over)
    found = page.table("Services in accounts", "A", "account_id", "account", "service")
    assert sorted(found.values()) == sorted(largest(pairs, 20).values())
    assert found.items() <= pairs.items()


def test_figures_and_changes_are_those_of_the_range(
    prometheus: str, chosen_range: Range, choice: dict[str, tuple[str, ...]]
) -> None:
    page = Page(prometheus, read("overview"), chosen_range, choice)
    over = page.range.over
    total = page.cost(whole, everything, over)
    if not total:
        assert page.ask("The range shown") == []
        return
    assert page.number("The range shown") == total[""]
    before = [ago + len(over) for ago in over]
    if before[0] > DAYS:
        assert page.ask("Services", "C") == page.ask("The range shown", "C") == []
        return
    runs, earlier = page.cost(run, of_service, over), page.cost(run, of_service, before)
    changes = rounded({s: runs.get(s, 0) - earlier.get(s, 0) for s in page.cost(whole, of_service, over)})
    assert page.table("Services", "C", "service") == changes
    # What is new has cost nothing before.
    services = page.cost(whole, of_service, over)
    assert page.rows("Services", "B", "service") == {
        s: pytest.approx(earlier.get(s, 0.0), abs=1e-4) for s in services
    }
    if sum(earlier.values()):
        part = sum(runs.values()) / sum(earlier.values()) - 1
        assert page.number("The range shown", "C") == pytest.approx(part, abs=1e-4)


def test_movers_are_those_at_the_end_of_the_range(prometheus: str, chosen_range: Range) -> None:
    page = Page(prometheus, read("overview"), chosen_range, {})
    newest = max(
        NEWEST_WRITTEN, page.range.days[-1] if (chosen_range.end + 1) % DAY <= 1 else page.range.days[-1] + 1
    )
    for title, days in (("Movers of a day", 1), ("Movers of a week", 7)):
        now = list(range(newest, newest + days))

        def pair(a: str, s: str, ago: int) -> tuple[str, str, str]:
            return a, name(a, ago), s

        runs = page.cost(run, pair, now)
        earlier = page.cost(run, pair, [ago + 7 for ago in now])
        changes = {key: runs.get(key, 0) - earlier.get(key, 0) for key in runs.keys() | earlier.keys()}
        changes = {key: usd for key, usd in changes.items() if abs(usd) >= 1}
        shown = page.table(title, "A", "account_id", "account", "service")
        assert shown.items() <= changes.items()
        assert sorted(map(abs, shown.values())) == sorted(map(abs, changes.values()))[-8:]
        assert page.rows(title, "B", "account_id", "account", "service") == {
            key: pytest.approx(runs.get(key, 0.0), abs=1e-3)
            for key in shown  # what has ended costs nothing
        }


def test_months_are_those_that_the_range_touches(prometheus: str, chosen_range: Range) -> None:
    page = Page(prometheus, read("overview"), chosen_range, {})
    steps = list(range(page.range.days[0], page.range.days[-1] - 1, -1))
    expected: dict[int, float] = {}
    for ago in steps:
        month = day(ago).replace(day=1)
        if ago != steps[0] and day(ago) != month:
            continue
        is_last = month == day(page.range.days[-1]).replace(day=1)
        if month not in complete_months() or (is_last and day(ago) != month):
            until = page.range.days[-1] if chosen_range.end != NOW else 0
            days = [a for a in range(DAYS, until - 1, -1) if day(a).replace(day=1) == month]
            days = [
                a for a in days if MIDNIGHT - (a - 1) * DAY <= chosen_range.end + 1 or chosen_range.end == NOW
            ]
        else:
            days = [a for a in range(DAYS, 0, -1) if day(a).replace(day=1) == month]
        expected[ago] = sum(page.cost(whole, everything, days).values())
    found: dict[int, float] = defaultdict(float)
    for (_, ago), usd in page.bars("Monthly cost by service", "A", "B", "C").items():
        found[ago] += usd
    assert rounded(found) == rounded(expected)


def test_other_pages_follow_the_range(prometheus: str, chosen_range: Range) -> None:
    days, over = _shown(chosen_range), chosen_range.over
    account, service = "100000000001", "Service 12 (a & b)"
    of_one = Page(prometheus, read("account"), chosen_range, {"account": (account,)})
    total = sum(of_one.cost(whole, everything, over).values())
    everyone = Page(prometheus, read("overview"), chosen_range, {})
    assert of_one.table("Services", "A", "service") == of_one.cost(whole, of_service, over)
    assert of_one.number("Share of the organization") == pytest.approx(
        total / sum(everyone.cost(whole, everything, over).values()), abs=1e-4
    )
    page = Page(prometheus, read("service"), chosen_range, {"service": (service,)})
    by_account = page.cost(whole, lambda a, s, ago: (f"{name(a, ago)} · {a}", ago), days)
    assert page.bars("Daily cost by account", "A", "B") == by_account
    accounts = page.cost(whole, of_account, over)
    assert page.table("Accounts", "A", "account_id", "account") == accounts
    assert page.number("Accounts with it") == len(accounts)
    assert page.number("Share of the bill") == pytest.approx(
        sum(accounts.values()) / sum(everyone.cost(whole, everything, over).values()), abs=1e-4
    )


def test_trends_are_those_of_the_run(prometheus: str, chosen_range: Range) -> None:
    page = Page(prometheus, read("trends"), chosen_range, {})
    days, over = _shown(chosen_range), chosen_range.over
    assert page.bars("Daily run and its moving average") == page.cost(
        run, lambda a, s, ago: ("Day", ago), days
    )
    assert page.number("The range shown") == page.cost(whole, everything, over)[""]
    runs = list(page.cost(run, lambda a, s, ago: ago, over).values())
    assert page.number("The range shown", "B") == pytest.approx(sum(runs) / len(runs), abs=1e-3)
    weeks = {
        ago: sum(page.cost(run, everything, list(range(ago, ago + 7))).values()) / 7
        for ago in over
        if ago + 6 <= DAYS
    }
    shown = {ago: usd for (_, ago), usd in page.bars("Daily run and its moving average", "B").items()}
    assert shown == pytest.approx(weeks, abs=1e-3)
    services = largest(page.cost(run, of_service, over), 5)
    assert {service for service, _ in page.bars("Services, average of 7 days")} == services.keys()
    newest = max(NEWEST_WRITTEN, over[-1])
    months = [page.cost(run, everything, list(range(newest + n, newest + n + 28))) for n in (0, 28)]
    if newest + 55 <= DAYS:
        assert page.number("Direction") == pytest.approx(months[0][""] / months[1][""] - 1, abs=1e-4)


def test_variables_list_the_range_most_expensive_first(prometheus: str, chosen_range: Range) -> None:
    page = Page(prometheus, read("overview"), chosen_range, {})

    def listed(variable: str, **chosen: tuple[str, ...]) -> list[str]:
        (found,) = (v for v in page.dashboard["templating"]["list"] if v["name"] == variable)
        values = asking.choose(prometheus, page.dashboard, chosen_range.start, chosen_range.end, **chosen)
        return asking.options(
            prometheus, found, values | chosen_group(chosen), chosen_range.start, chosen_range.end
        )

    def chosen_group(chosen: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
        return {"grouping": "team"} if "group" in chosen else {}

    over = chosen_range.over
    accounts = page.cost(whole, lambda a, s, ago: a, over)
    assert listed("account") == sorted(accounts, key=lambda a: -accounts[a])
    services = page.cost(whole, of_service, over)
    found = listed("service")
    assert sorted(found) == sorted(services)
    assert [services[service] for service in found] == sorted(services.values(), reverse=True)
    assert listed("grouping") == ["ou", "team"]
    teams = {TEAMS.get(account, "blue") for account in accounts}
    assert listed("group", grouping=("team",)) == sorted(teams)


def test_a_group_is_its_accounts_of_the_range_and_never_all(prometheus: str, chosen_range: Range) -> None:
    """Each way to choose: the union of what is chosen, or nothing at all."""
    dashboard = read("overview")
    there = set(
        Page(prometheus, dashboard, chosen_range, {}).cost(whole, lambda a, s, ago: a, chosen_range.over)
    )
    red = {account for account in there if TEAMS.get(account) == "red"}

    def chosen(**values: tuple[str, ...]) -> set[str]:
        found = asking.choose(
            prometheus, dashboard, chosen_range.start, chosen_range.end, grouping=("team",), **values
        )
        return set(found["accounts"].strip("()").split("|"))

    assert chosen() == {""}
    assert chosen(group=("red",)) == red | {"none"}
    assert chosen(group=("red",), account=("100000000000", "100000000001")) == {"100000000000", "none"}
    assert chosen(group=("purple",)) == {"none"}
    assert chosen(account=("100000000001",)) == {"100000000001", "none"}
    # A group that is called like the end of an id.
    assert chosen(group=("0",)) == {"none"}


def test_no_query_is_an_error_where_a_variable_is_empty(dashboard: lint.Json, prometheus: str) -> None:
    """As in a range without any cost. Names of labels and moments are never empty, as tests show in such a range."""
    full = lint.everything(dashboard)
    for empty in full.keys() - NEVER_EMPTY:
        for nothing in ("", "()"):
            values = full | {empty: nothing}
            for where, text in lint.expressions(dashboard):
                if not where.startswith("labels of"):
                    asking.instant(prometheus, lint.resolve(text, values | lint.grafana(NOW - 2 * DAY, NOW)))


def test_a_range_before_all_history_claims_nothing(prometheus: str) -> None:
    """Neither zeros nor names of now; the variables have queries that are right."""
    long_ago = Range(MIDNIGHT - 800 * DAY, MIDNIGHT - 790 * DAY)
    page = Page(prometheus, read("overview"), long_ago, {})
    assert (page.values["undated"], page.values["complete"]) == (".*", str(MIDNIGHT - 790 * DAY))
    grouping = next(v for v in page.dashboard["templating"]["list"] if v["name"] == "grouping")
    assert (grouping["includeAll"], grouping["allValue"]) == (True, "ou")  # what it is without any choice
    for panel in lint.panels(page.dashboard):
        for target in panel["targets"]:
            if target["refId"] != "S" and panel["title"] != "Can I trust this?":
                assert page.ask(panel["title"], target["refId"]) == []


@pytest.mark.parametrize(
    ("pattern", "is_there"),
    [(".*", True), ("AWS Lambda", True), ("(Tax|AWS Lambda)", True), ("Tax", False), ("()", False)],
)
def test_what_is_of_some_services_is_there_where_one_of_them_is_chosen(
    prometheus: str, pattern: str, is_there: bool
) -> None:
    query = only_for("AWS Lambda|Amazon Kinesis", "vector(5)")
    assert bool(asking.instant(prometheus, lint.resolve(query, {"service": pattern}), 1000)) == is_there


@pytest.mark.parametrize(
    ("pattern", "shown"),
    [
        ("AWS Lambda", {"function"}),
        ("Amazon Kinesis", {"shard", "consumer"}),
        ("Amazon Kinesis Firehose", {"shard", "consumer"}),
        ("(Tax|AWS Lambda)", {"function"}),
        ("(Amazon Kinesis|AWS Lambda)", {"function", "shard", "consumer"}),
        ("Tax", set()),
        ("Kinesis", set()),
        ("()", set()),
    ],
)
def test_what_is_shown_of_a_vector_belongs_to_a_chosen_service(
    prometheus: str, pattern: str, shown: set[str]
) -> None:
    kinds = " or ".join(
        f'label_replace(vector(5), "kind", "{kind}", "", "")'
        for kind in ("function", "shard", "consumer", "other")
    )
    services = {"AWS Lambda": "function", "Amazon Kinesis|Amazon Kinesis Firehose": "shard|consumer"}
    query = of_chosen_service(f"({kinds})", "kind", services)
    found = asking.instant(prometheus, lint.resolve(query, {"service": pattern}), 1000)
    assert {one["metric"]["kind"] for one in found} == shown


def _shown(chosen: Range) -> list[int]:
    """Days of bars; an exporter may not have noticed the first two minutes of a day."""
    return [ago for ago in chosen.days if ago >= NEWEST_WRITTEN or chosen.end % DAY > 120]


def test_the_data_has_what_it_takes() -> None:
    """Services that lead in one half of the history do not in the other, and fees outweigh days."""
    early, late = (
        largest({s: sum(usage(a, s, ago) for a in ACCOUNTS) for s in USAGE}, 12).keys() for ago in (300, 70)
    )
    assert early != late
    assert not math.isclose(sum(FEES.values()), 0)

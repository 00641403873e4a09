"""Every query of every dashboard, as Grafana would send it, against a real Prometheus."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product

import asking
import filled_prometheus
import grafana_lint as lint
import pytest
from test_dashboards import OVERVIEW

from grafana.builder.style import STATE

pytestmark = pytest.mark.stack

MOST_SERIES = 100
DAY = 86_400
ACCOUNTS = {f"{100000000000 + n}": "twin" if n < 2 else f"team-{n}" for n in range(40)}  # two share a name
SERVICES = [f"Service {n:02d} (new & old)" for n in range(30)]
TYPES = [f"m{n}.large" for n in range(5, 25)]
NEVER_COLLECTED_BEFORE = 3  # days of live scraping; older days exist in dated history only
DATED = range(2, 9)  # days ago that the dated history covers; the newest complete day is not written yet


def cost(account: int, service: int, days_ago: int) -> float:
    """What one service cost one account on one day, in whole eighths of a dollar: sums are exact."""
    return (account + 1) * 0.125 + (service + 1) * 2 + days_ago * 0.25


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that holds three days of scrapes and a week of dated history."""
    folder = tmp_path_factory.mktemp("prometheus")
    with filled_prometheus.running(folder, _openmetrics(int(time.time()))) as url:
        yield url


def test_a_large_organization_fits_in_100_series(dashboard: lint.Json, prometheus: str) -> None:
    """Forty accounts with thirty services each, and twenty instance types."""
    values = lint.everything(dashboard)
    answers = {
        f"{panel['title']}/{target['refId']}": len(asking.run(prometheus, target, values))
        for panel in lint.panels(dashboard)
        for target in panel["targets"]
    }
    assert {where: count for where, count in answers.items() if count > MOST_SERIES} == {}


def test_the_variables_filter(dashboard: lint.Json, prometheus: str) -> None:
    """One account and two services chosen, with every character of their names meant literally."""
    account = next(iter(ACCOUNTS))
    chosen = r"(Service 03 \\(new & old\\)|Service 05 \\(new & old\\))"
    values = lint.everything(dashboard) | {"account": account, "accounts": account, "service": chosen}
    hidden = {v["name"] for v in dashboard["templating"]["list"] if v.get("hide") == lint.HIDDEN}
    if "account" in hidden:
        pytest.skip("nothing to choose here")
    for panel in lint.panels(dashboard):
        for target in panel["targets"]:
            if target["refId"] == STATE:
                continue  # a text where something is off
            for series in asking.run(prometheus, target, values):
                labels = series["metric"]
                assert labels.get("account_id", account) == account
                assert labels.get("service", "Service 03 (new & old)") in (
                    "Service 03 (new & old)",
                    "Service 05 (new & old)",
                )


def test_overview_daily_bars_are_the_days_of_the_ledger(prometheus: str) -> None:
    """Dated days, then days known from the live gauges alone, each bar at its own midnight."""
    top, rest = _panel("Daily run by service")["targets"]
    values = lint.everything(OVERVIEW)
    bars: dict[int, float] = defaultdict(float)
    named: dict[str, dict[int, float]] = {}
    for target in (top, rest):
        for series in asking.run(prometheus, target, values):
            days = {_days_ago(at): float(value) for at, value in series["values"]}
            named[series["metric"].get("service", "Other services")] = days
            for day, value in days.items():
                bars[day] += value
    total = {
        day: sum(cost(a, s, day) for a in range(len(ACCOUNTS)) for s in range(len(SERVICES)))
        for day in range(DATED.stop)
    }
    if time.time() % DAY < 200:  # an exporter may not have noticed midnight
        total = {day: usd for day, usd in total.items() if day > 1}
        bars = defaultdict(float, {day: usd for day, usd in bars.items() if day > 1})
    assert dict(bars) == total
    assert len(named) == 13
    assert named["Service 29 (new & old)"] == {
        day: sum(cost(a, 29, day) for a in range(len(ACCOUNTS))) for day in total
    }


def test_overview_figures(prometheus: str) -> None:
    values = lint.everything(OVERVIEW)
    yesterday = asking.run(prometheus, _panel("Yesterday")["targets"][0], values)
    whole_day = sum(cost(a, s, 1) for a in range(len(ACCOUNTS)) for s in range(len(SERVICES)))
    assert [float(series["value"][1]) for series in yesterday] == [whole_day]

    ranking = asking.run(prometheus, _panel("Accounts")["targets"][0], values)
    assert len(ranking) == 20
    assert ranking[0]["metric"] == {"account": "team-39", "account_id": "100000000039"}

    through, oldest, failing = (
        float(asking.run(prometheus, target, values)[0]["value"][1])
        for target in _panel("Can I trust this?")["targets"]
    )
    assert failing == 2
    assert 0 <= through < 2 * DAY
    assert 3600 <= oldest < 3600 + 300


def test_without_dated_history_the_month_and_the_last_one_rank(prometheus: str) -> None:
    """As on Amazon Managed Prometheus, and on a first day: no table and no chart waits for history."""
    values = lint.everything(OVERVIEW) | {"undated": ".*", "live": "()"}
    for title in ("Accounts", "Services"):
        targets = _panel(title)["targets"]
        month = next(target for target in targets if "month_to_date" in target["expr"].split(" and ")[0])
        unwritten = month | {"expr": re.sub(r"aws_cost_daily_(\w+)", r"aws_cost_unwritten_\1", month["expr"])}
        assert len(asking.run(prometheus, unwritten, values)) == 20
    pairs = _panel("Services in accounts")["targets"][0]
    unwritten = pairs | {"expr": pairs["expr"].replace("aws_cost_daily_", "aws_cost_unwritten_")}
    assert len(asking.run(prometheus, unwritten, values)) == 20


def test_pairs_of_a_range_are_those_of_its_largest_accounts(prometheus: str) -> None:
    """To sum each day of thousands of pairs takes longer than all of the page."""
    (target,) = (t for t in _panel("Services in accounts")["targets"] if t["refId"] == "A")
    ranked = {f"10000000000{number}" for number in (3, 5)}
    values = lint.everything(OVERVIEW) | {"top20_account_id_all": f"({'|'.join(sorted(ranked))})"}
    found = asking.run(prometheus, target, values)
    assert {one["metric"]["account_id"] for one in found} == ranked


def test_accounts_that_share_a_name_stay_apart(prometheus: str) -> None:
    """Two accounts are called twin; each has its own row."""
    chosen = "10000000000[01]"
    values = lint.everything(OVERVIEW) | {"account": chosen, "accounts": chosen}
    ranking = asking.run(prometheus, _panel("Accounts")["targets"][0], values)
    assert sorted((r["metric"]["account"], r["metric"]["account_id"]) for r in ranking) == [
        ("twin", "100000000000"),
        ("twin", "100000000001"),
    ]


def test_without_an_exporter_failing_is_unknown(prometheus: str) -> None:
    """No data must not read as 'nothing fails'."""
    failing = _panel("Can I trust this?")["targets"][2]["expr"]
    gone = failing.replace("aws_spend_exporter_", "aws_spend_exporter_gone_")
    assert asking.instant(prometheus, gone) == []
    none_fails = failing.replace("collector_failure_info", "gone_info")
    assert [series["value"][1] for series in asking.instant(prometheus, none_fails)] == ["0"]


_PAIRS = [(a, s) for a in range(len(ACCOUNTS)) for s in range(len(SERVICES))]
_ACCOUNT_LABELS = [f'account_id="{key}",account="{name}"' for key, name in ACCOUNTS.items()]
_SCRAPED = 'job="aws-spend-exporter",instance="exporter:9464"'


def _labels(a: int, s: int) -> str:
    return f'{{{_ACCOUNT_LABELS[a]},service="{SERVICES[s]}"}}'


def _openmetrics(now: int) -> str:
    """Scrapes every hour (and now) for three days, and dated samples stamped at noon with a revision."""
    midnight = now - now % DAY
    return "\n".join([*_dated(midnight), *_days(now, midnight), *_at_once(now, midnight), "# EOF", ""])


def _sums(a: range, s: range, days_ago: int) -> float:
    return sum(cost(account, service, days_ago) for account in a for service in s)


_ALL_ACCOUNTS, _ALL_SERVICES = range(len(ACCOUNTS)), range(len(SERVICES))
# What is kept beside the pairs: the ending of a family, and labels and cost of each of its series.
_LEVELS: dict[str, list[tuple[str, Callable[[int], float]]]] = {
    "": [(_labels(a, s), partial(cost, a, s)) for a, s in _PAIRS],
    "_by_service": [
        (f'{{service="{SERVICES[s]}"}}', partial(_sums, _ALL_ACCOUNTS, range(s, s + 1)))
        for s in _ALL_SERVICES
    ],
    "_by_account": [
        (f"{{{_ACCOUNT_LABELS[a]}}}", partial(_sums, range(a, a + 1), _ALL_SERVICES)) for a in _ALL_ACCOUNTS
    ],
}


def _dated(midnight: int) -> Iterator[str]:
    for level, series in _LEVELS.items():
        yield f"# TYPE aws_cost_daily{level}_usd gauge"
        for labels, usd in series:
            for days_ago in reversed(DATED):
                noon = midnight - days_ago * DAY + DAY // 2
                yield f"aws_cost_daily{level}_usd{labels} 99999 {noon}.060"
                yield f"aws_cost_daily{level}_usd{labels} {usd(days_ago)} {noon}.900"


def _days(now: int, midnight: int) -> Iterator[str]:
    first = midnight - NEVER_COLLECTED_BEFORE * DAY
    scrapes = [*range(first + 1800, now, 3600), now]
    for level, (day, shift) in product(_LEVELS, (("today", 0), ("yesterday", 1))):
        family = f"aws_cost_{day}{level}_usd"
        yield f"# TYPE {family} gauge"
        for labels, usd in _LEVELS[level]:
            for at in scrapes:
                days_ago = (midnight - at + at % DAY) // DAY + shift
                # What is read early in a day is not yet the whole of it; where dated history has the day,
                # what the live gauges say must not matter.
                whole = (at % DAY > DAY // 2 or at == now) and days_ago not in DATED
                yield f"{family}{labels[:-1]},{_SCRAPED}}} {usd(days_ago) if whole else 1} {at}"


def _at_once(now: int, midnight: int) -> Iterator[str]:
    """What has one sample a series: months, accounts, instances, and the state of collectors."""
    for family in ("aws_cost_month_to_date_usd", "aws_cost_last_month_usd"):
        yield f"# TYPE {family} gauge"
        yield from (f"{family}{_labels(a, s)} {20 * cost(a, s, 0)} {now}" for a, s in _PAIRS)
    for family in ("aws_cost_data_through_timestamp_seconds", "aws_account_info"):
        yield f"# TYPE {family} gauge"
        value = midnight if "timestamp" in family else 1
        yield from (f"{family}{{{account}}} {value} {now}" for account in _ACCOUNT_LABELS)
    yield "# TYPE aws_ec2_instances gauge"
    for account, kind, state in product(_ACCOUNT_LABELS, TYPES, ("running", "stopped", "terminated")):
        here = f'region="eu-west-1",instance_type="{kind}",state="{state}",lifecycle="on-demand"'
        yield f"aws_ec2_instances{{{account},{here}}} {3 * (state != 'terminated')} {now}"
    yield from _collectors(now)


def _collectors(now: int) -> Iterator[str]:
    prefix = "aws_spend_exporter_collector"
    accounts = list(enumerate(_ACCOUNT_LABELS))
    yield f"# TYPE {prefix}_success gauge"
    for n, account in accounts:
        yield f'{prefix}_success{{collector="ec2",{account}}} {n > 1:d} {now}'
    yield f"# TYPE {prefix}_last_success_timestamp_seconds gauge"
    for n, account in accounts:
        age = 60 * n + 1260
        yield f'{prefix}_last_success_timestamp_seconds{{collector="ec2",{account}}} {now - age} {now}'
    yield f"# TYPE {prefix}_failure_info gauge"
    for key in list(ACCOUNTS)[:2]:
        yield f'{prefix}_failure_info{{collector="ec2",account_id="{key}",region="",kind="denied"}} 1 {now}'


def _panel(title: str) -> lint.Json:
    return next(panel for panel in lint.panels(OVERVIEW) if panel["title"] == title)


def _days_ago(at: float) -> int:
    today = datetime.now(UTC).date()
    return (today - datetime.fromtimestamp(at, UTC).date()) // timedelta(days=1)

"""Questions about split cost and list prices: from the files of an export that have them, never zero where they are unknown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from handmade_months import USD, A, B, Pod, Row, commit
from lines_of_months import Line, all_days, commit_ledger

from exporter.core.amounts import AMOUNTS
from exporter.cube import lines
from exporter.cube.answering import answer
from exporter.cube.months import SPLIT, CubeMonths
from exporter.cube.question import Answer, Cannot, Gap, Question
from exporter.ledger.file import Ledger

pytestmark = pytest.mark.clockless

DAY = timedelta(days=1)
JANUARY, FEBRUARY, MARCH, APRIL = (date(2026, month, 1) for month in (1, 2, 3, 4))
AT = datetime(2026, 4, 20, 6, tzinfo=UTC)
EC2 = "Amazon Elastic Compute Cloud - Compute"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def ask(
    ledger: Ledger,
    *by: str,
    start: date = MARCH,
    end: date = APRIL,
    cost_type: str = "amortized",
    **where: str,
) -> Answer:
    filters = {name: frozenset({value}) for name, value in where.items()}
    return answer(ledger, Question(start, end, by, filters, cost_type))


def usd(found: dict[tuple[str, ...], int]) -> dict[tuple[str, ...], float]:
    return {key: units / USD for key, units in found.items()}


def a_month(first: date) -> list[Row]:
    return [Row(day=day, usd=1) for day in all_days(first)]


PODS = [
    Pod(day=MARCH, cluster="c", namespace="shop", usd=2, unused=1),
    Pod(day=date(2026, 3, 9), cluster="c", namespace="shop", usd=4, unused=2),
    Pod(day=date(2026, 3, 9), cluster="c", namespace="mail", usd=1, unused=0.5, account=B),
    Pod(day=date(2026, 3, 31), cluster="e", namespace="", kind="ecs", usd=3, unused=1),
]


# Split cost


def test_split_cost_by_its_keys_account_and_time_with_what_is_unused(ledger: Ledger) -> None:
    commit(ledger, a_month(MARCH), AT, pods=PODS)
    found = ask(ledger, "cluster", "namespace")
    assert (found.cannot, found.missing, found.gaps) == (None, [], [])
    assert usd(found.costs) == {("c", "shop"): 6, ("c", "mail"): 1, ("e", ""): 3}
    assert usd(found.unused) == {("c", "shop"): 3, ("c", "mail"): 0.5, ("e", ""): 1}
    assert usd(ask(ledger, "kind", "account").costs) == {("eks", A): 6, ("eks", B): 1, ("ecs", A): 3}
    assert usd(ask(ledger, "day", "namespace", account=A, cluster="c").costs) == {
        ("2026-03-01", "shop"): 2,
        ("2026-03-09", "shop"): 4,
    }
    assert usd(ask(ledger, "month", kind="ecs").costs) == {("2026-03",): 3}
    assert usd(ask(ledger, namespace="shop", start=date(2026, 3, 2)).costs) == {(): 4}


def test_net_split_cost_is_asked_as_net_amortized(ledger: Ledger) -> None:
    commit(
        ledger, a_month(MARCH), AT, pods=[Pod(day=MARCH, cluster="c", namespace="n", usd=5, unused=2, net=4)]
    )
    assert usd(ask(ledger, "namespace").costs) == {("n",): 5}
    net = ask(ledger, "namespace", cost_type="net_amortized")
    assert (usd(net.costs), usd(net.unused)) == ({("n",): 4}, {("n",): 1})


def test_days_outside_of_split_cost_are_missing_and_days_between_cost_what_they_say(ledger: Ledger) -> None:
    """Split cost was switched on in February, and its newest line is two days old."""
    commit(
        ledger,
        a_month(FEBRUARY),
        AT,
        pods=[Pod(day=date(2026, 2, 20), cluster="c", namespace="n", usd=7, unused=0)],
    )
    commit(
        ledger,
        a_month(MARCH),
        AT,
        pods=[Pod(day=date(2026, 3, 29), cluster="c", namespace="n", usd=1, unused=0)],
    )
    found = ask(ledger, "namespace", start=FEBRUARY)
    assert usd(found.costs) == {("n",): 8}
    assert found.missing == [*all_days(FEBRUARY)[:19], date(2026, 3, 30), date(2026, 3, 31)]
    assert found.days == [*all_days(FEBRUARY)[19:], *all_days(MARCH)[:29]]


def test_a_month_without_split_lines_is_left_out_and_alone_refused(ledger: Ledger) -> None:
    commit(ledger, a_month(FEBRUARY), AT)
    assert ask(ledger, "pod", start=FEBRUARY, end=MARCH).cannot == Cannot("not_available", "split_cost")
    commit(ledger, a_month(MARCH), AT, pods=PODS)
    found = ask(ledger, "kind", start=FEBRUARY)
    assert (found.cannot, found.gaps) == (None, [Gap(FEBRUARY, "split_cost")])
    assert usd(found.costs) == {("eks",): 7, ("ecs",): 3}


def test_cost_explorers_days_have_no_split_cost(ledger: Ledger) -> None:
    commit_ledger(ledger, all_days(JANUARY), [Line(JANUARY, A, EC2, USD)], AT)
    assert ask(ledger, "namespace", start=JANUARY).cannot == Cannot("split_cost")
    commit(ledger, a_month(FEBRUARY), AT)
    assert ask(ledger, "namespace", start=JANUARY).cannot == Cannot("split_cost")
    commit(ledger, a_month(MARCH), AT, pods=PODS)
    assert ask(ledger, "namespace", start=JANUARY).cannot == Cannot("split_cost", lines_from=MARCH)
    assert ask(ledger, "namespace", start=MARCH).cannot is None
    december = JANUARY - 31 * DAY
    assert ask(ledger, "namespace", start=december, end=JANUARY).cannot == Cannot("unread")


@pytest.mark.parametrize("other", ["service", "region", "usage_type", "tag:team", "resource", "hour"])
def test_split_cost_is_refused_beside_what_its_lines_do_not_have(other: str, ledger: Ledger) -> None:
    commit(ledger, a_month(MARCH), AT, pods=PODS)
    assert ask(ledger, "namespace", other).cannot == Cannot("split_alone")
    if other != "hour":
        assert ask(ledger, "account", **{"cluster": "c", other: "x"}).cannot == Cannot("split_alone")


@pytest.mark.parametrize("cost_type", ["unblended", "blended", "net_unblended", "list"])
def test_split_cost_is_amortized_only(cost_type: str, ledger: Ledger) -> None:
    commit(ledger, a_month(MARCH), AT, pods=PODS)
    assert ask(ledger, "namespace", cost_type=cost_type).cannot == Cannot("split_cost_type", cost_type)


def test_a_misspelt_namespace_is_no_zero(ledger: Ledger) -> None:
    commit(ledger, a_month(MARCH), AT, pods=PODS)
    with pytest.raises(ValueError, match=r"namespace: found 'shpo', expected .*; did you mean shop\?"):
        ask(ledger, "account", namespace="shpo")
    assert dict(ask(ledger, "account", namespace="shop", kind="ecs").costs) == {}, "both are there"


def test_small_pods_may_match_a_filter(ledger: Ledger) -> None:
    pods = [
        Pod(day=MARCH, cluster="c", namespace="n", usd=9, unused=0, pod=name) for name in ("large", "other")
    ]
    commit(ledger, a_month(MARCH), AT, pods=pods)
    found = ask(ledger, pod="large")
    assert (usd(found.costs), found.has_other, found.in_other) == ({(): 9}, True, 9 * USD)


# List prices

PRICED = [
    Row(day=MARCH, usd=10, listed=12, resource="i-1"),
    Row(day=MARCH, charge_type="SavingsPlanCoveredUsage", usd=6, listed=10, region="eu-west-1"),
    Row(day=MARCH + DAY, charge_type="DiscountedUsage", usd=3, listed=5, account=B),
    Row(day=MARCH, charge_type="SavingsPlanNegation", usd=-6, listed=0),
    Row(day=MARCH, charge_type="Tax", service="Tax", usd=100, listed=0),
    Row(day=MARCH, billing_entity="AWS Marketplace", service="Software", usd=50, listed=0),
    Row(day=date(2026, 3, 31), usd=1, listed=1),
]


def listed(ledger: Ledger, *by: str, **asked: str) -> dict[tuple[str, ...], float]:
    found = ask(ledger, *by, cost_type="list", **asked)
    assert (found.cannot, found.missing, found.gaps) == (None, [], [])
    return usd(found.costs)


def test_list_prices_are_of_usage_by_every_dimension_of_a_line(ledger: Ledger) -> None:
    """What has no list price (tax, fees, AWS Marketplace) is absent, not zero."""
    commit(ledger, PRICED, AT)
    assert listed(ledger) == {(): 28}
    assert listed(ledger, "service") == {(EC2,): 28}
    assert listed(ledger, "account", "month") == {(A, "2026-03"): 23, (B, "2026-03"): 5}
    assert listed(ledger, "day", account=B) == {("2026-03-02",): 5}
    assert listed(ledger, "charge_type", "billing_entity") == {
        ("Usage", "AWS"): 13,
        ("SavingsPlanCoveredUsage", "AWS"): 10,
        ("DiscountedUsage", "AWS"): 5,
    }
    assert listed(ledger, "region", "resource", account=A) == {
        ("us-east-1", "i-1"): 12,
        ("us-east-1", ""): 1,
        ("eu-west-1", ""): 10,
    }
    assert listed(ledger, "account", charge_type="Tax") == {}


def test_list_prices_of_marketplace_are_left_out_only_where_it_is_known(ledger: Ledger) -> None:
    commit(ledger, PRICED, AT, unknown=("billing_entity",))
    assert listed(ledger) == {(): 28}


def test_a_month_without_list_prices_is_left_out_and_alone_refused(ledger: Ledger) -> None:
    commit(ledger, a_month(FEBRUARY), AT, cost_types=AMOUNTS)
    for by in ((), ("account",), ("region", "resource")):
        found = ask(ledger, *by, start=FEBRUARY, end=MARCH, cost_type="list")
        assert (dict(found.costs), found.cannot) == ({}, Cannot("not_available", "list"))
    commit(ledger, PRICED, AT)
    found = ask(ledger, start=FEBRUARY, cost_type="list")
    assert (usd(found.costs), found.gaps, found.cannot) == ({(): 28}, [Gap(FEBRUARY, "list")], None)


def test_cost_explorers_days_have_no_list_prices(ledger: Ledger) -> None:
    commit_ledger(ledger, all_days(FEBRUARY), [Line(FEBRUARY, A, EC2, USD)], AT)
    for by in ((), ("account",), ("region", "service")):
        assert ask(ledger, *by, start=FEBRUARY, cost_type="list").cannot == Cannot("list_price")
    commit(ledger, PRICED, AT)
    assert ask(ledger, "account", start=FEBRUARY, cost_type="list").cannot == Cannot(
        "list_price", lines_from=MARCH
    )
    assert ask(ledger, "account", start=JANUARY, end=FEBRUARY, cost_type="list").cannot == Cannot("unread")


def test_hours_have_no_list_prices(ledger: Ledger) -> None:
    assert ask(ledger, "hour", cost_type="list").cannot == Cannot("list_hours")


def test_both_need_duckdb(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(ledger, PRICED, AT, pods=PODS)
    monkeypatch.setattr(lines, "is_installed", lambda: False)
    assert ask(ledger, "account", cost_type="list").cannot == Cannot("no_duckdb")
    assert ask(ledger, "namespace").cannot == Cannot("no_duckdb")


def test_a_month_that_is_replaced_is_asked_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between what is used and what is unused, the file of a month goes: the answer is of the new one."""
    commit(ledger, a_month(MARCH), AT, pods=PODS)
    later = [Pod(day=MARCH, cluster="c", namespace="new", usd=9, unused=8)]
    swaps = iter([lambda: None, lambda: None, lambda: commit(ledger, a_month(MARCH), AT, pods=later)])
    opened = lines._opened

    def open_late(*arguments: object) -> object:
        next(swaps, lambda: None)()
        return opened(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(lines, "_opened", open_late)
    found = ask(ledger, "namespace")
    assert (usd(found.costs), usd(found.unused)) == ({("new",): 9}, {("new",): 8})
    assert len(list(CubeMonths(ledger).folder.glob(f"*/{SPLIT}"))) == 1

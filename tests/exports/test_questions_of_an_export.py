"""Questions by any dimensions of an imported export equal Cost Explorer's truth, to the unit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from export_reader import DAY, reading, truth
from organizations import MakeAws

from exporter.aws.cost_explorer import USAGE_RECORD_TYPES
from exporter.core.money import to_usd
from exporter.cube.answering import answer
from exporter.cube.question import Answer, Cannot, Question

pytestmark = pytest.mark.stack
Costs = Mapping[tuple[str, ...], Decimal]

MARCH = date(2026, 3, 1)
NAMES = {"charge_type": "record_type"}
TOGETHER = (
    ("region", "usage_type", "operation", "account", "service"),
    ("resource", "day", "charge_type"),
    ("tag:team", "tag:environment", "cost_category:CostCenter", "account"),
    ("billing_entity", "month", "service"),
    ("hour", "account", "service"),
)


def test_several_dimensions_together_are_cost_explorers_to_the_unit(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(accounts=3, services=6)
    aws.exports.create(manual_discounts=True)
    with reading(aws, tmp_path) as reader:
        reader.read()
        end = aws.clock.now().date() + DAY
        for cost_type in ("unblended", "net_amortized"):
            for by in TOGETHER:
                start = end - timedelta(days=10) if "hour" in by else MARCH  # hours are kept for two weeks
                found = answer(reader.ledger, Question(start, end, by, {}, cost_type))
                assert (found.cannot, found.gaps, found.missing) == (None, [], [])
                names = (NAMES.get(name, name) for name in by)
                expected = {
                    tuple(re.sub(r"^(.*T\d\d:00):00Z$", r"\1Z", part) for part in key): usd
                    for key, usd in truth(aws, start, end, cost_type, *names).items()
                }
                costs = {key: to_usd(units) for key, units in found.costs.items() if units}
                assert costs == expected, (by, cost_type)
                assert len(costs) > 3
        one = next(key for key in costs if key[1])
        filtered = answer(
            reader.ledger,
            Question(MARCH, end, ("region",), {"account": frozenset({one[1]})}, "net_amortized"),
        )
        whole = sum(
            usd
            for (account,), usd in truth(aws, MARCH, end, "net_amortized", "account").items()
            if account == one[1]
        )
        assert to_usd(sum(filtered.costs.values())) == whole


def test_focus_answers_net_cost_and_says_what_it_has_not(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws()
    aws.exports.create(table="FOCUS_1_2_AWS")
    with reading(aws, tmp_path, cost_settings={"cost_type": "net_unblended"}) as reader:
        reader.read()
        end = aws.clock.now().date() + DAY
        asked = Question(MARCH, end, ("region", "account"), {}, "unblended")
        assert answer(reader.ledger, asked).cannot == Cannot("not_available", "unblended")
        assert answer(reader.ledger, Question(MARCH, end, ("account",), {}, "unblended")).cannot == Cannot(
            "not_available", "unblended"
        )
        found = answer(reader.ledger, Question(MARCH, end, ("region", "account"), {}, "net_unblended"))
        assert {key: to_usd(units) for key, units in found.costs.items() if units} == truth(
            aws, MARCH, end, "net_unblended", "region", "account"
        )
        assert answer(
            reader.ledger, Question(MARCH, end, ("usage_type", "region"), {}, "net_unblended")
        ).cannot == Cannot("not_available", "usage_type")


def grouped(
    costs: Costs, names: Sequence[str], by: Sequence[str], only: Mapping[str, str]
) -> dict[tuple[str, ...], Decimal]:
    """Costs by `names` (`day` among them), summed by others of them or by month, without zeros."""
    sums: dict[tuple[str, ...], Decimal] = {}
    for key, usd in costs.items():
        named = dict(zip(names, key, strict=True))
        named["month"] = named["day"][:7]
        if all(named[name] == value for name, value in only.items()):
            place = tuple(named[name] for name in by)
            sums[place] = sums.get(place, Decimal(0)) + usd
    return {key: usd for key, usd in sums.items() if usd}


def without_zeros(costs: Mapping[tuple[str, ...], int]) -> dict[tuple[str, ...], Decimal]:
    return {key: to_usd(units) for key, units in costs.items() if units}


def filters(only: Mapping[str, str]) -> dict[str, frozenset[str]]:
    return {name: frozenset({value}) for name, value in only.items()}


SPLIT_KEYS = ("day", "account", "cluster", "namespace", "pod", "kind")
SPLIT_COSTS = {
    "amortized": ("split_cost", "unused_cost"),
    "net_amortized": ("net_split_cost", "net_unused_cost"),
}
SPLIT_QUESTIONS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (SPLIT_KEYS, ()),
    (("namespace", "account"), ()),
    (("month", "kind"), ("account",)),
    (("pod",), ("namespace", "kind")),
    (("day",), ("pod",)),
)
CONTAINERS = {"accounts": 3, "services": 17}  # among them EKS and ECS


def test_split_cost_is_what_pods_and_tasks_have_by_any_of_its_keys(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(**CONTAINERS)
    aws.exports.create(manual_discounts=True, split_costs=True, hourly=False)
    with reading(aws, tmp_path) as reader:
        reader.read()
        refreshed = aws.exports.refreshed("cost")
        assert refreshed is not None
        end = aws.clock.now().date() + DAY
        for cost_type, columns in SPLIT_COSTS.items():
            split = [aws.exports.split_totals(MARCH, end, refreshed, SPLIT_KEYS, name) for name in columns]
            largest = max(split[0], key=lambda key: split[0][key])
            for by, filtered in SPLIT_QUESTIONS:
                only = {name: largest[SPLIT_KEYS.index(name)] for name in filtered}
                found = answer(reader.ledger, Question(MARCH, end, by, filters(only), cost_type))
                assert (found.cannot, found.gaps) == (None, [])
                assert [without_zeros(found.costs), without_zeros(found.unused)] == [
                    grouped(costs, SPLIT_KEYS, by, only) for costs in split
                ], (by, cost_type)
                assert found.costs
            days = {key[0] for key, usd in split[0].items() if usd}
            assert [day.isoformat() for day in found.days] == sorted(days), "the others are not known"
        assert {key[-1] for key in split[0]} == {"eks", "ecs"}


def test_an_export_without_split_lines_says_so(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(**CONTAINERS)
    aws.exports.create(manual_discounts=True, hourly=False)
    with reading(aws, tmp_path) as reader:
        reader.read()
        found = answer(reader.ledger, Question(MARCH, date(2026, 3, 16), ("namespace",), {}, "amortized"))
        assert found == Answer(gaps=found.gaps, cannot=Cannot("not_available", "split_cost"))


LIST_KEYS = (
    "day", "account", "service", "region", "usage_type", "record_type", "billing_entity", "resource", "tag:team",
)  # fmt: skip
LIST_QUESTIONS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    ((), ()),
    (("account", "service"), ()),
    (("month", "record_type"), ()),
    (("region", "usage_type", "tag:team"), ("account",)),
    (("resource", "day"), ("service", "region")),
    (("billing_entity", "tag:team"), ("record_type",)),
)


@pytest.mark.parametrize("definition", [{"manual_discounts": True}, {"table": "FOCUS_1_0_AWS"}], ids=str)
def test_list_prices_are_those_of_usage_by_every_dimension(
    definition: dict[str, object], make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws()
    aws.exports.create(hourly=False, **definition)
    with reading(aws, tmp_path, cost_settings={"cost_type": "net_amortized"}) as reader:
        reader.read()
        end = aws.clock.now().date() + DAY
        totals = aws.truth.totals(MARCH, end, aws.exports.refreshed("cost"), LIST_KEYS, "ListCost")
        listed = {
            key: usd
            for key, usd in totals.items()
            if dict(zip(LIST_KEYS, key, strict=True))["record_type"] in USAGE_RECORD_TYPES
            and dict(zip(LIST_KEYS, key, strict=True))["billing_entity"] == "AWS"
        }
        assert len(listed) < len(totals), "tax, fees and what is sold in AWS Marketplace have none"
        largest = max(listed, key=lambda key: listed[key])
        for by, filtered in LIST_QUESTIONS:
            only = {name: largest[LIST_KEYS.index(name)] for name in filtered}
            asked = Question(
                MARCH,
                end,
                tuple("charge_type" if name == "record_type" else name for name in by),
                filters({"charge_type" if name == "record_type" else name: only[name] for name in only}),
                "list",
            )
            found = answer(reader.ledger, asked)
            assert (found.cannot, found.gaps, found.missing) == (None, [], [])
            assert without_zeros(found.costs) == grouped(listed, LIST_KEYS, by, only), by
            assert found.costs

"""Questions by any dimensions of an imported export equal Cost Explorer's truth, to the unit."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path

import pytest
from export_reader import DAY, reading, truth
from organizations import MakeAws

from exporter.core.money import to_usd
from exporter.cube.answering import answer
from exporter.cube.question import Cannot, Question

pytestmark = pytest.mark.stack

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

"""FOCUS has net cost alone: that is equal to Cost Explorer's, and what it does not have is absent, never another figure."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from export_reader import DAY, Reader, reading, truth
from organizations import MakeAws

from exporter.anomalies.usage_days import usage_cost_type
from exporter.collectors import cost, cost_breakdowns
from exporter.core.amounts import NET_COST_TYPES, CostTypeNotAvailableError
from exporter.cost.settings import CostSettings
from exporter.cube import values
from exporter.cube.dimensions import Dimension
from exporter.cube.settings import CostBreakdownsSettings
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext

pytestmark = pytest.mark.stack

MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
GROSS = ("unblended", "blended", "amortized")
NET = {"cost_type": "net_amortized", "history_months": 1}


def view(reader: Reader, cost_type: str) -> ViewContext[CostSettings]:
    settings = CostSettings.model_validate({"cost_type": cost_type})
    return ViewContext(
        ledger=reader.ledger,
        now=reader.aws.clock.now(),
        settings=settings,
        names={},
        sections=Sections(settings),
    )


@pytest.mark.parametrize("table", ["FOCUS_1_0_AWS", "FOCUS_1_2_AWS"])
def test_net_cost_is_the_bills_and_gross_cost_is_not_available(
    make_aws: MakeAws, tmp_path: Path, table: str
) -> None:
    aws = make_aws()
    aws.exports.create(table=table, hourly=False)
    with reading(aws, tmp_path, cost_settings=NET) as reader:
        reader.read()
        end = aws.clock.now().date() + DAY
        for cost_type in NET_COST_TYPES:
            # FOCUS has one name for what Cost Explorer calls two services of EC2.
            found: dict[tuple[str, str], object] = {}
            for (day, account, _), usd in reader.cost(MARCH, end, cost_type).items():
                found[day, account] = found.get((day, account), 0) + usd  # type: ignore[operator]
            assert found == truth(aws, MARCH, end, cost_type, "day", "account")
            for name in ("region", "operation", "resource"):
                expected = truth(aws, MARCH, end, cost_type, "day", "account", name)
                assert reader.values(name, "account", MARCH, end, cost_type) == expected, (name, cost_type)
        for cost_type in GROSS:
            with pytest.raises(
                CostTypeNotAvailableError, match=f"{cost_type} cost of 2026-03-01 is not available"
            ):
                reader.ledger.cost.sums(MARCH, end, cost_type)
            sums = values.sums(reader.ledger, Dimension("region"), "account", MARCH, end, cost_type)
            assert sums
            assert set(sums.values()) == {None}
        has_usage_type = bool(values.states(reader.ledger, Dimension("usage_type"), "account", MARCH, end))
        assert has_usage_type == (table == "FOCUS_1_0_AWS")


def test_families_of_a_cost_type_that_is_not_there_are_absent(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws()
    aws.exports.create(table="FOCUS_1_2_AWS", hourly=False)
    with reading(aws, tmp_path, cost_settings=NET) as reader:
        reader.read()
        assert [sample.family.name for sample in cost.render_months(view(reader, "net_amortized"))]
        with pytest.raises(CostTypeNotAvailableError):
            list(cost.render_months(view(reader, "unblended")))
        settings = CostBreakdownsSettings()
        context = ViewContext(
            ledger=reader.ledger, now=aws.clock.now(), settings=settings, names={},
            sections=Sections(settings, CostSettings(cost_type="net_amortized")),
        )  # fmt: skip
        samples = list(cost_breakdowns.render(context))
        by_cost_type = [each for each in samples if each.family is cost_breakdowns.BY_COST_TYPE]
        assert {each.values[2] for each in by_cost_type} == set(NET_COST_TYPES)


def test_anomalies_compare_net_cost_of_all_days_once_a_day_has_no_gross_one(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(days=80)
    with reading(aws, tmp_path) as reader:
        reader.cost_settings = CostSettings(history_months=1)
        reader.read_cost_explorer()
        assert usage_cost_type(reader.ledger) == "amortized"
        aws.exports.create(table="FOCUS_1_2_AWS", hourly=False)
        reader.cost_settings = CostSettings.model_validate({"source": "data_export", **NET})
        reader.read()
        assert usage_cost_type(reader.ledger) == "net_amortized"
        # Back with Cost Explorer, all five are there again.
        reader.cost_settings = CostSettings(history_months=1)
        reader.read_cost_explorer()
        assert usage_cost_type(reader.ledger) == "amortized"
        assert reader.ledger.cost.sums(MARCH, APRIL, "unblended")


def test_a_dimension_that_focus_does_not_have_is_unknown_where_cost_explorer_knew_it(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws()
    with reading(aws, tmp_path, cost_settings=NET) as reader:
        usage_type = Dimension("usage_type")
        now = aws.clock.now()
        values.commit(
            reader.ledger,
            values.CubeRead(
                usage_type, "account", now, "cost_explorer", {MARCH: 0}, {(MARCH, "1", "x"): (1, 1, 1, 1, 1)}
            ),
            100,
        )
        aws.exports.create(table="FOCUS_1_2_AWS", hourly=False)
        reader.read()
        assert values.states(reader.ledger, usage_type, "account", MARCH, APRIL) == {}
        assert values.sums(reader.ledger, usage_type, "account", MARCH, APRIL, "net_amortized") == {}

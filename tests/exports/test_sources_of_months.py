"""A month has one source: what was read before an export stays, what the export has replaces it, and the way back is open."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from export_reader import Reader, create, reading, truth
from organizations import MakeAws

from exporter.collectors import cost, cost_breakdowns
from exporter.cost.refresh_plan import missing_days
from exporter.cost.rereads import Reread
from exporter.cost.settings import CostSettings
from exporter.declarations.calls import Scale
from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack

JANUARY, FEBRUARY, MARCH, APRIL = (date(2026, month, 1) for month in (1, 2, 3, 4))
NOON = datetime(2026, 3, 17, 12, tzinfo=UTC)
SCALE = Scale(10, 20, 200, 5, 2000)


def fill_from_cost_explorer(reader: Reader, **settings: Any) -> None:
    reader.cost_settings = CostSettings.model_validate({"history_months": 1, **settings})
    reader.read_cost_explorer()


def by_export(reader: Reader, **settings: Any) -> None:
    reader.cost_settings = CostSettings.model_validate(
        {"source": "data_export", "history_months": 2, **settings}
    )


def of_ledger(reader: Reader, start: date, end: date) -> dict[tuple[str, str, str], Decimal]:
    return reader.cost(start, end, "net_amortized")


def of_cost_explorer(aws: SimulatedAws, start: date, end: date) -> dict[tuple[str, ...], Decimal]:
    found = aws.truth.totals(start, end, aws.clock.now(), ("day", "account", "service"), "NetAmortizedCost")
    return {key: usd for key, usd in found.items() if usd}


def sources(reader: Reader, start: date, end: date) -> dict[date, str]:
    return {day: state.source for day, state in reader.ledger.reads.day_states(start, end).items()}


def test_a_new_export_takes_its_month_over_and_leaves_those_before_to_cost_explorer(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON, days=80)
    with reading(aws, tmp_path) as reader:
        fill_from_cost_explorer(reader)
        february = of_ledger(reader, FEBRUARY, MARCH)
        assert february == of_cost_explorer(aws, FEBRUARY, MARCH) != {}
        create(aws)
        by_export(reader)
        asked = aws.requests.count("ce")
        aws.clock.set(NOON + timedelta(hours=10))
        reader.read()
        reader.read_cost_explorer()
        assert of_ledger(reader, MARCH, APRIL) == truth(
            aws, MARCH, APRIL, "net_amortized", "day", "account", "service"
        )
        assert of_ledger(reader, FEBRUARY, MARCH) == february
        assert set(sources(reader, FEBRUARY, MARCH).values()) == {"cost_explorer"}
        assert set(sources(reader, MARCH, APRIL).values()) == {"data_export"}
        assert aws.requests.count("ce") == asked
        assert missing_days(reader.ledger, reader.cost_settings, aws.clock.now())[0] == 0


def test_the_months_before_an_export_are_read_from_cost_explorer_once_where_that_is_wanted(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON, days=80)
    create(aws)
    with reading(aws, tmp_path) as reader:
        by_export(reader, history_from_cost_explorer=True)
        reader.read_cost_explorer()
        assert aws.requests.count("ce") == 0, "what the export has is not known yet"
        reader.read()
        reader.read_cost_explorer()
        paid = aws.requests.count("ce")
        assert paid > 0
        assert of_ledger(reader, JANUARY, MARCH) == of_cost_explorer(aws, JANUARY, MARCH)
        assert missing_days(reader.ledger, reader.cost_settings, aws.clock.now())[0] == 0
        context = reader.context(reader.cost_settings)
        for hours in (7, 24, 24 * 9):
            aws.clock.set(NOON + timedelta(hours=hours))
            assert cost.due(context, reader.target) > aws.clock.now()
            reader.read_cost_explorer()
        assert aws.requests.count("ce") == paid
        assert not list(cost.paid_calls(reader.cost_settings, SCALE))


def test_without_that_nothing_is_asked_of_cost_explorer(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOON)
    create(aws)
    with reading(aws, tmp_path) as reader:
        reader.read()
        by_export(reader)
        sections = reader.context(reader.cost_settings).sections
        assert cost.COLLECTOR.rests(sections)
        assert cost_breakdowns.COLLECTOR.rests(sections)
        reader.read_cost_explorer()
        assert aws.requests.count("ce") == 0
        assert missing_days(reader.ledger, reader.cost_settings, aws.clock.now())[0] == 0
        refusal = Reread(MARCH, APRIL).refusal(reader.cost_settings, aws.clock.now())
        assert refusal is not None
        assert "collectors.cost.source" in refusal


def test_going_back_has_cost_explorer_read_every_month_of_the_export_again(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON, days=80)
    create(aws, months=1)
    with reading(aws, tmp_path) as reader:
        by_export(reader)
        reader.read()
        exported = of_ledger(reader, FEBRUARY, APRIL)
        aws.inject_service(aws.accounts[1].id, "AWS Lambda", Decimal("3.5"), since=date(2026, 2, 10))
        aws.clock.set(NOON + timedelta(hours=8))
        reader.cost_settings = CostSettings(history_months=1)
        context = reader.context(reader.cost_settings)
        assert cost.due(context, reader.target) <= aws.clock.now()
        reader.read_cost_explorer()
        assert reader.month(FEBRUARY) is None
        assert list((tmp_path / "cube").iterdir()) == []
        assert of_ledger(reader, FEBRUARY, APRIL) == of_cost_explorer(aws, FEBRUARY, APRIL) != exported
        assert set(sources(reader, FEBRUARY, APRIL).values()) == {"cost_explorer"}
        # And to the export once more.
        by_export(reader)
        reader.read()
        assert of_ledger(reader, MARCH, APRIL) == truth(
            aws, MARCH, APRIL, "net_amortized", "day", "account", "service"
        )


def test_what_is_no_usage_is_known_from_an_export(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOON)
    create(aws)
    with reading(aws, tmp_path) as reader:
        reader.read()
        expected: dict[str, Decimal] = {}
        usage = ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation")
        for (day, record_type), usd in truth(aws, MARCH, APRIL, "unblended", "day", "record_type").items():
            if record_type not in usage:
                expected[day] = expected.get(day, Decimal(0)) + usd
        found: dict[str, Decimal] = {}
        for row in reader.ledger.cost.rows(MARCH, APRIL):
            if row.charge_class == "other":
                found[row.day.isoformat()] = (
                    found.get(row.day.isoformat(), Decimal(0)) + row.amounts.unblended
                )
        assert {day: usd for day, usd in found.items() if usd} == {
            day: usd for day, usd in expected.items() if usd
        }
        assert len(expected) > 1

"""A unit's cost is that of the newest complete days, divided by the usage of the same days."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.collectors import cost
from exporter.core.amounts import Amounts
from exporter.core.moments import days_between
from exporter.cost.unit_costs import UNITS, render
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.ledger.daily_values import DailyValue, upsert
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead
from exporter.usage.metrics import USAGE_FAMILIES

DAY = timedelta(days=1)
NOW = datetime(2027, 5, 20, 6, tzinfo=UTC)
NEWEST = date(2027, 5, 18)
"""The newest complete day: the 19th was read once, six hours after its end."""
LAMBDA, S3, COMPUTE = (unit.service for unit in UNITS)
INVOCATIONS, BYTES, SECONDS = (unit.usage for unit in UNITS)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def back(*values: float) -> dict[date, float]:
    """Values of the days up to the 19th, the newest first."""
    return {NEWEST + DAY - number * DAY: value for number, value in enumerate(values)}


def fill(
    ledger: Ledger,
    costs: Mapping[tuple[str, str], Mapping[date, float]],
    usage: Mapping[tuple[str, str, str], Mapping[date, float]],
) -> None:
    """Cost by account and service, usage by account, region and family."""
    days = list(days_between(date(2027, 3, 1), NOW.date()))
    read = {
        (day, *key): Amounts(*[Decimal(str(usd))] * 5)
        for key, of_days in costs.items()
        for day, usd in of_days.items()
    }
    read |= {(day, "9", "Other"): Amounts(*[Decimal(1)] * 5) for day in days}
    ledger.reads.commit(CostRead(NOW, dict.fromkeys(days, False), read))
    upsert(
        ledger,
        [
            DailyValue(day, family, account_id, region, value)
            for (account_id, region, family), of_days in usage.items()
            for day, value in of_days.items()
        ],
        NOW,
    )


def served(ledger: Ledger) -> dict[tuple[str, ...], float]:
    """Values by account id (none: of the organization), unit and days."""
    view = ViewContext(
        ledger=ledger, now=NOW, settings=cost.CostSettings(), names={"1": "prod"}, sections=Sections()
    )
    found = {}
    for sample in render(view):
        labels = dict(zip(sample.family.labels, sample.values, strict=True))
        labels.pop("account", None)
        found[tuple(labels.values())] = pytest.approx(sample.value)
    return found


def test_every_unit_is_of_a_dated_family() -> None:
    assert {unit.usage for unit in UNITS} <= {family.name for family in USAGE_FAMILIES}


def test_a_day_that_is_not_complete_does_not_count(ledger: Ledger) -> None:
    """Of the 19th all invocations are known and half of the cost: with it a million would seem to cost less."""
    fill(
        ledger,
        {("1", LAMBDA): back(2, *[4] * 9)},
        {
            ("1", "us-east-1", INVOCATIONS): back(*[1_500_000] * 10),
            ("1", "eu-west-1", INVOCATIONS): back(*[500_000] * 10),
        },
    )
    unit = "lambda_million_invocations"
    assert served(ledger) == {
        ("1", unit, "7"): 2, (unit, "7"): 2, ("1", unit, "30"): 2, (unit, "30"): 2,
    }  # fmt: skip


def test_a_mean_divides_by_the_days_of_which_both_are_known(ledger: Ledger) -> None:
    """Usage of account 1 is unknown on the 17th; accounts 3 and 4 lack one of the two altogether."""
    known: Sequence[float] = [2_000_000] * 9
    usage = {day: value for day, value in back(0, 1_000_000, *known).items() if day != date(2027, 5, 17)}
    fill(
        ledger,
        {
            ("1", LAMBDA): back(9, 6, *[4] * 9),
            ("2", LAMBDA): back(9, *[1] * 10),
            ("3", LAMBDA): back(*[5] * 11),
        },
        {
            ("1", "us-east-1", INVOCATIONS): usage,
            ("2", "us-east-1", INVOCATIONS): back(0, *[500_000] * 10),
            ("4", "us-east-1", INVOCATIONS): back(*[1_000_000] * 11),
        },
    )
    unit = "lambda_million_invocations"
    assert served(ledger) == {
        ("1", unit, "7"): 26 / 11, ("2", unit, "7"): 2, (unit, "7"): 33 / 14.5,
        ("1", unit, "30"): 38 / 17, ("2", unit, "30"): 2, (unit, "30"): 48 / 22,
    }  # fmt: skip


def test_each_unit_has_its_size(ledger: Ledger) -> None:
    """73 TB for ten days are 24 terabyte-months; two instances all day are 48 hours. The 31st day back is too old."""
    fill(
        ledger,
        {("1", S3): back(0, 55.2, *[55.2] * 9), ("1", COMPUTE): back(0, *[12] * 30, 1000)},
        {
            ("1", "us-east-1", BYTES): back(*[70e12] * 11),
            ("1", "eu-west-1", BYTES): back(*[3e12] * 11),
            ("1", "us-east-1", SECONDS): back(*[172_800] * 32),
        },
    )
    assert served(ledger) == {
        (*account, unit, days): usd
        for unit, usd in (("s3_terabyte_month", 23), ("ec2_instance_hour", 0.25))
        for days in ("7", "30")
        for account in (("1",), ())
    }


def test_nothing_is_said_of_what_was_not_used(ledger: Ledger) -> None:
    fill(ledger, {("1", LAMBDA): back(0, 4, 4)}, {("1", "us-east-1", INVOCATIONS): back(0, 0, 0)})
    assert served(ledger) == {}

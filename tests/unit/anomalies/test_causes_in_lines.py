"""What made a spike is read off months of lines: with the finding, at no charge, down to the resource."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from lines_of_months import Line, all_days, commit_export, commit_ledger

from exporter.anomalies import causes, causes_in_lines
from exporter.anomalies.causes import Cause, Explanation, GrownResource, explain, to_ask
from exporter.anomalies.cost import assess
from exporter.anomalies.settings import AnomalySettings
from exporter.api.endpoints.anomalies import Query, answer
from exporter.api.source import Source
from exporter.config.model import Config
from exporter.core.amounts import AMOUNTS, Units
from exporter.core.moments import month_start
from exporter.cube import lines as cube_lines
from exporter.cube.months import CubeMonths
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

pytestmark = pytest.mark.clockless

PROD, EC2 = "111111111111", "Amazon EC2"
TESTED = date(2026, 5, 18)
NOW = datetime(2026, 5, 20, 13, tzinfo=UTC)
USD = 10**10
MONTHS = [date(2026, month, 1) for month in range(2, 6)]


@dataclass(frozen=True)
class Spiked:
    """A spike of the tested day, unless another is given."""

    day: date = TESTED
    account_id: str = PROD
    service: str = EC2
    expected: float = 110.0
    lower: float = 100.0
    upper: float = 120.0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def usual(day: date) -> list[Line]:
    box = Line(day, PROD, EC2, 70 * USD, "eu-west-1", "EUW1-BoxUsage:m6i.large", resource="i-1")
    return [
        box,
        replace(box, resource="i-2", units=30 * USD),
        replace(box, resource="", units=10 * USD, usage_type="EUW1-DataTransfer", operation=""),
        # What is no usage, and what is of others, made no spike.
        replace(box, units=5 * USD, charge_type="Tax", usage_type="Tax"),
        replace(box, account="222222222222", units=9 * USD),
    ]


def spiked(day: date) -> list[Line]:
    new = Line(day, PROD, EC2, 400 * USD, "eu-west-1", "EUW1-BoxUsage:p4d.24xlarge", resource="i-9")
    return [
        *usual(day),
        new,
        replace(new, resource="i-8", units=100 * USD),
        replace(new, resource="other", units=50 * USD),
        replace(new, usage_type="EUW1-BoxUsage:m6i.large", resource="i-2", units=20 * USD),
        replace(new, charge_type="Fee", units=1000 * USD),
    ]


def fill(ledger: Ledger, *, first: date | None = None) -> None:
    """Four months of the same days and the spike, from an export; before `first` from Cost Explorer."""
    for month in MONTHS:
        days = all_days(month, date(2026, 5, 20))
        found = [line for day in days for line in (spiked(day) if day == TESTED else usual(day))]
        if first is None or month >= first:
            commit_export(ledger, month, found, until=date(2026, 5, 20), at=NOW)
        else:
            commit_ledger(ledger, days, found, NOW)
        other: Counter[tuple[date, str, str]] = Counter()
        for line in found:
            if line.charge_type != "Usage":
                other[line.day, line.account, line.service] += line.units
        costs = {key: Units(*[units] * len(AMOUNTS)) for key, units in other.items()}
        ledger.reads.commit_non_usage(CostRead(NOW, dict.fromkeys(days, False), costs))


P4D = Cause(
    "EUW1-BoxUsage:p4d.24xlarge",
    "RunInstances",
    "eu-west-1",
    Decimal(0),
    Decimal(550),
    (GrownResource("i-9", Decimal(0), Decimal(400)), GrownResource("i-8", Decimal(0), Decimal(100))),
)
M6I = Cause(
    "EUW1-BoxUsage:m6i.large",
    "RunInstances",
    "eu-west-1",
    Decimal(100),
    Decimal(120),
    (GrownResource("i-2", Decimal(30), Decimal(50)),),
)
EXPLAINED = Explanation(TESTED, TESTED - timedelta(days=7), (P4D, M6I))


def test_the_cause_is_there_with_the_finding_down_to_the_resource(ledger: Ledger) -> None:
    fill(ledger)
    assessment = assess(ledger, NOW, AnomalySettings())
    assert assessment is not None
    (spike,) = assessment.spikes
    assert (spike.day, spike.account_id, spike.service) == (TESTED, PROD, EC2)
    assert explain(ledger, TESTED, PROD, EC2) == EXPLAINED
    assert to_ask(ledger, assessment.spikes, NOW, 5) == []
    assert causes.waits(ledger, assessment.spikes, [], NOW, timedelta(minutes=10)) == {}
    assert causes.asked_since(ledger, NOW - timedelta(days=2)) == 0, "no request was made"
    assert P4D.resource == "i-9"


def test_lines_that_are_restated_explain_anew(ledger: Ledger) -> None:
    fill(ledger)
    assess(ledger, NOW, AnomalySettings())
    found = [
        line
        for day in all_days(date(2026, 5, 1), date(2026, 5, 20))
        for line in (spiked(day) if day == TESTED else usual(day))
        if line.resource != "i-8"
    ]
    commit_export(ledger, date(2026, 5, 1), found, until=date(2026, 5, 20), at=NOW, version="2")
    assert assess(ledger, NOW + timedelta(hours=1), AnomalySettings()) is not None
    told = explain(ledger, TESTED, PROD, EC2)
    assert told is not None
    assert told.causes[0].resources == (GrownResource("i-9", Decimal(0), Decimal(400)),)


def test_the_first_days_of_an_export_are_compared_with_the_days_that_it_has(ledger: Ledger) -> None:
    """A week before the 3rd there are no lines, on the 1st there is nothing to compare with."""
    fill(ledger, first=date(2026, 5, 1))
    third, first = Spiked(date(2026, 5, 3)), Spiked(date(2026, 5, 1))
    told = causes_in_lines.explanation(ledger, third)
    assert told is not None
    assert told.compared_with in (date(2026, 5, 1), date(2026, 5, 2))
    assert causes_in_lines.explanation(ledger, first) is None
    assert to_ask(ledger, [third, first, Spiked(date(2026, 4, 30))], NOW, 5) == [
        first,
        Spiked(date(2026, 4, 30)),
    ]


def test_without_duckdb_cost_explorer_is_asked(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ledger)
    monkeypatch.setattr(cube_lines, "is_installed", lambda: False)
    assert causes_in_lines.explanation(ledger, Spiked()) is None
    assert to_ask(ledger, [Spiked()], NOW, 5) == [Spiked()]


def test_files_that_cannot_be_read_are_no_reason_to_pay(ledger: Ledger) -> None:
    fill(ledger)
    for path in CubeMonths(ledger).folder.glob("*/*.parquet"):
        path.write_bytes(b"no Parquet at all")
    assert causes_in_lines.explanation(ledger, Spiked()) is None
    assert to_ask(ledger, [Spiked()], NOW, 5) == []
    assert not causes_in_lines.explain_spikes(ledger, [Spiked()], NOW)


def test_an_export_without_usage_types_and_gross_cost_explains_what_it_can(ledger: Ledger) -> None:
    month = month_start(TESTED)
    days = all_days(month, date(2026, 5, 20))
    focus = [
        replace(line, usage_type=None, amounts=(None, None, None, line.units, line.units))
        for day in days
        for line in (spiked(day) if day == TESTED else usual(day))
    ]
    commit_export(ledger, month, focus, until=date(2026, 5, 20), at=NOW)
    told = causes_in_lines.explanation(ledger, Spiked())
    assert told is not None
    (cause,) = told.causes
    assert (cause.usage_type, cause.operation, cause.before, cause.after) == (
        "",
        "RunInstances",
        Decimal(100),
        Decimal(670),
    )
    assert cause.resource == "i-9"


def test_the_api_explains_past_spikes_from_lines_as_well(ledger: Ledger) -> None:
    """Also one that no pass has assessed: the answer reads the lines and keeps nothing."""
    fill(ledger)
    source = Source(ledger=ledger, config=Config(), now=NOW, names={PROD: "prod"})
    (row,) = (row for row in answer(source, Query(days=3))["findings"] if row["kind"] == "spike")
    assert explain(ledger, TESTED, PROD, EC2) is None
    first = row["cause"]["grew"][0]
    assert (first["usage_type"], first["usd"]) == ("EUW1-BoxUsage:p4d.24xlarge", "550")
    assert first["resources"][0] == {"resource": "i-9", "before_usd": "0", "after_usd": "400", "usd": "400"}

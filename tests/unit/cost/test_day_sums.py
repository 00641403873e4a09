"""Today and yesterday by service and by account are the sums of their pairs, and non-usage charges are a part of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.collectors import cost
from exporter.collectors.cost import COLLECTOR
from exporter.core.amounts import Amounts
from exporter.core.folding import OTHER, FoldMemory
from exporter.core.metric import Sample
from exporter.declarations.view import ViewContext
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
NOW = datetime(2026, 5, 20, 13, tzinfo=UTC)
TODAY, YESTERDAY = NOW.date(), NOW.date() - DAY
LARGE, SMALL = "111122223333", "444455556666"
NAMES = {LARGE: "prod", SMALL: "dev"}

Costs = dict[tuple[str, str], str]
CHARGED: Costs = {
    (LARGE, "EC2"): "10.25",
    (LARGE, "Tax"): "3.5",
    (SMALL, "EC2"): "2",
    (SMALL, "Credits"): "-1.25",
}
NON_USAGE: Costs = {(LARGE, "Tax"): "3.5", (SMALL, "Credits"): "-1.25", (SMALL, "EC2"): "0"}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def read(ledger: Ledger, day: date, costs: Costs, at: datetime = NOW, *, non_usage: bool = False) -> None:
    commit = ledger.reads.commit_non_usage if non_usage else ledger.reads.commit
    # The types differ, so that one is not taken for another.
    amounts = {
        (day, *pair): Amounts(*(Decimal(usd) * factor for factor in range(1, 6)))
        for pair, usd in costs.items()
    }
    commit(CostRead(at, {day: False}, amounts))


def served(
    ledger: Ledger, now: datetime = NOW, *, account_series: int = 10_000, **settings: str
) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample of the views of cost, by its family without `aws_cost_` and its labels but the account's name."""
    view = ViewContext(
        ledger=ledger,
        now=now,
        settings=cost.CostSettings.model_validate(settings),
        names=NAMES,
        account_series=account_series,
        memory=FoldMemory(),
    )
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for each in COLLECTOR.views:
        if each.name in ("cost", "cost_day_sums", "cost_non_usage"):
            for sample in each.render(view):
                if isinstance(sample, Sample):
                    labels = dict(zip(sample.family.labels, sample.values, strict=True))
                    if "account" in labels:
                        assert labels.pop("account") == NAMES[labels["account_id"]]
                    key = tuple(labels.values())
                    series = found.setdefault(sample.family.name.removeprefix("aws_cost_"), {})
                    assert key not in series
                    series[key] = sample.value
    return found


@pytest.mark.parametrize(("cost_type", "factor"), [("unblended", 1), ("net_amortized", 5)])
@pytest.mark.parametrize("name", ["today", "yesterday"])
def test_sums_and_non_usage_charges_are_those_of_the_pairs(
    ledger: Ledger, name: str, cost_type: str, factor: int
) -> None:
    day = TODAY if name == "today" else YESTERDAY
    read(ledger, day, CHARGED)
    read(ledger, day, NON_USAGE, non_usage=True)
    found = served(ledger, cost_type=cost_type)
    assert found[f"{name}_by_service_usd"] == {
        ("EC2",): 12.25 * factor,
        ("Tax",): 3.5 * factor,
        ("Credits",): -1.25 * factor,
    }
    assert found[f"{name}_by_account_usd"] == {(LARGE,): 13.75 * factor, (SMALL,): 0.75 * factor}
    assert found[f"{name}_non_usage_usd"] == {
        (LARGE, "Tax"): 3.5 * factor,
        (SMALL, "Credits"): -1.25 * factor,
    }
    assert found["non_usage_known"] == {(name,): 1.0}
    # The other day has not been read.
    other = "yesterday" if name == "today" else "today"
    assert not [family for family in found if family.startswith(f"{other}_")]


def test_non_usage_charges_that_were_not_read_are_said_to_be_unknown(ledger: Ledger) -> None:
    read(ledger, TODAY, CHARGED)
    found = served(ledger)
    assert found["non_usage_known"] == {("today",): 0.0}
    assert "today_non_usage_usd" not in found


def test_where_fees_are_due_a_total_that_moved_may_hold_more_of_them(ledger: Ledger) -> None:
    first = datetime(2026, 5, 1, 13, tzinfo=UTC)
    read(ledger, first.date(), CHARGED, first)
    read(ledger, first.date(), NON_USAGE, first, non_usage=True)
    assert served(ledger, first)["non_usage_known"] == {("today",): 1.0}
    read(ledger, first.date(), {**CHARGED, (LARGE, "Tax"): "9"}, first + HOUR)
    assert served(ledger, first + HOUR)["non_usage_known"] == {("today",): 0.0}
    read(ledger, first.date(), {**NON_USAGE, (LARGE, "Tax"): "9"}, first + HOUR, non_usage=True)
    found = served(ledger, first + HOUR)
    assert (found["non_usage_known"], found["today_non_usage_usd"][LARGE, "Tax"]) == ({("today",): 1.0}, 9.0)


def test_what_an_account_has_no_room_for_is_folded_as_the_total_is_and_stays_in_the_sums(
    ledger: Ledger,
) -> None:
    """So that what is left of a total is the run of the same service."""
    many: Costs = {(LARGE, f"Service {number}"): str(100 - number) for number in range(12)}
    fees: Costs = {(LARGE, "Service 0"): "1", (LARGE, "Service 10"): "2", (LARGE, "Service 11"): "3"}
    read(ledger, TODAY, many)
    read(ledger, TODAY, fees, non_usage=True)
    found = served(ledger, account_series=30)
    assert (LARGE, OTHER) in found["today_usd"]
    assert found["today_non_usage_usd"] == {(LARGE, "Service 0"): 1.0, (LARGE, OTHER): 5.0}
    assert found["today_by_service_usd"] == {(service,): float(usd) for (_, service), usd in many.items()}

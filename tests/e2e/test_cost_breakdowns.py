"""Breakdowns of the month to date equal what AWS holds, key by key, from the days that were read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from running_exporter import MakeAws, ShiftedClock, collectors, in_process, organization
from waiting import wait_for

from exporter.aws.clients import Aws
from exporter.aws.meter import Meter
from exporter.aws.settings import Ceiling, CeilingSettings
from exporter.collectors import cost, cost_breakdowns
from exporter.core.moments import month_start
from exporter.core.places import Account, Target
from exporter.cube.settings import CostBreakdownsSettings
from exporter.declarations.context import Context
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.ledger.file import Ledger

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("day", [1, 17])
def test_each_key_sums_up_to_what_aws_holds_and_is_read_once_a_day(
    make_aws: MakeAws, tmp_path: Path, day: int
) -> None:
    start = datetime(2026, 5, day, 12, 30, tzinfo=UTC)
    aws = make_aws(now=start, accounts=4, services=5, groups_per_page=7)
    config = organization(
        aws={"endpoint_url": aws.url},
        collectors=collectors(
            cost={"history_months": 1},
            cost_breakdowns={"by": ["region", "charge_type", "usage_type"], "tags": ["team"]},
        ),
    )
    clock = ShiftedClock(start)
    with in_process(tmp_path, aws, config, clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
        samples = exporter.samples()
        first = month_start(start.date())
        for family, label, by in (
            ("region", "region", "region"),
            ("charge_type", "charge_type", "record_type"),
            ("usage_type", "usage_type", "usage_type"),
        ):
            truth = aws.truth.totals(
                first, start.date() + timedelta(days=1), at=start, by=("account", by), metric="UnblendedCost"
            )
            found = {
                (labels["account_id"], labels.get(label, "")): value
                for labels, value in samples[f"aws_cost_month_to_date_by_{family}_usd"]
            }
            assert {key: value for key, value in found.items() if value} == {
                key: float(value) for key, value in truth.items() if value
            }
        total = sum((Decimal(repr(value)) for _, value in samples["aws_cost_month_to_date_usd"]), Decimal(0))
        tagged = [value for _, value in samples["aws_cost_month_to_date_by_tag_usd"]]
        assert sum(tagged) == pytest.approx(float(total))
        for cost_type in ("unblended", "amortized"):
            truth = aws.truth.totals(
                first,
                start.date() + timedelta(days=1),
                at=start,
                by=("account",),
                metric={"unblended": "UnblendedCost", "amortized": "AmortizedCost"}[cost_type],
            )
            assert {
                (labels["account_id"],): value
                for labels, value in samples["aws_cost_month_to_date_by_cost_type_usd"]
                if labels["cost_type"] == cost_type and value
            } == pytest.approx({key: float(value) for key, value in truth.items() if value})

        asked = [entry for entry in aws.requests.entries() if entry.operation == "GetCostAndUsage"]
        exporter.service.runner.collect_now(exporter.collector("cost_breakdowns"))
        again = [entry for entry in aws.requests.entries() if entry.operation == "GetCostAndUsage"]
        assert len(again) == len(asked)


def test_a_month_is_first_read_at_noon_of_the_1st_and_nothing_of_it_is_served_until_then(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    early = datetime(2026, 5, 31, 2, tzinfo=UTC)
    aws = make_aws(now=early, accounts=3, services=4)
    payer = Account(aws.payer_id, "payer")
    target = Target(payer.id, payer.name, "us-east-1")
    settings = CostBreakdownsSettings(by=("region",), history_months=1)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    unlimited = CeilingSettings(cost=Ceiling(day=None, month=None))
    client = Aws(
        Meter(ledger.charges, unlimited, aws.clock.now, CollectorRegistry()),
        endpoint_url=aws.url,
        simulated=True,
    )

    def read(now: datetime) -> tuple[int, float | None, datetime]:
        """The requests made by then, what is served by region in USD, and when it is read next."""
        aws.clock.set(now)
        context: Context[Any] = Context(
            aws=client,
            ledger=ledger,
            clock=aws.clock.now,
            accounts={payer.id: payer},
            settings=settings,
            sections=Sections(cost.CostSettings()),
        )
        cost_breakdowns.collect(context, target)
        samples = list(
            cost_breakdowns.render(
                ViewContext(
                    ledger=ledger,
                    now=now,
                    settings=settings,
                    names={},
                    sections=Sections(cost.CostSettings()),
                )
            )
        )
        served = sum(sample.value for sample in samples) if samples else None
        return len(aws.requests.entries()), served, cost_breakdowns.due(context, target)

    try:
        requests, of_may, due = read(early)
        noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
        assert of_may
        assert due == noon
        for hour in (0, 11):
            assert read(noon.replace(hour=hour)) == (requests, None, noon)
        refreshed, of_june, due = read(noon)
        assert (refreshed, due) == (requests + 1, noon + timedelta(days=1))
        assert of_june is not None
        assert of_june > 0
    finally:
        client.close()
        ledger.close()


class Watch(Meter):
    """Each request finds the ledger free: others of its account, that wait for it, would wait for ever to be charged."""

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        unlimited = CeilingSettings(cost=Ceiling(day=None, month=None))
        super().__init__(ledger.charges, unlimited, clock, CollectorRegistry())
        self._ledger = ledger
        self.held: dict[str, bool] = {}
        """Whether the ledger was held when an operation was asked for."""

    def before(
        self, service: str, operation: str, params: Mapping[str, object], budget: str | None = None
    ) -> None:
        found = threading.Event()

        def read() -> None:
            with self._ledger.connection():
                found.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        self.held[operation] = not found.wait(5) or self.held.get(operation, False)
        super().before(service, operation, params, budget)


def test_no_request_is_made_while_the_ledger_is_held(make_aws: MakeAws, tmp_path: Path) -> None:
    now = datetime(2026, 5, 17, 12, 30, tzinfo=UTC)
    aws = make_aws(now=now, accounts=3, services=3)
    payer = Account(aws.payer_id, "management")
    ledger = Ledger(tmp_path / "ledger.sqlite")
    meter = Watch(ledger, aws.clock.now)
    client = Aws(meter, endpoint_url=aws.url, simulated=True)
    context: Context[Any] = Context(
        aws=client,
        ledger=ledger,
        clock=aws.clock.now,
        accounts={payer.id: payer},
        settings=CostBreakdownsSettings(
            by=("region",), tags=("team",), cost_categories=("CostCenter",), history_months=1
        ),
        sections=Sections(cost.CostSettings()),
    )
    try:
        cost_breakdowns.collect(context, Target(payer.id, payer.name, "us-east-1"))
    finally:
        client.close()
        ledger.close()
    looks = (
        "ListCostAllocationTagBackfillHistory",
        "ListCostCategoryDefinitions",
        "DescribeCostCategoryDefinition",
    )
    assert meter.held == dict.fromkeys((*looks, "GetCostAndUsage"), False)


def test_values_beyond_the_limit_are_other_and_the_total_stays(make_aws: MakeAws, tmp_path: Path) -> None:
    start = datetime(2026, 5, 17, 12, 30, tzinfo=UTC)
    aws = make_aws(now=start, accounts=3, services=5)
    config = organization(
        aws={"endpoint_url": aws.url},
        collectors=collectors(
            cost={"history_months": 1}, cost_breakdowns={"by": ["usage_type"], "values": 3}
        ),
    )
    with in_process(tmp_path, aws, config, ShiftedClock(start)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        samples = exporter.samples()
        by_account: dict[str, list[tuple[str, float]]] = {}
        for labels, value in samples["aws_cost_month_to_date_by_usage_type_usd"]:
            by_account.setdefault(labels["account_id"], []).append((labels["usage_type"], value))
        totals: dict[str, float] = {}
        for labels, value in samples["aws_cost_month_to_date_usd"]:
            totals[labels["account_id"]] = totals.get(labels["account_id"], 0) + value
        assert {account: sum(value for _, value in rows) for account, rows in by_account.items()} == (
            pytest.approx({account: value for account, value in totals.items() if account in by_account})
        )
        assert max(len(rows) for rows in by_account.values()) == 3
        assert "other" in {name for rows in by_account.values() for name, _ in rows}


@given(st.text(min_size=1), st.text())
@example("cost$center", "x")
@example("cost$center", "$x$")
@example("a", "a$b")
@example("$", "")
def test_a_value_is_what_follows_the_key_that_was_asked_for(key: str, value: str) -> None:
    settings = CostBreakdownsSettings(by=(), tags=(key,), cost_categories=(key,))
    assert [each.value(f"{key}${value}") for each in settings.dimensions()] == [value, value]


def test_a_tag_whose_key_holds_a_dollar_sign_is_read_and_sums_past_64_bits_are_right(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    """Two services of $800 million a day in each of two accounts: no row is more than 64 bits hold, but all sums are."""
    start = datetime(2026, 5, 3, 12, 30, tzinfo=UTC)
    aws = make_aws(now=start, accounts=3, services=3)
    spending = [account.id for account in aws.accounts[:2]]
    first = datetime(2026, 5, 2, tzinfo=UTC).date()
    for account_id in spending:
        for name in ("Big One", "Big Other"):
            aws.inject_service(account_id, name, Decimal("800000000.01"), since=first)
    config = organization(
        aws={"endpoint_url": aws.url},
        collectors=collectors(
            cost={"history_months": 1}, cost_breakdowns={"by": [], "tags": ["cost$center"]}
        ),
    )

    def truth(since: date, until: date, *by: str, metric: str = "UnblendedCost") -> dict[Any, float]:
        totals = aws.truth.totals(since, until, at=start, by=by, metric=metric)
        return {key: float(usd) for key, usd in totals.items() if usd}

    with in_process(tmp_path, aws, config, ShiftedClock(start)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        wait_for("all of it is read", lambda: exporter.value("aws_spend_exporter_ledger_missing_dates") == 0)
        samples = exporter.samples()
        month, tomorrow = start.date().replace(day=1), start.date() + timedelta(days=1)
        for family, since, until in (
            ("aws_cost_month_to_date_usd", month, tomorrow),
            ("aws_cost_yesterday_usd", first, start.date()),
        ):
            served = {
                (labels["account_id"], labels["service"]): value for labels, value in samples[family] if value
            }
            assert served == pytest.approx(truth(since, until, "account", "service"), rel=1e-12), family
        assert min(truth(month, tomorrow, "account")[account_id,] for account_id in spending) > 2**63 / 1e10
        assert {
            (labels["account_id"], labels.get("tag_value", "")): value
            for labels, value in samples["aws_cost_month_to_date_by_tag_usd"]
            if labels["tag_key"] == "cost$center" and value
        } == pytest.approx(
            {(account, ""): usd for (account,), usd in truth(month, tomorrow, "account").items()}, rel=1e-12
        )
        days = exporter.get("/api/v1/costs?by=day&start=2026-05-01&end=2026-05-03").json()
        assert {row["day"]: float(row["usd"]) for row in days["rows"]} == pytest.approx(
            {day: usd for (day,), usd in truth(month, tomorrow, "day").items()}, rel=1e-12
        )
        # A scan, which has whole accounts in one amount, agrees with what is held.
        assert exporter.service.runner.collect_now(exporter.collector("cost")) == 0
        assert exporter.failures("cost") == {}

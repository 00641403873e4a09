"""The same services are named in every cost family, and what is not is summed up to the cent."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.accounts.threshold_settings import ThresholdSettings
from exporter.collection.metrics import RunnerMetrics
from exporter.collection.store import Store
from exporter.collection.views import Views
from exporter.collectors.cost import COLLECTOR
from exporter.config.model import Config
from exporter.core.amounts import Amounts
from exporter.core.folding import OTHER, FoldMemory
from exporter.core.metric import Sample
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.ledger import named_services
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

NOW = datetime(2026, 5, 20, 13, tzinfo=UTC)
DAY = timedelta(days=1)
LARGE, SMALL = "111122223333", "444455556666"
BY_SERVICE = {
    "aws_cost_today_usd",
    "aws_cost_yesterday_usd",
    "aws_cost_day_before_yesterday_usd",
    "aws_cost_assessed_day_usd",
    "aws_cost_month_to_date_usd",
    "aws_cost_last_month_usd",
    "aws_cost_month_projection_usd",
    "aws_cost_expected_usd",
    "aws_cost_assessed_usage_usd",
}
SCORE = "aws_cost_deviation_score"


def service(number: int) -> str:
    return f"Service {number:02}"


def daily_usd(number: int) -> float:
    """Service 0 is the most expensive; the tail is cents."""
    return round(400 / (number + 1) ** 2, 2)


def fill(ledger: Ledger, extra: Mapping[str, float] | None = None, now: datetime = NOW) -> None:
    """Ninety days: twenty services in the large account and four in the small one; `extra` is of the last five days."""
    days = [now.date() - number * DAY for number in range(95)]

    def amounts(usd: float) -> Amounts:
        value = Decimal(repr(round(usd, 4)))
        return Amounts(value, value, value, value, value)

    costs = {
        (day, account, service(number)): amounts(
            daily_usd(number) * (1 + 0.01 * (day.toordinal() % 7))
            + ((extra or {}).get(service(number), 0.0) if day > now.date() - 5 * DAY else 0.0)
        )
        for day in days
        for account, count in ((LARGE, 20), (SMALL, 4))
        for number in range(count)
    }
    with ledger.transaction():
        ledger.reads.commit(CostRead(now, dict.fromkeys(days, False), costs))
        ledger.reads.commit_non_usage(CostRead(now, dict.fromkeys(days, False), {}))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


Shown = dict[str, dict[tuple[str, str], float]]


def shown(ledger: Ledger, series: int, memory: FoldMemory | None = None, **thresholds: Any) -> Shown:
    """Every family by account and service, where an account has so many series for it."""
    context: ViewContext[Any] = ViewContext(
        ledger=ledger,
        now=NOW,
        settings=COLLECTOR.settings(),
        names={},
        sections=Sections(ThresholdSettings.model_validate(thresholds)),
        account_series=series,
        memory=memory or FoldMemory(),
    )
    found: Shown = defaultdict(dict)
    for view in COLLECTOR.views:
        for sample in view.render(context):
            if isinstance(sample, Sample) and sample.family.labels == ("account_id", "account", "service"):
                key = sample.values[0], sample.values[2]
                assert key not in found[sample.family.name]
                found[sample.family.name][key] = sample.value
    return found


def by_account(values: Mapping[tuple[str, str], float]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for (account, _), value in values.items():
        sums[account] += value
    return {account: pytest.approx(value, abs=0.001) for account, value in sums.items()}


def named(values: Mapping[tuple[str, str], float], account: str = LARGE) -> set[str]:
    return {service for owner, service in values if owner == account}


def test_the_most_expensive_are_named_in_every_family_and_sums_are_conserved(ledger: Ledger) -> None:
    fill(ledger)
    whole, bounded = shown(ledger, 10_000), shown(ledger, 80)
    assert whole.keys() >= BY_SERVICE
    for family in BY_SERVICE:
        assert named(whole[family]) == {service(number) for number in range(20)}
        assert named(bounded[family]) == {*(service(number) for number in range(7)), OTHER}, family
        assert by_account(bounded[family]) == by_account(whole[family]), family
        # An account with few services is left alone.
        assert named(bounded[family], SMALL) == {service(number) for number in range(4)}
    assert named(bounded[SCORE]) == {service(number) for number in range(7)}
    large = sum(account == LARGE for family in bounded.values() for account, _ in family)
    assert large <= 80
    assert "aws_cost_first_seen_timestamp_seconds" not in bounded


def test_a_service_with_a_threshold_of_its_own_stays_named(ledger: Ledger) -> None:
    fill(ledger)
    found = shown(
        ledger,
        80,
        services={"overrides": {service(18): {"day": 5}}},
        account_services={"overrides": {"prod": {"Service 1[57]": {"day": 5}}}},
    )
    for family in BY_SERVICE:
        kept = {*(service(number) for number in (0, 1, 2, 3)), service(15), service(17), service(18), OTHER}
        assert named(found[family]) == kept


def test_a_service_of_a_finding_stays_named(ledger: Ledger) -> None:
    fill(ledger, {service(19): 60.0})
    found = shown(ledger, 80)
    for family in BY_SERVICE:
        assert service(19) in named(found[family])
        assert len(named(found[family])) <= 8


def test_services_stay_named_while_costs_move_a_little(ledger: Ledger) -> None:
    memory = FoldMemory()
    fill(ledger)
    before = shown(ledger, 80, memory)["aws_cost_last_month_usd"]
    # Service 7 passes service 6 by a little, and by less than a finding takes.
    fill(ledger, {service(7): 24.0})
    after = shown(ledger, 80, memory)["aws_cost_last_month_usd"]
    assert named(before) == named(after)
    # Without the memory of before they would have been others.
    assert named(shown(ledger, 80)["aws_cost_last_month_usd"]) != named(before)


def test_a_start_names_what_the_last_process_has_named_and_the_next_rendering_finds_it_again(
    ledger: Ledger,
) -> None:
    """Finding them reads two months and assesses every series: cost is not to wait for that."""
    fill(ledger)
    config = Config.model_validate({"series": {"per_account": 100}, "collectors": {"cost": {}}})

    def views() -> tuple[Views, Store]:
        store = Store(lambda: NOW)
        errors = RunnerMetrics(CollectorRegistry()).errors
        made = Views(
            config, (COLLECTOR,), ledger, store, errors, lambda: NOW, threading.Event(),
            lambda: None, lambda name, call, at: None,
        )  # fmt: skip
        return made, store

    def served(store: Store) -> set[str]:
        return {
            sample.values[2]
            for sample in store.samples({"aws_cost_last_month_usd"})
            if sample.values[0] == LARGE
        }

    assert named_services.remembered(ledger) is None
    first, store = views()
    first.render()
    found = served(store)
    assert OTHER in found
    assert named_services.remembered(ledger) == {LARGE: found - {OTHER}}

    odd = {LARGE: frozenset({service(18), service(19)})}
    named_services.remember(ledger, odd)
    second, store = views()
    second.render()
    assert served(store) == {service(18), service(19), OTHER}
    assert named_services.remembered(ledger) == odd
    second.render()
    assert served(store) - {OTHER} == named_services.remembered(ledger)[LARGE] != odd[LARGE]

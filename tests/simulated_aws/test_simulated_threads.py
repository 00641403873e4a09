"""Many threads that ask for the same at once get the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from simulated_calls import NOW, Client

from simulated_aws import ExplicitCost, OrganizationSpec, SimulatedAws
from simulated_aws.cost_truth import Charges, ExplicitCosts
from simulated_aws.generated_costs import GeneratedCosts
from simulated_aws.organization import Organization

_THREADS = 4
_MONTH_STARTS = [date(2025, month, 1) for month in range(1, 13)]


def test_the_fees_of_a_day_are_whole_for_whoever_asks_for_them_first(eager_switches: None) -> None:
    spec = OrganizationSpec(seed=7, accounts=25, services=2, now=NOW)
    organization = Organization(spec, NOW)

    def told(costs: GeneratedCosts) -> list[list[str]]:
        return [[repr(row) for row in costs.charges(day, NOW)] for day in _MONTH_STARTS]

    expected = told(GeneratedCosts(spec, organization))
    for _ in range(4):
        costs, together = GeneratedCosts(spec, organization), threading.Barrier(_THREADS)

        def ask(_: int, costs: GeneratedCosts = costs, together: threading.Barrier = together) -> Any:
            together.wait(60)
            return told(costs)

        with ThreadPoolExecutor(_THREADS) as threads:
            assert list(threads.map(ask, range(_THREADS))) == [expected] * _THREADS


def test_an_answer_that_new_costs_overtake_is_not_kept_as_theirs(aws: SimulatedAws, client: Client) -> None:
    day = date(2026, 3, 10)

    def rows(usd: int) -> list[ExplicitCost]:
        return [ExplicitCost(day, aws.payer_id, "Amazon EC2", {"UnblendedCost": Decimal(usd)})]

    class Overtaken(ExplicitCosts):
        def charges(self, day: date, at: datetime) -> Charges:
            found = super().charges(day, at)
            aws.set_costs(rows(2))
            return found

    def ask() -> str:
        answer = client("ce").get_cost_and_usage(
            TimePeriod={"Start": "2026-03-10", "End": "2026-03-11"},
            Granularity="DAILY",
            Metrics=["UnblendedCost"],
        )
        return str(answer["ResultsByTime"][0]["Total"]["UnblendedCost"]["Amount"])

    aws.cost_explorer.use(Overtaken(rows(1)))
    assert [ask(), ask()] == ["1", "2"]

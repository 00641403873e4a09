"""Hours and resources: their parts add up, and Cost Explorer's hours are those of the truth."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_calls import BY_ACCOUNT, BY_SERVICE, Client, error_code

from simulated_aws import METRICS, OrganizationSpec, SimulatedAws
from simulated_aws.charges import CostKey
from simulated_aws.cost_split import shares_of, split

NOW = datetime(2026, 3, 1, 5, 40, tzinfo=UTC)  # the hours reach into the month before


@pytest.fixture(scope="module")
def shared_aws() -> Iterator[SimulatedAws]:
    """An organisation that pays for hours."""
    spec = OrganizationSpec(seed=3, accounts=4, services=8, now=NOW, days=40, groups_per_page=50)
    with SimulatedAws(spec) as aws:
        aws.cost_explorer.settings.hourly = True
        yield aws


@pytest.fixture
def aws(shared_aws: SimulatedAws) -> SimulatedAws:
    """The organisation of the module, which no test changes."""
    return shared_aws


_TEXT = st.sampled_from(["BoxUsage:m6i.large", "Requests", "RDS:GP3-Storage", "TimedStorage-ByteHrs"])
_KEYS = st.builds(
    CostKey,
    account_id=st.sampled_from(["111111111111", "022222222222"]),
    service=st.sampled_from(["AWS Lambda", "Amazon Athena"]),
    record_type=st.sampled_from(["Usage", "Tax", "SavingsPlanNegation", "SavingsPlanRecurringFee"]),
    region=st.sampled_from(["us-east-1", "global"]),
    usage_type=_TEXT,
)
_UNITS = st.integers(-(10**16), 10**16)


@pytest.mark.clockless
@given(st.lists(st.tuples(_KEYS, st.tuples(_UNITS, _UNITS)), min_size=1, max_size=6), st.integers(1, 24))
def test_the_parts_of_a_charge_add_up_to_it(
    charges: list[tuple[CostKey, tuple[int, int]]], hours: int
) -> None:
    """In every amount, to the unit; an hour is the sum of its resources; no part is of an hour to come."""
    keys, rows = [key for key, _ in charges], [list(amounts) for _, amounts in charges]
    for hourly in (True, False):
        for resources in (True, False):
            sums = np.zeros((len(keys), 2), dtype=np.int64)
            for parts in split(keys, rows, hours, hourly=hourly, resources=resources):
                np.add.at(sums, parts.charge, parts.amounts)
                assert parts.hour.max(initial=0) < hours
                assert all(
                    resource < len(shares_of(keys[charge]).resources)
                    for charge, resource in zip(parts.charge, parts.resource, strict=True)
                )
            assert sums.tolist() == rows


@pytest.mark.clockless
@given(_KEYS, _UNITS)
def test_what_is_taken_back_is_split_as_what_was_charged(key: CostKey, units: int) -> None:
    (charged,) = split([key], [[units]], 24, hourly=True, resources=True)
    (taken,) = split([key], [[-units]], 24, hourly=True, resources=True)
    assert taken.amounts.tolist() == (-charged.amounts).tolist()


def _hours(client: Any, start: str, end: str, **query: Any) -> dict[tuple[str, ...], Decimal]:
    found: dict[tuple[str, ...], Decimal] = {}
    params = {"TimePeriod": {"Start": start, "End": end}, "Granularity": "HOURLY", **query}
    while True:
        page = client.get_cost_and_usage(**params)
        for line in page["ResultsByTime"]:
            for group in line["Groups"]:
                (metric,) = group["Metrics"].values()
                found[line["TimePeriod"]["Start"], *group["Keys"]] = Decimal(metric["Amount"])
        if "NextPageToken" not in page:
            return found
        params["NextPageToken"] = page["NextPageToken"]


@pytest.mark.parametrize("metric", METRICS)
def test_cost_explorer_reports_the_true_hours(aws: SimulatedAws, client: Client, metric: str) -> None:
    found = _hours(
        client("ce"),
        "2026-02-26T05:00:00Z",
        "2026-03-01T08:00:00Z",
        Metrics=[metric],
        GroupBy=[BY_ACCOUNT, BY_SERVICE],
    )
    expected = {
        keys: amount
        for keys, amount in aws.truth.totals(
            date(2026, 2, 26), date(2026, 3, 2), by=("hour", "account", "service"), metric=metric
        ).items()
        if keys[0] >= "2026-02-26T05:00:00Z"
    }
    assert len(expected) > 1000
    assert found == expected
    assert max(hour for hour, *_ in found) == "2026-03-01T04:00:00Z"  # the last whole hour


def test_the_hours_of_a_day_add_up_to_it(aws: SimulatedAws, client: Client) -> None:
    start, end = date(2026, 2, 27), date(2026, 2, 28)
    found = _hours(
        client("ce"),
        f"{start}T00:00:00Z",
        f"{end}T00:00:00Z",
        Metrics=["AmortizedCost"],
        GroupBy=[BY_SERVICE],
    )
    by_service: dict[tuple[str, ...], Decimal] = {}
    for (_, service), amount in found.items():
        by_service[(service,)] = by_service.get((service,), Decimal(0)) + amount
    assert by_service == {
        keys: amount
        for keys, amount in aws.truth.totals(start, end, by=("service",), metric="AmortizedCost").items()
        if amount
    }


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-02-28", "2026-03-01"),
        ("2026-02-28T00:30:00Z", "2026-03-01T00:00:00Z"),
        ("2026-02-28T02:00:00Z", "2026-02-28T02:00:00Z"),
        ("2026-02-15T05:00:00Z", "2026-02-16T00:00:00Z"),
        ("2026-03-01T06:00:00Z", "2026-03-01T07:00:00Z"),
    ],
    ids=["days", "half an hour", "nothing", "15 days ago", "to come"],
)
def test_hours_that_cost_explorer_does_not_have(client: Client, start: str, end: str) -> None:
    code = error_code(
        client("ce").get_cost_and_usage,
        TimePeriod={"Start": start, "End": end},
        Granularity="HOURLY",
        Metrics=["UnblendedCost"],
    )
    assert code == "ValidationException"


def test_resources_add_up_to_the_account(aws: SimulatedAws) -> None:
    """A good part has no resource id: taxes, fees and what AWS has none for."""
    start, end = date(2026, 2, 1), date(2026, 3, 1)
    found = aws.truth.totals(start, end, by=("account", "resource"))
    sums: dict[tuple[str, ...], Decimal] = {}
    for (account, _), amount in found.items():
        sums[(account,)] = sums.get((account,), Decimal(0)) + amount
    assert sums == aws.truth.totals(start, end, by=("account",))
    without = sum(amount for (_, resource), amount in found.items() if not resource)
    assert Decimal("0.3") < without / sum(sums.values()) < Decimal("0.6")


def test_totals_refuse_what_they_do_not_know(aws: SimulatedAws) -> None:
    with pytest.raises(ValueError, match="colour"):
        aws.truth.totals(NOW.date() - timedelta(days=2), NOW.date(), by=("colour:red",))
    with pytest.raises(ValueError, match="ListCost"):
        aws.truth.totals(NOW.date() - timedelta(days=2), NOW.date(), metric="Price")

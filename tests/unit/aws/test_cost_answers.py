"""What Cost Explorer may answer over several pages, and what is refused rather than added up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from recording_endpoint import RecordingEndpoint, Request

from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import Aws
from exporter.aws.cost_explorer import METRICS, DailyCosts, daily_costs
from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import Meter
from exporter.aws.settings import CeilingSettings
from exporter.core.moments import utc_now

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)
Page = Mapping[str, Any]


def group(service: str, amount: str, unit: str = "USD") -> Page:
    metrics = {name: {"Amount": amount, "Unit": unit} for name in METRICS.values()}
    return {"Keys": ["111111111111", service], "Metrics": metrics}


def page(*groups: Page, day: date = DAY, estimated: bool = False) -> Page:
    period = {"Start": day.isoformat(), "End": NEXT.isoformat()}
    return {"ResultsByTime": [{"TimePeriod": period, "Estimated": estimated, "Groups": list(groups)}]}


@pytest.fixture
def cost_explorer(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingEndpoint]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    endpoint = RecordingEndpoint()
    yield endpoint
    endpoint.close()


def asked(endpoint: RecordingEndpoint, *pages: Page) -> DailyCosts:
    def answer(request: Request) -> tuple[int, str]:
        number = int(json.loads(request.body).get("NextPageToken", "0"))
        following = {"NextPageToken": str(number + 1)} if number + 1 < len(pages) else {}
        return 200, json.dumps({**pages[number], **following})

    endpoint.answer = answer
    meter = Meter(MemoryCharges(), CeilingSettings(), utc_now, CollectorRegistry())
    aws = Aws(meter, endpoint_url=endpoint.url, simulated=True)
    try:
        return daily_costs(aws, None, DAY, NEXT, ("LINKED_ACCOUNT", "SERVICE"))
    finally:
        aws.close()


@pytest.mark.parametrize("flags", [(True, False), (False, True)])
def test_a_day_is_estimated_if_any_of_its_pages_says_so(
    cost_explorer: RecordingEndpoint, flags: tuple[bool, bool]
) -> None:
    first, second = flags
    costs = asked(
        cost_explorer, page(group("a", "1.1"), estimated=first), page(group("b", "-0.4"), estimated=second)
    )
    assert costs.estimated == {DAY: True}
    assert {key[2]: amounts.unblended for key, amounts in costs.amounts.items()} == {
        "a": Decimal("1.1"),
        "b": Decimal("-0.4"),
    }
    assert len(cost_explorer.requests) == 2


def test_a_key_that_comes_twice_is_neither_added_up_nor_overwritten(cost_explorer: RecordingEndpoint) -> None:
    with pytest.raises(AwsError, match="came twice") as caught:
        asked(cost_explorer, page(group("a", "1")), page(group("b", "1"), group("a", "2")))
    assert caught.value.kind == Kind.MALFORMED_RESPONSE


@pytest.mark.parametrize("amount", ["3", "-3", "0.0000000001"])
def test_another_currency_is_refused_also_where_it_is_a_credit(
    cost_explorer: RecordingEndpoint, amount: str
) -> None:
    with pytest.raises(AwsError, match="'EUR', expected USD") as caught:
        asked(cost_explorer, page(group("a", "1"), group("b", amount, "EUR")))
    assert caught.value.kind == Kind.CURRENCY


def test_an_amount_of_nothing_may_have_no_unit(cost_explorer: RecordingEndpoint) -> None:
    assert asked(cost_explorer, page(group("a", "0", "N/A"))).amounts[DAY, "111111111111", "a"].unblended == 0

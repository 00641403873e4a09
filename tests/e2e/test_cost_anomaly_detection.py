"""AWS's own anomalies as they are served: what AWS says, asked once a day and never twice for a restart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from running_exporter import InProcess, MakeAws, ShiftedClock, collectors, in_process, organization
from waiting import wait_for

from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import Aws
from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import Meter
from exporter.aws.settings import CeilingSettings
from exporter.collectors.cost_anomaly_detection import (
    CostAnomalyDetectionSettings,
    attribute,
    collect,
    read_page,
)
from exporter.core.places import Target
from exporter.declarations.context import Context
from exporter.ledger.file import Ledger
from simulated_aws import SimulatedAws
from simulated_aws.anomaly_detection import RootCause, SimulatedAnomaly

pytestmark = pytest.mark.stack

NOW = datetime(2026, 5, 20, 9, 30, tzinfo=UTC)
TODAY = NOW.date()
DAY = timedelta(days=1)
IMPACT, FINDINGS = "aws_cost_anomaly_detection_impact_usd", "aws_cost_anomaly_detection_findings"


@contextmanager
def running(
    folder: Path,
    aws: SimulatedAws,
    clock: ShiftedClock,
    ceilings: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[InProcess]:
    aws.clock.set(clock())
    config = organization(
        aws={"endpoint_url": aws.url},
        collectors=collectors(cost_anomaly_detection=settings),
        ceilings=ceilings or {},
    )
    with in_process(folder, aws, config, clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
        yield exporter


def served(exporter: InProcess) -> dict[tuple[str, ...], float]:
    """Impact by account id, account, service and monitor."""
    return {
        tuple(labels.get(name, "") for name in ("account_id", "account", "service", "monitor")): value
        for labels, value in exporter.samples().get(IMPACT, [])
    }


def test_impact_is_by_account_service_and_monitor_of_what_is_open(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=4, now=NOW)
    prod, dev = aws.accounts[1], aws.accounts[2]
    first, week = TODAY - 3 * DAY, TODAY - 7 * DAY
    aws.anomaly_detection.drawn = [
        SimulatedAnomaly("one", first, TODAY - DAY, 120.25, (RootCause(prod.id, "AWS Lambda"),)),
        SimulatedAnomaly("same", first, TODAY, 0.75, (RootCause(prod.id, "AWS Lambda", 0.7),)),
        SimulatedAnomaly(
            "split", first, week, 100.0,
            (RootCause(prod.id, "Tax", 60.1), RootCause(dev.id, "Tax", 20.2)), "accounts",
        ),
        SimulatedAnomaly("goes on", first, None, 5.5, (RootCause(prod.id, "a"), RootCause(prod.id, "b"))),
        SimulatedAnomaly("no cause", first, TODAY, 3.5),
        SimulatedAnomaly("older", first, week - DAY, 999.0, (RootCause(prod.id, "AWS Lambda"),)),
        SimulatedAnomaly("denied", first, TODAY, 999.0, (RootCause(prod.id, "x"),), feedback="NO"),
        SimulatedAnomaly("planned", first, TODAY, 9.0, (RootCause(prod.id, "x"),), feedback="PLANNED_ACTIVITY"),
        SimulatedAnomaly("right", first, TODAY, 9.0, (RootCause(dev.id, "x"),), feedback="YES"),
    ]  # fmt: skip
    clock = ShiftedClock(NOW)
    with running(tmp_path, aws, clock) as exporter:
        assert served(exporter) == {
            (prod.id, prod.name, "AWS Lambda", "services"): 121.0,
            (prod.id, prod.name, "Tax", "accounts"): 60.1,
            (dev.id, dev.name, "Tax", "accounts"): 20.2,
            ("", "", "Tax", "accounts"): 19.7,
            (prod.id, prod.name, "", "services"): 5.5,
            ("", "", "", "services"): 3.5,
            (dev.id, dev.name, "x", "services"): 9.0,
        }
        assert exporter.value(FINDINGS) == 6
        (request,) = aws.requests.entries(operation="GetAnomalies")
        assert (request.region, request.params) == (
            "us-east-1",
            {"DateInterval": {"StartDate": "2026-05-13", "EndDate": "2026-05-20"}, "MaxResults": 100},
        )

        # What ended before the days that are wanted leaves by itself.
        clock.advance(DAY)
        exporter.service.runner.views.render()
        assert not [labels for labels in served(exporter) if labels[3] == "accounts"]
        assert exporter.value(FINDINGS) == 5


def test_a_restart_within_the_interval_serves_the_same_and_pays_nothing(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(accounts=3, now=NOW)
    prod = aws.accounts[1]
    aws.anomaly_detection.drawn = [
        SimulatedAnomaly("one", TODAY, TODAY, 7.5, (RootCause(prod.id, "AWS Lambda"),))
    ]
    clock = ShiftedClock(NOW)
    with running(tmp_path, aws, clock) as exporter:
        before = served(exporter)
        assert list(before.values()) == [7.5]
        remaining = exporter.value(
            "aws_spend_exporter_request_ceiling_remaining_usd", period="day", ceiling="cost"
        )
        assert remaining == pytest.approx(0.99)

    clock.advance(timedelta(hours=10))
    aws.anomaly_detection.drawn = []
    with running(tmp_path, aws, clock) as exporter:
        assert served(exporter) == before
        assert aws.requests.count("ce") == 1

    clock.advance(timedelta(hours=15))
    with running(tmp_path, aws, clock) as exporter:
        assert aws.requests.count("ce") == 2
        assert (served(exporter), exporter.value(FINDINGS)) == ({}, 0)

    with running(tmp_path, aws, clock, days=30) as exporter:
        assert aws.requests.count("ce") == 3  # more days than were asked for
    with running(tmp_path, aws, clock, days=3) as exporter:
        assert aws.requests.count("ce") == 3


def test_every_page_is_read_and_paid_under_the_ceiling(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=3, now=NOW)
    prod = aws.accounts[1]
    aws.anomaly_detection.drawn = [
        SimulatedAnomaly(str(number), TODAY, TODAY, 1.5, (RootCause(prod.id, f"service {number % 40}"),))
        for number in range(250)
    ]
    clock = ShiftedClock(NOW)
    tight = {"cost": {"day": 0.02, "month": 10}}
    with running(tmp_path, aws, clock, tight) as exporter:
        assert exporter.failures("cost_anomaly_detection") == {aws.accounts[0].name: {"ceiling_reached"}}
        assert (served(exporter), exporter.value(FINDINGS)) == ({}, None)
        assert aws.requests.count("ce") == 2

    with running(tmp_path, aws, clock, series_limit=10) as exporter:
        assert aws.requests.count("ce") == 5
        assert exporter.failures("cost_anomaly_detection") == {}
        assert exporter.value(FINDINGS) == 250
        found = served(exporter)
        assert len(found) == 10
        assert sum(found.values()) == 375
        assert ("other", "other", "other", "services") in found


def test_a_denied_request_is_shown_and_nothing_is_served(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=2, now=NOW)
    aws.faults.add("access_denied", operation="GetAnomalies")
    with running(tmp_path, aws, ShiftedClock(NOW)) as exporter:
        assert exporter.failures("cost_anomaly_detection") == {aws.accounts[0].name: {"access_denied"}}
        assert (served(exporter), exporter.value(FINDINGS)) == ({}, None)


def test_a_spike_that_is_injected_is_found(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=3, now=NOW)
    prod = aws.accounts[1]
    service = aws.truth.totals(
        TODAY - DAY, TODAY, by=("service",), where=lambda key: key.account_id == prod.id
    )
    (name,) = max(service, key=lambda key: service[key])
    usual = aws.truth.totals(TODAY - DAY, TODAY)[prod.id, name]
    aws.inject_spike(prod.id, name, 3, since=TODAY - DAY, days=1)
    with running(tmp_path, aws, ShiftedClock(NOW)) as exporter:
        ((labels, usd),) = served(exporter).items()
        assert labels == (prod.id, prod.name, name, "services")
        assert usd == pytest.approx(float(2 * usual), abs=0.01)


def test_where_the_bill_is_not_in_dollars_nothing_is_asked(tmp_path: Path) -> None:
    """The answer names no currency. The simulated organisation is of the commercial partition."""
    meter = Meter(MemoryCharges(), CeilingSettings(), lambda: NOW, CollectorRegistry())
    aws = Aws(meter, endpoint_url="http://127.0.0.1:9", simulated=True)
    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger, closing(aws):
        context: Context[Any] = Context(
            aws=aws, ledger=ledger, clock=lambda: NOW, accounts={}, settings=CostAnomalyDetectionSettings()
        )
        with pytest.raises(AwsError) as caught:
            collect(context, Target("111122223333", "payer", "cn-north-1", "aws-cn"))
    assert caught.value.kind is Kind.CURRENCY


# Reading


def anomaly(**changes: Any) -> dict[str, Any]:
    return {
        "AnomalyId": "a",
        "AnomalyEndDate": "2026-05-20T00:00:00Z",
        "Impact": {"MaxImpact": 1.0, "TotalImpact": 1.0},
        "MonitorArn": "arn:aws:ce::111122223333:anomalymonitor/m",
        **changes,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"Impact": {"MaxImpact": 1.0}},
        {"Impact": {"TotalImpact": float("nan")}},
        {"AnomalyEndDate": "yesterday"},
        {"MonitorArn": None},
        {"RootCauses": [{"Impact": {}}]},
        {"RootCauses": [None]},
    ],
)
def test_what_is_no_anomaly_in_numbers_is_an_error(changes: dict[str, Any]) -> None:
    assert len(read_page({"Anomalies": [anomaly()]}, TODAY)) == 1
    with pytest.raises(AwsError) as caught:
        read_page({"Anomalies": [anomaly(), anomaly(**changes)]}, TODAY)
    assert caught.value.kind is Kind.MALFORMED_RESPONSE


_USD = st.decimals(min_value=-1000, max_value=10**6, places=4)
_KEY = st.tuples(st.sampled_from(["", "1", "2"]), st.sampled_from(["", "a", "b"]))


@given(total=_USD, causes=st.lists(st.tuples(_KEY, st.none() | _USD), max_size=6))
def test_what_is_attributed_adds_up_to_the_whole(
    total: Decimal, causes: list[tuple[tuple[str, str], Decimal | None]]
) -> None:
    found = attribute(total, causes)
    assert sum(found.values()) == total
    named = {key for key, _ in causes}
    if len(named) == 1:
        assert found == dict.fromkeys(named, total)
    # Nobody is charged with what AWS did not say of it.
    accounts, services = {account for account, _ in named}, {service for _, service in named}
    for account, service in found.keys() - named:
        assert not account or accounts == {account}
        assert not service or services == {service}

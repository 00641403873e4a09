"""Cost Explorer's forecast: asked for as its API wants it, once a day, and never shown for another month."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from exporter.aws.clients import Aws
from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import Meter
from exporter.aws.settings import Ceiling, CeilingSettings
from exporter.collection.result import CollectionResult
from exporter.collection.store import Key, Store
from exporter.collectors import cost, forecast
from exporter.collectors.forecast import COLLECTOR, FORECAST, LOWER, UPPER, ForecastSettings, due, read_answer
from exporter.core.moments import month_start
from exporter.core.places import Account, Target
from exporter.cost.forecasts import Interval, MonthForecast, add_forecast, newest_forecast
from exporter.declarations.context import Context
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.ledger.file import Ledger
from simulated_aws import LoggedRequest, OrganizationSpec, SimulatedAws

NOW = datetime(2026, 3, 17, 14, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
UNLIMITED = CeilingSettings(cost=Ceiling(day=None, month=None), first_fill=None)
(VIEW,) = COLLECTOR.views


class Exporter:
    """The two collectors of cost, on one ledger file that outlives a restart."""

    def __init__(self, simulator: SimulatedAws, path: Path) -> None:
        self.simulator = simulator
        self.path = path
        self.cost_settings = cost.CostSettings(history_months=1)
        self.settings = ForecastSettings()
        self.committed = 0
        self._open()

    def _open(self) -> None:
        self.ledger = Ledger(self.path)
        meter = Meter(self.ledger.charges, UNLIMITED, self.simulator.clock.now, CollectorRegistry())
        self.aws = Aws(meter, endpoint_url=self.simulator.url, simulated=True)

    def close(self) -> None:
        self.ledger.close()
        self.aws.close()

    def restart(self) -> None:
        self.close()
        self._open()

    def context(self, settings: Any) -> Context[Any]:
        def count() -> None:
            self.committed += 1

        payer = Account(self.simulator.payer_id, "payer")
        return Context(
            aws=self.aws,
            ledger=self.ledger,
            clock=self.simulator.clock.now,
            accounts={payer.id: payer},
            settings=settings,
            committed=count,
            sections=Sections(self.cost_settings),
        )

    def target(self) -> Target:
        return Target(self.simulator.payer_id, "payer", "us-east-1")

    def read_cost(self) -> None:
        cost.collect(self.context(self.cost_settings), self.target())

    def ask(self) -> None:
        assert list(COLLECTOR.collect(self.context(self.settings), self.target())) == []

    def shown(self) -> dict[str, float]:
        view = ViewContext(
            ledger=self.ledger,
            now=self.simulator.clock.now(),
            settings=self.settings,
            names={},
            sections=Sections(self.cost_settings),
        )
        return {sample.family.name: sample.value for sample in VIEW.render(view)}

    def requests(self) -> list[LoggedRequest]:
        return self.simulator.requests.entries(operation="GetCostForecast")


@pytest.fixture(scope="module")
def shared() -> Iterator[SimulatedAws]:
    spec = OrganizationSpec(seed=31, accounts=3, services=4, days=150, now=NOW)
    with SimulatedAws(spec) as simulator, pytest.MonkeyPatch.context() as patch:
        for name, value in simulator.environment().items():
            patch.setenv(name, value)
        yield simulator


@pytest.fixture
def simulator(shared: SimulatedAws) -> SimulatedAws:
    shared.clock.set(NOW)
    shared.requests.clear()
    shared.faults.clear()
    shared.cost_explorer.settings.currency = "USD"
    return shared


@pytest.fixture
def exporter(simulator: SimulatedAws, tmp_path: Path) -> Iterator[Exporter]:
    exporter = Exporter(simulator, tmp_path / "ledger.sqlite")
    yield exporter
    exporter.close()


# Asking


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        (NOW, "2026-03-17", "2026-04-01"),
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01", "2026-04-01"),
        (datetime(2026, 3, 31, 23, 59, tzinfo=UTC), "2026-03-31", "2026-04-01"),
        (datetime(2026, 2, 28, 5, tzinfo=UTC), "2026-02-28", "2026-03-01"),
        (datetime(2025, 12, 31, 5, tzinfo=UTC), "2025-12-31", "2026-01-01"),
    ],
)
@pytest.mark.parametrize(
    ("cost_type", "metric"),
    [("unblended", "UNBLENDED_COST"), ("net_amortized", "NET_AMORTIZED_COST")],
)
def test_it_asks_from_today_to_before_the_next_month(
    exporter: Exporter, now: datetime, start: str, end: str, cost_type: Any, metric: str
) -> None:
    exporter.simulator.clock.set(now)
    exporter.cost_settings = cost.CostSettings(cost_type=cost_type)
    exporter.settings = ForecastSettings(prediction_interval_level=95)

    exporter.ask()

    (request,) = exporter.requests()
    assert (request.status, request.region) == (200, "us-east-1")
    assert request.params == {
        "TimePeriod": {"Start": start, "End": end},
        "Metric": metric,
        "Granularity": "MONTHLY",
        "PredictionIntervalLevel": 95,
    }


def test_the_billing_view_of_the_cost_is_asked(tmp_path: Path) -> None:
    """The simulated organisation has none: what is sent is looked at."""
    sent: list[Any] = []

    class Recorder:
        def call(
            self, _account: Any, _service: str, _operation: str, region: str, params: Any, **_: Any
        ) -> Any:
            sent.append((region, params["BillingViewArn"]))
            return answer()

    arn = "arn:aws-cn:billing::111111111111:billingview/custom-1"
    ledger = Ledger(tmp_path / "ledger.sqlite")
    context: Context[Any] = Context(
        aws=Recorder(),  # type: ignore[arg-type]
        ledger=ledger,
        clock=lambda: NOW,
        accounts={},
        settings=ForecastSettings(),
        sections=Sections(cost.CostSettings(billing_view_arn=arn)),
    )
    forecast.collect(context, Target("1", "payer", "cn-north-1", "aws-cn"))
    ledger.close()
    assert sent == [("cn-northwest-1", arn)]


@pytest.mark.parametrize("level", [50, 100])
def test_levels_that_aws_does_not_know_are_refused(level: int) -> None:
    with pytest.raises(ValidationError):
        ForecastSettings(prediction_interval_level=level)


# What is shown


@pytest.mark.parametrize("day", [1, 2, 17, 31])
def test_the_months_end_is_what_is_billed_and_what_aws_expects(exporter: Exporter, day: int) -> None:
    exporter.simulator.clock.set(NOW.replace(day=day))
    exporter.read_cost()
    exporter.ask()

    kept = newest_forecast(exporter.ledger, "unblended", 80)
    assert kept is not None
    assert kept.cost is not None
    assert (kept.observed_at, kept.start) == (NOW.replace(day=day), date(2026, 3, day))
    billed = exporter.simulator.truth.total(date(2026, 3, 1), date(2026, 3, day))
    assert exporter.shown() == {
        FORECAST.name: float(billed + kept.cost.mean),
        LOWER.name: float(billed + kept.cost.lower),
        UPPER.name: float(billed + kept.cost.upper),
    }
    assert kept.cost.lower < kept.cost.mean < kept.cost.upper
    assert exporter.committed >= 2


def test_at_the_first_midnight_of_a_month_it_is_of_the_whole_month(exporter: Exporter) -> None:
    """AWS forecasts from the history before today: that nothing of the month is reported yet makes no difference."""
    exporter.simulator.clock.set(datetime(2026, 3, 1, tzinfo=UTC))
    exporter.ask()

    kept = newest_forecast(exporter.ledger, "unblended", 80)
    assert kept is not None
    assert kept.cost is not None
    assert kept.cost.mean > 0
    assert exporter.shown() == {
        FORECAST.name: float(kept.cost.mean),
        LOWER.name: float(kept.cost.lower),
        UPPER.name: float(kept.cost.upper),
    }
    later = Exporter(exporter.simulator, exporter.path.with_name("later.sqlite"))
    try:
        exporter.simulator.clock.set(datetime(2026, 3, 1, 14, tzinfo=UTC))
        later.ask()
        assert later.shown()[FORECAST.name] == pytest.approx(float(kept.cost.mean), rel=0.02)
    finally:
        later.close()


def test_restated_cost_moves_the_forecast_of_the_same_day(exporter: Exporter) -> None:
    exporter.read_cost()
    exporter.ask()
    before = exporter.shown()[FORECAST.name]
    billed = exporter.simulator.truth.total(date(2026, 3, 1), date(2026, 3, 17))

    exporter.simulator.clock.set(NOW + 9 * HOUR)
    exporter.read_cost()

    restated = exporter.simulator.truth.total(date(2026, 3, 1), date(2026, 3, 17))
    assert restated != billed
    assert exporter.shown()[FORECAST.name] == pytest.approx(before + float(restated - billed))
    assert len(exporter.requests()) == 1


def test_without_the_cost_of_each_day_before_it_nothing_is_shown(exporter: Exporter) -> None:
    exporter.ask()
    assert exporter.shown() == {}
    exporter.read_cost()
    assert set(exporter.shown()) == {FORECAST.name, LOWER.name, UPPER.name}


def test_too_little_history_is_no_error_and_nothing_is_shown(tmp_path: Path) -> None:
    young = OrganizationSpec(seed=8, accounts=2, services=2, days=10, now=NOW)
    with SimulatedAws(young) as simulator, pytest.MonkeyPatch.context() as patch:
        for name, value in simulator.environment().items():
            patch.setenv(name, value)
        exporter = Exporter(simulator, tmp_path / "ledger.sqlite")
        exporter.read_cost()
        exporter.ask()
        assert exporter.shown() == {}
        assert [request.error for request in exporter.requests()] == ["DataUnavailableException"]

        simulator.clock.set(NOW + 23 * HOUR)
        exporter.restart()
        exporter.ask()
        assert len(exporter.requests()) == 1  # the answer is kept, too
        exporter.close()


def test_when_aws_has_no_forecast_any_more_the_last_one_is_withdrawn(exporter: Exporter) -> None:
    exporter.read_cost()
    exporter.ask()
    add_forecast(exporter.ledger, "unblended", 80, MonthForecast(NOW + HOUR, NOW.date(), None))
    assert exporter.shown() == {}


# When


def hours(exporter: Exporter, count: int, each: Callable[[], None]) -> None:
    for _ in range(count):
        each()
        exporter.simulator.clock.advance(HOUR)


def test_a_week_takes_one_request_a_day_whatever_restarts(exporter: Exporter) -> None:
    restarts = itertools.cycle((True, False, False, False, False))  # a client takes a tenth of a second

    def restart_and_ask() -> None:
        if next(restarts):
            exporter.restart()
        exporter.ask()

    hours(exporter, 7 * 24, restart_and_ask)

    assert [request.time for request in exporter.requests()] == [NOW + number * DAY for number in range(7)]
    assert exporter.ledger.charges.charged_since("cost", None) == Decimal("0.07")


def test_a_first_forecast_is_asked_while_time_passes(exporter: Exporter) -> None:
    exporter.simulator.clock.set(NOW, running=True)
    exporter.ask()
    exporter.ask()
    assert [request.status for request in exporter.requests()] == [200]


def test_a_restart_shows_the_forecast_at_no_cost(exporter: Exporter) -> None:
    exporter.read_cost()
    exporter.ask()
    before = exporter.shown()
    exporter.simulator.requests.clear()

    exporter.simulator.clock.set(NOW + 5 * HOUR)
    exporter.restart()
    exporter.ask()

    assert exporter.shown() == before != {}
    assert exporter.simulator.requests.entries() == []
    assert due(exporter.context(exporter.settings), exporter.target()) == NOW + DAY


def test_each_month_begins_with_a_forecast_of_its_own(exporter: Exporter) -> None:
    last = datetime(2026, 3, 31, 14, 30, tzinfo=UTC)
    exporter.simulator.clock.set(last)
    exporter.read_cost()
    exporter.ask()
    assert exporter.shown()
    midnight = datetime(2026, 4, 1, tzinfo=UTC)
    assert due(exporter.context(exporter.settings), exporter.target()) == midnight

    exporter.simulator.clock.set(midnight)
    assert exporter.shown() == {}  # March's
    exporter.ask()
    assert [request.params and request.params["TimePeriod"] for request in exporter.requests()] == [
        {"Start": "2026-03-31", "End": "2026-04-01"},
        {"Start": "2026-04-01", "End": "2026-05-01"},
    ]
    kept = newest_forecast(exporter.ledger, "unblended", 80)
    assert kept is not None
    assert kept.cost is not None
    # Nothing is billed yet: all of the month is forecast.
    assert exporter.shown()[FORECAST.name] == float(kept.cost.mean)


@pytest.mark.parametrize(
    "change", [{"settings": ForecastSettings(prediction_interval_level=90)}, {"cost_settings": "amortized"}]
)
def test_another_level_or_cost_type_is_another_forecast(exporter: Exporter, change: dict[str, Any]) -> None:
    exporter.read_cost()
    exporter.ask()
    before = exporter.shown()
    exporter.settings = change.get("settings", exporter.settings)
    if "cost_settings" in change:
        exporter.cost_settings = cost.CostSettings(history_months=1, cost_type="amortized")
    assert exporter.shown() == {}
    exporter.ask()
    assert len(exporter.requests()) == 2
    assert set(exporter.shown().values()) != set(before.values())


@pytest.mark.parametrize(("interval", "requests"), [(DAY, 30), (6 * HOUR, 120), (60 * DAY, 1)])
def test_the_plan_knows_the_requests(interval: timedelta, requests: int) -> None:
    (call,) = COLLECTOR.paid_calls(ForecastSettings(interval=interval), ANY)
    assert (call.service, call.operation, call.per_month) == ("ce", "GetCostForecast", requests)


# Failures


def answer(**changes: Any) -> dict[str, Any]:
    period = {
        "TimePeriod": {"Start": "2026-03-17", "End": "2026-04-01"},
        "MeanValue": "100.5",
        "PredictionIntervalLowerBound": "90",
        "PredictionIntervalUpperBound": "111",
    }
    return {"Total": {"Amount": "100.5", "Unit": "USD"}, "ForecastResultsByTime": [period], **changes}


def test_an_answer_is_read_exactly() -> None:
    assert read_answer(answer()) == Interval(Decimal("100.5"), Decimal(90), Decimal(111))


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ({"Total": {"Amount": "100.5", "Unit": "CNY"}}, Kind.CURRENCY),
        ({"Total": {"Amount": "100.5"}}, Kind.MALFORMED_RESPONSE),
        ({"Total": None}, Kind.MALFORMED_RESPONSE),
        ({"ForecastResultsByTime": []}, Kind.MALFORMED_RESPONSE),
        ({"ForecastResultsByTime": 2 * answer()["ForecastResultsByTime"]}, Kind.MALFORMED_RESPONSE),
        ({"ForecastResultsByTime": [{"MeanValue": "1"}]}, Kind.MALFORMED_RESPONSE),
        (
            {"ForecastResultsByTime": [{**answer()["ForecastResultsByTime"][0], "MeanValue": "much"}]},
            Kind.MALFORMED_RESPONSE,
        ),
        (
            {"ForecastResultsByTime": [{**answer()["ForecastResultsByTime"][0], "MeanValue": "NaN"}]},
            Kind.MALFORMED_RESPONSE,
        ),
    ],
)
def test_what_is_no_forecast_in_dollars_is_an_error(bad: dict[str, Any], kind: Kind) -> None:
    with pytest.raises(AwsError) as caught:
        read_answer(answer(**bad))
    assert caught.value.kind is kind


def test_another_currency_is_an_error_and_leaves_the_last_forecast(exporter: Exporter) -> None:
    exporter.read_cost()
    exporter.ask()
    before = exporter.shown()
    exporter.simulator.clock.set(NOW + DAY)
    exporter.simulator.cost_explorer.settings.currency = "CNY"

    with pytest.raises(AwsError) as caught:
        exporter.ask()

    assert caught.value.kind is Kind.CURRENCY
    assert exporter.shown() == before
    assert due(exporter.context(exporter.settings), exporter.target()) == NOW + DAY  # it stays due


def test_a_denied_request_is_an_error(exporter: Exporter) -> None:
    exporter.simulator.faults.add("access_denied", operation="GetCostForecast")
    with pytest.raises(AwsError) as caught:
        exporter.ask()
    assert caught.value.kind is Kind.ACCESS_DENIED
    assert newest_forecast(exporter.ledger, "unblended", 80) is None


# How long


@pytest.mark.parametrize(
    ("asked", "gone"),
    [
        (datetime(2026, 3, 10, 14, tzinfo=UTC), datetime(2026, 3, 13, 14, tzinfo=UTC)),
        (datetime(2026, 3, 30, 14, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)),
        (datetime(2026, 12, 31, 14, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_it_goes_absent_after_three_intervals_or_with_its_month(
    exporter: Exporter, asked: datetime, gone: datetime
) -> None:
    """Even if nothing renders it again."""
    clock = exporter.simulator.clock
    clock.set(asked)
    first = month_start(asked.date())
    add_forecast(exporter.ledger, "unblended", 80, MonthForecast(asked, first, Interval(*3 * [Decimal(7)])))
    view = ViewContext(
        ledger=exporter.ledger,
        now=asked,
        settings=exporter.settings,
        names={},
        sections=Sections(exporter.cost_settings),
    )
    assert VIEW.valid_until is not None
    result = CollectionResult(
        samples=tuple(VIEW.render(view)),
        attempted_at=asked,
        succeeded_at=VIEW.read_at(view),
        valid_until=VIEW.valid_until(view),
    )
    store = Store(clock.now)
    store.publish(Key(VIEW.name), result, interval=exporter.settings.interval)

    def served() -> bool:
        return b"\naws_cost_month_forecast_usd 7\n" in store.exposition()[0]

    clock.set(gone - timedelta(seconds=1))
    assert served()
    clock.set(gone)
    assert not served()


def test_a_failure_does_not_prolong_what_ends_with_its_month(simulator: SimulatedAws) -> None:
    store = Store(simulator.clock.now)
    end = NOW + HOUR
    store.publish(
        Key("forecast"),
        CollectionResult(samples=(FORECAST(7),), attempted_at=NOW, succeeded_at=NOW, valid_until=end),
        interval=DAY,
    )
    store.publish(
        Key("forecast"),
        CollectionResult(samples=(), attempted_at=NOW, succeeded_at=None, error="throttled"),
        interval=DAY,
    )
    assert b"\naws_cost_month_forecast_usd 7\n" in store.exposition()[0]
    simulator.clock.set(end)
    assert b"\naws_cost_month_forecast_usd 7\n" not in store.exposition()[0]

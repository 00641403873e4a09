"""The thread of the dated history: in which order it works, and that it ends when it is asked to."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from history_harness import DAY, account_id, fill, restate, today
from prometheus_client import CollectorRegistry
from recording_endpoint import RecordingEndpoint
from waiting import wait_for

from exporter.accounts.placing import OU_INFO
from exporter.anomalies.history import DAILY_EXPECTED
from exporter.app.dated_history import DAILY_VALUES
from exporter.core.moments import utc_now
from exporter.cost.dated_sums import DAILY_BY_ACCOUNT
from exporter.history.sample_timestamps import Stamps
from exporter.history.settings import HistorySettings
from exporter.history.writer import History, HistoryMetrics
from exporter.ledger.daily_values import DailyValue, upsert
from exporter.ledger.file import Ledger


def test_what_follows_from_cost_is_written_after_it_a_part_at_a_time(
    ledger: Ledger, endpoint: RecordingEndpoint
) -> None:
    """Cost that changes while much is derived does not wait for the rest of it."""
    yesterday = today() - DAY
    fill(ledger, 3, accounts=1, services=1)
    parts = [yesterday, yesterday - DAY]
    written_before: list[list[str]] = []

    def derive(stopped: Callable[[], bool]) -> bool:
        assert not stopped()
        written_before.append([dict(labels)["__name__"] for labels, _, _ in endpoint.taken])
        if parts:
            upsert(
                ledger,
                [DailyValue(parts.pop(0), DAILY_EXPECTED.name, account_id(0), "Service 0", 5.0)],
                utc_now(),
            )
            restate(ledger, yesterday, {(0, 0): f"{len(written_before)}.5"})
        return bool(parts)

    settings = HistorySettings.model_validate({"write_url": endpoint.write_url, "read_back": None})
    metrics = HistoryMetrics(CollectorRegistry())
    history = History(
        settings, "unblended", Stamps(ledger), utc_now, metrics, (Stamps(ledger, DAILY_VALUES),), (derive,)
    )
    history.start()
    cost, expected = "aws_cost_daily_usd", DAILY_EXPECTED.name
    # The second part is asked for at once, without anyone's word, and comes after the cost that has changed.
    wait_for("both parts are written", lambda: len(endpoint.taken) == 3 + 1 + 1 + 1)
    assert history.stop(60)
    assert written_before == [[cost] * 3, [cost] * 3 + [expected, cost]]
    assert [dict(labels)["__name__"] for labels, _, _ in endpoint.taken][-1] == expected


def test_what_is_derived_first_is_written_before_the_rest_is_derived(
    ledger: Ledger, endpoint: RecordingEndpoint
) -> None:
    """Sums are what a first start shows, expectations take minutes; a fault of one is no reason to leave out the other."""
    fill(ledger, 2, accounts=1, services=1)
    written_before: list[set[str]] = []

    def put(family: str, label: str) -> None:
        upsert(ledger, [DailyValue(today() - DAY, family, account_id(0), label, 5.0)], utc_now())

    def first(stopped: Callable[[], bool]) -> bool:
        put(DAILY_BY_ACCOUNT.name, "")
        raise ArithmeticError("a fault of ours")

    def second(stopped: Callable[[], bool]) -> bool:
        written_before.append({dict(labels)["__name__"] for labels, _, _ in endpoint.taken})
        put(DAILY_EXPECTED.name, "Service 0")
        return False

    settings = HistorySettings.model_validate({"write_url": endpoint.write_url, "read_back": None})
    metrics = HistoryMetrics(CollectorRegistry())
    others = (Stamps(ledger, DAILY_VALUES),)
    history = History(settings, "unblended", Stamps(ledger), utc_now, metrics, others, (first, second))
    history.start()
    wait_for("both are written", lambda: len(endpoint.taken) == 2 + 1 + 1)
    assert history.stop(60)
    assert written_before[0] == {"aws_cost_daily_usd", DAILY_BY_ACCOUNT.name}
    labels = dict(endpoint.taken[2][0])
    assert labels == {"__name__": DAILY_BY_ACCOUNT.name, "account_id": account_id(0), "account": "account-0"}


@pytest.mark.fault(
    "a defect in what follows from cost", "cost and all else is written, and the failure counted"
)
def test_a_fault_of_what_is_derived_holds_nothing_else_up(
    ledger: Ledger, endpoint: RecordingEndpoint
) -> None:
    fill(ledger, 2, accounts=1, services=1)
    upsert(ledger, [DailyValue(today() - DAY, OU_INFO.name, account_id(0), "/", 1.0)], utc_now())

    def derive(stopped: Callable[[], bool]) -> bool:
        raise ArithmeticError("a fault of ours")

    settings = HistorySettings.model_validate({"write_url": endpoint.write_url, "read_back": None})
    registry = CollectorRegistry()
    history = History(
        settings,
        "unblended",
        Stamps(ledger),
        utc_now,
        HistoryMetrics(registry),
        (Stamps(ledger, DAILY_VALUES),),
        (derive,),
    )
    history.start()
    failures = "aws_spend_exporter_history_write_failures_total"
    wait_for("the fault is counted", lambda: registry.get_sample_value(failures))
    assert history.stop(60)
    names = [dict(labels)["__name__"] for labels, _, _ in endpoint.taken]
    assert names == ["aws_cost_daily_usd", "aws_cost_daily_usd", OU_INFO.name]


@pytest.mark.fault("a stop arrives just as the writer looks for work", "the writer ends")
def test_a_stop_that_comes_as_a_round_begins_is_not_slept_over(
    ledger: Ledger, endpoint: RecordingEndpoint
) -> None:
    """It would wait for an hour, and the exporter for it."""
    settings = HistorySettings.model_validate({"write_url": endpoint.write_url, "read_back": None})
    history = History(settings, "unblended", Stamps(ledger), utc_now, HistoryMetrics(CollectorRegistry()), ())

    class ToldToStopJustBefore(threading.Event):
        def clear(self) -> None:
            history._stop.set()
            self.set()
            super().clear()

    history._wake = ToldToStopJustBefore()
    history.start()
    history._thread.join(60)
    assert not history._thread.is_alive()

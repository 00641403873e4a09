"""Cost Explorer that was enabled days ago has no data of the months before: nothing is there, and that costs little."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from running_exporter import InProcess, MakeAws, ShiftedClock, collectors, in_process, organization
from waiting import wait_for

from simulated_aws import SimulatedAws

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
FIRST = date(2026, 3, 1)
_UNAVAILABLE = "DataUnavailableException"


def billed(aws: SimulatedAws) -> list[str]:
    """The error of each request that AWS was sent and bills, empty where there was none."""
    return [entry.error for entry in aws.requests.entries(service="ce")]


def counted(exporter: InProcess) -> float:
    """What the exporter says that it has sent."""
    return sum(
        value
        for labels, value in exporter.samples()["aws_spend_exporter_api_requests_total"]
        if labels["service"] == "ce"
    )


def refresh(exporter: InProcess) -> None:
    assert exporter.service.runner.collect_now(exporter.collector("cost")) == 0


@pytest.mark.stack
@pytest.mark.fault(
    "Cost Explorer has no data before this month",
    "no failure, nothing is missing, and the months before are asked for once a day at most",
)
def test_months_without_data_are_no_failure_and_are_not_paid_for_each_time(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(accounts=3, now=NOW)
    aws.cost_explorer.settings.first_day = FIRST.isoformat()
    clock = ShiftedClock(NOW)
    config = organization(collectors=collectors(cost={"history_months": 6, "interval": "6h"}))
    with in_process(tmp_path, aws, config, clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
        wait_for("this month is served", lambda: exporter.samples().get("aws_cost_month_to_date_usd"))
        assert exporter.failures("cost") == {}
        assert exporter.value("aws_spend_exporter_collector_success", collector="cost") == 1
        assert exporter.value("aws_spend_exporter_ledger_missing_dates") == 0
        # Unknown is not zero.
        assert "aws_cost_last_month_usd" not in exporter.samples()
        assert billed(aws).count(_UNAVAILABLE) == 1
        for _ in range(3):
            clock.advance(timedelta(hours=6, minutes=1))
            aws.clock.advance(6 * 3600 + 60)
            refresh(exporter)
        assert billed(aws).count(_UNAVAILABLE) == 1, "not again on the same day"
        clock.advance(timedelta(hours=7))
        aws.clock.advance(7 * 3600)
        refresh(exporter)
        assert billed(aws).count(_UNAVAILABLE) == 2, "once more after a day"
        assert exporter.failures("cost") == {}
        assert counted(exporter) == len(billed(aws))

        # AWS adds the months before some days later.
        aws.cost_explorer.settings.first_day = ""
        clock.advance(timedelta(days=2))
        aws.clock.advance(2 * 86400)
        refresh(exporter)
        assert exporter.value("aws_spend_exporter_ledger_missing_dates") == 0
        assert exporter.samples()["aws_cost_last_month_usd"]
        assert counted(exporter) == len(billed(aws))


@pytest.mark.stack
@pytest.mark.fault(
    "Cost Explorer has no data of days that were read before", "data_unavailable, and what is known stays"
)
@pytest.mark.parametrize("first_day", ["2026-03-01", "2026-03-18"])
def test_data_that_is_gone_is_a_failure(make_aws: MakeAws, tmp_path: Path, first_day: str) -> None:
    aws = make_aws(accounts=3, now=NOW)
    clock = ShiftedClock(NOW)
    config = organization(collectors=collectors(cost={"history_months": 2, "interval": "6h"}))
    with in_process(tmp_path, aws, config, clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
        wait_for("cost is served", lambda: exporter.samples().get("aws_cost_last_month_usd"))
        aws.cost_explorer.settings.first_day = first_day
        clock.advance(timedelta(hours=6, minutes=1))
        aws.clock.advance(6 * 3600 + 60)
        assert exporter.service.runner.collect_now(exporter.collector("cost")) == 1
        assert exporter.failures("cost") == {"management": {"data_unavailable"}}
        assert exporter.samples()["aws_cost_last_month_usd"]
        assert counted(exporter) == len(billed(aws))

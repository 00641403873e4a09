"""Ten accounts in four regions with everything on: series and memory are bounded, and sums are those of the ledger."""

from __future__ import annotations

import re
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from running_exporter import Client, MakeAws, MakeExporter, collectors, organization
from waiting import wait_for

from exporter.core.folding import OTHER

REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-1", "us-west-2")
MEGABYTES = 250
_SELF = "aws_spend_exporter_"


def everything() -> dict[str, Any]:
    unlimited = {"day": None, "month": None}
    return organization(
        regions=list(REGIONS),
        aws={"read_timeout": "1m"},
        ceilings={"cost": unlimited, "usage": unlimited, "first_fill": None},
        collectors=collectors(
            cost={"history_months": 3},
            cost_breakdowns={},
            forecast={},
            commitments={"each": True},
            savings_opportunities={},
            cost_anomaly_detection={},
            budgets={},
            inventory={},
            usage={},
            ec2_running={},
        ),
    )


def by_account(exporter: Client) -> Counter[str]:
    """Series that bear an account's id, without those about the exporter."""
    return Counter(
        labels["account_id"]
        for name, series in exporter.samples().items()
        if not name.startswith(_SELF)
        for labels, _ in series
        if "account_id" in labels
    )


def costs_by_account(exporter: Client, family: str) -> dict[str, float]:
    sums: Counter[str] = Counter()
    for labels, value in exporter.samples()[family]:
        sums[labels["account_id"]] += value  # type: ignore[assignment] # dollars
    return {account: pytest.approx(value, abs=0.005) for account, value in sums.items()}


@pytest.mark.stack
@pytest.mark.long
@pytest.mark.timeout(600)
def test_ten_accounts_with_everything_stay_within_their_series_and_memory(
    make_aws: MakeAws, make_exporter: MakeExporter, capsys: pytest.CaptureFixture[str]
) -> None:
    aws = make_aws(accounts=10, services=20, regions=REGIONS)
    exporter = make_exporter(aws, everything()).start()
    wait_for("everything is read", exporter.is_ready, 400)

    counted = by_account(exporter)
    text = exporter.proc("status").read_text()
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) / 1024
    with capsys.disabled():
        sys.stdout.write(f" [{max(counted.values())} series of an account, {peak:.0f} MiB at most]")
    assert max(counted.values()) <= 250
    assert peak <= MEGABYTES
    assert exporter.value(f"{_SELF}aws_clients") <= 40

    samples = exporter.samples()
    assert any(labels["service"] == OTHER for labels, _ in samples["aws_cost_last_month_usd"])
    assert any(labels["resource_type"] == OTHER for labels, _ in samples["aws_resources"])
    # The last month: of the current one there is nothing in the first hours of its 1st.
    last = datetime.now(UTC).date().replace(day=1) - timedelta(days=1)
    asked = exporter.get(
        "/api/v1/costs", params={"by": "account", "start": str(last.replace(day=1)), "end": str(last)}
    )
    assert asked.status_code == 200, asked.text
    month = {row["account_id"]: float(row["usd"]) for row in asked.json()["rows"]}
    assert costs_by_account(exporter, "aws_cost_last_month_usd") == month

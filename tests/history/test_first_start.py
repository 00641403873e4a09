"""From the first start of the exporter to thirteen months in Prometheus, and on from there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import moments
import pytest
import requests
from history_harness import Server, today
from waiting import wait_for

from exporter.anomalies.cost import assessed_day
from exporter.app.dated_history import SOURCES
from exporter.core.moments import month_start, utc_now
from exporter.history.sample_timestamps import Stamps
from exporter.ledger.daily_values import derived_versions
from exporter.ledger.file import Ledger
from simulated_aws import OrganizationSpec, SimulatedAws

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]


class ExporterProcess:
    """`aws-spend-exporter run` with the history switched on."""

    def __init__(self, folder: Path, aws: SimulatedAws, history: dict[str, Any], **more: Any) -> None:
        self.folder = folder
        folder.mkdir()
        self.ledger_path = folder / "data/ledger.sqlite"
        self.config = folder / "config.yaml"
        self.config.write_text(
            json.dumps({"data_dir": str(folder / "data"), "server": {"port": 0}, "history": history, **more})
        )
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            **moments.python_path(ROOT),
            **aws.environment(),
        }
        self._popen: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "exporter", *arguments]

    def start(self) -> ExporterProcess:
        with (self.folder / "log").open("wb") as log:
            self._popen = subprocess.Popen(
                self.command("run", "-c", str(self.config)),
                env=self.environment, cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip
        return self

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._popen is not None
        self._popen.send_signal(number)
        code = self._popen.wait(60)
        self._popen = None
        return code

    def kill(self) -> None:
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    def metric(self, name: str) -> float:
        lines = [line for line in self.log().splitlines() if "listening url=http" in line]
        text = requests.get(lines[-1].rpartition("url=")[2] + "/metrics", timeout=60).text
        (value,) = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(value)


@pytest.fixture
def make_exporter(tmp_path: Path) -> Iterator[Callable[..., ExporterProcess]]:
    made: list[ExporterProcess] = []

    def make(aws: SimulatedAws, history: dict[str, Any], **more: Any) -> ExporterProcess:
        made.append(ExporterProcess(tmp_path / f"exporter-{len(made)}", aws, history, **more))
        return made[-1]

    yield make
    for exporter in made:
        exporter.kill()


@pytest.fixture
def aws() -> Iterator[SimulatedAws]:
    with SimulatedAws(OrganizationSpec(seed=3, accounts=5, services=5, days=430, instances=0)) as simulator:
        yield simulator


def ledger_totals(path: Path) -> dict[Any, float]:
    """Cost by complete day as the ledger holds it."""
    ledger = Ledger(path, read_only=True)
    try:
        totals: dict[Any, Decimal] = {}
        for row in ledger.cost.rows(month_start(today(), 13), today()):
            totals[row.day] = totals.get(row.day, Decimal(0)) + row.amounts.unblended
        return {day: float(total) for day, total in totals.items()}
    finally:
        ledger.close()


def is_all_written(path: Path) -> bool:
    """Whether sums and expectations of every day are derived, and nothing is left to be sent."""
    ledger = Ledger(path, read_only=True)
    try:
        now = utc_now()
        first = month_start(now.date(), 13)
        assessed = assessed_day(ledger, now)
        wanted = {
            "cost_days": (now.date() - first).days,
            "cost_months": 13,
            "assessed": (assessed - first).days + 1 if assessed is not None else 0,
        }
        return all(
            len(derived_versions(ledger, kind)) == count for kind, count in wanted.items()
        ) and not any(
            Stamps(ledger, source).changed_days(
                source.period.first_of(first), source.period.first_of(now.date())
            )
            for source in SOURCES
        )
    finally:
        ledger.close()


def same(found: dict[Any, float], wanted: dict[Any, float]) -> bool:
    return found.keys() == wanted.keys() and found == pytest.approx(wanted, abs=0.01)


def test_thirteen_months_are_in_prometheus_seconds_after_the_first_start(
    make_server: Any, aws: SimulatedAws, make_exporter: Callable[..., ExporterProcess]
) -> None:
    server: Server = make_server()
    days = (today() - month_start(today(), 13)).days
    exporter = make_exporter(aws, {"write_url": server.write_url}).start()
    wait_for("13 months", lambda: len(server.days()) == days)
    totals = ledger_totals(exporter.ledger_path)
    wait_for("all of it", lambda: same(server.days(), totals))
    wait_for("it is said", lambda: exporter.metric("aws_spend_exporter_history_samples_written_total") > 1000)
    wait_for("what follows from it is written, too", lambda: is_all_written(exporter.ledger_path))
    assert exporter.metric("aws_spend_exporter_history_samples_rejected_total") == 0
    assert exporter.metric("aws_spend_exporter_history_last_write_timestamp_seconds") > time.time() - 600
    assert exporter.stop() == 0
    # A restart writes nothing again.
    exporter.start()
    wait_for("it listens", lambda: "listening url=http" in exporter.log())
    time.sleep(1)
    assert exporter.metric("aws_spend_exporter_history_samples_written_total") == 0
    assert exporter.stop() == 0


@pytest.mark.fault("SIGKILL while the history is first written", "the next process writes the rest")
def test_an_exporter_that_is_killed_in_the_middle_goes_on(
    make_server: Any, aws: SimulatedAws, make_exporter: Callable[..., ExporterProcess]
) -> None:
    server: Server = make_server()
    # So slow that the kill meets the first fill.
    aws.faults.add("latency", service="ce", seconds=0.4)
    exporter = make_exporter(aws, {"write_url": server.write_url, "batch_size": 20})
    exporter.start()
    wait_for("it writes", lambda: len(server.days()) > 60)
    exporter.stop(signal.SIGKILL)
    assert len(server.days()) < 380
    aws.faults.clear()
    exporter.start()
    days = (today() - month_start(today(), 13)).days
    wait_for("13 months", lambda: len(server.days()) == days)
    totals = ledger_totals(exporter.ledger_path)
    wait_for("all of it", lambda: same(server.days(), totals))
    assert exporter.stop() == 0


def test_days_are_at_their_true_date(
    make_server: Any, aws: SimulatedAws, make_exporter: Callable[..., ExporterProcess]
) -> None:
    """The simulated AWS says what each day cost; nothing of ours is asked."""
    server: Server = make_server()
    exporter = make_exporter(
        aws,
        {"write_url": server.write_url},
        collectors={"cost": {"history_months": 2}},
        accounts={"static": [{"id": aws.accounts[1].id, "name": "named by hand"}]},
    ).start()
    first = month_start(today(), 2)
    wait_for("it is written", lambda: len(server.days()) == (today() - first).days)
    answer = simulated_days(aws, first)
    wait_for("it is exact", lambda: same(server.days(), answer))
    names = server.query(
        "count by (account_id, account) (last_over_time(aws_cost_daily_usd[30d]))", time.time()
    )
    by_id = {account_id: account for account, account_id in names}
    assert len(by_id) == len(names)
    assert by_id[aws.accounts[1].id] == "named by hand"
    assert by_id[aws.accounts[2].id] == aws.accounts[2].name  # as Cost Explorer says
    assert exporter.stop() == 0


def simulated_days(aws: SimulatedAws, first: Any) -> dict[Any, float]:
    import boto3

    keys = aws.environment()
    client = boto3.session.Session().client(
        "ce",
        endpoint_url=aws.url,
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )
    try:
        answer = client.get_cost_and_usage(
            TimePeriod={"Start": str(first), "End": str(today())},
            Granularity="DAILY",
            Metrics=["UnblendedCost"],
        )
    finally:
        client.close()
    return {
        datetime.fromisoformat(entry["TimePeriod"]["Start"]).date(): float(
            entry["Total"]["UnblendedCost"]["Amount"]
        )
        for entry in answer["ResultsByTime"]
    }

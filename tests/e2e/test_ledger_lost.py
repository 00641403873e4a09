"""A ledger that cannot be read is left out of what is served, and paid for by no one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from running_exporter import Client, MakeAws, MakeExporter, collectors, in_process
from waiting import wait_for

from exporter.api.endpoints import all_endpoints
from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack

CONFIG = {"accounts": {"discovery": "payer"}, "collectors": collectors(cost={"history_months": 1})}
OF_LEDGER = {
    "aws_spend_exporter_ledger_rows",
    "aws_spend_exporter_ledger_bytes",
    "aws_spend_exporter_request_ceiling_remaining_usd",
}
FOR_ITSELF = ("inventory",)  # is made of what is served, not of the ledger


@contextmanager
def failing_disk(ledger: Path) -> Iterator[None]:
    """Every read of the ledger's files by this process fails with EIO, as address 0 of /proc/self/mem does."""
    files = [
        int(entry.name)
        for entry in Path("/proc/self/fd").iterdir()
        if entry.exists() and entry.resolve() in (ledger, ledger.with_name(f"{ledger.name}-wal"))
    ]
    assert len(files) >= 2, files
    kept = {file: os.dup(file) for file in files}
    broken = os.open("/proc/self/mem", os.O_RDONLY)
    try:
        for file in files:
            os.dup2(broken, file)
        yield
    finally:
        for file, whole in kept.items():
            os.dup2(whole, file)
            os.close(whole)
        os.close(broken)


def paid(aws: SimulatedAws, client: Client) -> int:
    """Requests to Cost Explorer that AWS was sent; the exporter must have counted as many."""
    sent = sum(entry.service == "ce" for entry in aws.requests.entries())
    charged = client.samples().get("aws_spend_exporter_api_charges_usd_total", [])
    assert round(sum(usd for labels, usd in charged if labels["service"] == "ce") * 100) == sent
    return sent


def assert_without_ledger(client: Client, reason: str, unknown: set[str] = OF_LEDGER) -> None:
    served = client.get("/metrics")
    assert served.status_code == 200
    names = set(client.samples())
    assert names & OF_LEDGER == OF_LEDGER - unknown
    assert {"aws_spend_exporter_build_info", "aws_cost_yesterday_usd"} <= names
    ready = client.get("/-/ready")
    assert ready.status_code == 503
    assert f"Not ready: the ledger cannot be read: {reason}" in ready.text
    assert client.get("/-/healthy").status_code == 200
    page = client.get("/")
    assert (page.status_code, "the ledger cannot be read" in page.text) == (200, True)
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    questions = {"reread": {"start": yesterday, "end": yesterday}}
    for endpoint in all_endpoints():
        if endpoint.name not in FOR_ITSELF:
            answer = client.get(f"/api/v1/{endpoint.name}", params=questions.get(endpoint.name))
            assert answer.status_code == 503, endpoint.name
            assert answer.json()["detail"].startswith(f"the ledger cannot be read: {reason}")
            assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/api/v1/status").status_code == 503


def assert_with_ledger(client: Client) -> None:
    assert client.is_ready()
    assert set(client.samples()) >= OF_LEDGER
    for path in ("/api/v1/status", "/api/v1/costs", "/api/v1/accounts"):
        assert client.get(path).status_code == 200, path


@pytest.mark.fault(
    "reads of the ledger fail (EIO)", "scrapes leave out what is unknown, readiness gives the reason"
)
def test_a_disk_that_fails_and_works_again(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=2)
    with in_process(tmp_path, aws, CONFIG) as exporter:
        wait_for("it is ready", exporter.is_ready)
        assert_with_ledger(exporter)
        before = paid(aws, exporter)
        assert before > 0
        for ledger in (exporter.service.ledger, exporter.service._books, exporter.service._answers):
            with ledger.connection() as db:
                db.execute("PRAGMA shrink_memory")  # remember nothing of what the file holds
        with failing_disk(tmp_path / "data" / "ledger.sqlite"):
            # The size is known without reading.
            assert_without_ledger(exporter, "", OF_LEDGER - {"aws_spend_exporter_ledger_bytes"})
        assert_with_ledger(exporter)
        assert paid(aws, exporter) == before


@pytest.mark.fault(
    "the ledger's folder is moved away", "AWS is asked nothing that cannot be kept; back again, it goes on"
)
def test_a_folder_that_goes_and_comes_back(make_aws: MakeAws, make_exporter: MakeExporter) -> None:
    aws = make_aws(accounts=2)
    exporter = make_exporter(aws, CONFIG).start()
    wait_for("it is ready", exporter.is_ready)
    before = paid(aws, exporter)
    folder, elsewhere = exporter.folder / "data", exporter.folder / "elsewhere"
    folder.rename(elsewhere)
    assert_without_ledger(exporter, f"{folder / 'ledger.sqlite'}: No such file or directory")
    refreshed = exporter.post("/-/refresh", params={"collector": "cost"})
    assert refreshed.status_code in (409, 503)
    assert paid(aws, exporter) == before, "what AWS is paid for is not lost with the file"
    assert exporter.reload().status_code == 200
    wait_for("the new configuration has run", lambda: "units of" not in exporter.get("/-/ready").text)
    assert_without_ledger(exporter, f"{folder / 'ledger.sqlite'}: No such file or directory")
    assert paid(aws, exporter) == before
    elsewhere.rename(folder)
    wait_for("it is ready again", exporter.is_ready)
    assert_with_ledger(exporter)
    assert paid(aws, exporter) == before
    assert exporter.stop() >= 0


@pytest.mark.fault(
    "the ledger's file is replaced while it is open", "nothing is read from or written to either file"
)
def test_a_file_that_was_replaced_is_not_taken_for_the_ledger(
    make_aws: MakeAws, make_exporter: MakeExporter
) -> None:
    aws = make_aws(accounts=2)
    exporter = make_exporter(aws, CONFIG).start()
    wait_for("it is ready", exporter.is_ready)
    before = paid(aws, exporter)
    ledger = exporter.folder / "data" / "ledger.sqlite"
    copy = ledger.with_name("copy")
    shutil.copy(ledger, copy)
    copy.rename(ledger)
    assert_without_ledger(exporter, f"{ledger} is another file than the one that was opened")
    assert exporter.post("/-/refresh", params={"collector": "cost"}).status_code in (409, 503)
    assert paid(aws, exporter) == before
    assert exporter.stop() >= 0

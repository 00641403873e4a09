"""The whole history again: into a second endpoint beside a running exporter, and into a file for promtool."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from history_harness import DAY, Server, Writer, account_id, fill, restate, today
from waiting import wait_for

from exporter.cli.main import main
from exporter.core.moments import days_between, month_start
from exporter.ledger.file import Ledger

Backfill = Callable[..., Result]
YESTERDAY = today() - DAY


@pytest.fixture
def backfill(tmp_path: Path) -> Backfill:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "data")}))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["backfill", "-c", str(config), *arguments])

    return run


def test_it_says_what_is_wrong(backfill: Backfill, tmp_path: Path) -> None:
    neither = backfill()
    assert (neither.exit_code, "exactly one of" in neither.stderr) == (2, True)
    missing = backfill("--remote-write", "http://127.0.0.1:1/api/v1/write")
    assert (missing.exit_code, "there is no ledger" in missing.stderr) == (1, True)
    ledger = Ledger(tmp_path / "data/ledger.sqlite")
    fill(ledger, 2)
    ledger.close()
    nowhere = backfill("--remote-write", "http://127.0.0.1:1/api/v1/write")
    assert (nowhere.exit_code, "Error: http://127.0.0.1:1/" in nowhere.stderr) == (1, True)
    bad = backfill("--remote-write", "nowhere")
    assert (bad.exit_code, bad.stderr) == (
        1,
        "Error: --remote-write: expected a URL such as http://prometheus:9090/api/v1/write\n",
    )
    unwritable = backfill("--openmetrics", str(tmp_path / "none" / "file"))
    assert unwritable.exit_code == 1


@pytest.mark.parametrize("locked", [True, False])
def test_written_values_keep_their_stamps_and_fresh_ones_are_noted(
    backfill: Backfill, tmp_path: Path, endpoint: Any, make_writer: Callable[..., Writer], locked: bool
) -> None:
    ledger = Ledger(tmp_path / "data/ledger.sqlite")
    restate(ledger, YESTERDAY, {(0, 0): "1", (0, 1): "2"})
    make_writer(endpoint.write_url, of=ledger).write()
    first = dict(endpoint.by_stamp())
    restate(ledger, YESTERDAY, {(0, 0): "1", (0, 1): "3"})
    if not locked:
        ledger.close()
    done = backfill("--remote-write", endpoint.write_url)
    # Sums of cost (two services, an account, what is known of its charges) are derived where no exporter does it.
    assert f"{2 if locked else 6} samples were taken, 0 refused" in done.stdout
    stamps = {key: value for key, value in endpoint.by_stamp().items() if key not in first}
    assert [(service, value) for (_, service, _), value in stamps.items()] == [("Service 1", 3.0)]
    if not locked:
        ledger = Ledger(tmp_path / "data/ledger.sqlite")
    # The exporter does not take the backfill's word for it.
    assert make_writer(endpoint.write_url, of=ledger).write() == 1
    found = sorted(key[2] for key in endpoint.by_stamp() if key[:2] == (account_id(0), "Service 1"))
    assert len(found) == (2 if locked else 3)
    ledger.close()


@pytest.mark.stack
def test_a_second_prometheus_and_promtool_take_the_history(
    backfill: Backfill, make_server: Any, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "data/ledger.sqlite")
    totals = fill(ledger, 396)
    server: Server = make_server()
    done = backfill("--remote-write", server.write_url)  # as beside a running exporter
    assert "2376 samples were taken, 0 refused" in done.stdout, done.output
    wait_for("it is visible", lambda: server.days() == totals)
    ledger.close()
    backfill("--remote-write", server.write_url)
    wait_for("it is visible", lambda: server.days() == totals)

    file = tmp_path / "history.om"
    first, last = today() - 300 * DAY, today() - 10 * DAY
    done = backfill("--openmetrics", str(file), "--from", str(first), "--to", str(last))
    months = [day for day in days_between(first, last) if day.day == 1 and month_start(day, -1) <= today()]
    # Pairs, services and accounts, and what is known of a day's non-usage charges.
    assert f"{291 * (6 + 2 + 3 + 1) + len(months) * (6 + 2 + 3)} samples are in {file}" in done.stdout
    server.stop()
    server.wipe()
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=512h", "-q",
         str(file), str(server.data)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    server.start()
    wait_for(
        "it is visible",
        lambda: server.days() == {day: total for day, total in totals.items() if first <= day <= last},
    )

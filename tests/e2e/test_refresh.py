"""AWS is asked before it is due where somebody wants that, and never twice within minutes."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import requests
from running_exporter import MakeAws, ShiftedClock, collectors, in_process, organization
from waiting import wait_for

pytestmark = pytest.mark.stack


def test_a_refresh_reads_what_moved_and_a_second_one_pays_nothing(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=datetime(2026, 5, 17, 9, 30, tzinfo=UTC), accounts=4)
    config = organization(
        aws={"endpoint_url": aws.url}, collectors=collectors(cost={"history_months": 1, "refresh": "full"})
    )
    clock = ShiftedClock(datetime(2026, 5, 17, 9, 30, tzinfo=UTC))

    def paid() -> int:
        return sum(entry.service == "ce" for entry in aws.requests.entries())

    def post(collector: str) -> requests.Response:
        return requests.post(f"{exporter.url}/-/refresh", params={"collector": collector}, timeout=60)

    with in_process(tmp_path, aws, config, clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
        before = paid()
        assert post("cost").status_code == 200
        assert paid() == before, "it was read a moment ago"

        clock.advance(timedelta(minutes=10))
        assert post("cost").status_code == 200
        asked = paid()
        assert asked > before
        assert post("cost").status_code == 200
        assert paid() == asked
        # The next regular refresh is an interval away, as ever.
        assert exporter.value("aws_spend_exporter_collector_interval_seconds", collector="cost") == 6 * 3600

        refused = post("costs")
        assert refused.status_code == 409
        assert "collector: found 'costs', expected one that runs here: cost" in refused.text

        clock.advance(timedelta(minutes=10))
        pages: list[dict[str, str]] = [
            {"Origin": "https://elsewhere.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "http://["},
            # A name that its owner has pointed at us.
            {
                "Origin": "http://elsewhere.example",
                "Host": "elsewhere.example",
                "Sec-Fetch-Site": "same-origin",
            },
        ]
        for headers in pages:
            for path in ("/-/refresh?collector=cost", "/-/reload"):
                answer = requests.post(f"{exporter.url}{path}", headers=headers, timeout=60)
                assert answer.status_code == 403, "a page has a browser ask"
        assert paid() == asked
        assert requests.post(f"{exporter.url}/-/reload", timeout=60).status_code == 200


def test_costs_live_without_an_exporter_fills_the_ledger_itself_once_the_price_is_agreed_to(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(accounts=4)
    config = tmp_path / "config.json"
    settings = organization(collectors=collectors(cost={"history_months": 1}))
    config.write_text(json.dumps({"data_dir": str(tmp_path / "data"), "server": {"port": 1}, **settings}))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "exporter", "costs", "-c", str(config), "--live", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
            stdin=subprocess.DEVNULL,
        )

    unasked = run("--json")
    assert unasked.returncode == 2
    assert "Asking AWS costs about $0.0" in unasked.stderr
    assert "add --yes" in unasked.stderr
    assert not [entry for entry in aws.requests.entries() if entry.service == "ce"]

    # Of the newest days AWS tells more by the minute.
    last = (datetime.now(UTC) - timedelta(days=5)).date().isoformat()
    answer = run("--days", "10", "--to", last, "--yes", "--json")
    assert answer.returncode == 0, answer.stderr
    data = json.loads(answer.stdout)
    start, end = date.fromisoformat(data["start"]), date.fromisoformat(data["end"])
    truth = aws.truth.totals(start, end + timedelta(days=1))
    assert {
        (row["account_id"], row["service"]): Decimal(row["usd"])
        for row in data["rows"]
        if Decimal(row["usd"])
    } == {key: usd for key, usd in truth.items() if usd}

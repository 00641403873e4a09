"""AWS is asked before it is due where somebody wants that, and never twice within minutes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import requests
from running_exporter import MakeAws, ShiftedClock, collectors, in_process, organization
from waiting import wait_for

from exporter.ledger.file import Ledger
from exporter.ledger.pending import Origin

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
        answer = post("cost")
        assert answer.status_code == 200
        assert answer.text == "cost: not read, what is known is 0 minutes old\n"
        assert paid() == before, "it was read a moment ago"

        clock.advance(timedelta(minutes=10))
        answer = post("cost")
        assert (answer.status_code, answer.text) == (200, "cost: read\n")
        asked = paid()
        assert asked > before
        clock.advance(timedelta(minutes=3))
        answer = post("cost")
        assert (answer.status_code, answer.text) == (200, "cost: not read, what is known is 3 minutes old\n")
        assert paid() == asked
        as_json = requests.post(
            f"{exporter.url}/-/refresh", params={"collector": "cost", "format": "json"}, timeout=60
        ).json()
        assert as_json["accounts"] == [
            {
                "account_id": aws.payer_id,
                "account": next(account.name for account in aws.accounts if account.id == aws.payer_id),
                "outcome": "known",
                "units": {"read": 0, "known": 1, "failed": 0, "denied": 0},
                "minutes_old": 3,
            }
        ]
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


def refresh_command(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exporter", "refresh", "-c", str(config), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        stdin=subprocess.DEVNULL,
    )


def test_days_are_read_again_by_the_running_exporter_once_their_price_is_agreed_to(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(accounts=4)
    settings = organization(
        aws={"endpoint_url": aws.url},
        collectors=collectors(cost={"history_months": 3, "compare_months": None, "reread_days": None}),
    )
    config = tmp_path / "config.yaml"

    def paid() -> int:
        return sum(entry.service == "ce" for entry in aws.requests.entries())

    with in_process(tmp_path, aws, settings) as exporter:
        wait_for("it is ready", exporter.is_ready)
        wait_for("it has read all", lambda: exporter.value("aws_spend_exporter_ledger_missing_dates") == 0)
        day = datetime.now(UTC).date() - timedelta(days=66)
        account = aws.accounts[1]
        totals = aws.truth.totals(day, day + timedelta(days=1))
        service = max((usd, key[1]) for key, usd in totals.items() if key[0] == account.id)[1]
        aws.restate(account.id, service, day, factor=3)
        range_ = ("--from", (day - timedelta(days=1)).isoformat(), "--to", day.isoformat())
        url = ("--url", exporter.url)

        def held() -> Decimal:
            units = exporter.service.ledger.cost.sums(day, day + timedelta(days=1), "unblended")
            return units[account.id, service]

        def true() -> Decimal:
            return aws.truth.totals(day, day + timedelta(days=1))[account.id, service]

        before, asked = held(), paid()
        assert before != true()
        unasked = refresh_command(config, *range_, *url)
        assert unasked.returncode == 2
        assert unasked.stderr == (
            "Error: Reading 2 days again costs about $0.02 (2 requests)."
            " There is no terminal to ask on: add --yes\n"
        )
        outside = refresh_command(config, "--from", "2020-01-01", "--to", "2020-01-02", "--yes", *url)
        assert outside.returncode == 1
        assert "from: found 2020-01-01, expected days of the history" in outside.stderr
        backwards = refresh_command(config, "--from", range_[3], "--to", range_[1], "--yes", *url)
        assert backwards.returncode == 1
        assert "expected a day that is not after" in backwards.stderr
        naive = {"start": range_[1], "end": range_[3], "since": "2026-01-01"}
        assert requests.get(f"{exporter.url}/api/v1/reread", params=naive, timeout=60).status_code == 422
        assert (held(), paid()) == (before, asked)

        answer = refresh_command(config, *range_, *url, "--yes", "--json")
        assert answer.returncode == 0, answer.stderr
        assert json.loads(answer.stdout) == {
            "start": range_[1],
            "end": range_[3],
            "usd": "0.02",
            "days": 2,
            "days_left": 0,
        }
        assert held() == true()
        assert paid() == asked + 2


def test_days_are_read_again_without_an_exporter_and_not_beyond_a_ceiling(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(accounts=4)
    settings = organization(collectors=collectors(cost={"history_months": 2}))
    config = tmp_path / "config.json"
    whole = {"data_dir": str(tmp_path / "data"), "server": {"port": 1}, **settings}
    config.write_text(json.dumps(whole))
    day = datetime.now(UTC).date() - timedelta(days=35)
    range_ = ("--from", day.isoformat(), "--to", day.isoformat())

    unknown = refresh_command(config, *range_, "--yes")
    assert unknown.returncode == 1
    assert "there is no ledger" in unknown.stderr

    filled = subprocess.run(
        [sys.executable, "-m", "exporter", "costs", "-c", str(config), "--live", "--yes"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert filled.returncode == 0, filled.stderr
    assert "cost: read" in filled.stderr

    def paid() -> int:
        return sum(entry.service == "ce" for entry in aws.requests.entries())

    asked = paid()
    answer = refresh_command(config, *range_, "--yes")
    assert (answer.returncode, answer.stdout) == (0, "1 day was read again.\n"), answer.stderr
    assert paid() == asked + 2

    # Who ends the command withdraws what is left: no later run pays for it.
    aws.faults.add("hang", service="ce")
    config.write_text(json.dumps({**whole, "aws": {"read_timeout": "2m"}}))  # it hangs until the signal
    stopped = subprocess.Popen(
        [sys.executable, "-m", "exporter", "refresh", "-c", str(config), *range_, "--yes"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    ledger = Ledger(tmp_path / "data" / "ledger.sqlite", read_only=True)
    try:
        wait_for("it is asked for", lambda: ledger.pending.of(Origin.REQUEST))
        # Python drops a KeyboardInterrupt that arrives in a finalizer: a person presses Ctrl-C again.
        for _ in range(6):
            stopped.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                stopped.wait(10)
                break
        _, text = stopped.communicate(timeout=10)
        assert (stopped.returncode, "Aborted!" in text, "Traceback" in text) == (1, True, False), text
        assert ledger.pending.of(Origin.REQUEST) == []
    finally:
        ledger.close()
        stopped.kill()
    aws.faults.clear()
    asked = paid()

    config.write_text(json.dumps({**whole, "ceilings": {"cost": {"month": 0.02}}}))
    refused = refresh_command(config, *range_, "--yes")
    assert refused.returncode == 1
    assert "costs about $0.02, and $0.00 of ceilings.cost.month is left: ask for fewer days" in refused.stderr
    assert paid() <= asked + 1, "the one that hung"

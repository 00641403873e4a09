"""Commands as they are typed: against a running exporter, against its ledger, piped and on a terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from running_exporter import Exporter, collectors, organization
from waiting import wait_for

from exporter.aws import cost_explorer
from exporter.cli.output import dollars
from exporter.core.moments import month_start, utc_now
from simulated_aws import OrganizationSpec, SimulatedAws

pytestmark = pytest.mark.stack

CONFIG = organization(collectors=collectors(cost={"history_months": 2}, cost_breakdowns={"by": ["region"]}))


@dataclass(frozen=True)
class Terminal:
    """Types commands beside one exporter."""

    aws: SimulatedAws
    exporter: Exporter
    config: Path

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "exporter", *arguments],
            env=self.environment(),
            cwd=self.exporter.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def environment(self) -> dict[str, str]:
        return {**self.exporter.environment, "AWS_SPEND_EXPORTER_CONFIG": str(self.config)}

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def on_a_terminal(self, *arguments: str, columns: int = 200) -> str:
        """What a person sees."""
        leader, follower = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "exporter", *arguments],
            env=self.environment() | {"TERM": "xterm-256color", "COLUMNS": str(columns)},
            cwd=self.exporter.folder,
            stdin=follower,
            stdout=follower,
            stderr=follower,
        ) as process:
            os.close(follower)
            seen = b""
            while True:
                try:
                    part = os.read(leader, 65536)
                except OSError:  # the other end is closed
                    break
                if not part:
                    break
                seen += part
            process.wait(30)
        os.close(leader)
        return seen.decode()


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """One exporter for all of these tests; its configuration also says where it listens."""
    folder = tmp_path_factory.mktemp("commands")
    spec = OrganizationSpec(seed=3, accounts=6, services=5, days=120, instances=1)
    with SimulatedAws(spec) as aws:
        exporter = Exporter(folder / "exporter", aws.environment(), CONFIG).start()
        try:
            wait_for("it is ready", exporter.is_ready)
            config = folder / "config.json"
            port = int(exporter.url.rpartition(":")[2])
            config.write_text(
                json.dumps({"data_dir": str(exporter.folder / "data"), "server": {"port": port}, **CONFIG})
            )
            yield Terminal(aws, exporter, config)
        finally:
            exporter.kill()


@pytest.fixture
def at_rest(terminal: Terminal, tmp_path: Path) -> Terminal:
    """The same ledger, and no exporter where its configuration says that one listens."""
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps({"data_dir": str(terminal.exporter.folder / "data"), "server": {"port": 1}, **CONFIG})
    )
    return Terminal(terminal.aws, terminal.exporter, config)


def truth(terminal: Terminal, start: date, end: date) -> dict[tuple[str, str], Decimal]:
    """What the simulated AWS holds of [start, end], by account id and service."""
    totals = terminal.aws.truth.totals(
        start, end + timedelta(days=1), metric=cost_explorer.METRICS["unblended"]
    )
    return {(account, service): usd for (account, service), usd in totals.items() if usd}


@pytest.mark.parametrize("where", ["terminal", "at_rest"])
def test_costs_equal_what_aws_holds_to_the_last_digit(where: str, request: pytest.FixtureRequest) -> None:
    typed: Terminal = request.getfixturevalue(where)
    # Of the newest days AWS tells more by the minute.
    last = utc_now().date() - timedelta(days=5)
    days = ("--days", "20", "--to", last.isoformat())
    data = typed.json("costs", *days)
    start, end = date.fromisoformat(data["start"]), date.fromisoformat(data["end"])
    expected = truth(typed, start, end)
    assert (end - start).days == 19
    found = {(row["account_id"], row["service"]): Decimal(row["usd"]) for row in data["rows"]}
    assert {key: usd for key, usd in found.items() if usd} == expected
    assert Decimal(data["total_usd"]) == sum(expected.values())

    text = typed.run("costs", *days, "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {
        (row["account_id"], row["service"]): Decimal(row["usd"]) for row in rows if Decimal(row["usd"])
    } == expected


def test_what_is_piped_is_data_alone_and_what_is_for_people_goes_beside_it(terminal: Terminal) -> None:
    done = terminal.run("costs", "--by-service", "--top", "2", "--csv")
    lines = done.stdout.splitlines()
    assert lines[0] == "service,usd"
    assert len(lines) == 3
    assert done.stderr == ""
    table = terminal.run("costs", "--by-service", "--top", "2")
    assert "\x1b" not in table.stdout + table.stderr
    assert "more rows; the total is of all of them" in table.stderr
    assert f"from {terminal.exporter.url}, AWS read" in table.stderr


def test_a_terminal_sees_a_table_and_progress_that_cleans_up_behind_itself(terminal: Terminal) -> None:
    seen = terminal.on_a_terminal("costs", "--by-account")
    assert "┃" in seen
    assert "Total" in seen
    walked = terminal.on_a_terminal("check", "--aws")
    assert "\x1b[" in walked
    assert "AWS access" in walked


def test_a_narrow_terminal_sees_values_below_each_other_instead_of_columns_of_letters(
    terminal: Terminal,
) -> None:
    seen = terminal.on_a_terminal("accounts", columns=60)
    assert "┃" not in seen
    assert "Account id       " in seen
    (row, *_) = terminal.json("accounts")["rows"]
    assert f"Account          {row['account']}" in seen
    assert "┃" in terminal.on_a_terminal("costs", "--by-account", columns=60), "a table that fits stays one"


def test_no_amount_and_no_account_id_is_folded(terminal: Terminal) -> None:
    """Half of `$12,345.67` is another amount, and half an id cannot be copied."""
    rows = terminal.json("accounts")["rows"]
    for columns in (72, 100, 124):
        seen = terminal.on_a_terminal("accounts", columns=columns)
        for row in rows:
            assert row["account_id"] in seen
            assert dollars(row["last_month_usd"]) in seen


@pytest.mark.parametrize(
    "name", ["anomalies --days 31 --sensitivity high", "inventory", "usage --by-account"]
)
def test_csv_tells_accounts_of_one_name_apart(name: str, terminal: Terminal) -> None:
    (heading, *_) = terminal.run(*name.split(), "--csv").stdout.splitlines()
    assert "account_id" in heading.split(",")


def test_csv_holds_no_notation_of_python(terminal: Terminal) -> None:
    for name in ("anomalies", "inventory --untagged"):
        assert "['" not in terminal.run(*name.split(), "--csv").stdout
        assert "{'" not in terminal.run(*name.split(), "--csv").stdout


def test_what_nobody_has_read_is_not_shown_as_nothing(terminal: Terminal) -> None:
    done = terminal.run("costs", "--from", "2020-01-01", "--to", "2020-01-31")
    assert "$0.00" not in done.stdout + done.stderr
    assert "31 days have not been read and are not in the sums, e.g. 2020-01-01." in done.stderr


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("inventory --older-than 90", "found '90', expected a duration such as"),
        (
            "backfill --openmetrics x --from 2026-02-01 --to 2026-01-01",
            "found 2026-02-01, expected a day that is not",
        ),
        ("costs --from 2026-02-31", "found '2026-02-31', expected a day such as 2026-01-31"),
        ("costs --account stagin_g", "; did you mean staging?"),
    ],
)
def test_what_cannot_be_meant_says_what_was_found_and_expected(
    typed: str, reason: str, terminal: Terminal
) -> None:
    assert reason in terminal.run(*typed.split(), code=2).stderr


@pytest.mark.parametrize("name", ["anomalies", "costs", "trends", "accounts"])
def test_answers_say_how_old_they_are(name: str, terminal: Terminal) -> None:
    assert "AWS read less than a minute ago" in terminal.run(name).stderr or (
        "min ago" in terminal.run(name).stderr
    )
    assert terminal.json(name)["read_at"]


@pytest.mark.parametrize("name", ["accounts", "anomalies", "costs", "inventory", "trends", "usage"])
def test_where_an_answer_is_from_is_written_as_it_is(name: str, terminal: Terminal) -> None:
    assert f"from {terminal.exporter.url}, AWS " in terminal.run(name).stderr


@pytest.mark.parametrize("typed", ["ec2", "EC2", "Amazon Elastic Compute Cloud - Compute", "elastic compute"])
def test_services_are_found_as_people_name_them(terminal: Terminal, typed: str) -> None:
    rows = terminal.json("costs", "--service", typed, "--by-service")["rows"]
    assert [row["service"] for row in rows] == ["Amazon Elastic Compute Cloud - Compute"]


def test_a_service_or_account_that_is_not_there_is_a_usage_error_with_what_is(terminal: Terminal) -> None:
    done = terminal.run("costs", "--service", "lamda", code=2)
    assert "service: found 'lamda', expected" in done.stderr
    done = terminal.run("costs", "--account", "nobody", code=2)
    assert "account: found 'nobody', expected one of" in done.stderr
    done = terminal.run("costs", "--days", "3", "--hours", "3", code=2)
    assert "give one of" in done.stderr


def test_hours_are_answered_with_the_days_that_they_touch(terminal: Terminal) -> None:
    data = terminal.json("costs", "--hours", "24")
    assert (date.fromisoformat(data["end"]) - date.fromisoformat(data["start"])).days == 1
    assert "Cost is known by UTC day" in terminal.run("costs", "--hours", "24").stderr


def test_accounts_show_what_the_metrics_show(terminal: Terminal) -> None:
    rows = terminal.json("accounts")["rows"]
    samples = terminal.exporter.samples()
    for column, family in (
        ("yesterday_usd", "aws_cost_yesterday_usd"),
        ("month_to_date_usd", "aws_cost_month_to_date_usd"),
        ("last_month_usd", "aws_cost_last_month_usd"),
    ):
        served: dict[str, float] = {}
        for labels, value in samples.get(family, []):
            served[labels["account_id"]] = served.get(labels["account_id"], 0) + value
        assert {row["account_id"]: float(row[column]) for row in rows if float(row[column])} == pytest.approx(
            {account: value for account, value in served.items() if value}
        )
    info = {labels["account_id"]: labels for labels, _ in samples["aws_account_info"]}
    shown = {row["account_id"]: (row["account"], row["ou"], row["state"]) for row in rows}
    assert {account: values for account, values in shown.items() if account in info} == {
        account: (labels["account"], labels["ou"], labels["state"]) for account, labels in info.items()
    }
    # A suspended account is not collected from any more; it is shown while one of these months has cost of it.
    suspended = terminal.aws.organization.find("legacy-shop").suspended_on
    assert suspended is not None
    has_cost = suspended > month_start(utc_now().date(), 1)
    assert [values for account, values in shown.items() if account not in info] == [
        ("legacy-shop", None, None)
    ] * has_cost


def test_trends_add_up_and_their_forecast_is_the_metrics(terminal: Terminal) -> None:
    data = terminal.json("trends", "--days", "20")
    assert len(data["days"]) == 20
    assert sum(Decimal(day["usd"]) for day in data["days"]) == Decimal(data["total_usd"])
    # Days that are not complete are shown, and in no mean.
    complete = [day for day in data["days"] if day["day"] <= data["complete_through"]]
    assert 17 <= len(complete) <= 20
    assert [day["average_7d_usd"] for day in data["days"][len(complete) :]] == [None] * (20 - len(complete))
    known = [Decimal(day["usd"]) for day in complete]
    assert float(complete[-1]["average_7d_usd"]) == pytest.approx(float(sum(known[-7:]) / 7), abs=0.01)
    change = float(sum(known[-7:]) / sum(known[-14:-7]) - 1)
    assert data["change_ratio"] == pytest.approx(change, abs=1e-4)
    samples = terminal.exporter.samples()
    projected = sum(value for _, value in samples["aws_cost_month_projection_usd"])
    assert float(data["forecast"]["month_usd"]) == pytest.approx(projected, abs=0.01)
    shown = terminal.run("trends", "--days", "14")
    assert "This month is expected to cost $" in shown.stdout


def test_without_exporter_and_ledger_it_is_said_what_to_do(terminal: Terminal, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"data_dir": str(tmp_path / "none"), "server": {"port": 1}}))
    done = Terminal(terminal.aws, terminal.exporter, config).run("accounts", code=1)
    assert "start `aws-spend-exporter run`, or name an exporter with --url" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_program(terminal: Terminal, shell: str) -> None:
    script = terminal.run("completion", shell).stdout
    assert "_AWS_SPEND_EXPORTER_COMPLETE" in script
    assert f"{shell}_complete" in script


def test_doctor_names_what_runs_what_does_not_and_the_fix(terminal: Terminal) -> None:
    """AWS and the exporter are well here; of the rest there is nothing."""
    calls = len(terminal.aws.requests.entries())
    done = terminal.run("doctor", "--prometheus-url", "http://127.0.0.1:1", "--json", code=1)
    findings = {(finding["subject"], finding["error"]): finding for finding in json.loads(done.stdout)}
    assert ("credentials", None) in findings
    assert findings[("Prometheus", "down")]["advice"] == "start it, or fix history.write_url"
    assert findings[("exporter", None)]["result"] == f"answers at {terminal.exporter.url}"
    asked = terminal.aws.requests.entries()[calls:]
    assert {entry.service for entry in asked} <= {"sts", "organizations", "ec2"}

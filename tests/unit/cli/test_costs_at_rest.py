"""`costs` beside a ledger at rest: what is left out of the sums is said, and what cannot be answered ends with 1."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from lines_of_months import Line, all_days, commit_export, commit_ledger, commit_values

from exporter.cli.main import main
from exporter.core.amounts import NET_COST_TYPES
from exporter.cube import hours, lines
from exporter.ledger.file import Ledger

pytestmark = pytest.mark.clockless

PROD = "111111111111"
USD = 10**10
FEB, MARCH, APRIL = date(2026, 2, 1), date(2026, 3, 1), date(2026, 4, 1)
AT = datetime(2026, 5, 3, tzinfo=UTC)
LINE = Line(APRIL, PROD, "Amazon EC2", 5 * USD, "eu-west-1", resource="i-1", tags={"tag:team": "web"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """February from a FOCUS export, March and half of April from one in full."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(yaml.safe_dump({"data_dir": "data", "server": {"port": 1}}))
    ledger = Ledger(Path("data/ledger.sqlite"))
    ledger.accounts.name({PROD: "prod"}, date(2026, 4, 1))
    focus = replace(LINE, day=FEB, usage_type=None, amounts=(None, None, None, USD, USD))
    commit_export(ledger, FEB, [focus], cost_types=NET_COST_TYPES, at=AT)
    commit_export(ledger, MARCH, [replace(LINE, day=MARCH)], at=AT)
    april = [LINE, replace(LINE, region="", resource="", units=2 * USD, tags={})]
    april += [replace(LINE, region=f"region-{number}", units=USD) for number in range(3)]
    commit_export(ledger, APRIL, april, until=date(2026, 4, 16), at=AT)
    ledger.close()
    return tmp_path


def typed(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["costs", *arguments])
    assert type(result.exception) in (SystemExit, type(None)), result.exception
    assert result.exit_code == code, result.output
    return result


SPRING = ("--from", "2026-02-01", "--to", "2026-04-30")


def test_what_is_not_in_the_sums_is_said(folder: Path) -> None:
    result = typed("--by", "region,usage-type", *SPRING)
    assert "2026-02 is not in the sums: usage_type is not in its data export." in result.stderr
    assert "15 days have not been read and are not in the sums, e.g. 2026-04-16." in result.stderr
    assert "Total $15.00" in result.stderr
    result = typed("--by", "region", *SPRING)
    assert "2026-02 is not in the sums: unblended is not in its data export." in result.stderr
    data = json.loads(typed("--by-account", *SPRING, "--cost-type", "net_amortized", "--json").stdout)
    assert (data["not_available"], data["total_usd"]) == ([], "16.0000000000")


def test_without_a_value_has_words_for_people_and_stays_empty_for_programs(folder: Path) -> None:
    april = ("--from", "2026-04-01", "--to", "2026-04-15", "--by", "resource,tag:team,region")
    table = typed(*april).stdout
    assert "(no resource id)" in table
    assert "(no region)" in table
    assert "(none)" in table
    text = typed(*april, "--csv").stdout
    assert ",,,2.0000000000" in text.splitlines()


def test_times_alone_are_in_their_order(folder: Path) -> None:
    data = json.loads(typed("--by", "month", "--from", "2026-03-01", "--to", "2026-04-15", "--json").stdout)
    assert [(row["month"], row["usd"]) for row in data["rows"]] == [
        ("2026-03", "5.0000000000"),
        ("2026-04", "10.0000000000"),
    ]


def test_top_says_how_many_rows_are_left_out(folder: Path) -> None:
    result = typed("--by", "region", "--from", "2026-04-01", "--to", "2026-04-15", "--top", "1")
    assert "4 more rows; the total is of all of them." in result.stderr


def test_what_may_be_in_other_is_said(folder: Path) -> None:
    ledger = Ledger(Path("data/ledger.sqlite"))
    may = date(2026, 5, 1)
    found = [replace(LINE, day=may, region=name, units=units * USD) for name, units in (("a", 9), ("b", 1))]
    commit_ledger(ledger, [may], found, AT)
    commit_values(ledger, "region", "account", [may], found, AT, most=1)
    ledger.close()
    result = typed("--by-account", "--region", "a", "--from", "2026-05-01", "--to", "2026-05-01")
    assert "$1.00 of smaller values, kept as `other`, may match the filters too." in result.stderr


def test_hours_that_were_not_read_are_said(folder: Path) -> None:
    ledger = Ledger(Path("data/ledger.sqlite"))
    first = datetime(2026, 5, 1, tzinfo=UTC)
    hours.commit(
        ledger,
        "data_export",
        AT,
        [first, first + timedelta(hours=1)],
        {(first, PROD, "Amazon EC2"): (USD,) * 5},
    )
    ledger.close()
    result = typed("--by", "hour,service", "--service", "ec2", "--from", "2026-05-01", "--to", "2026-05-01")
    assert "22 hours of other days have not been read, e.g. 2026-05-01T02:00Z." in result.stderr
    assert "2026-05-01T00:00Z" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--by", "region", "--from", "2026-02-01", "--to", "2026-02-28"),
            "unblended is not in the data export of these days: FOCUS has only the cost types net_unblended and net_amortized",
        ),
        (
            ("--by", "tag:owner", "--from", "2026-03-01", "--to", "2026-03-31"),
            "tag:owner is not in the lines of these days: list its key in collectors.cost_breakdowns",
        ),
        (("--by", "hour,region"), "hours are known by account and service only"),
        (("--by", "hour"), "no hour of these days is known: only the last 14 days have hours"),
        (
            ("--by", "region", "--tag", "team=wbe", "--from", "2026-03-01", "--to", "2026-03-31"),
            "tag:team: found 'wbe', expected a value that has cost; did you mean web?",
        ),
        (("--where", "region"), "found 'region', expected a filter such as region=eu-west-1"),
    ],
)
def test_what_cannot_be_answered_ends_with_1_and_the_reason(
    arguments: tuple[str, ...], said: str, folder: Path
) -> None:
    assert said in typed(*arguments, code=1).stderr


def test_without_duckdb_lines_say_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "is_installed", lambda: False)
    result = typed("--by", "region,usage-type", "--from", "2026-03-01", "--to", "2026-03-31", code=1)
    assert 'need DuckDB: pip install "aws-spend-exporter[export]"' in result.stderr


def test_days_that_cost_explorer_was_read_of_are_all_there(folder: Path) -> None:
    assert len(all_days(MARCH)) == 31
    data = json.loads(typed("--by-day", "--from", "2026-03-01", "--to", "2026-03-31", "--json").stdout)
    assert data["missing_days"] == []

"""`costs` beside a ledger at rest: what is left out of the sums is said, and what cannot be answered ends with 1."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from lines_of_months import Line, Pod, all_days, commit_export, commit_ledger, commit_values

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
    """February from a FOCUS export, March from one without list prices and split cost, half of April from one in full."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(yaml.safe_dump({"data_dir": "data", "server": {"port": 1}}))
    ledger = Ledger(Path("data/ledger.sqlite"))
    ledger.accounts.name({PROD: "prod"}, date(2026, 4, 1))
    focus = replace(LINE, day=FEB, usage_type=None, amounts=(None, None, None, USD, USD))
    commit_export(ledger, FEB, [focus], cost_types=NET_COST_TYPES, at=AT)
    commit_export(ledger, MARCH, [replace(LINE, day=MARCH)], at=AT)
    april = [LINE, replace(LINE, region="", resource="", units=2 * USD, tags={})]
    april += [replace(LINE, region=f"region-{number}", units=USD) for number in range(3)]
    april = [replace(line, listed=2 * line.units) for line in april]
    april.append(Line(APRIL, PROD, "Tax", 0, "eu-west-1", charge_type="Tax", tags={"tag:team": ""}, listed=0))
    pods = [
        Pod(APRIL, PROD, "blue", name, f"{name}-1", units * USD, USD)
        for name, units in (("shop", 3), ("mail", 1))
    ]
    pods.append(Pod(date(2026, 4, 15), PROD, "tasks", "", "t-1", USD, kind="ecs"))
    commit_export(ledger, APRIL, april, until=date(2026, 4, 16), at=AT, pods=pods)
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


APRIL_1_TO_15 = ("--from", "2026-04-01", "--to", "2026-04-15")


def test_split_cost_is_amortized_and_shows_what_is_unused_beside_it(folder: Path) -> None:
    result = typed("--by", "cluster,namespace", *APRIL_1_TO_15)
    assert "Amortized split cost, 2026-04-01 to" in result.stdout
    assert "Unused" in result.stdout
    assert "(none)" in result.stdout, "a task has no namespace"
    assert "Total $5.00" in result.stderr
    text = typed("--by", "cluster,namespace", *APRIL_1_TO_15, "--csv").stdout
    assert text.splitlines() == [
        "cluster,namespace,usd,unused_usd",
        "blue,shop,3.0000000000,1.0000000000",
        "blue,mail,1.0000000000,1.0000000000",
        "tasks,,1.0000000000,0",
    ]
    data = json.loads(typed("--where", "kind=eks", *APRIL_1_TO_15, "--json").stdout)
    assert (data["by"], data["cost_type"]) == (["account"], "amortized")
    assert data["rows"] == [
        {"account_id": PROD, "account": "prod", "usd": "4.0000000000", "unused_usd": "2.0000000000"}
    ]
    assert (data["total_usd"], data["total_unused_usd"]) == ("4.0000000000", "2.0000000000")


def test_split_cost_is_net_where_cost_is(folder: Path) -> None:
    Path("config.yaml").write_text(
        yaml.safe_dump(
            {
                "data_dir": "data",
                "server": {"port": 1},
                "collectors": {"cost": {"cost_type": "net_unblended"}},
            }
        )
    )
    assert json.loads(typed("--by", "pod", *APRIL_1_TO_15, "--json").stdout)["cost_type"] == "net_amortized"


def test_list_prices_are_of_usage_and_of_the_months_that_have_them(folder: Path) -> None:
    result = typed("--by", "service", "--cost-type", "list", "--from", "2026-03-01", "--to", "2026-04-15")
    assert "Usage at list prices" in result.stdout
    assert "Total $20.00" in result.stderr
    assert "2026-03 is not in the sums: cost at list prices is not in its data export." in result.stderr
    assert "Tax" not in result.stdout
    data = json.loads(typed("--cost-type", "list", *APRIL_1_TO_15, "--json").stdout)
    assert (data["total_usd"], data["total_unused_usd"]) == ("20.0000000000", None)
    nothing = json.loads(
        typed("--cost-type", "list", "--charge-type", "Tax", *APRIL_1_TO_15, "--json").stdout
    )
    assert (nothing["rows"], nothing["total_usd"]) == ([], None), "no list price is no zero"


def test_times_alone_are_in_their_order(folder: Path) -> None:
    data = json.loads(typed("--by", "month", "--from", "2026-03-01", "--to", "2026-04-15", "--json").stdout)
    assert [(row["month"], row["usd"]) for row in data["rows"]] == [
        ("2026-03", "5.0000000000"),
        ("2026-04", "10.0000000000"),
    ]


def test_top_says_how_many_rows_are_left_out(folder: Path) -> None:
    result = typed("--by", "region", "--from", "2026-04-01", "--to", "2026-04-15", "--top", "1")
    assert "4 more rows; the total is of all of them." in result.stderr


def test_top_has_the_most_expensive_rows_also_of_times_and_counts_the_rest(folder: Path) -> None:
    days = ("--by", "month", "--from", "2026-03-01", "--to", "2026-04-15", "--top", "1", "--json")
    data = json.loads(typed(*days).stdout)
    assert [(row["month"], row["usd"]) for row in data["rows"]] == [("2026-04", "10.0000000000")]
    assert (data["rows_left_out"], data["usd_left_out"]) == (1, "5.0000000000")
    assert data["total_usd"] == "15.0000000000"


def test_a_tag_without_a_value_is_refused_by_the_name_of_its_option(folder: Path) -> None:
    refused = typed("--tag", "team", code=2)
    assert "--tag: found 'team', expected a key and a value, e.g. team=web" in refused.stderr


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
        (
            ("--by", "namespace", "--from", "2026-02-01", "--to", "2026-03-31"),
            "no line of these days is split in the data export: switch on split cost allocation data in the billing"
            " preferences, then in a CUR 2.0 export (SplitCosts of deploy/data-export.yaml); it adds two lines an hour for"
            " each pod or task, which cost no more than S3 does",
        ),
        (
            ("--by", "namespace,service", "--tag", "team=web"),
            "split cost is known by cluster, namespace, pod, kind, account, day and month: leave out service and tag:team",
        ),
        (
            ("--by", "namespace", "--cost-type", "unblended"),
            "split cost is known as amortized and net_amortized cost, not as unblended",
        ),
        (
            ("--by", "namespace", "--where", "cluster=bleu", *APRIL_1_TO_15),
            "cluster: found 'bleu', expected a value that has cost; did you mean blue?",
        ),
        (
            ("--cost-type", "list", "--from", "2026-02-01", "--to", "2026-03-31"),
            "list prices are not in the data export of these days: have its query select pricing_public_on_demand_cost",
        ),
        (("--by", "hour", "--cost-type", "list"), "list prices are known by day: leave out hour"),
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
    for asked, said in ((("--by", "pod"), "split cost needs"), (("--cost-type", "list"), "list prices need")):
        assert f"{said} DuckDB: pip install" in typed(*asked, *APRIL_1_TO_15, code=1).stderr


JANUARY = ("--from", "2026-01-01", "--to", "2026-01-31")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            ("--by", "namespace"),
            "namespace is not known for these days: they were read from Cost Explorer, which has no split cost; for later"
            " ones, switch on split cost allocation data in the billing preferences",
        ),
        (
            ("--cost-type", "list"),
            "list prices are not known for these days: they were read from Cost Explorer, which has none; the data export"
            " has them from its first month on",
        ),
    ],
    ids=["split", "list"],
)
def test_with_an_export_days_of_cost_explorer_are_refused_and_those_to_come_are_missing(
    asked: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    export = {"cost": {"source": "data_export"}, "cost_export": {"export": "cost"}}
    Path("config.yaml").write_text(
        yaml.safe_dump({"data_dir": "data", "server": {"port": 1}, "collectors": export})
    )
    january = date(2026, 1, 1)
    ledger = Ledger(Path("data/ledger.sqlite"))
    commit_ledger(ledger, all_days(january), [replace(LINE, day=january)], AT)
    ledger.close()
    assert said in typed(*asked, *JANUARY, code=1).stderr
    to_come = json.loads(typed(*asked, "--from", "2026-05-01", "--to", "2026-05-03", "--json").stdout)
    assert (len(to_come["missing_days"]), to_come["total_usd"]) == (3, None)


def test_days_that_cost_explorer_was_read_of_are_all_there(folder: Path) -> None:
    assert len(all_days(MARCH)) == 31
    data = json.loads(typed("--by-day", "--from", "2026-03-01", "--to", "2026-03-31", "--json").stdout)
    assert data["missing_days"] == []

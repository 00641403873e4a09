"""Tables for people, CSV and JSON for programs."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import re

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli.finding import CheckFinding
from exporter.cli.main import main
from exporter.cli.output import Column, Format, account_id_column, emit, money, output_options
from exporter.cli.tables import findings_table

COLUMNS = [Column("account", "Account"), account_id_column(), money("usd", "Cost of the month")]
ROWS = [
    {"account": "prod", "account_id": "111111111111", "usd": "1234.5"},
    {"account": "dev", "account_id": "222222222222", "usd": None},
]


@pytest.mark.parametrize("footer", [None, {"account": "Total", "usd": "0"}], ids=["alone", "with a footer"])
def test_a_table_without_rows(capsys: pytest.CaptureFixture[str], footer: dict[str, str] | None) -> None:
    emit(Format.TABLE, {}, [], COLUMNS, footer=footer)
    shown = capsys.readouterr().out
    assert "Account" in shown
    assert ("Total" in shown) == (footer is not None)


def test_no_number_or_id_is_folded(capsys: pytest.CaptureFixture[str]) -> None:
    emit(Format.TABLE, {}, ROWS, COLUMNS, footer={"account": "Total", "usd": "1234.5"})
    lines = capsys.readouterr().out.splitlines()
    (prod,) = (line for line in lines if "prod" in line)
    assert "111111111111" in prod
    assert "$1,234.50" in prod
    (dev,) = (line for line in lines if "dev" in line)
    assert "–" in dev


def test_a_heading_takes_two_lines_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    emit(Format.TABLE, {}, ROWS, [Column("account", "Account"), money("nothing", "List price a month")])
    before_the_rows = capsys.readouterr().out.split("┡")[0].splitlines()
    assert [line.split("┃")[2].strip() for line in before_the_rows[1:]] == ["List price", "a month"]


def test_csv_has_every_column_and_plain_values(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [Column("groups", "Groups"), Column("causes", "Causes"), account_id_column(for_programs=True)]
    rows = [{"groups": {"team": "web"}, "causes": [{"region": "eu-west-1"}], "account_id": "111111111111"}]
    emit(Format.CSV, {}, rows, columns)
    assert capsys.readouterr().out.splitlines() == [
        "groups,causes,account_id",
        'team=web,"[{""region"": ""eu-west-1""}]",111111111111',
    ]


HOSTILE = [
    ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
    ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
    ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
    ("@SUM(1)", "'@SUM(1)"),
    ("  =1+1", "'  =1+1"),
    ("\t=1+1", "�=1+1"),
    ("\r=1+1", "�=1+1"),
    ("\n@x", "�@x"),
    ("＝1+1", "'＝1+1"),
    ("\x1b[2Jprod\x07", "�[2Jprod�"),
    ("\x9b2Jprod", "�2Jprod"),
    ("\u202egnp.exe", "�gnp.exe"),
    ("-", "'-"),
    ("-12.50", "-12.50"),
    (-12.5, "-12.5"),
    ("-1E-7", "-1E-7"),
    ("+12", "'+12"),
    ("a=1", "a=1"),
    ("Ünïcode 🧪", "Ünïcode 🧪"),
    (None, ""),
]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        pytest.param(
            *pair,
            id=repr(pair[0]),
            marks=pytest.mark.fault("a name that is a formula or controls a terminal", "CSV holds text"),
        )
        for pair in HOSTILE
    ],
)
def test_no_cell_is_a_formula_or_a_command(
    value: object, cell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    emit(Format.CSV, {}, [{"account": value}], [Column("account", "Account")])
    assert list(csv.reader(io.StringIO(capsys.readouterr().out)))[1:] == ([[cell]])


@given(st.text(alphabet=st.characters() | st.sampled_from("=+-@\t\r\n\x1b \x9b"), max_size=20))
def test_whatever_a_name_is_no_output_executes_or_controls(name: str) -> None:
    rows, columns = [{"account": name}], [Column("account", "Account")]
    for form in Format:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            emit(form, {"rows": rows}, rows, columns, title=name, footer={"account": name})
        text = out.getvalue()
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), form
        if form == Format.CSV:
            ((cell,),) = list(csv.reader(io.StringIO(text)))[1:] or [[""]]
            assert not cell.lstrip().startswith(("=", "+", "@"))
            assert not cell.lstrip().startswith("-") or float(cell) <= 0
        if form == Format.JSON:
            assert json.loads(text)["rows"] == rows


def test_findings_reach_a_terminal_without_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    finding = CheckFinding(
        "\x1b]0;x\x07sts", "1", "\x1b[2Jprod", "eu-west-1", "denied \x9bm", "access_denied"
    )
    findings_table("Access", [dataclasses.replace(finding, advice="allow\x1b it")])
    shown = capsys.readouterr().out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
    assert "�[2Jprod" in shown


@pytest.mark.parametrize("name", ["accounts", "anomalies", "costs", "inventory", "trends", "usage"])
@pytest.mark.parametrize("order", [("--json", "--csv"), ("--csv", "--json")], ids="-".join)
def test_json_and_csv_exclude_each_other(name: str, order: tuple[str, str]) -> None:
    refused = CliRunner().invoke(main, [name, *order])
    assert refused.exit_code == 2
    assert "give one of --json and --csv" in refused.output


@pytest.mark.parametrize("options", [[], ["--json"], ["--csv"], ["--csv", "--csv"]], ids="-".join)
def test_one_format_or_none_is_passed_on(options: list[str]) -> None:
    chosen: list[str] = []
    click.command()(output_options(lambda output: chosen.append(output)))(options, standalone_mode=False)
    assert chosen == [options[0].removeprefix("--") if options else "table"]

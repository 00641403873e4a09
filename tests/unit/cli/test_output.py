"""Tables for people, CSV and JSON for programs."""

from __future__ import annotations

import pytest

from exporter.cli.output import Column, Format, account_id_column, emit, money

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

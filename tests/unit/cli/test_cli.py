"""What the command line says of itself is whole and true."""

from __future__ import annotations

import shlex

import click
import pytest
from click.testing import CliRunner

from exporter.cli.commands import PROGRAM
from exporter.cli.main import main

NAMES = main.list_commands(click.Context(main))


def command(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


def test_the_list_of_commands_cuts_no_sentence_off() -> None:
    listed = CliRunner().invoke(main, ["--help"], terminal_width=80)
    lines = [line for line in listed.output.splitlines() if line.split()[:1] and line.split()[0] in NAMES]
    assert [line.split()[0] for line in lines] == NAMES
    assert [line for line in lines if line.endswith("...")] == []
    assert "Exit codes: 0 done" in listed.output


@pytest.mark.parametrize("name", NAMES)
def test_examples_below_the_help_can_be_typed(name: str) -> None:
    found = command(name)
    lines = [line.strip() for line in (found.epilog or "").splitlines() if PROGRAM in line]
    for line in lines:
        program, typed, *rest = shlex.split(line.partition(">")[0])
        assert (program, typed) == (PROGRAM, name)
        found.make_context(name, rest)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["cost"], "Did you mean 'costs'?"),
        (["costs", "--url", "localhost:9998"], "expected a URL such as http://127.0.0.1:9998"),
        (["costs", "--from", "yesterday"], "found 'yesterday', expected a day such as 2026-01-31"),
    ],
    ids=["a misspelt command", "an address without a scheme", "a day in words"],
)
def test_what_is_mistyped_is_exit_code_2_and_a_hint(typed: list[str], said: str) -> None:
    done = CliRunner().invoke(main, typed)
    assert done.exit_code == 2
    assert said in done.stderr

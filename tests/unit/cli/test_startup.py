"""What a command loads before it is asked to do something: words, and nothing that it works with."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import click
import pytest
from click.testing import CliRunner

from exporter.anomalies.settings import Kind, Sensitivity
from exporter.cli.commands.anomalies import KINDS, SENSITIVITIES
from exporter.cli.commands.iam_policy import DOCUMENTS
from exporter.cli.main import DEMO_HELP, main
from exporter.generated.iam import documents

HEAVY = {
    "apscheduler", "boto3", "botocore", "demo", "duckdb", "fastapi", "jinja2", "numpy", "prometheus_client", "pydantic",
    "requests", "rich", "simulated_aws", "sqlite3", "urllib3", "uvicorn", "yaml",
}  # fmt: skip
COMMANDS = [name for name in main.list_commands(click.Context(main)) if name != "demo"]


def loaded_by(arguments: list[str], folder: Path) -> tuple[str, set[str]]:
    """What the command line prints, and the packages in memory then, in a separate process."""
    program = (
        "import atexit, json, sys\n"
        "from exporter.cli.main import main\n"
        "packages = lambda: sorted({name.partition('.')[0] for name in sys.modules})\n"
        "atexit.register(lambda: print(json.dumps(packages()), file=sys.stderr))\n"
        "main(sys.argv[1:], prog_name='aws-spend-exporter')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout, set(json.loads(done.stderr))


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=["none", *COMMANDS])
def test_help_loads_nothing_that_a_command_works_with(arguments: list[str], tmp_path: Path) -> None:
    printed, loaded = loaded_by([*arguments, "--help"], tmp_path)
    assert printed.startswith("Usage: aws-spend-exporter")
    assert loaded & HEAVY == set()


def test_a_command_that_works_loads_what_it_works_with(tmp_path: Path) -> None:
    """So the test above can see it."""
    printed, loaded = loaded_by(["check"], tmp_path)
    assert printed == "The configuration is valid.\n"
    assert loaded >= {"pydantic", "yaml"}


def test_the_help_needs_no_demo_and_the_demo_names_its_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: ())
    listed = CliRunner().invoke(main, ["--help"])
    assert (listed.exit_code, DEMO_HELP in listed.output) == (0, True)
    typed = CliRunner().invoke(main, ["demo"])
    assert typed.exit_code == 1
    assert "pip install aws-spend-exporter-demo" in typed.stderr


def test_completion_shows_each_command_with_its_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: ())
    items = main.shell_complete(click.Context(main), "d")
    assert [(item.value, item.help) for item in items] == [
        ("demo", DEMO_HELP),
        ("doctor", "Walk the chain from credentials to channels."),
    ]


def test_the_list_shows_the_demos_own_first_sentence() -> None:
    demo = main.get_command(click.Context(main), "demo")
    assert demo is not None
    assert demo.get_short_help_str(200) == DEMO_HELP


def test_choices_that_are_written_twice_are_the_same() -> None:
    """Reading them from where they are used would load arrays and every collector for `--help`."""
    assert (SENSITIVITIES, tuple(KINDS)) == (get_args(Sensitivity), get_args(Kind))
    assert tuple(documents()) == DOCUMENTS

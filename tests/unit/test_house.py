"""The folders are what CONTRIBUTING.md says: floors that hold, few files beside each other, ways in the order of imports."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PLUGINS = {"collectors", "resources", "endpoints", "commands", "channels", "fillers"}

_PLAIN = "from exporter.ledger.file import Ledger\n"
_TYPE_ONLY = (
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from exporter.ledger.file import Ledger\n"
)
_LOCAL = "def late() -> None:\n    from exporter.ledger.file import Ledger\n"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages of a folder."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    return subprocess.run(
        [*command, "--no-cache", "--config", str(ROOT / "pyproject.toml")],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("statement", [_PLAIN, _TYPE_ONLY, _LOCAL], ids=["plain", "type only", "local"])
def test_an_import_of_a_higher_floor_is_found(tmp_path: Path, statement: str) -> None:
    for package in ("exporter", "simulated_aws", "demo"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    money = tmp_path / "exporter" / "core" / "money.py"
    money.write_text(money.read_text() + "\n\n" + statement)
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "exporter.core.money -> exporter.ledger.file" in done.stdout


def test_the_table_of_floors_names_every_folder_in_the_order_that_is_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["type"] == "layers")
    checked = [sorted(re.findall(r"[a-z]+", layer)) for layer in layers if not layer.startswith("(")]
    rows = re.findall(r"^\| \d+ \| (.*?) \|", TEXT, re.MULTILINE)
    shown = [sorted(re.findall(r"`exporter/([a-z]+)/`", row)) for row in rows]
    assert list(reversed(shown)) == checked
    folders = {path.parent.name for path in (ROOT / "exporter").glob("*/__init__.py")}
    assert folders == {name for names in checked for name in names}


def test_few_files_lie_beside_each_other() -> None:
    assert sorted(path.name for path in (ROOT / "exporter").glob("*.py")) == ["__init__.py", "__main__.py"]
    for folder in (path for path in (ROOT / "exporter").rglob("*") if path.is_dir()):
        if folder.name not in PLUGINS:
            assert len(list(folder.glob("*.py"))) <= 20, folder


def ways() -> dict[str, list[str]]:
    """The files of each way, in order."""
    section = TEXT.split("### Ways")[1].split("\n## ")[0]
    found = {}
    for part in section.split("\n#### ")[1:]:
        title, _, body = part.partition("\n")
        found[title] = re.findall(r"^\d+\. `([^`]+)`", body, re.MULTILINE)
    return found


@pytest.mark.parametrize("title", list(ways()))
def test_the_files_of_a_way_are_there_and_stand_in_the_order_of_their_imports(title: str) -> None:
    """None imports a later one, and the last reaches each of the others, but for those that are found by presence."""
    files = ways()[title]
    assert len(files) >= 4
    assert [path for path in files if not (ROOT / path).is_file()] == []
    graph = grimp.build_graph("exporter", cache_dir=None)
    modules = [path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in files]
    for number, module in enumerate(modules):
        after = modules[number + 1 :]
        plugin = module.split(".")[-2] in PLUGINS
        assert (
            plugin
            or not after
            or any(graph.find_shortest_chain(importer=each, imported=module) for each in after)
        ), f"nothing after {module} needs it"
        before = modules[:number]
        late = [each for each in before if graph.direct_import_exists(importer=each, imported=module)]
        assert late == [], f"{module} is imported by {late}, which come before it"

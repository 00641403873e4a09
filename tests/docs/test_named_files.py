"""Every file and module that pages, comments and docstrings name exists."""

from __future__ import annotations

import ast
import io
import os
import re
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from doc_pages import ROOT

_NOT_OURS = {"node_modules", "dist", "build", "__pycache__"}
_KINDS = ("py", "md", "yml", "yaml", "json", "sh", "j2", "toml", "mjs", "ts", "tsx")
_READ = (".py", ".md", ".yml", ".yaml", ".toml", ".sh", ".j2", ".example")
_PATH = re.compile(rf"(?<![\w./<$}}*:@-])((?:[\w.*-]+/)*[\w*.-]+\.(?:{'|'.join(_KINDS)}))(?![\w/(-])")
_FOLDER = re.compile(
    r"(?<![\w./<$}*:@-])((?:exporter|simulated_aws|demo|grafana|tests|bench|docs|deploy|iam_policies|scripts)"
    r"(?:/[\w-]+)+/?)(?![\w/.*<{-])"
)
_MODULE = re.compile(
    r"(?<![\w./-])(?:python3? -m |from |import )((?:exporter|simulated_aws|demo|grafana|bench)[\w.]*)"
)
# Files that a user or the project's own commands write.
_MADE = {
    "build/screenshots",
    "deploy/own/config/config.yaml",
    "deploy/own/secrets/grafana_admin_password",
    "deploy/own/secrets/telex_webhook_url",
}
_NOT_FILES = {"grafana/grafana"}  # an image of Docker


def _files() -> list[str]:
    found: list[str] = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _NOT_OURS]
        found += [str((Path(folder) / name).relative_to(ROOT)) for name in names]
    return found


FILES = _files()
_TAILS = {"/".join(file.split("/")[start:]) for file in FILES for start in range(file.count("/") + 1)}
_FOLDERS = {str(folder) for file in FILES for folder in Path(file).parents}


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a page; the comments of any other file; the comments and docstrings of a module."""
    text = path.read_text()
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
                docstring := ast.get_docstring(node)
            ):
                yield getattr(node, "lineno", 1), docstring
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if path.suffix == ".md":
            yield number, line
        elif "#" in line:
            yield number, line[line.index("#") :]


def missing(words: str) -> list[str]:
    """Files, folders and modules that the words name and that are not there."""
    files = [name for name in _PATH.findall(words) if not _is_there(name)]
    folders = [
        name for name in _FOLDER.findall(words) if name.rstrip("/") not in _FOLDERS | _NOT_FILES | _MADE
    ]
    modules = [name for name in _MODULE.findall(words) if not _is_module(name)]
    return files + [name for name in folders if not (ROOT / name).is_file()] + modules


def _is_there(name: str) -> bool:
    if name.startswith("../"):  # links have a test of their own
        return True
    if "*" in name:
        return any(fnmatch(tail, name) for tail in _TAILS)
    return name in _TAILS or name in _MADE


def _is_module(name: str) -> bool:
    """A module, or a name in one."""
    path = name.rstrip(".").replace(".", "/")
    return any(
        (ROOT / each).is_dir() or (ROOT / f"{each}.py").is_file()
        for each in (path, str(Path(path).parent) if path.count("/") > 1 else path)
    )


def test_every_file_that_is_named_exists() -> None:
    read = [file for file in FILES if file.endswith(_READ) or Path(file).name in ("Makefile", "Dockerfile")]
    assert len(read) > 400
    found = [
        f"{file}:{line}: {name}"
        for file in sorted(read)
        # What is missing in the prose is missing in the text, which is far quicker to look at.
        if missing((ROOT / file).read_text())
        for line, words in prose(ROOT / file)
        for name in missing(words)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("see exporter/cost/refresh_plan.py and `docs/usage.md`", []),
        ("see exporter/refresh_plan.py", ["exporter/refresh_plan.py"]),
        ("any grafana/dashboards/*.json", []),
        ("any simulated_aws/estate_*.py", ["simulated_aws/estate_*.py"]),
        ("in web/connections.py", []),
        ("in web_connections.py", ["web_connections.py"]),
        ("files of exporter/resources/", []),
        ("files of exporter/plugins/", ["exporter/plugins/"]),
        ("python -m simulated_aws", []),
        ("from demo.telex_sink import TelexSink", []),
        ("from demo.simulator import Spec", ["demo.simulator"]),
    ],
)
def test_what_is_missing_is_found(words: str, found: list[str]) -> None:
    assert missing(words) == found

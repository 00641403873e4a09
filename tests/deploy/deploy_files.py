"""Where the deployment's files and tools are."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEMO_PROJECT = tomllib.loads((ROOT / "demo" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
Rendered = dict[str, Any]


def binary(name: str) -> str:
    """A program of the development environment."""
    return str(Path(sys.executable).parent / name)


def stages() -> dict[str, list[str]]:
    """Stage name to its instructions, its ancestors' first, continuation lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        if start := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            current = found[start[2]] = [*found.get(start[1], []), line]
        elif line.strip():
            current.append(" ".join(line.split()))
    return found


def admitted() -> list[str]:
    """The files and folders of the checkout that .dockerignore sends to the builder of an image."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    return [pattern[1:] for pattern in patterns if pattern.startswith("!")]


def closure(requirements: list[str]) -> set[str]:
    """Canonical names of all distributions that the requirements bring in here."""
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    pending = [(Requirement(text), "") for text in requirements]
    while pending:
        requirement, extra = pending.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        found.add(name)
        try:
            below = requires(requirement.name) or []
        except PackageNotFoundError:
            pytest.fail(f"{requirement.name} is not installed; run `make setup`")
        pending += [(Requirement(text), extra) for text in below for extra in ("", *requirement.extras)]
    return found

"""Where the deployment's files and tools are."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
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

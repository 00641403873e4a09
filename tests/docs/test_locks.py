"""CONTRIBUTING.md names every lock of the exporter's process."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import exporter

(PACKAGE,) = map(Path, exporter.__path__)
KINDS = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore"}
ANOTHER_PROCESS = "relay"


def makes_a_lock(path: Path) -> bool:
    for call in ast.walk(ast.parse(path.read_text())):
        if isinstance(call, ast.Call):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in KINDS:
                return True
    return False


def test_the_table_of_locks_names_each_file_that_makes_one() -> None:
    section = (
        (PACKAGE.parent / "CONTRIBUTING.md").read_text().partition("\n## Locks\n")[2].partition("\n## ")[0]
    )
    made = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] != ANOTHER_PROCESS and makes_a_lock(path)
    }
    assert set(re.findall(r"`(\w+/\w+\.py)`", section)) == made

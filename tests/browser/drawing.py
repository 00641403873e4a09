"""Draws dashboards in headless Chromium, by tests/browser/render.mjs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from demo.stack import find_program
from grafana import build

HERE = Path(__file__).parent
DASHBOARDS = tuple(sorted(path.stem for path in build.OUTPUT.glob("*.json")))

Json = dict[str, Any]


def missing() -> str | None:
    """What is not there for drawing; `make browser` fetches it."""
    if not (HERE / "dist" / ".built").exists():
        return "the page is not built"
    if shutil.which("node") is None and find_program("node") is None:
        return "node is not on the PATH"
    return None if find_program("chromium", "google-chrome") else "chromium is not on the PATH"


def draw(prometheus: str, jobs: list[Json], timeout: float) -> list[Json]:
    """One report a job; see render.mjs for what a job may hold and app/report.ts for what is reported."""
    order = {
        "prometheus": prometheus,
        "dashboards": str(build.OUTPUT),
        "chromium": find_program("chromium", "google-chrome"),
        "jobs": jobs,
    }
    done = subprocess.run(
        [find_program("node") or "node", str(HERE / "render.mjs")],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    reports: list[Json] = json.loads(done.stdout)
    return reports

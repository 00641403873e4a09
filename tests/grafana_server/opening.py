"""Opens dashboards of a Grafana server in headless Chromium, by tests/grafana_server/open.mjs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.stack import find_program

Json = dict[str, Any]

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1280, 800
_BROWSERS = ("chromium", "google-chrome")


@dataclass(frozen=True, slots=True)
class Visit:
    """A dashboard and a range, as they stand in an address: "now-30d", or milliseconds since 1970."""

    uid: str
    start: str
    end: str
    variables: Mapping[str, str] = field(default_factory=dict)


def missing() -> str | None:
    """What is not there for opening a page; `make browser` fetches it."""
    if not (HERE.parent / "browser" / "node_modules" / "puppeteer-core").is_dir():
        return "puppeteer is not installed"
    if find_program("node") is None:
        return "node is not on the PATH"
    return None if find_program(*_BROWSERS) else "chromium is not on the PATH"


def open_dashboards(grafana: str, visits: Sequence[Visit], *, patience: float = 60.0) -> list[Json]:
    """One report a visit: `complaints`, `answers` of the data source, and `panels` with what is cut."""
    order = {
        "grafana": grafana,
        "chromium": find_program(*_BROWSERS),
        "width": WIDTH,
        "height": HEIGHT,
        "patience": patience,
        "jobs": [
            {"uid": visit.uid, "from": visit.start, "to": visit.end, "variables": dict(visit.variables)}
            for visit in visits
        ],
    }
    done = subprocess.run(
        [find_program("node") or "node", str(HERE / "open.mjs")],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=60 + 4 * patience * len(visits),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    reports: list[Json] = json.loads(done.stdout)
    return reports

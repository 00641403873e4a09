"""A demo that runs, as other commands see it."""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

_DAY = 86_400


@dataclass(frozen=True)
class RunningDemo:
    """Its addresses by name, and the environment in which other commands see it."""

    urls: dict[str, str]
    environment: dict[str, str]
    folder: Path

    def query(self, promql: str, *, days: int = 0) -> list[dict[str, Any]]:
        """The result of a query, over the last days in steps of one day if so asked.

        A failing one is an assertion with Prometheus' own words.
        """
        midnight = time.time() // _DAY * _DAY
        span = {"start": midnight - days * _DAY, "end": midnight, "step": "1d"} if days else {}
        answer = requests.get(
            f"{self.urls['prometheus']}/api/v1/query{'_range' if days else ''}",
            params={"query": promql, **span},
            timeout=30,
        ).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found


def seen(folder: Path, environment: dict[str, str], output: str) -> RunningDemo:
    """The demo by what it prints: a table of addresses, and the file that other commands take."""
    names = {"Prometheus": "prometheus", "Alertmanager": "alertmanager", "Telex channel": "telex"}
    urls = {}
    for line in output.splitlines():
        for shown, name in names.items():
            if line.strip().startswith(f"{shown} ") and "http" in line:
                urls[name] = line.split()[-1]
    assert set(urls) == set(names.values()), output
    path = next(line.strip()[2:] for line in output.splitlines() if line.strip().startswith(". /"))
    settings = {}
    for line in Path(path).read_text().splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        (settings[name],) = shlex.split(os.path.expandvars(value))
    return RunningDemo(urls, {**environment, **settings}, folder / "work")

"""One running demo for everything that the docs say can be typed or asked."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests


@dataclass(frozen=True)
class RunningDemo:
    """Its addresses by name, and the environment in which other commands see it."""

    urls: dict[str, str]
    environment: dict[str, str]
    folder: Path

    def query(self, promql: str) -> list[dict[str, object]]:
        """The result of an instant query; a failing one is an assertion with Prometheus' own words."""
        answer = requests.get(
            f"{self.urls['prometheus']}/api/v1/query", params={"query": promql}, timeout=30
        ).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, object]] = answer["data"]["result"]
        return found


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """`make demo`, as far as its output's last line."""
    folder = tmp_path_factory.mktemp("demo")
    for name in ("tmp", "run", "home", "work"):
        (folder / name).mkdir()
    environment = os.environ | {
        "TMPDIR": str(folder / "tmp"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "HOME": str(folder / "home"),
        "PYTHONUNBUFFERED": "1",
    }
    output = folder / "output"
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", "exporter", "demo", "--no-grafana"],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 90
            while "Ctrl-C ends the demo" not in output.read_text(errors="replace"):
                assert process.poll() is None, output.read_text(errors="replace")
                assert time.monotonic() < deadline, output.read_text(errors="replace")
                time.sleep(0.2)
            yield _seen(folder, environment, output.read_text())
        finally:
            process.terminate()
            process.wait(30)


def _seen(folder: Path, environment: dict[str, str], output: str) -> RunningDemo:
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
        (settings[name],) = shlex.split(value)
    return RunningDemo(urls, {**environment, **settings}, folder / "work")

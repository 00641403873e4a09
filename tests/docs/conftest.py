"""One running demo for everything that the docs say can be typed or asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from running_demo import RunningDemo, seen


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
            yield seen(folder, environment, output.read_text())
        finally:
            process.terminate()
            process.wait(30)

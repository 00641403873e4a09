"""One running demo for everything that the docs say can be typed or asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from running_demo import RunningDemo, seen

_RUNNING = ExitStack()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """One demo for all of these tests; they run in one process (tests/conftest.py)."""
    with _RUNNING:
        yield _RUNNING.enter_context(_start(tmp_path_factory.mktemp("demo")))


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """A demo keeps a processor busy: in a process of xdist it ends with the last test that needs it."""
    if hasattr(item.config, "workerinput") and nextitem and not nextitem.nodeid.startswith("tests/docs/"):
        _RUNNING.close()


@contextmanager
def _start(folder: Path) -> Iterator[RunningDemo]:
    """`make demo`, as far as its output's last line."""
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

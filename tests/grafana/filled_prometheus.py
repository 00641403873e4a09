"""A real Prometheus that holds what a test has written down."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import waiting

from demo.processes import choose_ports


@contextmanager
def running(folder: Path, openmetrics: str) -> Iterator[str]:
    """The address of a Prometheus with these samples, which are in the OpenMetrics format; it scrapes nothing."""
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        pytest.skip("prometheus and promtool are not on the PATH")
    exposition = folder / "samples.om"
    exposition.write_text(openmetrics, encoding="utf-8")
    subprocess.run(
        [
            *("promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=512h", "-q"),
            *(str(exposition), str(folder / "data")),
        ],
        check=True,
        capture_output=True,
        timeout=100,
    )
    (folder / "prometheus.yml").write_text("{}", encoding="utf-8")
    port = choose_ports({"prometheus": 0})["prometheus"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--storage.tsdb.retention.time=900d",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8", errors="replace")
        try:
            return requests.get(f"{url}/-/ready", timeout=10).ok
        except requests.RequestException:
            return False

    try:
        waiting.wait_for("Prometheus is ready", is_ready)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)

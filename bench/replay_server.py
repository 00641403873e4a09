"""Builds and starts the replay server of bench/replay, and one exporter process against it."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import requests
import yaml

from bench.record import RECORDING

REPOSITORY = Path(__file__).parents[1]
SOURCE = Path(__file__).parent / "replay"
PROGRAM = REPOSITORY / "build" / "replay"
_START_SECONDS = 120
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplaySpec:
    """What the replay server answers; latencies in milliseconds, those of Cost Explorer apart."""

    accounts: int
    latency: int
    ce_latency: int
    groups_per_page: int
    services: int


def build() -> Path:
    """The program, built when its source is newer; ClickException where there is no Go."""
    sources = [*SOURCE.glob("*.go"), SOURCE / "go.mod"]
    if PROGRAM.exists() and PROGRAM.stat().st_mtime > max(each.stat().st_mtime for each in sources):
        return PROGRAM
    go = shutil.which("go")
    if go is None:
        raise click.ClickException(
            "the replay server is written in Go, and there is no `go` on the PATH: install Go 1.22 or newer"
        )
    PROGRAM.parent.mkdir(exist_ok=True)
    # Another process may run the old one, or build as well.
    built = PROGRAM.with_name(f"replay.{os.getpid()}")
    done = subprocess.run(  # noqa: S603 # the project's own source, standard library only
        [go, "build", "-o", str(built), "."], cwd=SOURCE, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise click.ClickException(f"go build failed:\n{done.stderr}")
    built.replace(PROGRAM)
    return PROGRAM


def recording() -> dict[str, Any]:
    """The recorded account."""
    found: dict[str, Any] = json.loads(gzip.decompress(RECORDING.read_bytes()))
    return found


class Process:
    """A running program, seen through /proc."""

    def __init__(self, popen: subprocess.Popen[Any]) -> None:
        self.popen = popen

    @property
    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mb(self, field: str) -> float:
        """`VmRSS` or `VmHWM` in 10^6 bytes."""
        for line in self._proc("status").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise LookupError(field)

    def _proc(self, entry: str) -> str:
        if self.popen.poll() is not None:
            raise click.ClickException(f"a process ended with {self.popen.returncode}: {self.popen.args!r}")
        return Path(f"/proc/{self.popen.pid}/{entry}").read_text()

    def stop(self) -> None:
        """Terminate, and kill what does not end within half a minute."""
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(30)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


class Replay(Process):
    """A replay server; `environment` leads any AWS SDK to it."""

    def __init__(self, popen: subprocess.Popen[Any], ready: Mapping[str, Any]) -> None:
        super().__init__(popen)
        self.url: str = ready["url"]
        self.payer: str = ready["payer"]
        self.environment: dict[str, str] = ready["environment"]

    def counts(self) -> dict[str, Any]:
        """What was asked since the mark."""
        found: dict[str, Any] = requests.get(f"{self.url}/-/counts", timeout=60).json()
        return found

    def mark(self) -> None:
        """Count from 0 again."""
        requests.post(f"{self.url}/-/mark", timeout=60).raise_for_status()


@contextmanager
def replay_server(spec: ReplaySpec) -> Iterator[Replay]:
    """A running replay server on a free port."""
    command = [
        str(build()),
        *("-recording", str(RECORDING), "-accounts", str(spec.accounts), "-services", str(spec.services)),
        *("-latency", f"{spec.latency}ms", "-ce-latency", f"{spec.ce_latency}ms"),
        *("-groups-per-page", str(spec.groups_per_page)),
    ]
    popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 # our own program
    try:
        assert popen.stdout is not None
        line = popen.stdout.readline()
        if not line:
            raise click.ClickException("the replay server did not start")
        yield Replay(popen, json.loads(line))
    finally:
        popen.terminate()
        popen.wait()
        if popen.stdout is not None:
            popen.stdout.close()


class Exporter(Process):
    """A running `aws-spend-exporter run`; its log is `log_path`."""

    def __init__(self, popen: subprocess.Popen[Any], url: str, log_path: Path) -> None:
        super().__init__(popen)
        self.url = url
        self.log_path = log_path

    def scrape(self, encoding: str = "gzip") -> tuple[float, bytes]:
        """Seconds that a scrape took, and its body as it went over the wire."""
        began = time.perf_counter()
        headers = {"Accept-Encoding": encoding}
        with requests.get(f"{self.url}/metrics", headers=headers, stream=True, timeout=120) as response:
            response.raise_for_status()
            body: bytes = response.raw.read()
        return time.perf_counter() - began, body


@contextmanager
def running_exporter(folder: Path, replay: Replay, config: Mapping[str, Any]) -> Iterator[Exporter]:
    """The exporter with this configuration, once it listens."""
    folder.mkdir(parents=True, exist_ok=True)
    path, log_path = folder / "config.yaml", folder / "log"
    whole = {"data_dir": str(folder / "data"), "server": {"port": 0}, **config}
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    with log_path.open("wb") as log:
        popen = subprocess.Popen(  # noqa: S603 # our own program
            [sys.executable, "-m", "exporter", "run", "--config", str(path)],
            env={**os.environ, **replay.environment},
            cwd=REPOSITORY,
            stdout=log,
            stderr=log,
        )
    exporter = Exporter(popen, "", log_path)
    try:
        exporter.url = _listening_on(exporter)
        yield exporter
    finally:
        exporter.stop()


def _listening_on(exporter: Exporter) -> str:
    began = time.monotonic()
    while time.monotonic() - began < _START_SECONDS and exporter.popen.poll() is None:
        for line in exporter.log_path.read_text().splitlines():
            if "listening url=http" in line:
                return line.rpartition("url=")[2].split()[0]
        time.sleep(0.1)
    raise click.ClickException(f"the exporter does not listen:\n{exporter.log_path.read_text()[-3000:]}")


def values(body: bytes, name: str, *by: str) -> Counter[tuple[str, ...]]:
    """Sums of the samples of `name` in a plain body, by the values of the labels `by`."""
    found: Counter[tuple[str, ...]] = Counter()
    for line in _samples(body, name):
        labels, _, value = line.rpartition(" ")
        key = tuple(_label(labels, label) for label in by)
        found[key] += float(value)  # type: ignore[assignment] # a Counter adds floats as well
    return found


def _samples(body: bytes, name: str) -> Iterable[str]:
    start = name.encode()
    for line in body.splitlines():
        if line.startswith(start) and line[len(start) : len(start) + 1] in (b"{", b" "):
            yield line.decode()


def _label(text: str, name: str) -> str:
    # Names and kinds hold no quotes.
    _, found, rest = text.replace("{", ",").partition(f',{name}="')
    return rest.partition('"')[0] if found else ""


def series(body: bytes) -> int:
    """How many series a plain body has."""
    return sum(1 for line in body.splitlines() if line and not line.startswith(b"#"))

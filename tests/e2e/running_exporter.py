"""The exporter as a process, or in this one with a clock of the test's own, against a simulated AWS."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import boto3
import moments
import pytest
import requests
import yaml
from organizations import MakeAws as MakeAws
from prometheus_client.parser import text_string_to_metric_families
from waiting import wait_for

from exporter.app.service import Service
from exporter.collectors import all_collectors
from exporter.config.read import load_config
from exporter.declarations.collector import Collector
from simulated_aws import SimulatedAws

T = TypeVar("T")
Samples = dict[str, list[tuple[dict[str, str], float]]]


def samples_of(text: str) -> Samples:
    """Samples by name."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def check_with_promtool(text: str) -> None:
    """Let promtool check an exposition."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        [program, "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Client:
    """Asks a running exporter."""

    url: str

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        return requests.get(f"{self.url}{path}", timeout=kwargs.pop("timeout", 60), **kwargs)

    def post(self, path: str, **kwargs: Any) -> requests.Response:
        return requests.post(f"{self.url}{path}", timeout=kwargs.pop("timeout", 150), **kwargs)

    def reload(self) -> requests.Response:
        return requests.post(f"{self.url}/-/reload", timeout=60)

    def samples(self) -> Samples:
        return samples_of(self.get("/metrics").text)

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the one series with these labels among its own; None if there is none."""
        found = [value for have, value in self.samples().get(name, []) if labels.items() <= have.items()]
        assert len(found) <= 1, (name, labels, found)
        return found[0] if found else None

    def failures(self, collector: str) -> dict[str, set[str]]:
        """The kinds of failure of a collector by account name."""
        kinds: dict[str, set[str]] = {}
        for labels, _ in self.samples().get("aws_spend_exporter_collector_failure_info", []):
            if labels["collector"] == collector:
                kinds.setdefault(labels.get("account", ""), set()).add(labels["kind"])
        return kinds

    def is_ready(self) -> bool:
        return self.get("/-/ready").status_code == 200


class Exporter(Client):
    """`aws-spend-exporter run` in a folder of its own."""

    def __init__(self, folder: Path, aws: Mapping[str, str], config: Mapping[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.config_path = folder / "config.yaml"
        self.log_path = folder / "log"
        self.configure(config)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            **moments.python_path(Path(__file__).parents[2]),
            **aws,
        }
        self.popen: subprocess.Popen[bytes] | None = None
        self.arguments: list[str] = []

    def configure(self, config: Mapping[str, Any]) -> None:
        whole = {"data_dir": str(self.folder / "data"), "server": {"port": 0}, **config}
        self.config_path.write_text(json.dumps(whole))  # JSON is YAML

    def start(self, *, wait: bool = True) -> Exporter:
        """Start; with `wait`, return when it listens."""
        self.log_path.write_bytes(b"")
        with self.log_path.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "exporter", "run", "-c", str(self.config_path), *self.arguments],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.url = wait_for("the exporter listens", self._listening_on)
        return self

    def _listening_on(self) -> str | None:
        assert self.popen is not None
        assert self.popen.poll() is None, self.log()
        lines = [line for line in self.log().splitlines() if "listening url=http" in line]
        return lines[0].rpartition("url=")[2] if lines else None

    def log(self) -> str:
        return self.log_path.read_text()

    def signal(self, number: signal.Signals) -> None:
        assert self.popen is not None
        self.popen.send_signal(number)

    def wait(self, timeout: float = 60.0) -> int:
        """The exit code."""
        assert self.popen is not None
        return self.popen.wait(timeout)

    def stop(self) -> float:
        """SIGTERM; the seconds until it has ended, which must be with exit code 0."""
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        assert self.wait(60) == 0, self.log()
        return time.monotonic() - began

    def kill(self) -> None:
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()

    def proc(self, entry: str) -> Path:
        """A path below /proc of the process."""
        assert self.popen is not None
        return Path(f"/proc/{self.popen.pid}/{entry}")


class ShiftedClock:
    """The real time, shifted by what the test says."""

    def __init__(self, start: datetime | None = None) -> None:
        self.offset = start - datetime.now(UTC) if start else timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def advance(self, by: timedelta) -> None:
        self.offset += by


class InProcess(Client):
    """A `Service` on a thread of this process."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.exit_code: int | None = None
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)

    def _run(self) -> None:
        self.exit_code = self.service.run()

    def start(self) -> None:
        self._thread.start()
        wait_for("the exporter listens", lambda: self.service.port)
        self.url = f"http://127.0.0.1:{self.service.port}"

    def collector(self, name: str) -> Collector:
        return next(found for found in self.service.runner.collectors if found.name == name)

    def stop(self) -> None:
        self.service.on_signal(signal.SIGTERM)
        self._thread.join(60)
        assert self.exit_code == 0


@contextmanager
def in_process(
    folder: Path,
    aws: SimulatedAws,
    config: Mapping[str, Any],
    clock: ShiftedClock | None = None,
    **options: Any,
) -> Iterator[InProcess]:
    """A running exporter in this process, with these options of `Service`; the environment must be that of `aws`."""
    path = folder / "config.yaml"
    path.write_text(
        yaml.safe_dump({"data_dir": str(folder / "data"), "server": {"port": 0}, **config}, sort_keys=False)
    )
    running = InProcess(Service(load_config(path, {}), path, clock or ShiftedClock(), **options))
    running.start()
    try:
        yield running
    finally:
        running.stop()


MakeExporter = Callable[..., Exporter]


def warm(aws: SimulatedAws) -> None:
    """Fill the inventory and let moto import what it needs, so that a test measures the exporter."""
    for account in aws.accounts:
        for region in aws.spec.regions:
            aws.inventory._fill(account.id, region)
    keys = aws.environment()
    client = boto3.session.Session().client(
        "ec2",
        endpoint_url=aws.url,
        region_name=aws.spec.regions[0],
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )
    client.describe_instances()
    client.close()
    aws.requests.clear()


def collectors(**chosen: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """These collectors with these settings, and no other."""
    none = {collector.name: {"enabled": False} for collector in all_collectors()}
    return none | {name: {"enabled": True, **settings} for name, settings in chosen.items()}


def organization(**more: Any) -> dict[str, Any]:
    """A configuration for every account of a simulated organisation, without cost unless said."""
    config: dict[str, Any] = {
        "accounts": {"discovery": "organizations", "role_name": "aws-spend-exporter-member"},
        "regions": ["us-east-1", "eu-west-1"],
        "aws": {"read_timeout": "2s"},
        "collectors": collectors(ec2_instances={}),
    }
    return config | more

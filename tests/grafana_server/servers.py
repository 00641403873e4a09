"""Grafana servers with the product's provisioning: the one on the PATH, and the stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import requests

from demo import configs, grafana
from demo.errors import DemoError
from demo.processes import Processes, choose_ports
from demo.stack import clean_environment, find_program

PROJECT = configs.project_folder()
PROVISIONING = PROJECT / "grafana" / "provisioning"
_PATIENCE = 120.0


def real() -> grafana.Installation:
    """The Grafana on the PATH; raises DemoError."""
    program = find_program("grafana", "grafana-server")
    if program is None:
        raise DemoError("grafana is not on the PATH")
    return grafana.Installation.of(program)


@contextmanager
def running(
    installation: grafana.Installation, data: Path, prometheus: str, **variables: str
) -> Iterator[str]:
    """The URL of a server with its database in `data`; raises DemoError where it does not start."""
    port = choose_ports({"grafana": 0})["grafana"]
    settings = grafana.environment(PROJECT, data, port, prometheus) | variables
    url = f"http://127.0.0.1:{port}"
    with Processes(Event()) as processes:
        child = processes.start("grafana", installation.command(), clean_environment() | settings)
        processes.wait_ready(child, f"{url}/api/health", _PATIENCE)
        yield url


@contextmanager
def running_prometheus() -> Iterator[str]:
    """A Prometheus that scrapes itself every second."""
    program = find_program("prometheus")
    assert program is not None, "`make setup` fetches Prometheus"
    port = choose_ports({"prometheus": 0})["prometheus"]
    url = f"http://127.0.0.1:{port}"
    with Processes(Event()) as processes:
        itself = {"job_name": "itself", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        config = configs.write_yaml(
            processes.folder / "prometheus.yml",
            {"global": {"scrape_interval": "1s"}, "scrape_configs": [itself]},
        )
        child = processes.start(
            "prometheus",
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={processes.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
        )
        processes.wait_ready(child, f"{url}/-/ready", _PATIENCE)
        yield url


def get(url: str, path: str) -> Any:
    """The JSON of a path that must be answered."""
    answer = requests.get(f"{url}{path}", timeout=60)
    answer.raise_for_status()
    return answer.json()


def wait_for_dashboards(url: str, uids: set[str], wait: Callable[[str, Callable[[], bool]], object]) -> None:
    """Until the server has all of them."""
    wait(
        "the dashboards are provisioned",
        lambda: uids <= {each["uid"] for each in get(url, "/api/search?type=dash-db&limit=500")},
    )

"""Seconds from the exporter's first start until thirteen months of daily cost stand in a real Prometheus.

python -m bench.first_start --accounts 50 --services 20

The simulated AWS is asked for everything once before, so that making up its cost does not count;
answering the exporter does, and takes a part of the time that is printed beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import requests
import yaml

from demo.processes import choose_ports
from exporter.core.moments import month_start

DEADLINE_SECONDS = 900
# Thirteen months and the days of this one are 428 days at most.
EVERYTHING = "sum(sum_over_time(last_over_time(aws_cost_daily_usd[1d])[430d:1d] offset -1ms))"
NEWEST_MONTH = "sum(sum_over_time(last_over_time(aws_cost_daily_usd[1d])[15d:1d] offset -1ms))"


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def query(base: str, expression: str) -> float:
    try:
        answer = requests.get(f"{base}/api/v1/query", params={"query": expression}, timeout=30).json()
    except requests.RequestException:
        return 0.0
    result = answer.get("data", {}).get("result", [])
    return float(result[0]["value"][1]) if result else 0.0


def await_value(base: str, expression: str, least: float, started: float) -> float:
    while query(base, expression) < least:
        if time.monotonic() - started > DEADLINE_SECONDS:
            raise click.ClickException(f"{expression} did not reach {least:.2f} in {DEADLINE_SECONDS} s")
        time.sleep(0.25)
    return time.monotonic() - started


@dataclass(frozen=True)
class Programs:
    """Starts programs that end with the stack; their output goes to files of the folder."""

    stack: ExitStack
    folder: Path

    def start(
        self, *command: str, environment: Mapping[str, str] | None = None, piped: bool = False
    ) -> subprocess.Popen[str]:
        log = self.stack.enter_context((self.folder / f"{len(list(self.folder.iterdir()))}.log").open("w"))
        child = subprocess.Popen(  # noqa: S603 # our own programs and Prometheus
            command,
            stderr=log,
            stdout=subprocess.PIPE if piped else log,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.stack.callback(child.wait)
        self.stack.callback(child.terminate)
        return child

    def start_prometheus(self, port: int) -> None:
        config = self.folder / "prometheus.yml"
        config.write_text(yaml.safe_dump({"storage": {"tsdb": {"out_of_order_time_window": "450d"}}}))
        self.start(
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={self.folder / 'tsdb'}",
            "--storage.tsdb.retention.time=450d",
            "--web.enable-remote-write-receiver",
            f"--web.listen-address=127.0.0.1:{port}",
        )

    def start_exporter(
        self, port: int, prometheus: str, simulator: Mapping[str, Any]
    ) -> subprocess.Popen[str]:
        config = self.folder / "config.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "data_dir": str(self.folder / "data"),
                    "server": {"port": port},
                    "aws": {"endpoint_url": simulator["url"], "region": "us-east-1"},
                    "ceilings": {"cost": {"day": None, "month": None}, "first_fill": None},
                    "history": {"write_url": f"{prometheus}/api/v1/write"},
                }
            )
        )
        return self.start(
            *(sys.executable, "-m", "exporter", "run", "--config", str(config)),
            environment=simulator["environment"],
        )


def truth(simulator: str, first: date, until: date) -> float:
    """What all accounts cost from the first day up to the last, which is not counted."""
    answer = requests.get(
        f"{simulator}/_simulator/truth",
        params={"start": first.isoformat(), "end": until.isoformat(), "by": "month"},
        timeout=600,
    )
    return sum(float(row["amount"]) for row in answer.json()["totals"])


@click.command()
@click.option("--accounts", default=50, show_default=True)
@click.option("--services", default=20, show_default=True)
@click.option("--groups-per-page", default=5000, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(accounts: int, services: int, groups_per_page: int, as_json: bool) -> None:
    """Start everything, and wait."""
    with ExitStack() as stack:
        programs = Programs(stack, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        simulator = programs.start(
            *(sys.executable, "-m", "simulated_aws", "--port", "0", "--accounts", str(accounts)),
            *("--services", str(services), "--days", "430", "--groups-per-page", str(groups_per_page)),
            piped=True,
        )
        assert simulator.stdout is not None
        ready = json.loads(simulator.stdout.readline())
        today = datetime.now(UTC).date()
        everything = truth(ready["url"], month_start(today, 13), today)
        newest = truth(ready["url"], today - timedelta(days=15), today)

        ports = choose_ports({"prometheus": 0, "exporter": 0})
        prometheus = f"http://127.0.0.1:{ports['prometheus']}"
        programs.start_prometheus(ports["prometheus"])
        before = cpu_seconds(simulator.pid)
        started = time.monotonic()
        exporter = programs.start_exporter(ports["exporter"], prometheus, ready)
        # Yesterday still moves while it is read.
        month = await_value(prometheus, NEWEST_MONTH, newest * 0.995, started)
        everything_after = await_value(prometheus, EVERYTHING, everything * 0.999, started)
        figures = {
            "accounts": accounts,
            "services": services,
            "seconds_to_the_newest_days": round(month, 1),
            "seconds_to_thirteen_months": round(everything_after, 1),
            "exporter_cpu_seconds": round(cpu_seconds(exporter.pid), 1),
            "simulator_cpu_seconds": round(cpu_seconds(simulator.pid) - before, 1),
        }
    click.echo(
        json.dumps(figures) if as_json else "\n".join(f"{name}: {value}" for name, value in figures.items())
    )


if __name__ == "__main__":
    main()

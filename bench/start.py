"""Seconds from the start of the process until cost is on /metrics, with a ledger of millions of rows.

python -m bench.start --accounts 1000 --services 20 --days 400

The ledger was refreshed a moment ago, so that nothing is asked for; AWS is a port that nothing listens on.
A process has served it before: the figures are those of the second start.
With --ledger the file is made once and kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import click
import requests
import yaml

from demo.processes import choose_ports
from exporter.core.amounts import Units
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostKey, CostRead

FAMILIES = (
    "aws_cost_yesterday_usd",
    "aws_cost_month_to_date_usd",
    "aws_cost_month_projection_usd",
    "aws_cost_expected_usd",
)
"""What is waited for, each by itself."""

_GIVE_UP_SECONDS = 120


def costs(days: list[date], accounts: int, services: int, random: Random) -> Iterator[tuple[CostKey, Units]]:
    """Amounts with the ten decimals that Cost Explorer reports, much alike from day to day."""
    for account in range(accounts):
        for service in range(services):
            usual = random.randrange(10**12)
            for day in days:
                units = usual + random.randrange(10**10)
                yield (day, f"{account:012}", f"Amazon Service {service}"), Units._make([units] * 5)


def make_ledger(path: Path, accounts: int, services: int, days: int) -> None:
    """A ledger that was refreshed just now."""
    now = datetime.now(UTC)
    random = Random(1)
    ledger = Ledger(path)
    for start in range(0, days, 10):
        part = [now.date() - timedelta(days=number) for number in range(start, min(days, start + 10))]
        read = CostRead(now, dict.fromkeys(part, False), dict(costs(part, accounts, services, random)))
        ledger.reads.commit(read)
        ledger.reads.commit_non_usage(CostRead(now, read.days, {}))
    ledger.reads.mark_scan("refresh", now)
    ledger.accounts.name({f"{account:012}": f"account-{account}" for account in range(accounts)}, now.date())
    ledger.close()


def resident_megabytes(pid: int) -> tuple[float, float]:
    """The process's memory now, and its peak."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    now, peak = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return round(now, 1), round(peak, 1)


def cpu_seconds(pid: int) -> float:
    """User and system time of the process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def measure(url: str, pid: int, started: float) -> dict[str, float]:
    """When each family is there, with the CPU and the memory that it took until then."""
    figures: dict[str, float] = {}
    missing = list(FAMILIES)
    while missing and time.monotonic() - started < _GIVE_UP_SECONDS:
        time.sleep(0.05)
        try:
            text = requests.get(f"{url}/metrics", timeout=30).text
        except requests.RequestException:
            continue
        seconds = time.monotonic() - started
        for name in [name for name in missing if f"\n{name}{{" in text]:
            missing.remove(name)
            figures[f"{name} seconds"] = round(seconds, 2)
            figures[f"{name} cpu seconds"] = round(cpu_seconds(pid), 2)
            figures[f"{name} megabytes"], figures[f"{name} peak megabytes"] = resident_megabytes(pid)
    for name in missing:
        figures[f"{name} seconds"] = float("nan")
    return figures


@click.command()
@click.option("--accounts", default=1000, show_default=True)
@click.option("--services", default=20, show_default=True)
@click.option("--days", default=400, show_default=True)
@click.option("--ledger", "kept", type=click.Path(path_type=Path), help="A folder that keeps the ledger.")
@click.option("--json", "as_json", is_flag=True)
def main(accounts: int, services: int, days: int, kept: Path | None, as_json: bool) -> None:
    """Make the ledger, start, and wait."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        data = kept or folder / "data"
        if not (data / "ledger.sqlite").exists():
            make_ledger(data / "ledger.sqlite", accounts, services, days)
        ports = choose_ports({"exporter": 0, "nothing": 0})
        config = folder / "config.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "data_dir": str(data),
                    "server": {"port": ports["exporter"]},
                    "accounts": {"discovery": "payer"},
                    "ceilings": {"cost": {"day": None, "month": None}, "first_fill": None},
                    "aws": {"endpoint_url": f"http://127.0.0.1:{ports['nothing']}", "region": "us-east-1"},
                }
            )
        )
        log = stack.enter_context((folder / "log").open("w"))
        for _ in range(2):  # a first process has served the ledger before
            started = time.monotonic()
            exporter = subprocess.Popen(  # noqa: S603 # our own program
                [sys.executable, "-m", "exporter", "run", "--config", str(config)],
                stdout=log,
                stderr=log,
                env={
                    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
                    "AWS_SECRET_ACCESS_KEY": "example",
                    "HOME": str(folder),
                },
            )
            try:
                figures = measure(f"http://127.0.0.1:{ports['exporter']}", exporter.pid, started)
            finally:
                exporter.terminate()
                exporter.wait()
    click.echo(
        json.dumps(figures) if as_json else "\n".join(f"{name}: {value}" for name, value in figures.items())
    )


if __name__ == "__main__":
    main()

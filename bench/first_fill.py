"""Memory and CPU of a first fill of a large organization: pages of 5,000 groups from a server that makes them up.

python -m bench.first_fill --accounts 1000 --services 20 --months 13

Every amount depends on its day, account and service alone, so that the sums can be checked afterwards.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import requests
import yaml

from bench.start import cpu_seconds, resident_megabytes
from demo.processes import choose_ports
from exporter.aws.cost_explorer import METRICS
from exporter.core.moments import days_between
from exporter.ledger.file import Ledger

_IDENTITY = (
    "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::000000000000:user/bench</Arn>"
    "<UserId>AIDA</UserId><Account>000000000000</Account></GetCallerIdentityResult>"
    "<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
)


def units(day: date, key: int) -> int:
    """The cost of one key on a day, in 1e-10 USD."""
    return 10**10 * (key % 97 + 1) + day.toordinal() * 1000 + key


class Pages:
    """The answers for one organization; a token is the number of groups that were answered before."""

    def __init__(self, accounts: int, services: int, page: int) -> None:
        self.keys = accounts * services
        self.services = services
        self.page = page

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """One page."""
        period = asked["TimePeriod"]
        days = list(days_between(date.fromisoformat(period["Start"]), date.fromisoformat(period["End"])))
        # Non-usage charges, and scans: there are none in a fill that nothing is restated in.
        keys = 0 if "Filter" in asked else self.keys
        first = int(asked.get("NextPageToken", 0))
        end = min(first + self.page, len(days) * keys)
        lines: dict[date, list[Any]] = {} if keys else {day: [] for day in days}
        for number in range(first, end):
            day, key = days[number // keys], number % keys
            text = f"{units(day, key) // 10**10}.{units(day, key) % 10**10:010}"
            lines.setdefault(day, []).append(
                {
                    "Keys": [f"{key // self.services:012}", f"Amazon Service {key % self.services}"],
                    "Metrics": {name: {"Amount": text, "Unit": "USD"} for name in METRICS.values()},
                }
            )
        answer: dict[str, Any] = {
            "ResultsByTime": [
                {
                    "TimePeriod": {"Start": day.isoformat(), "End": (day + timedelta(days=1)).isoformat()},
                    "Estimated": False,
                    "Groups": groups,
                }
                for day, groups in lines.items()
            ]
        }
        return answer | ({"NextPageToken": str(end)} if end < len(days) * keys else {})


def serve(port: int, pages: Pages) -> None:
    """Answer until the process ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            target = self.headers.get("X-Amz-Target", "")
            status, text = 200, _IDENTITY
            if target.endswith(".GetCostAndUsage"):
                text = json.dumps(pages.answer(json.loads(body)), separators=(",", ":"))
            elif target:
                status, text = 400, json.dumps({"__type": "DataUnavailableException"})
            answer = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1" if target else "text/xml")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: a line a request would be a thousand."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def missing(url: str) -> float:
    """Days that have not been read yet; infinite before it is known."""
    try:
        text = requests.get(f"{url}/metrics", timeout=60).text
    except requests.RequestException:
        return float("inf")
    name = "\naws_spend_exporter_ledger_missing_dates "
    return float(text.partition(name)[2].split("\n", 1)[0]) if name in text else float("inf")


def check_sums(path: Path, pages: Pages) -> Iterator[date]:
    """The days whose cost in the ledger is not what the server answered."""
    ledger = Ledger(path, read_only=True)
    for day in ledger.reads.day_states(date.min, date.max):
        found = sum(amount for _, amount in ledger.cost.day_units(day, "unblended"))
        if found != sum(units(day, key) for key in range(pages.keys)):
            yield day
    ledger.close()


@click.command()
@click.option("--accounts", default=1000, show_default=True)
@click.option("--services", default=20, show_default=True)
@click.option("--months", default=13, show_default=True)
@click.option("--groups-per-page", default=5000, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(accounts: int, services: int, months: int, groups_per_page: int, as_json: bool) -> None:
    """Fill, and look at the process."""
    pages = Pages(accounts, services, groups_per_page)
    ports = choose_ports({"exporter": 0, "aws": 0})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = multiprocessing.Process(target=serve, args=(ports["aws"], pages), daemon=True)
        server.start()
        stack.callback(server.terminate)
        config = folder / "config.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "data_dir": str(folder / "data"),
                    "server": {"port": ports["exporter"]},
                    "accounts": {"discovery": "payer"},
                    "ceilings": {"cost": {"day": None, "month": None}, "first_fill": None},
                    "aws": {"endpoint_url": f"http://127.0.0.1:{ports['aws']}", "region": "us-east-1"},
                    "collectors": {"cost": {"history_months": months}, "forecast": {"enabled": False}},
                }
            )
        )
        log = stack.enter_context((folder / "log").open("w"))
        started = time.monotonic()
        exporter = subprocess.Popen(  # noqa: S603 # our own program
            [sys.executable, "-m", "exporter", "run", "--config", str(config)],
            stdout=log,
            stderr=log,
            env={"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "HOME": str(folder)},
        )
        stack.callback(exporter.wait)
        stack.callback(exporter.terminate)
        while missing(f"http://127.0.0.1:{ports['exporter']}") > 0:
            time.sleep(5)
        rows = accounts * services
        now, peak = resident_megabytes(exporter.pid)
        figures = {
            "seconds": round(time.monotonic() - started, 1),
            "CPU seconds": round(cpu_seconds(exporter.pid), 1),
            "keys a day": rows,
            "megabytes": now,
            "peak megabytes": peak,
            "days that differ": len(list(check_sums(folder / "data" / "ledger.sqlite", pages))),
        }
    click.echo(
        json.dumps(figures) if as_json else "\n".join(f"{name}: {value}" for name, value in figures.items())
    )


if __name__ == "__main__":
    main()

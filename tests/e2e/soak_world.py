"""The whole chain on days that pass in seconds: simulated AWS, an exporter that follows a moved clock, a write endpoint that
fails in front of a real Prometheus, and a real Alertmanager with a relay in front of a Telex that fails."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from running_exporter import Exporter, collectors
from waiting import wait_for

from demo.processes import choose_ports
from demo.stack import clean_environment, find_program
from demo.telex_channel import Failure
from demo.telex_sink import TelexSink
from exporter.core.moments import month_start
from exporter.ledger.file import Ledger
from simulated_aws import ExplicitCost, OrganizationSpec, SimulatedAws

ROOT = Path(__file__).parents[2]
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
DAILY = "aws_cost_daily_usd"
SERVICES = ("AmazonCloudWatch", "AWS Lambda")
HOURS = (7, 13, 19)
"""When the clock stops on each day; cost is due every six hours."""
RESTATED_AGES = (1, 2, 3)

By = dict[tuple[date, str, str], Decimal]
"""USD by day, account id and service; without zeros."""

AWS_FAULTS: Mapping[str, Mapping[str, Any]] = {
    "Cost Explorer throttles": {"kind": "throttle", "service": "ce", "count": 3},
    "Cost Explorer fails": {"kind": "server_error", "service": "ce", "count": 2},
    "Cost Explorer hangs": {"kind": "hang", "service": "ce", "seconds": 4.0, "count": 1},
    "Cost Explorer resets connections": {"kind": "reset", "service": "ce", "count": 2},
    "Cost Explorer answers what is no JSON": {"kind": "malformed", "service": "ce", "count": 1},
    "the last page fails": {"kind": "last_page_fails", "service": "ce", "count": 1},
    "Cost Explorer is denied": {"kind": "access_denied", "service": "ce", "count": 2},
    "credentials expire": {"kind": "expired_credentials", "service": "ce", "count": 1},
    "STS fails": {"kind": "server_error", "service": "sts", "count": 2},
    "AWS is slow": {"kind": "latency", "seconds": 0.2},
}
ACCEPTS_AND_LOSES = "accepts and loses"
WRITE_FAULTS = ("refuses (500)", "throttles (429)", "loses answers", "hangs", "hangs up", ACCEPTS_AND_LOSES)
TELEX_FAULTS = {
    "Telex throttles": Failure(429),
    "Telex fails": Failure(500),
    "Telex hangs up": Failure(None),
    "Telex loses answers": Failure(None, accepts=True),
}


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


class WriteEndpoint:
    """Passes on to Prometheus, writes and queries, unless `fault` says otherwise."""

    def __init__(self, target: str) -> None:
        self.fault: str | None = None
        self.failed = 0
        self._ending = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # http.server's name
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fault = outer.fault
                outer.failed += fault is not None
                if fault == "hangs":
                    outer._ending.wait(4)
                if fault in ("hangs", "hangs up"):
                    self.close_connection = True
                    return
                if fault in ("refuses (500)", "throttles (429)"):
                    self._answer(500 if "500" in fault else 429, b"")
                    return
                if fault == ACCEPTS_AND_LOSES and self.path.endswith("/write"):
                    self._answer(204, b"")
                    return
                headers = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower() not in ("host", "content-length", "connection", "accept-encoding")
                }
                reply = requests.request(
                    self.command, target + self.path, data=body, headers=headers, timeout=60
                )
                if fault == "loses answers":
                    self.close_connection = True
                    return
                self._answer(reply.status_code, reply.content)

            def do_GET(self) -> None:  # http.server's name
                self.do_POST()

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()


class Program:
    """A server that can be killed and started again as it was."""

    def __init__(self, argv: list[object], log: Path, url: str, **environment: str) -> None:
        self._argv, self._log, self.url = [str(part) for part in argv], log, url
        self._environment = clean_environment() | environment
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.popen = subprocess.Popen(self._argv, stdout=log, stderr=log, env=self._environment)
        wait_for(f"{self._argv[0]} is ready", self._is_ready)

    def _is_ready(self) -> bool:
        assert self.popen is not None
        assert self.popen.poll() is None, self._log.read_text()[-3000:]
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/-/ready", timeout=5).ok
        return False

    def end(self, number: signal.Signals) -> None:
        if self.popen is not None:
            self.popen.send_signal(number)
            self.popen.wait(60)
            self.popen = None


@dataclass(frozen=True)
class Footprint:
    """What a process holds."""

    kib: int
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
        )
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return cls(int(status["VmRSS"].split()[0]), files, int(status["Threads"]))


@dataclass(frozen=True)
class Plan:
    """What breaks on a day."""

    aws: tuple[str, ...]
    write: str | None
    telex: str | None
    exporter_ends: Mapping[int, tuple[signal.Signals, float]]
    """By the hour: the signal, and how many seconds after the clock was moved."""
    relay_is_killed: bool

    @property
    def broken(self) -> list[str]:
        """Each fault in words."""
        return [
            *self.aws,
            *([f"the write endpoint {self.write}"] if self.write else []),
            *([self.telex] if self.telex else []),
            *(
                f"{number.name} of the exporter at {hour}:00"
                for hour, (number, _) in self.exporter_ends.items()
            ),
            *(["SIGKILL of the relay"] if self.relay_is_killed else []),
        ]


def draw_plan(draws: random.Random, *, restarts: bool) -> Plan:
    """A day's faults; processes end only with `restarts`."""
    ends = {
        hour: (draws.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)), draws.uniform(0, 0.5))
        for hour in HOURS
        if draws.random() < 0.2
    }
    return Plan(
        aws=tuple(draws.sample(sorted(AWS_FAULTS), draws.choice((0, 1, 1, 2)))),
        write=draws.choice(WRITE_FAULTS) if draws.random() < 0.5 else None,
        telex=draws.choice(sorted(TELEX_FAULTS)) if draws.random() < 0.5 else None,
        exporter_ends=ends if restarts else {},
        relay_is_killed=draws.random() < 0.25 and restarts,
    )


@dataclass
class World:
    """The chain; `now` is the simulated time."""

    draws: random.Random
    aws: SimulatedAws
    exporter: Exporter
    clock_file: Path
    writes: WriteEndpoint
    prometheus: Program
    alertmanager: Program
    relay: Program
    telex: TelexSink
    rows: list[ExplicitCost]
    first: date
    """The first day that is in the ledger."""
    kills: int = 0
    alerts: list[str] = field(default_factory=list)
    committed: set[tuple[date, str, str]] = field(default_factory=set)
    footprints: dict[str, list[Footprint]] = field(default_factory=lambda: defaultdict(list))

    @property
    def now(self) -> datetime:
        return self.aws.clock.now()

    @property
    def ledger_path(self) -> Path:
        return self.exporter.folder / "data" / "ledger.sqlite"

    # Time

    def move_to(self, moment: datetime) -> None:
        """Set the clock of AWS and of the exporter, which stands still at AWS and goes on in the exporter."""
        self.aws.clock.set(moment)
        partial = self.clock_file.with_suffix(".new")
        partial.write_text(repr((moment - datetime.now(UTC)).total_seconds()))
        partial.rename(self.clock_file)

    def await_attempt(self, patience: float) -> bool:
        """Whether cost was asked for since the clock was moved; a fault may keep it from being."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            with suppress(requests.RequestException):
                for outcome in self.exporter.get("/api/v1/status", timeout=10).json().get("outcomes", ()):
                    attempted = datetime.fromisoformat(outcome["attempted_at"])
                    if outcome["unit"] == "cost" and attempted >= self.now - timedelta(minutes=1):
                        return True
            time.sleep(0.05)
        return False

    def restart_exporter(self, number: signal.Signals) -> None:
        self.exporter.signal(number)
        self.exporter.wait()
        self.kills += number == signal.SIGKILL
        if self.ledger_path.exists():
            with closing(sqlite3.connect(self.ledger_path)) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        self.exporter.start()

    # A day

    def pass_day(self, day: date, plan: Plan) -> str:
        """Break what is planned, let the day pass, repair it; a line about it."""
        for what in plan.aws:
            self.aws.faults.add(**AWS_FAULTS[what])
        self.writes.fault = plan.write
        self.telex.fail_all(TELEX_FAULTS[plan.telex] if plan.telex else None)
        self._restate(day)
        silent = []
        for hour in HOURS:
            self.move_to(midnight(day) + hour * HOUR)
            if hour in plan.exporter_ends:
                number, delay = plan.exporter_ends[hour]
                time.sleep(delay)
                self.restart_exporter(number)
            if not self.await_attempt(8):
                silent.append(f"{hour}:00")
            assert self.exporter.get("/metrics").status_code == 200
        self._alert(f"day-{day.isoformat()}")
        if plan.relay_is_killed:
            self.relay.end(signal.SIGKILL)
            self.relay.start()
        self.aws.faults.clear()
        self.writes.fault = None
        self.telex.fail_all(None)
        held = self._check_committed()
        for name, popen in (("exporter", self.exporter.popen), ("relay", self.relay.popen)):
            assert popen is not None
            self.footprints[name].append(Footprint.of(popen.pid))
        mib = ", ".join(f"{name} {found[-1].kib // 1024} MiB" for name, found in self.footprints.items())
        broken = ", ".join([*plan.broken, *(f"no answer about cost at {hour}" for hour in silent)])
        return (
            f"{day}: broken: {broken or 'nothing'}; held: scrapes are answered, {held} values committed and none lost,"
            f" {len(self.arrived())} of {len(self.alerts)} alerts arrived so far; {mib}"
        )

    def _restate(self, day: date) -> None:
        """From noon on, one of the last days costs more in an account and service."""
        age = self.draws.choice(RESTATED_AGES)
        self.rows.append(
            ExplicitCost(
                day - age * DAY,
                self.draws.choice(self.aws.accounts).id,
                self.draws.choice(SERVICES),
                {"UnblendedCost": Decimal(self.draws.randint(-200, 2000)) / 8},
                usage_type=f"Restated on {day}",
                visible_from=midnight(day) + 12 * HOUR,
            )
        )
        self.aws.set_costs(self.rows)

    def _alert(self, name: str) -> None:
        """An alert that Prometheus would have sent, and goes on sending while it fires."""
        self.alerts.append(name)
        self.send_alerts()

    def send_alerts(self) -> None:
        now = datetime.now(UTC)
        alerts = [
            {
                "labels": {"alertname": "Spend", "account": name, "account_id": name, "severity": "warning"},
                "annotations": {"title": "Too much", "summary": name},
                "startsAt": (now - HOUR).isoformat(),
                "endsAt": (now + 24 * HOUR).isoformat(),
            }
            for name in self.alerts
        ]
        sent = requests.post(f"{self.alertmanager.url}/api/v2/alerts", json=alerts, timeout=30)
        assert sent.ok, sent.text

    def arrived(self) -> set[str]:
        """The alerts that are in the channel."""
        text = "\n".join(message.message for message in self.telex.messages)
        return {name for name in self.alerts if name in text}

    # What must be so

    def truth(self, end: date) -> By:
        totals = self.aws.truth.totals(self.first, end, by=("day", "account", "service"))
        return {(date.fromisoformat(d), a, s): usd for (d, a, s), usd in totals.items() if usd}

    def in_ledger(self, end: date) -> By:
        found: defaultdict[tuple[date, str, str], Decimal] = defaultdict(Decimal)
        with closing(Ledger(self.ledger_path, read_only=True)) as ledger:
            for row in ledger.cost.rows(self.first, end):
                found[row.day, row.account_id, row.service] += row.amounts.unblended
        return {key: usd for key, usd in found.items() if usd}

    def in_prometheus(self, end: date) -> By:
        """The newest value of each day, asked at its end."""
        answer = requests.post(
            f"{self.prometheus.url}/api/v1/query_range",
            data={
                "query": f"last_over_time({DAILY}[1d])",
                "start": midnight(self.first + DAY).timestamp(),
                "end": midnight(end).timestamp(),
                "step": DAY.total_seconds(),
                "nocache": "1",
            },
            timeout=60,
        ).json()
        assert answer["status"] == "success", answer
        found: By = {}
        for series in answer["data"]["result"]:
            for at, value in series["values"]:
                if float(value):
                    day = datetime.fromtimestamp(at, UTC).date() - DAY
                    key = (day, series["metric"]["account_id"], series["metric"]["service"])
                    found[key] = Decimal(value)
        return found

    def _check_committed(self) -> int:
        """What was in the ledger on an earlier day is in it."""
        held = set(self.in_ledger(self.now.date() + DAY)) if self.ledger_path.exists() else set()
        # A restatement may bring a day to exactly nothing: only what still costs something counts.
        lost = {key for key in self.committed - held if self.truth(self.now.date() + DAY).get(key)}
        assert not lost, sorted(lost)[:5]
        self.committed = held
        return len(held)

    def paid(self) -> tuple[int, int]:
        """Requests to Cost Explorer: those that AWS was sent, and those that the exporter has charged itself."""
        with closing(sqlite3.connect(self.ledger_path)) as db:
            (charged,) = db.execute("SELECT COUNT(*) FROM charges WHERE service = 'ce'").fetchone()
        return self.aws.requests.count("ce"), int(charged)


def costs(account_ids: tuple[str, ...], first: date, end: date) -> Iterator[ExplicitCost]:
    """Whole eighths of a dollar, booked on the evening of each day."""
    for number, account_id in enumerate(account_ids):
        for position, service in enumerate(SERVICES):
            for back in range((end - first).days):
                day = first + back * DAY
                usd = Decimal(800 + 80 * number + 8 * position + day.toordinal() % 31) / 8
                yield ExplicitCost(
                    day, account_id, service, {"UnblendedCost": usd}, visible_from=midnight(day) + 18 * HOUR
                )


@contextmanager
def running_world(folder: Path, seed: int, days: int) -> Iterator[World]:
    """The chain with two months of cost read and written, some days before the real time."""
    programs = {
        name: find_program(*names)
        for name, names in {
            "prometheus": ("prometheus",),
            "alertmanager": ("alertmanager", "prometheus-alertmanager"),
        }.items()
    }
    if None in programs.values():
        pytest.skip("`make setup` fetches Prometheus and Alertmanager")
    # Prometheus is at the real time, and takes nothing from the future.
    start = midnight(datetime.now(UTC).date() - (days + 5) * DAY)
    ports = choose_ports({"prometheus": 0, "alertmanager": 0, "relay": 0})
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    spec = OrganizationSpec(seed=seed, accounts=3, services=1, instances=0, groups_per_page=7, now=start)
    with ExitStack() as stack:
        aws = stack.enter_context(SimulatedAws(spec, costs=()))
        telex = stack.enter_context(TelexSink())
        writes = WriteEndpoint(urls["prometheus"])
        stack.callback(writes.close)
        first = month_start(start.date(), 1)
        rows = list(
            costs(tuple(account.id for account in aws.accounts), first, start.date() + (days + 6) * DAY)
        )
        aws.set_costs(rows)
        write(
            folder / "prometheus.yml",
            {"global": {"scrape_interval": "1h"}, "storage": {"tsdb": {"out_of_order_time_window": "450d"}}},
        )
        write(folder / "alertmanager.yml", {
            "route": {"receiver": "telex", "group_by": ["account_id"], "group_wait": "0s", "group_interval": "2s", "repeat_interval": "24h"},
            "receivers": [{"name": "telex", "webhook_configs": [{"url": f"{urls['relay']}/alerts"}]}],
        })  # fmt: skip
        write(folder / "relay.yml", {
            "relay": {"port": ports["relay"], "state_dir": str(folder / "relay"), "channels": {"default": {"url_env": "TELEX_URL"}}, "read_timeout": "1s"}
        })  # fmt: skip
        made = {
            "prometheus": Program([
                programs["prometheus"], f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
                "--storage.tsdb.retention.time=450d", f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
                "--web.enable-remote-write-receiver", "--log.level=warn",
            ], folder / "prometheus.log", urls["prometheus"]),
            "alertmanager": Program([
                programs["alertmanager"], f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'am'}",
                f"--web.listen-address=127.0.0.1:{ports['alertmanager']}", "--cluster.listen-address=",
            ], folder / "alertmanager.log", urls["alertmanager"]),
            "relay": Program(
                [sys.executable, "-m", "exporter", "relay", "-c", folder / "relay.yml"],
                folder / "relay.log", urls["relay"], TELEX_URL=telex.webhook_url, PYTHONPATH=str(ROOT),
            ),
        }  # fmt: skip
        for program in made.values():
            stack.callback(program.end, signal.SIGKILL)
            program.start()
        exporter = Exporter(folder / "exporter", aws.environment(), {
            "accounts": {"discovery": "organizations", "role_name": "aws-spend-exporter-member"},
            "regions": ["us-east-1"],
            "aws": {"read_timeout": "2s"},
            "ceilings": {"cost": {"day": None, "month": None}, "first_fill": None},
            "history": {"write_url": f"{writes.url}/api/v1/write", "timeout": "2s"},
            "collectors": collectors(cost={"history_months": 1}),
        })  # fmt: skip
        clock_file = folder / "clock"
        exporter.environment |= {
            "MOVED_CLOCK_FILE": str(clock_file),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "moved_clock"), str(ROOT)]),
        }
        stack.callback(exporter.kill)
        world = World(
            random.Random(seed), aws, exporter, clock_file, writes, made["prometheus"], made["alertmanager"],
            made["relay"], telex, rows, first,
        )  # fmt: skip
        world.move_to(start + HOURS[0] * HOUR)
        exporter.start()
        wait_for("two months are read", exporter.is_ready)
        yield world


def write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content))


def rest(world: World, days: int, until: Callable[[], bool]) -> None:
    """Let days pass without faults, for what was missed to be read and written again."""
    moments = [world.now + number * 6 * HOUR for number in range(1, 4 * days + 1)]
    for moment in moments:
        world.move_to(moment)
        assert world.await_attempt(60), world.exporter.log()[-3000:]
    wait_for("all is as it should be", until)

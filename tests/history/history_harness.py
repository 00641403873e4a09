"""Real endpoints, ledgers with made-up cost, and the questions that dashboards ask."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs

import pytest
import requests
from prometheus_client import CollectorRegistry
from waiting import wait_for

from demo.processes import choose_ports
from exporter.app.dated_history import DAILY_VALUES, derivations
from exporter.config.model import Config
from exporter.core.amounts import Amounts
from exporter.core.moments import utc_now
from exporter.history.endpoint import RemoteWriteEndpoint
from exporter.history.sample_timestamps import DatedSource, Stamps
from exporter.history.settings import HistorySettings
from exporter.history.writer import Derive, History, HistoryMetrics, HistoryWriter
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

T = TypeVar("T")
DAY = timedelta(days=1)
DAILY = "aws_cost_daily_usd"
GONE_WHILE_READ = re.compile(r"cannot populate chunk \d+ from block 0+: not found")
SCRAPE = """
global: {scrape_interval: 1h}
storage: {tsdb: {out_of_order_time_window: %s}}
rule_files: [%s]
"""


def documented() -> list[str]:
    """The queries of docs/history.md."""
    page = Path(__file__).resolve().parents[2] / "docs/history.md"
    return re.findall(r"```promql\n(.*?)```", page.read_text(), re.S)


def today() -> date:
    return datetime.now(UTC).date()


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


class Server:
    """A real server that takes remote writes; on the same port and, unless wiped, data after a restart."""

    program = ""

    def __init__(self, folder: Path, **options: Any) -> None:
        if shutil.which(self.program) is None:
            pytest.skip(f"{self.program} is not on the PATH")
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.options = options
        self.port = choose_ports({self.program: 0})[self.program]
        self.url = f"http://127.0.0.1:{self.port}"
        self.write_url = f"{self.url}/api/v1/write"
        self._popen: subprocess.Popen[bytes] | None = None
        self.data = folder / "data"

    def command(self) -> list[str]:
        raise NotImplementedError

    ready_path = "/-/ready"

    def start(self) -> Server:
        with (self.folder / "log").open("ab") as log:
            self._popen = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder)
        wait_for(f"{self.program} is ready", self._ready)
        return self

    def _ready(self) -> bool:
        assert self._popen is not None
        assert self._popen.poll() is None, (self.folder / "log").read_text()
        try:
            return requests.get(self.url + self.ready_path, timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._popen is not None:
            self._popen.send_signal(number)
            self._popen.wait(60)
            self._popen = None

    def wipe(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)

    def settings(self, **more: Any) -> HistorySettings:
        return HistorySettings.model_validate({"write_url": self.write_url, **more})

    def query(self, expression: str, at: datetime | float) -> dict[tuple[str, ...], float]:
        """The vector by the values of its labels in the order of their names."""
        seconds = at.timestamp() if isinstance(at, datetime) else at
        answer = self._ask("query", {"query": expression, "time": seconds})
        if answer["resultType"] == "scalar":
            return {(): float(answer["result"][1])}
        return {key_of(series["metric"]): float(series["value"][1]) for series in answer["result"]}

    def query_range(
        self, expression: str, start: datetime, end: datetime, step: timedelta = DAY
    ) -> dict[tuple[str, ...], dict[datetime, float]]:
        """The matrix of a range query, with the values by their time."""
        answer = self._ask(
            "query_range",
            {
                "query": expression,
                "start": start.timestamp(),
                "end": end.timestamp(),
                "step": step.total_seconds(),
            },
        )
        return {
            key_of(series["metric"]): {
                datetime.fromtimestamp(at, UTC): float(value) for at, value in series["values"]
            }
            for series in answer["result"]
        }

    def _ask(self, path: str, parameters: Mapping[str, str | float]) -> dict[str, Any]:
        for _ in range(3):
            answer = requests.post(
                f"{self.url}/api/v1/{path}", data={**parameters, "nocache": "1"}, timeout=60
            ).json()
            if answer["status"] == "success":
                data: dict[str, Any] = answer["data"]
                return data
            # Before 2.49 a query fails so when the chunks that it has found are compacted under its hands.
            if not GONE_WHILE_READ.search(answer["error"]):
                break
        raise AssertionError(answer)

    def days(
        self, expression: str = f"sum(last_over_time({DAILY}[1d]))", count: int = 430
    ) -> dict[date, float]:
        """One value by day, asked at the ends of the days."""
        found = self.query_range(expression, midnight(today() - count * DAY), midnight(today()))
        assert len(found) <= 1
        return {at.date() - DAY: value for values in found.values() for at, value in values.items()}


def key_of(metric: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(value for name, value in sorted(metric.items()) if name != "__name__")


class Prometheus(Server):
    program = "prometheus"

    def command(self) -> list[str]:
        config = self.folder / "prometheus.yml"
        config.write_text(SCRAPE % (self.options.get("window", "450d"), self.options.get("rules", "")))
        return [
            self.program,
            f"--config.file={config}",
            f"--storage.tsdb.path={self.data}",
            f"--storage.tsdb.retention.time={self.options.get('retention', '450d')}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-remote-write-receiver",
            "--web.enable-admin-api",
            "--log.level=warn",
        ]

    def compactions(self) -> int:
        """The blocks that were written since the start."""
        text = requests.get(f"{self.url}/metrics", timeout=30).text
        (line,) = [
            line for line in text.splitlines() if line.startswith("prometheus_tsdb_compactions_total ")
        ]
        return int(float(line.split()[1]))

    def oldest_out_of_order_segment(self) -> int:
        """The number of the oldest log of samples out of order: it goes when they are all in blocks, as the last thing."""
        return min(int(path.name) for path in (self.data / "wbl").iterdir())


class Prometheus3(Prometheus):
    """One that knows remote write 2.0."""

    program = "prometheus-3"


class VictoriaMetrics(Server):
    program = "victoria-metrics"
    ready_path = "/health"

    def command(self) -> list[str]:
        return [
            self.program,
            f"-storageDataPath={self.data}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            f"-retentionPeriod={self.options.get('retention', '450d')}",
            "-search.latencyOffset=0s",
            "-loggerLevel=WARN",
        ]


# Ledgers


def amount(text: str | Decimal) -> Amounts:
    value = Decimal(text)
    return Amounts(value, value, value, value, value)


def cost_of(account: int, service: int, day: date) -> Decimal:
    """Whole eighths of a dollar, different for every key: sums of floats are exact."""
    return Decimal(account * 97 + service * 5 + day.toordinal() % 31) / 8 + 1


def account_id(account: int) -> str:
    return f"{100_000_000_000 + account}"


def fill(
    ledger: Ledger, days: int, accounts: int = 3, services: int = 2, observed_at: datetime | None = None
) -> dict[date, float]:
    """Cost of the last complete days; returns their totals."""
    at = observed_at or datetime.now(UTC)
    newest = at.date()
    totals: dict[date, float] = {}
    ledger.accounts.name({account_id(a): f"account-{a}" for a in range(accounts)}, newest - days * DAY)
    for first in range(1, days + 1, 31):
        wanted = [newest - back * DAY for back in range(first, min(first + 31, days + 1))]
        costs = {
            (day, account_id(a), f"Service {s}"): amount(cost_of(a, s, day))
            for day in wanted
            for a in range(accounts)
            for s in range(services)
        }
        ledger.reads.commit(CostRead(at, dict.fromkeys(wanted, False), costs))
        for (day, _, _), amounts in costs.items():
            totals[day] = totals.get(day, 0.0) + float(amounts.unblended)
    return totals


def restate(
    ledger: Ledger,
    day: date,
    costs: Mapping[tuple[int, int], str | Decimal],
    observed_at: datetime | None = None,
) -> None:
    """Read a day again; keys are numbers of account and service."""
    ledger.reads.commit(
        CostRead(
            observed_at or datetime.now(UTC),
            {day: False},
            {(day, account_id(a), f"Service {s}"): amount(value) for (a, s), value in costs.items()},
        )
    )


class Writer:
    """A `HistoryWriter` with its metrics."""

    def __init__(
        self,
        ledger: Ledger,
        settings: HistorySettings,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        endpoint: Any = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.registry = CollectorRegistry()
        self.metrics = HistoryMetrics(self.registry)
        self.stamps = Stamps(ledger)
        self.endpoint = endpoint or RemoteWriteEndpoint(settings)
        self.writer = HistoryWriter(
            settings, "unblended", self.stamps, self.endpoint, clock, self.metrics, stopped
        )

    def write(self) -> int:
        return self.writer.write()

    def metric(self, name: str) -> float:
        value = self.registry.get_sample_value(f"aws_spend_exporter_history_{name}")
        assert value is not None
        return value

    def close(self) -> None:
        self.endpoint.close()


# Running, and in between


class Clock:
    """The real time, shifted."""

    def __init__(self) -> None:
        self.offset = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.offset


class Running:
    """A `History` on its thread, with a clock that is moved."""

    def __init__(
        self,
        server: Any,
        ledger: Ledger,
        sources: Sequence[DatedSource] = (),
        derivations: Sequence[Derive] = (),
        **more: Any,
    ) -> None:
        """`sources` are written beside cost, `more` are settings."""
        self.clock = Clock()
        self.registry = CollectorRegistry()
        settings = HistorySettings.model_validate({"write_url": server.write_url, "timeout": "60s", **more})
        self.history = History(
            settings,
            "unblended",
            Stamps(ledger),
            self.clock,
            HistoryMetrics(self.registry),
            [Stamps(ledger, source) for source in sources],
            derivations,
        )

    def metric(self, name: str) -> float:
        value = self.registry.get_sample_value(f"aws_spend_exporter_history_{name}")
        assert value is not None
        return value

    def until(self, what: str, probe: Callable[[], Any]) -> None:
        """Let time pass until it is so."""

        def after_a_while() -> Any:
            self.later(timedelta(minutes=2))
            time.sleep(0.2)
            return probe()

        wait_for(what, after_a_while)

    def later(self, by: timedelta) -> None:
        self.clock.offset += by
        self.history.notify()


@contextmanager
def running(server: Any, ledger: Ledger, *beside: Any, **more: Any) -> Iterator[Running]:
    """A `Running` while it runs; all else is given to it."""
    run = Running(server, ledger, *beside, **more)
    run.history.start()
    try:
        yield run
    finally:
        assert run.history.stop(60)


@contextmanager
def running_as_configured(server: Any, ledger: Ledger) -> Iterator[Running]:
    """The dated history of days, with all that follows from cost but what the assessment of days leaves."""
    config = Config.model_validate({"anomalies": {"enabled": False}})
    with running(server, ledger, [DAILY_VALUES], derivations(ledger, config, utc_now)) as run:
        yield run


COMPACTED = (
    '{"status":"error","errorType":"execution","error":"cannot populate chunk 33554432'
    ' from block 00000000000000000000000000: not found"}'
)


class Between:
    """A proxy in front of a server, which refuses writes and tampers with answers to queries where a test wants it to."""

    def __init__(self, endpoint: Any, server: Server) -> None:
        self.url = server.url
        self.asked = 0
        self.failures = 0
        self.omissions = 0
        self.refuse: Callable[[Any], tuple[int, str] | None] = lambda request: None
        """What it answers to a write by itself."""
        self.write_url = endpoint.write_url
        endpoint.answer = self.answer

    def answer(self, request: Any) -> tuple[int, str]:
        if request.path.endswith("/write"):
            refusal = self.refuse(request)
            if refusal is not None:
                return refusal
            headers = {name: value for name, value in request.headers.items() if name != "Host"}
            written = requests.post(self.url + request.path, request.body, headers=headers, timeout=30)
            return written.status_code, written.text
        self.asked += 1
        if self.failures:
            self.failures -= 1
            return 422, COMPACTED
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        answer = requests.post(self.url + request.path, form, timeout=30)
        found = answer.json()
        if self.omissions and found["data"]["result"]:
            self.omissions -= 1
            del found["data"]["result"][0]
        return answer.status_code, json.dumps(found)

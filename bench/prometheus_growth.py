"""What Prometheus needs after thirteen months of dated history: memory, write-ahead logs, compaction, rules.

python -m bench.prometheus_growth --accounts 100
python -m bench.prometheus_growth --accounts 1000

A real Prometheus with the shipped settings and rules. It is given what a first start writes, the newest month
first, by remote write; then it scrapes as many live series as an exporter serves and evaluates the rules. Dated
cost is one series an account and service, with daily usage and organizational units beside it.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import requests
import yaml
from rich.console import Console
from rich.table import Table

from bench.record import REGIONS
from bench.replay_server import Process, values
from demo import http
from demo.processes import choose_ports
from exporter.core.moments import start_of_day, to_milliseconds
from exporter.history.request import HEADERS, Point, compress, encode_labels, encode_points

RULES = Path(__file__).parents[1] / "prometheus" / "rules"
RULE_LIMIT = 0.25  # of a group's interval
POINTS_A_REQUEST = 10_000
_QUIET_SECONDS = 130.0  # Prometheus looks for what to compact once a minute
_READY_SECONDS = 600.0  # a busy machine replays a long log slowly
_COMPACTION_PATIENCE_SECONDS = 6 * 3600.0
_USAGE = (
    "aws_lambda_invocations_daily",
    "aws_s3_bucket_size_bytes_daily",
    "aws_ec2_instance_running_seconds_daily",
)
_BY_SERVICE = (
    *(f"aws_cost_{name}_usd" for name in ("today", "yesterday", "day_before_yesterday", "assessed_day")),
    *(f"aws_cost_{name}_usd" for name in ("month_to_date", "last_month", "month_projection", "expected")),
    "aws_cost_deviation_score",
)
_TYPES = ("ec2:instance", "ec2:volume", "ec2:snapshot", "rds:db", "s3:bucket", "lambda:function", "sqs:queue")
_USAGE_LIVE = ("aws_lambda_invocations_total", "aws_ec2_network_in_bytes_total", "aws_ebs_read_bytes_total")


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleGroup:
    """One group of rules, in seconds: the longest of its evaluations, and the CPU of one, asked by itself.

    On a busy machine the first says how long it waited; the second does not depend on what else runs.
    """

    name: str
    longest: float
    interval: float
    cpu: float = 0.0

    @property
    def share(self) -> float:
        """Of its interval."""
        return self.longest / self.interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """Prometheus after the fill, after compaction, and while it scrapes and evaluates. Memory and disk in MB (10^6 bytes)."""

    accounts: int
    services: int
    days: int
    dated_series: int
    dated_samples: int
    live_series: int
    fill_seconds: float
    fill_cpu_seconds: float
    fill_memory_mb: float
    fill_wal_mb: float
    fill_wbl_mb: float
    compactions: int
    compaction_seconds: float
    compaction_cpu_seconds: float
    compaction_peak_memory_mb: float
    blocks: int
    blocks_mb: float
    steady_memory_mb: float
    steady_wal_mb: float
    steady_share_of_a_core: float
    scrape_seconds: float
    missed_evaluations: int
    groups: tuple[RuleGroup, ...]


# What is written


def account(number: int) -> dict[str, str]:
    return {"account_id": f"{100_000_000_000 + number:012}", "account": f"member{number:04}"}


def dated_series(accounts: int, services: int) -> Iterator[bytes]:
    """The labels of every dated series."""
    for number in range(accounts):
        labels = account(number)
        for service in range(services):
            yield encode_labels("aws_cost_daily_usd", {**labels, "service": f"Service {service:03}"})
        for region in REGIONS:
            for name in _USAGE:
                yield encode_labels(name, {**labels, "region": region})
        for ou in ("/Workloads", f"/Workloads/Unit {number % 10}"):
            yield encode_labels("aws_account_ou_info", {**labels, "ou": ou})


def months(last: date, days: int) -> Iterator[list[date]]:
    """Thirty days at a time, the newest first, each in the order of time."""
    all_days = [last - timedelta(days=number) for number in range(days)]
    for start in range(0, days, 30):
        yield sorted(all_days[start : start + 30])


def requests_of(series: list[bytes], days: list[date]) -> Iterator[list[Point]]:
    """Requests that hold a month of as many series as fit; daily stamps are at noon."""
    stamps = [to_milliseconds(start_of_day(day)) + 12 * 3_600_000 for day in days]
    size = max(1, POINTS_A_REQUEST // len(days))
    for start in range(0, len(series), size):
        yield [
            (labels, stamp, 1.0 + (number * 31 + place * 7) % 1000 / 8)
            for number, labels in enumerate(series[start : start + size])
            for place, stamp in enumerate(stamps)
        ]


def live_body(accounts: int, services: int) -> bytes:
    """The families that rules select, in the text format: about 250 series an account."""
    families: dict[str, list[str]] = {}

    def add(name: str, value: float, **labels: str) -> None:
        text = ",".join(f'{key}="{each}"' for key, each in labels.items())
        families.setdefault(name, []).append(f"{name}{{{text}}} {value}")

    for number in range(accounts):
        labels = account(number)
        unit = f"/Workloads/Unit {number % 10}"
        for service in range(services):
            for place, name in enumerate(_BY_SERVICE):
                add(name, 1.5 + service + place, **labels, service=f"Service {service:03}")
        for region in REGIONS:
            for kind in _TYPES:
                add("aws_resources", 5, **labels, region=region, resource_type=kind, state="active")
            add("aws_resources_unused", 2, **labels, region=region, resource_type=_TYPES[1], reason="idle")
            add("aws_resources_unused_estimated_monthly_cost_usd", 9, **labels, region=region,
                resource_type=_TYPES[1], reason="idle")  # fmt: skip
            add("aws_resources_untagged", 3, **labels, region=region, resource_type=_TYPES[0], tag_key="team")
            for name in _USAGE_LIVE:
                add(name, 1e6 + number, **labels, region=region)
        add("aws_account_info", 1, **labels, state="ACTIVE", ou=unit)
        add("aws_account_group_info", 1, **labels, group="team", group_value=f"team{number % 20}")
        for ou in ("/Workloads", unit):
            add("aws_account_ou_info", 1, **labels, ou=ou)
        for period in ("day", "month"):
            add("aws_cost_threshold_usd", 1e9, **labels, scope="account", period=period)
    return ("\n".join(line for lines in families.values() for line in lines) + "\n").encode()


@contextmanager
def served(body: bytes) -> Iterator[int]:
    """A server of the body at /metrics; its port."""
    packed = gzip.compress(body, 1)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(packed)))
            self.end_headers()
            self.wfile.write(packed)

        def log_message(self, *_: object) -> None:
            """Say nothing of each scrape."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# Prometheus


class Prometheus(Process):
    """A real Prometheus in a folder; without rules and scrapes until `observe`."""

    def __init__(self, popen: subprocess.Popen[Any], url: str, folder: Path) -> None:
        super().__init__(popen)
        self.url = url
        self.data = folder / "data"
        self._config = folder / "prometheus.yml"

    def write(self, points: list[Point]) -> None:
        """One request of remote write."""
        self.send(encode_points(points))

    def send(self, request: bytes) -> None:
        """One request of remote write, encoded."""
        answer = requests.post(
            f"{self.url}/api/v1/write", data=compress(request), headers=HEADERS, timeout=300
        )
        if answer.status_code != 204:
            raise click.ClickException(f"remote write: {answer.status_code} {answer.text[:300]}")

    def observe(self, port: int, *, rules: bool = True) -> None:
        """Scrape the live series and evaluate the rules from now on, as shipped."""
        self._config.write_text(yaml.safe_dump(configuration(port, str(RULES / "*.yml") if rules else None)))
        requests.post(f"{self.url}/-/reload", timeout=300).raise_for_status()

    def metrics(self) -> bytes:
        """Its own metrics."""
        return requests.get(f"{self.url}/metrics", timeout=60).content

    def value(self, name: str) -> float:
        """A sum over one of the families that it serves about itself."""
        return float(values(self.metrics(), name).total())

    def disk_mb(self, *folders: str) -> float:
        """What is below folders of its data, in MB (10^6 bytes); files that end meanwhile count nothing."""
        total = 0
        for folder in folders:
            for path in (self.data / folder).rglob("*"):
                try:
                    total += path.stat().st_size if path.is_file() else 0
                except FileNotFoundError:
                    continue
        return total / 1e6

    @property
    def blocks(self) -> list[str]:
        """The folders of its blocks."""
        return [path.parent.name for path in self.data.glob("*/meta.json")]


def configuration(port: int | None, rules: str | None) -> dict[str, Any]:
    """The shipped configuration, with what is scraped and evaluated."""
    jobs = [{"job_name": "aws-spend-exporter", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}]
    return {
        "global": {"scrape_interval": "30s", "scrape_timeout": "10s", "evaluation_interval": "30s"},
        "storage": {"tsdb": {"out_of_order_time_window": "450d"}},
        "rule_files": [rules] if rules else [],
        "scrape_configs": jobs if port else [],
    }


@contextmanager
def running_prometheus(folder: Path, *flags: str) -> Iterator[Prometheus]:
    """A Prometheus that is ready, with more flags; its output is in `log`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = choose_ports({"prometheus": 0})["prometheus"]
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(configuration(None, None)))
    with (folder / "log").open("wb") as log:
        popen = subprocess.Popen(  # noqa: S603 # Prometheus
            [  # noqa: S607 # the one on the PATH
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--storage.tsdb.retention.time=450d",
                "--web.enable-remote-write-receiver",
                "--web.enable-lifecycle",
                f"--web.listen-address=127.0.0.1:{port}",
                *flags,
            ],
            stdout=log,
            stderr=log,
        )
    prometheus = Prometheus(popen, f"http://127.0.0.1:{port}", folder)
    try:
        _await_ready(prometheus)
        yield prometheus
    finally:
        prometheus.stop()


def _await_ready(prometheus: Prometheus) -> None:
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end:
        if http.answers(f"{prometheus.url}/-/ready"):
            return
        time.sleep(0.2)
    raise click.ClickException(f"Prometheus is not ready after {_READY_SECONDS:.0f} seconds")


# Measuring


def fill(prometheus: Prometheus, series: list[bytes], days: int, compact: bool) -> int:
    """Write all of the history; the number of samples.

    Prometheus compacts its head, and with it what is out of order, when the head spans more than three hours. It
    begins four hours ago with `compact`, so that the first scrapes begin it; now without, as on a first start.
    """
    now = datetime.now(UTC)
    begin = now - timedelta(hours=4) if compact else now
    prometheus.write([(encode_labels("bench_begin", {}), to_milliseconds(begin), 1.0)])
    written = 0
    for month in months(now.date() - timedelta(days=1), days):
        for points in requests_of(series, month):
            prometheus.write(points)
            written += len(points)
    return written


def await_compaction(prometheus: Prometheus) -> float:
    """Wait until no compaction has ended for two minutes, ClickException after six hours; the peak of memory in MB."""
    peak, count, since = 0.0, -1.0, time.monotonic()
    end = since + _COMPACTION_PATIENCE_SECONDS
    while time.monotonic() < end:
        peak = max(peak, prometheus.memory_mb("VmRSS"))
        now = prometheus.value("prometheus_tsdb_compactions_total")
        if now != count:
            count, since = now, time.monotonic()
        elif count > 0 and time.monotonic() - since > _QUIET_SECONDS:
            return peak
        time.sleep(1)
    raise click.ClickException("Prometheus still compacts after six hours")


def watch_rules(prometheus: Prometheus, seconds: float) -> tuple[RuleGroup, ...]:
    """The longest evaluation of each group, those of the beginning left out."""
    longest: dict[str, float] = {}
    intervals: Mapping[tuple[str, ...], float] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        body = prometheus.metrics()
        for (group,), duration in values(
            body, "prometheus_rule_group_last_duration_seconds", "rule_group"
        ).items():
            longest[group] = max(longest.get(group, 0.0), duration)
        intervals = values(body, "prometheus_rule_group_interval_seconds", "rule_group")
        time.sleep(5)
    return tuple(
        RuleGroup(name=group.rpartition(";")[2], longest=duration, interval=float(intervals[(group,)]))
        for group, duration in sorted(longest.items())
    )


def cpu_of_groups(prometheus: Prometheus) -> dict[str, float]:
    """CPU seconds of one evaluation of each group, query by query. No rules run meanwhile; scrapes do."""
    found: dict[str, float] = {}
    for path in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            before = prometheus.cpu_seconds
            for rule in group["rules"]:
                data = {"query": rule["expr"], "timeout": "300s"}
                answer = requests.post(f"{prometheus.url}/api/v1/query", data=data, timeout=600)
                answer.raise_for_status()
            found[group["name"]] = prometheus.cpu_seconds - before
    return found


def measure(
    accounts: int, services: int, days: int, minutes: float, folder: Path, *, compact: bool = True
) -> Growth:
    """Fill, compact, scrape and evaluate."""
    series, body = list(dated_series(accounts, services)), live_body(accounts, services)
    with served(body) as port, running_prometheus(folder) as prometheus:
        began, cpu = time.monotonic(), prometheus.cpu_seconds
        samples = fill(prometheus, series, days, compact)
        fill_seconds, fill_cpu = time.monotonic() - began, prometheus.cpu_seconds - cpu
        fill_memory = prometheus.memory_mb("VmRSS")
        wal, wbl = prometheus.disk_mb("wal"), prometheus.disk_mb("wbl")
        cpu = prometheus.cpu_seconds
        prometheus.observe(port)
        peak = await_compaction(prometheus) if compact else fill_memory
        compaction_cpu = prometheus.cpu_seconds - cpu
        began, cpu = time.monotonic(), prometheus.cpu_seconds
        groups = watch_rules(prometheus, 60 * minutes)
        share = (prometheus.cpu_seconds - cpu) / (time.monotonic() - began)
        memory, wal_after = prometheus.memory_mb("VmRSS"), prometheus.disk_mb("wal", "wbl")
        missed = int(prometheus.value("prometheus_rule_group_iterations_missed_total"))
        prometheus.observe(port, rules=False)
        cpus = cpu_of_groups(prometheus)
        groups = tuple(replace(group, cpu=cpus[group.name]) for group in groups)
        answer = requests.get(
            f"{prometheus.url}/api/v1/query",
            params={"query": 'scrape_duration_seconds{job="aws-spend-exporter"}'},
            timeout=60,
        ).json()
        blocks = prometheus.blocks
        return Growth(
            accounts=accounts,
            services=services,
            days=days,
            dated_series=len(series),
            dated_samples=samples,
            live_series=body.count(b"\n"),
            fill_seconds=fill_seconds,
            fill_cpu_seconds=fill_cpu,
            fill_memory_mb=fill_memory,
            fill_wal_mb=wal,
            fill_wbl_mb=wbl,
            compactions=int(prometheus.value("prometheus_tsdb_compactions_total")),
            compaction_seconds=prometheus.value("prometheus_tsdb_compaction_duration_seconds_sum"),
            compaction_cpu_seconds=compaction_cpu,
            compaction_peak_memory_mb=peak,
            blocks=len(blocks),
            blocks_mb=prometheus.disk_mb(*blocks),
            steady_memory_mb=memory,
            steady_wal_mb=wal_after,
            steady_share_of_a_core=share,
            scrape_seconds=float(answer["data"]["result"][0]["value"][1]),
            missed_evaluations=missed,
            groups=groups,
        )


def table(found: Growth) -> Table:
    """All figures, and each group's share of its interval."""
    made = Table(
        title=f"Prometheus after {found.days} days: {found.accounts} accounts, {found.services} services"
    )
    made.add_column("figure")
    made.add_column("value", justify="right")
    for name, value in asdict(found).items():
        if name != "groups":
            made.add_row(
                name.replace("_", " "), f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
            )
    for group in found.groups:
        verdict = "" if group.share <= RULE_LIMIT else f", more than {RULE_LIMIT:.0%}"
        made.add_row(
            f"rules {group.name}: longest evaluation",
            f"{group.longest:.3f} s of {group.interval:.0f} s, {group.share:.1%}{verdict}",
        )
        made.add_row(
            f"rules {group.name}: CPU of one", f"{group.cpu:.2f} s, {group.cpu / group.interval:.1%}"
        )
    return made


@click.command()
@click.option("--accounts", default=100, show_default=True)
@click.option("--services", default=20, show_default=True)
@click.option("--days", default=400, show_default=True)
@click.option("--minutes", default=5.0, show_default=True, help="Of rules, after compaction.")
@click.option("--compact/--no-compact", default=True, help="Without: as in the first two hours.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep Prometheus' data there.")
@click.option("--json", "as_json", is_flag=True)
def main(
    accounts: int, services: int, days: int, minutes: float, compact: bool, folder: Path | None, as_json: bool
) -> None:
    """Measure one size."""
    with tempfile.TemporaryDirectory() as temporary:
        home = folder or Path(temporary)
        found = measure(accounts, services, days, minutes, home, compact=compact)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        Console(width=110).print(table(found))


if __name__ == "__main__":
    main()

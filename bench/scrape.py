"""The CPU and the time of a scrape: ours, prometheus_client's and that of a small Go exporter, in one run.

python -m bench.scrape --series 100000

Each serves the same series from a separate process, and is asked over HTTP, for gzip, as Prometheus asks. CPU is that
of its whole process. A publish replaces the result of one unit, 100 series in 10 families.
"""

from __future__ import annotations

import gzip
import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import mean, quantiles
from typing import IO, NoReturn

import click
from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics, start_http_server
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from exporter.app.answers import AnswerSource
from exporter.app.endpoints import Probes, create_app
from exporter.collection.metrics import RunnerMetrics
from exporter.collection.refreshed import Refreshed
from exporter.collection.result import CollectionResult
from exporter.collection.store import Key, Store
from exporter.collectors import all_collectors
from exporter.config.model import Config
from exporter.core.metric import Family
from exporter.web.server import Server

FAMILIES, SERIES = 10, 10  # of a unit
GO = Path(__file__).parent / "scrape_go"
BUILD = GO.parent.parent / "build"
LABELS = ("account_id", "account", "region", "resource_type", "resource_id")
_PUBLISHES = 15  # one a second, between two scrapes of Prometheus
_LEAST_RATIO, _MOST_SECONDS = 50, 0.025
_PROMISED = 100_000

Values = list[tuple[tuple[str, ...], float]]
Publish = Callable[[int, int], None]
"""Publish a unit, with the values of a round."""


def values(family: int, unit: int, series: int, turn: int) -> Values:
    """Series of one unit and family, the same as in scrape_go/main.go."""
    where = (f"{unit // 4:012}", f"account-{unit // 4}", f"region-{unit % 4}", "ec2:volume")
    return [
        (
            (*where, f"vol-{unit * 2654435761 % 1099511627776:010x}{row:06x}"),
            (unit * 31 + row * 7 + family + turn) % 10007 / 8,
        )
        for row in range(series)
    ]


# The servers


def serve_ours(families: int, series: int) -> tuple[int, Publish]:
    """Store and endpoints as the exporter has them, with the metrics of the process."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    now = datetime.now(UTC)
    store, registry, config = Store(lambda: now), CollectorRegistry(), Config()
    metrics = RunnerMetrics(registry)
    for collector in all_collectors():
        metrics.expect(collector, config.settings(collector))
    declared = [
        Family(f"aws_bench_family_{number}_usd", "A value of a resource.", LABELS)
        for number in range(families)
    ]

    def publish(unit: int, turn: int) -> None:
        samples = tuple(
            family(value, **dict(zip(LABELS, labels, strict=True)))
            for number, family in enumerate(declared)
            for labels, value in values(number, unit, series, turn)
        )
        store.publish(
            Key("inventory_ec2", f"{unit // 4:012}", f"region-{unit % 4}"),
            CollectionResult(samples=samples, attempted_at=now, succeeded_at=now),
            account=f"account-{unit // 4}",
            interval=timedelta(hours=1),
            owner="inventory",
        )

    def no_source(_: object) -> NoReturn:
        raise ValueError("the bench asks for metrics only")

    probes = Probes(
        unready=list,
        problems=list,
        denied_regions=list,
        reload=lambda: None,
        refresh=lambda name, _: Refreshed(collector=name),
        status=dict,
        answers=AnswerSource(no_source, no_source),
    )
    server = Server(create_app(store, registry, probes), "127.0.0.1", 0)
    return server.start(), publish


def serve_library(families: int, series: int) -> tuple[int, Publish]:
    """Gauges of prometheus_client, by its own server."""
    registry = CollectorRegistry()
    gauges = [
        Gauge(f"aws_bench_family_{number}_usd", "A value of a resource.", LABELS, registry=registry)
        for number in range(families)
    ]

    def publish(unit: int, turn: int) -> None:
        for number, gauge in enumerate(gauges):
            for labels, value in values(number, unit, series, turn):
                gauge.labels(*labels).set(value)

    server, _ = start_http_server(0, "127.0.0.1", registry)
    return server.server_port, publish


SERVERS = {"ours": serve_ours, "prometheus_client": serve_library}


def serve(name: str, families: int, units: int, series: int) -> None:
    """Print the port, then publish a unit for each line of the standard input."""
    port, publish = SERVERS[name](families, series)
    for unit in range(units):
        publish(unit, 0)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    for turn, _ in enumerate(sys.stdin, 1):
        publish(turn * 7919 % units, turn)
        sys.stdout.write("published\n")
        sys.stdout.flush()


# The client


class Served:
    """A server in a separate process."""

    def __init__(self, command: Sequence[str | Path], units: int) -> None:
        """`command` serves what its last three arguments say."""
        arguments = [*map(str, command), str(FAMILIES), str(units), str(SERIES)]
        self._process = subprocess.Popen(  # noqa: S603 # our own program
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._series = FAMILIES * units * SERIES
        self._connection = http.client.HTTPConnection("127.0.0.1", int(self._line()), timeout=300)

    def _line(self) -> str:
        pipe: IO[str] | None = self._process.stdout
        assert pipe is not None
        line = pipe.readline()
        if not line:
            raise click.ClickException("a server of the bench has ended")
        return line

    def cpu(self) -> float:
        """Seconds of CPU that the process has used, all its threads together."""
        return time.clock_gettime(
            (~self._process.pid << 3) | 2
        )  # the clock of a process, see clock_getcpuclockid(3)

    def publish(self) -> None:
        """Have one unit published, and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._line()

    def scrape(self) -> bytes:
        """A gzipped body."""
        headers = {"Accept": CONTENT_TYPE_PLAIN_0_0_4, "Accept-Encoding": "gzip"}
        self._connection.request("GET", "/metrics", headers=headers)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200 or response.headers["Content-Encoding"] != "gzip":
            raise click.ClickException(f"a scrape was answered {response.status}")
        return body

    def check(self) -> int:
        """Size of a body that has every series."""
        body = self.scrape()
        found = gzip.decompress(body).count(b"\naws_bench_family_")
        if found != self._series:
            raise click.ClickException(f"found {found} series, expected {self._series}")
        return len(body)

    def stop(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of one server: seconds of CPU of a scrape and of a publish, seconds of a scrape, bytes."""

    rest: float
    publish: float
    after_one: float
    after_one_p99: float
    after_more: float
    p50: float
    p99: float
    size: int


def measure(served: Served, scrapes: int) -> Measured:
    """The mean of so many scrapes at rest; of fewer after publishes."""
    size = served.check()

    def scraped(publishes: int, times: int) -> list[float]:
        took = []
        for _ in range(times):
            for _ in range(publishes):
                served.publish()
            before = served.cpu()
            served.scrape()
            took.append(served.cpu() - before)
        return took

    rest = scraped(0, scrapes)
    after_one = scraped(1, max(3, scrapes // 2))
    after_more = scraped(_PUBLISHES, max(3, scrapes // 5))
    before = served.cpu()
    for _ in range(20):
        served.publish()
    publish = (served.cpu() - before) / 20
    served.scrape()
    took = latencies(served, 2 * scrapes)
    served.check()
    return Measured(
        rest=mean(rest),
        publish=publish,
        after_one=mean(after_one),
        after_one_p99=percentile(after_one, 99),
        after_more=mean(after_more),
        p50=percentile(took, 50),
        p99=percentile(took, 99),
        size=size,
    )


def percentile(took: Sequence[float], percent: int) -> float:
    """That of which so many percent are not above it."""
    return quantiles(took, n=100, method="inclusive")[percent - 1]


def latencies(served: Served, scrapes: int) -> list[float]:
    """Seconds of each scrape, twenty of them a second if it is as quick as that, with a publish a second."""
    took = []
    published = time.monotonic()
    for _ in range(scrapes):
        began = time.monotonic()
        if began - published >= 1:
            published = began
            served.publish()
            began = time.monotonic()
        served.scrape()
        took.append(time.monotonic() - began)
        time.sleep(max(0.0, 0.05 - took[-1]))
    return took


def commands() -> dict[str, tuple[list[str | Path], int]]:
    """What serves, and how often it is scraped at 100,000 series."""
    python: list[str | Path] = [sys.executable, "-m", "bench.scrape", "serve"]
    found: dict[str, tuple[list[str | Path], int]] = {
        "ours": ([*python, "ours"], 300),
        "prometheus_client": ([*python, "prometheus_client"], 5),
    }
    go = shutil.which("go")
    if go is None:
        click.echo("go is not on the PATH: the Go exporter is left out")
        return found
    program = BUILD / "scrape_go"
    subprocess.run([go, "build", "-o", program, "."], cwd=GO, check=True)  # noqa: S603 # found above
    return found | {"go": ([program], 30)}


def report(series: int, figures: dict[str, Measured], is_idle: bool) -> bool:
    """Print the figures of one size; returns whether what is promised holds, of latencies on an idle machine only."""
    click.echo(
        f"\n{series} series         CPU of a scrape, ms: at rest   after 1   its p99   after {_PUBLISHES}"
        "  CPU of a publish, ms   latency, ms: p50       p99  body, kB"
    )
    for name, m in figures.items():
        of_scrape = (m.rest, m.after_one, m.after_one_p99, m.after_more)
        click.echo(
            f"  {name:<18}{m.rest * 1000:>26.2f}"
            + "".join(f"{seconds * 1000:>10.2f}" for seconds in of_scrape[1:])
            + f"{m.publish * 1000:>22.2f}{m.p50 * 1000:>19.1f}{m.p99 * 1000:>10.1f}{m.size / 1000:>10.0f}"
        )
    ours, library, go = (figures.get(name) for name in ("ours", "prometheus_client", "go"))
    if ours is None:
        return True
    for name, m in figures.items():
        if name != "ours":
            click.echo(
                f"  {name} / ours: {m.rest / ours.rest:.1f} times the CPU at rest, {m.after_one / ours.after_one:.1f} "
                f"after 1 publish, {m.after_more / ours.after_more:.1f} after {_PUBLISHES}"
            )
    return (
        (library is None or library.rest >= _LEAST_RATIO * ours.rest)
        and (library is None or library.after_one >= _LEAST_RATIO * ours.after_one)
        and (go is None or (ours.rest < go.rest and ours.after_one < go.after_one))
        and (ours.p99 < _MOST_SECONDS or not is_idle)
    )


@click.group(invoke_without_command=True)
@click.option("--series", multiple=True, type=int, default=(10_000, 100_000, 500_000), show_default=True)
@click.option(
    "--server",
    multiple=True,
    type=click.Choice([*SERVERS, "go"]),
    default=(*SERVERS, "go"),
    show_default=True,
)
@click.pass_context
def main(context: click.Context, series: Sequence[int], server: Sequence[str]) -> None:
    """Measure each server at each size; exit code 1 if what is promised at 100,000 series does not hold."""
    if context.invoked_subcommand is not None:
        return
    load = os.getloadavg()[0]
    is_idle = load < 1
    if not is_idle:
        click.echo(f"the load is {load:.1f}: latencies are not those of an idle machine, and are not judged")
    servers = {name: command for name, command in commands().items() if name in server}
    holds = True
    sizes: dict[int, dict[str, Measured]] = {}
    for count in series:
        figures = sizes[count] = {}
        for name, (command, scrapes) in servers.items():
            served = Served(command, count // (FAMILIES * SERIES))
            try:
                figures[name] = measure(served, max(3, scrapes * 100_000 // max(count, 100_000)))
            finally:
                served.stop()
        kept = report(count, figures, is_idle)
        if count == _PROMISED:
            holds = kept
            click.echo(
                "  what is promised at this size holds"
                if kept
                else "  what is promised at this size does NOT hold"
            )
    for smaller, larger in pairwise(series):
        click.echo(f"\nfrom {smaller} to {larger} series, {larger / smaller:.0f} times as many:")
        for name in servers:
            one, other = sizes[smaller][name], sizes[larger][name]
            click.echo(
                f"  {name:<18} {other.rest / one.rest:.1f} times the CPU at rest, "
                f"{other.after_one / one.after_one:.1f} after 1 publish, {other.after_more / one.after_more:.1f} after {_PUBLISHES}"
            )
    context.exit(0 if holds else 1)


main.command("serve", hidden=True)(
    click.argument("name")(
        click.argument("families", type=int)(
            click.argument("units", type=int)(click.argument("series", type=int)(serve))
        )
    )
)

if __name__ == "__main__":
    main()

"""What collection costs by account at 10, 100 and 1,000 accounts, the first fill of 13 months at the largest, and dashboards.

python -m bench.scale --accounts 10 --accounts 100 --interval 5m
python -m bench.scale --accounts 100 --only cost-fill --json
python -m bench.scale --only dashboards

One exporter process against the replay server of bench/replay, which answers after a simulated latency. All is
measured from outside: CPU and memory from /proc, calls and the gaps between reads by the server, the rest from
/metrics. Dashboards are asked of a real Prometheus: bench/dashboards.py. A `collection` of an account is one read of its whole inventory: as many requests as it has lists.
"""

from __future__ import annotations

import gzip
import itertools
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench import dashboards
from bench.record import REGIONS
from bench.replay_server import (
    Exporter,
    Replay,
    ReplaySpec,
    recording,
    replay_server,
    running_exporter,
    series,
    values,
)
from exporter.core.fields import format_duration, parse_duration
from exporter.core.moments import month_start

ROLE = "aws-spend-exporter-member"
GROWTH_LIMIT = 1.2
_QUIET_SECONDS = 20.0
_POLL_SECONDS = 1.0  # five at 1,000 accounts: to sum up 300,000 counts takes the server some milliseconds
_BEGIN_SECONDS = 600.0
_MOST_OPERATIONS = 0.8
_POLL = "cloudwatch:GetMetricData"
# Read every three hours at most, or once at the start: no part of a collection.
_NO_UNIT = frozenset({"cloudwatch:ListMetrics", "ec2:DescribeRegions"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What is measured and how long; durations in seconds, latencies in milliseconds."""

    interval: float
    window: float
    patience: float
    scrape_interval: float
    history_months: int
    threads: int | None
    latency: int
    ce_latency: int
    groups_per_page: int
    services: int

    def spec(self, accounts: int) -> ReplaySpec:
        """The replay server for an organization of this size."""
        return ReplaySpec(
            accounts=accounts,
            latency=self.latency,
            ce_latency=self.ce_latency,
            groups_per_page=self.groups_per_page,
            services=self.services,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """A span in which accounts were collected. CPU is the exporter's, user and system time."""

    seconds: float
    cpu_seconds: float
    calls: int
    collections: float
    cpu_seconds_a_collection: float
    calls_a_collection: float
    mean_share_of_a_core: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Scrapes:
    """Scrapes with gzip at the usual interval, in milliseconds; bytes of the last body."""

    count: int
    median_ms: float
    most_ms: float
    series: int
    plain_bytes: int
    gzip_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """One size of organization, everything on. Memory in MB (10^6 bytes), gaps in seconds."""

    accounts: int
    regions: int
    latency_ms: int
    ce_latency_ms: int
    groups_per_page: int
    interval_seconds: float
    first_pass: Pass
    first_pass_read_ratio: float
    steady: Pass
    share_of_a_core_if_hourly: float
    rss_mb: float
    peak_rss_mb: float
    scrapes: Scrapes
    failed: Mapping[str, float]
    longest_gap_seconds: float
    longest_gap_of: str
    least_reads: int
    collection_lag_seconds: Mapping[str, float] | None
    replay_share_of_a_core: float
    approximated: Mapping[str, int]
    refused: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class CostFill:
    """The first fill of thirteen months, cost alone. Memory in MB (10^6 bytes)."""

    accounts: int
    services: int
    ce_latency_ms: int
    groups_per_page: int
    complete: bool
    seconds: float
    cpu_seconds: float
    pages: int
    usd: float
    least_pages: int
    ledger_rows: int
    rows_expected: int
    rss_mb: float
    peak_rss_mb: float
    scrapes: Scrapes
    failed: Mapping[str, float]


# What the server saw


def units(counts: Mapping[str, Any]) -> dict[str, Mapping[str, int]]:
    """Reads of the requests that make up collections, by operation."""
    payer = ("sts:", "organizations:", "ce:")
    return {
        operation: keys
        for operation, keys in counts["keys"].items()
        if not operation.startswith(payer) and operation not in _NO_UNIT
    }


def recorded_lists() -> dict[str, int]:
    """Operations that are asked once in each of their regions, and in how many; others are of single resources."""
    requests: Counter[str] = Counter()
    regions: dict[str, set[str]] = {}
    for each in recording()["exchanges"]:
        operation = f"{each['service']}:{each['operation']}"
        requests[operation] += 1
        regions.setdefault(operation, set()).add(each["request"]["region"])
    return {name: count for name, count in requests.items() if count == len(regions[name])}


class FirstPass:
    """Whether everything was read once: each recorded operation of each account and region, if it is asked at all."""

    def __init__(self, accounts: int) -> None:
        recorded = recording()
        regions: dict[str, set[str]] = {_POLL: set(REGIONS)}
        for each in recorded["exchanges"]:
            operation = f"{each['service']}:{each['operation']}"
            regions.setdefault(operation, set()).add(each["request"]["region"])
        self.regions = {operation: len(found) for operation, found in regions.items()}
        self._expected = {operation: accounts * count for operation, count in self.regions.items()}
        self._grown_at = time.monotonic()
        self._most = 0
        self.ratio = 0.0

    def is_complete(self, counts: Mapping[str, Any]) -> bool:
        """Look again; a few operations that are not asked for count as dropped once all others stand still."""
        read = {
            operation: min(keys["keys"], self._expected[operation])
            for operation, keys in units(counts).items()
            if operation in self._expected
        }
        total = sum(read.values())
        if total > self._most:
            self._most, self._grown_at = total, time.monotonic()
        asked = sum(self._expected[operation] for operation in read)
        self.ratio = total / asked if asked else 0.0
        if total < asked or len(read) < _MOST_OPERATIONS * len(self._expected):
            return False
        return len(read) == len(self._expected) or time.monotonic() - self._grown_at > _QUIET_SECONDS


class CostIsQuiet:
    """Whether the first fill has ended: Cost Explorer is not asked any more."""

    def __init__(self, ce_latency: int) -> None:
        self._quiet = max(_QUIET_SECONDS, 10 * ce_latency / 1000)
        self._calls = 0
        self.last_call = time.monotonic()

    def is_quiet(self, counts: Mapping[str, Any]) -> bool:
        calls = int(counts["by_operation"].get("ce:GetCostAndUsage", 0))
        if calls != self._calls:
            self._calls, self.last_call = calls, time.monotonic()
        # What has not begun within minutes does not begin: then the figures say that nothing was read.
        quiet = self._quiet if calls else _BEGIN_SECONDS
        return time.monotonic() - self.last_call > quiet


# Measuring


class Measured:
    """An exporter against a replay server, scraped as Prometheus would."""

    def __init__(self, replay: Replay, exporter: Exporter, scrape_interval: float, accounts: int) -> None:
        self.replay = replay
        self._poll = max(_POLL_SECONDS, accounts / 200)
        self.exporter = exporter
        self._scrape_interval = scrape_interval
        self._lists = recorded_lists()
        self._next_scrape = time.monotonic()
        self.scraped: list[float] = []
        self.started = self._began = time.monotonic()
        self._cpu = 0.0
        self._replay_cpu = replay.cpu_seconds

    def begin(self) -> None:
        """Count from here on."""
        self.replay.mark()
        self.scraped.clear()
        self._began = time.monotonic()
        self._cpu = self.exporter.cpu_seconds
        self._replay_cpu = self.replay.cpu_seconds

    def wait(self, is_over: Callable[[Mapping[str, Any]], bool], seconds: float) -> bool:
        """Scrape until it is over; False if it is not after so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if time.monotonic() >= self._next_scrape:
                self._next_scrape = time.monotonic() + self._scrape_interval
                self.scraped.append(self.exporter.scrape()[0])
            if is_over(self.replay.counts()):
                return True
            time.sleep(min(self._poll, max(0.0, end - time.monotonic())))
        return False

    def passed(self, counts: Mapping[str, Any]) -> Pass:
        """What was measured since `begin`; a collection is one read of each list of an account."""
        seconds = time.monotonic() - self._began
        cpu = self.exporter.cpu_seconds - self._cpu
        read = {name: calls for name, calls in counts["by_operation"].items() if name in self._lists}
        lists = sum(self._lists[name] for name in read)
        collections = sum(read.values()) / lists if lists else 0.0
        return Pass(
            seconds=seconds,
            cpu_seconds=cpu,
            calls=counts["calls"],
            collections=collections,
            cpu_seconds_a_collection=cpu / collections if collections else 0.0,
            calls_a_collection=counts["calls"] / collections if collections else 0.0,
            mean_share_of_a_core=cpu / seconds,
        )

    @property
    def replay_share(self) -> float:
        """The share of one core that the replay server took since `begin`."""
        return (self.replay.cpu_seconds - self._replay_cpu) / (time.monotonic() - self._began)

    def scrapes(self) -> tuple[Scrapes, bytes]:
        """The scrapes since `begin`, and the plain body of one more."""
        took, packed = self.exporter.scrape()
        plain = gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed
        milliseconds = sorted(1000 * each for each in (*self.scraped, took))
        return Scrapes(
            count=len(milliseconds),
            median_ms=statistics.median(milliseconds),
            most_ms=milliseconds[-1],
            series=series(plain),
            plain_bytes=len(plain),
            gzip_bytes=len(packed),
        ), plain


def _failed(body: bytes) -> dict[str, float]:
    kinds = values(body, "aws_spend_exporter_collector_errors_total", "kind")
    return {kind: count for (kind,), count in sorted(kinds.items()) if count}


def _lag(body: bytes) -> dict[str, float] | None:
    lags = values(body, "aws_spend_exporter_collection_lag_seconds", "collector")
    return {collector: lag for (collector,), lag in sorted(lags.items())} or None


def config(options: Options, *, everything: bool) -> dict[str, Any]:
    """The exporter's configuration; without `everything` cost alone, thirteen months of it."""
    interval = format_duration(parse_duration(f"{int(options.interval)}s"))
    aws: dict[str, Any] = {"region": REGIONS[0]}
    if options.threads:
        aws["threads"] = options.threads
    months = options.history_months if everything else 13
    return {
        "accounts": {"discovery": "organizations", "role_name": ROLE},
        "regions": list(REGIONS),
        "aws": aws,
        # What AWS would be paid is none of this bench's questions.
        "ceilings": {
            "cost": {"day": None, "month": None},
            "usage": {"day": None, "month": None},
            "first_fill": None,
        },
        "collectors": {
            "cost": {"enabled": True, "history_months": months},
            "inventory": {"enabled": everything, "interval": interval},
            "usage": {"enabled": everything, "interval": interval},
        },
    }


def measure_collection(
    accounts: int, options: Options, folder: Path, say: Callable[[str], None]
) -> Collection:
    """One size, everything on: the first pass, then steady passes for a window."""
    with (
        replay_server(options.spec(accounts)) as replay,
        running_exporter(folder, replay, config(options, everything=True)) as exporter,
    ):
        measured = Measured(replay, exporter, options.scrape_interval, accounts)
        first, cost = FirstPass(accounts), CostIsQuiet(options.ce_latency)
        complete = measured.wait(first.is_complete, options.patience)
        first_pass = measured.passed(replay.counts())
        say(
            f"{accounts} accounts: first pass {'complete' if complete else f'{first.ratio:.1%} read'}"
            f" after {first_pass.seconds:.0f} s, {first_pass.cpu_seconds:.1f} s of CPU"
        )
        measured.wait(cost.is_quiet, options.patience)
        measured.begin()
        measured.wait(lambda _: False, options.window)
        counts = replay.counts()
        steady = measured.passed(counts)
        rss, peak = exporter.memory_mb("VmRSS"), exporter.memory_mb("VmHWM")
        scrapes, body = measured.scrapes()
        share = measured.replay_share
    lists = {*recorded_lists(), _POLL}
    # A description of a single resource may be kept longer; each unit has a list, or polls metrics.
    found = {operation: keys for operation, keys in units(counts).items() if operation in lists}
    gaps = {operation: counts["longest_gap_seconds"][operation] for operation in found}
    longest = max(gaps, key=lambda operation: gaps[operation], default="")
    return Collection(
        accounts=accounts,
        regions=len(REGIONS),
        latency_ms=options.latency,
        ce_latency_ms=options.ce_latency,
        groups_per_page=options.groups_per_page,
        interval_seconds=options.interval,
        first_pass=first_pass,
        first_pass_read_ratio=first.ratio,
        steady=steady,
        share_of_a_core_if_hourly=steady.cpu_seconds_a_collection * accounts / 3600,
        rss_mb=rss,
        peak_rss_mb=peak,
        scrapes=scrapes,
        failed=_failed(body),
        longest_gap_seconds=gaps.get(longest, 0.0),
        longest_gap_of=longest,
        least_reads=min((each["least_reads"] for each in found.values()), default=0),
        collection_lag_seconds=_lag(body),
        replay_share_of_a_core=share,
        approximated=counts["approximated"],
        refused=counts["errors"],
    )


def measure_cost_fill(accounts: int, options: Options, folder: Path, say: Callable[[str], None]) -> CostFill:
    """Cost alone: until Cost Explorer is not asked any more."""
    today = datetime.now(UTC).date()
    days = (today - month_start(today, 13)).days
    expected = accounts * options.services * days
    with (
        replay_server(options.spec(accounts)) as replay,
        running_exporter(folder, replay, config(options, everything=False)) as exporter,
    ):
        measured = Measured(replay, exporter, options.scrape_interval, accounts)
        cost = CostIsQuiet(options.ce_latency)
        complete = measured.wait(cost.is_quiet, options.patience)
        seconds, cpu = cost.last_call - measured.started, exporter.cpu_seconds
        rss, peak = exporter.memory_mb("VmRSS"), exporter.memory_mb("VmHWM")
        scrapes, body = measured.scrapes()
        pages = int(replay.counts()["by_operation"].get("ce:GetCostAndUsage", 0))
    rows = int(values(body, "aws_spend_exporter_ledger_rows").total())
    say(f"{accounts} accounts: {rows} rows of cost after {seconds:.0f} s, {cpu:.1f} s of CPU")
    return CostFill(
        accounts=accounts,
        services=options.services,
        ce_latency_ms=options.ce_latency,
        groups_per_page=options.groups_per_page,
        complete=complete and rows >= expected,
        seconds=seconds,
        cpu_seconds=cpu,
        pages=pages,
        usd=pages / 100,
        least_pages=-(-expected // options.groups_per_page),
        ledger_rows=rows,
        rows_expected=expected,
        rss_mb=rss,
        peak_rss_mb=peak,
        scrapes=scrapes,
        failed=_failed(body),
    )


def growth(collections: Sequence[Collection]) -> dict[str, float]:
    """CPU of a collection by account, from each size to the next and from the first to the last."""
    ordered = sorted(collections, key=lambda each: each.accounts)
    pairs = list(itertools.pairwise(ordered))
    if len(ordered) > 2:
        pairs.append((ordered[0], ordered[-1]))
    return {
        f"{small.accounts} to {large.accounts}": large.steady.cpu_seconds_a_collection
        / small.steady.cpu_seconds_a_collection
        for small, large in pairs
        if small.steady.cpu_seconds_a_collection
    }


# Tables


def _kinds(found: Mapping[str, float]) -> str:
    return ", ".join(f"{kind} {count:,.0f}" for kind, count in found.items()) or "none"


_COLLECTION_ROWS: tuple[tuple[str, Callable[[Collection], str]], ...] = (
    ("first pass: seconds", lambda c: f"{c.first_pass.seconds:,.0f}"),
    ("first pass: read", lambda c: f"{c.first_pass_read_ratio:.1%}"),
    ("first pass: CPU s an account", lambda c: f"{c.first_pass.cpu_seconds / c.accounts:.3f}"),
    ("first pass: calls an account", lambda c: f"{c.first_pass.calls / c.accounts:,.0f}"),
    ("steady: seconds measured", lambda c: f"{c.steady.seconds:,.0f}"),
    ("steady: collections of an account", lambda c: f"{c.steady.collections:,.1f}"),
    ("steady: CPU s a collection of an account", lambda c: f"{c.steady.cpu_seconds_a_collection:.3f}"),
    ("steady: calls a collection of an account", lambda c: f"{c.steady.calls_a_collection:,.0f}"),
    ("steady: mean share of one core", lambda c: f"{c.steady.mean_share_of_a_core:.1%}"),
    ("the same at hourly intervals", lambda c: f"{c.share_of_a_core_if_hourly:.1%}"),
    ("RSS, MB", lambda c: f"{c.rss_mb:,.0f}"),
    ("peak RSS, MB", lambda c: f"{c.peak_rss_mb:,.0f}"),
    ("series", lambda c: f"{c.scrapes.series:,}"),
    ("series an account", lambda c: f"{c.scrapes.series / c.accounts:,.0f}"),
    ("body, bytes", lambda c: f"{c.scrapes.plain_bytes:,}"),
    ("body with gzip, bytes", lambda c: f"{c.scrapes.gzip_bytes:,}"),
    ("scrape, ms: median, most", lambda c: f"{c.scrapes.median_ms:.1f}, {c.scrapes.most_ms:.1f}"),
    ("failed units by kind", lambda c: _kinds(c.failed)),
    ("longest gap between reads, s", lambda c: f"{c.longest_gap_seconds:,.0f} ({c.longest_gap_of})"),
    ("least reads of a unit", lambda c: str(c.least_reads)),
    (
        "collection lag, s",
        lambda c: "no such metric" if c.collection_lag_seconds is None else _kinds(c.collection_lag_seconds),
    ),
    ("replay server: share of one core", lambda c: f"{c.replay_share_of_a_core:.1%}"),
    ("answered by another request's answer", lambda c: _kinds(c.approximated)),
    ("refused by the replay server", lambda c: _kinds(c.refused)),
)

_FILL_ROWS: tuple[tuple[str, Callable[[CostFill], str]], ...] = (
    ("complete", lambda f: "yes" if f.complete else "no"),
    ("seconds to the last page", lambda f: f"{f.seconds:,.0f}"),
    ("CPU seconds", lambda f: f"{f.cpu_seconds:,.1f}"),
    ("CPU µs a row", lambda f: f"{1e6 * f.cpu_seconds / max(1, f.ledger_rows):,.1f}"),
    ("pages, of at least", lambda f: f"{f.pages:,}, {f.least_pages:,}"),
    ("price, USD", lambda f: f"{f.usd:.2f}"),
    ("rows in the ledger, of", lambda f: f"{f.ledger_rows:,}, {f.rows_expected:,}"),
    ("RSS, MB", lambda f: f"{f.rss_mb:,.0f}"),
    ("peak RSS, MB", lambda f: f"{f.peak_rss_mb:,.0f}"),
    ("series", lambda f: f"{f.scrapes.series:,}"),
    ("scrape, ms: median, most", lambda f: f"{f.scrapes.median_ms:.1f}, {f.scrapes.most_ms:.1f}"),
    ("failed units by kind", lambda f: _kinds(f.failed)),
)


def _collection_table(found: Sequence[Collection]) -> Table:
    one = found[0]
    table = Table(
        title=f"Collection: {one.regions} regions, {one.latency_ms} ms an answer (Cost Explorer {one.ce_latency_ms} ms,"
        f" {one.groups_per_page} groups a page), interval {one.interval_seconds:.0f} s"
    )
    table.add_column("accounts")
    for each in found:
        table.add_column(f"{each.accounts:,}", justify="right")
    for name, cell in _COLLECTION_ROWS:
        table.add_row(name, *(cell(each) for each in found))
    for span, ratio in growth(found).items():
        verdict = "" if ratio <= GROWTH_LIMIT else f", more than {GROWTH_LIMIT}"
        table.add_row(f"growth of CPU a collection, {span}", f"{ratio:.2f}{verdict}")
    return table


def _fill_table(found: Sequence[CostFill]) -> Table:
    one = found[0]
    table = Table(
        title=f"First fill: 13 months, {one.services} services, {one.ce_latency_ms} ms and {one.groups_per_page} groups a page"
    )
    table.add_column("accounts")
    for each in found:
        table.add_column(f"{each.accounts:,}", justify="right")
    for name, cell in _FILL_ROWS:
        table.add_row(name, *(cell(each) for each in found))
    return table


def _seconds(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.option("--accounts", "sizes", type=int, multiple=True, help="Sizes.  [default: 10, 100, 1000]")
@click.option("--only", type=click.Choice(["collection", "cost-fill", "dashboards"]), help="Only this part.")
@click.option(
    "--interval", default="1h", show_default=True, callback=_seconds, help="Of inventory and usage."
)
@click.option("--minutes", type=float, help="Measured after the first pass.  [default: the interval]")
@click.option(
    "--patience", default="2h", show_default=True, callback=_seconds, help="For a first pass or fill."
)
@click.option("--scrape-interval", default="15s", show_default=True, callback=_seconds)
@click.option("--history-months", default=1, show_default=True, help="Of cost, beside collection.")
@click.option("--threads", type=int, help="aws.threads.  [default: the exporter's]")
@click.option("--latency", default=40, show_default=True, help="Milliseconds before an answer.")
@click.option("--ce-latency", default=700, show_default=True, help="The same of Cost Explorer.")
@click.option("--groups-per-page", default=5000, show_default=True)
@click.option("--services", default=20, show_default=True, help="With cost, in each account.")
@click.option("--fill-accounts", type=int, help="Size of the first fill.  [default: the largest size]")
@click.option(
    "--dashboard-accounts", default=300, show_default=True, help="Accounts in Prometheus, with --services."
)
@click.option("--folder", type=click.Path(path_type=Path), help="Keep configuration, ledger and logs there.")
@click.option("--json", "as_json", is_flag=True)
def main(
    sizes: tuple[int, ...],
    only: str | None,
    minutes: float | None,
    fill_accounts: int | None,
    dashboard_accounts: int,
    folder: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure collection at each size, the first fill at the largest, and every query of the dashboards."""
    window = minutes * 60 if minutes is not None else given["interval"]
    options = Options(window=window, **given)
    sizes = sizes or (10, 100, 1000)
    console, progress = Console(width=160), Console(stderr=True)
    collections: list[Collection] = []
    fills: list[CostFill] = []
    pages: tuple[dashboards.Page, ...] = ()
    shown = dashboards.Size(accounts=dashboard_accounts, services=options.services)
    with tempfile.TemporaryDirectory() as temporary:
        home = folder or Path(temporary)
        if only in (None, "collection"):
            for size in sizes:
                collections.append(
                    measure_collection(size, options, home / f"collection-{size}", progress.print)
                )
        if only in (None, "cost-fill"):
            size = fill_accounts or max(sizes)
            fills.append(measure_cost_fill(size, options, home / f"cost-fill-{size}", progress.print))
        if only in (None, "dashboards"):
            pages = dashboards.measure(shown, home / "dashboards", say=progress.print)
    if as_json:
        found = {
            "collections": [asdict(each) for each in collections],
            "growth": growth(collections),
            "cost_fills": [asdict(each) for each in fills],
            "dashboards": dashboards.as_json(pages),
        }
        click.echo(json.dumps(found, indent=2))
        return
    if collections:
        console.print(_collection_table(collections))
    if fills:
        console.print(_fill_table(fills))
    if pages:
        dashboards.print_pages(pages, console, shown)


if __name__ == "__main__":
    main()

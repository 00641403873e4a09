"""What the dashboards' queries cost Prometheus over thirteen months of dated history.

python -m bench.scale --only dashboards
python -m bench.dashboards --accounts 300 --services 20 --folder /tmp/dashboards

A real Prometheus with the dated history in blocks, as `backfill --openmetrics` and promtool make them, and with live
gauges scraped once a minute. Every query of every dashboard and of its variables is asked once, with the values that
Grafana would set when the page is opened, over the whole history: as it is at first, and with groups chosen. CPU is that of the Prometheus process, so nothing else may ask it.
With `--folder`, the data stays there and is used again: `--reuse` asks the dashboards of now without seeding.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import click
import requests
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.prometheus_growth import Prometheus, account, live_body, running_prometheus
from bench.record import REGIONS
from exporter.accounts.placing import ACCOUNT_INFO, OU_INFO
from exporter.anomalies.history import (
    DAILY_EXPECTED,
    DAILY_EXPECTED_BY_SERVICE,
    DAILY_SCORE,
    DAILY_SCORE_BY_ACCOUNT,
    DAILY_USAGE,
    DAILY_USAGE_BY_SERVICE,
)
from exporter.core.exposition import header, render_labels
from exporter.core.metric import Family
from exporter.core.moments import days_between, month_start, start_of_day
from exporter.cost import dated_sums, day_sums
from exporter.cost import windows as cost_windows
from exporter.cube.dimensions import DAILY_BY, DATED_KINDS, OTHER, Dimension, Kind
from exporter.history.request import encode_labels, encode_samples, encode_series
from exporter.history.sample_timestamps import DAILY
from exporter.usage.metrics import USAGE_FAMILIES

DASHBOARDS = Path(__file__).parents[1] / "grafana" / "dashboards"
QUERY_BYTES, PAGE_BYTES, CPU_SECONDS = 8_000, 60_000, 1.0
"""The most that a query, a page and a query should need."""
_FILE_DAYS = 30
_SERIES_A_REQUEST = 2_000
_MINUTES_A_REQUEST = 60
_QUERY_SECONDS = 120
_MAX_POINTS = 1_000  # about the width of a panel in pixels
_NON_USAGE_SERVICE = 0
_SHOWN_CHARACTERS = 60  # of a slow query; --json has all of it
_KEYS = 10  # of an account and dimension, beside `other`: as many as 20,000 series leave for 300 accounts
_DAY = timedelta(days=1)
_CHUNK_RANGE = "30h"  # the live day stays in the head: nothing is compacted while queries are measured


# What is in Prometheus


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much of everything."""

    accounts: int
    services: int
    live_hours: int = 24


def _unit(number: int) -> str:
    return f"/Workloads/Unit {number % 10}"


def _team(number: int) -> str:
    return f"team{number % 20}"


def _service(number: int) -> str:
    return f"Service {number:03}"


def _cost(pair: int, day: date) -> float:
    """Eighths of a dollar that change from day to day and by pair; a fee on the first of each month."""
    fee = 40.0 if day.day == 1 and pair % 20 == _NON_USAGE_SERVICE else 0.0
    return fee + 1.0 + (pair * 31 + day.toordinal() * 7) % 1000 / 8


def _dimensions(kind: Kind) -> Iterator[tuple[Dimension, int]]:
    """Those of a kind, with how many keys an account has of each: a tag key more takes its part of them."""
    if kind == "tag":
        yield from ((Dimension("tag", key), _KEYS // 2) for key in ("team", "environment"))
    elif kind == "cost_category":
        yield Dimension("cost_category", "Product"), _KEYS
    else:
        yield Dimension(kind), _KEYS


class _File:
    """An OpenMetrics file with each family in one piece."""

    def __init__(self) -> None:
        self._lines: dict[Family, list[str]] = {}

    def add(self, family: Family, labels: str, value: float, stamp: str) -> None:
        self._lines.setdefault(family, []).append(f"{family.name}{labels} {value} {stamp}\n")

    def write(self, path: Path) -> int:
        with path.open("w", encoding="utf-8") as file:
            for family, lines in self._lines.items():
                file.write(header(family))
                file.writelines(lines)
            file.write("# EOF\n")
        return sum(map(len, self._lines.values()))


def _labels(**labels: str) -> str:
    return render_labels(labels, labels.values())


def _key_labels(dimension: Dimension, account: int, key: int, is_last: bool) -> dict[str, str]:
    """Accounts share their keys but resources; a fifth of usage types move data, a tenth is untagged or no resource's."""
    if is_last:
        return dimension.labels(OTHER)
    name = account + key
    if name % 10 == 0 and dimension.kind in ("tag", "resource"):
        return dimension.labels("")
    if dimension.kind == "resource":
        return dimension.labels(f"i-{account:04}-{key:02}")
    moves = dimension.kind == "usage_type" and name % 5 == 0
    return dimension.labels(f"{'DataTransfer' if moves else 'key'} {name % 40:02}")


class Dated:
    """The dated history, as the exporter would write it."""

    def __init__(self, size: Size, today: date) -> None:
        self._size = size
        self._today = today
        services = range(size.services)
        self._accounts = [account(number) for number in range(size.accounts)]
        self._by_account = [_labels(**each) for each in self._accounts]
        self._by_service = [_labels(service=_service(service)) for service in services]
        self._pairs = [
            (number, service, _labels(**each, service=_service(service)))
            for number, each in enumerate(self._accounts)
            for service in services
        ]
        self._infos = [
            _labels(**each, state="ACTIVE", ou=_unit(number), team=_team(number))
            for number, each in enumerate(self._accounts)
        ]
        self._units = [
            _labels(**each, ou=ou)
            for number, each in enumerate(self._accounts)
            for ou in ("/Workloads", _unit(number))
        ]
        self._regions = [_labels(**each, region=region) for each in self._accounts for region in REGIONS]
        # An account's cost is spread evenly over the keys of each dimension, the last of which is `other`.
        self._keys = [
            (
                DAILY_BY[kind],
                number,
                keys + 1,
                _labels(**each, **_key_labels(dimension, number, key, key == keys)),
            )
            for kind in DATED_KINDS
            for dimension, keys in _dimensions(kind)
            for number, each in enumerate(self._accounts)
            for key in range(keys + 1)
        ]
        self.months: dict[date, dict[str, float]] = {}

    def files(self, folder: Path) -> Iterator[tuple[Path, int]]:
        """Files of thirty days, the oldest first, each with its number of samples."""
        first = month_start(self._today, 13)
        days = list(days_between(first, self._today))
        for start in range(0, len(days), _FILE_DAYS):
            file = _File()
            for day in days[start : start + _FILE_DAYS]:
                self._add_day(file, day)
            path = folder / "history.om"
            yield path, file.write(path)

    def _add_day(self, file: _File, day: date) -> None:
        stamp = f"{int(start_of_day(day).timestamp()) + 43_200}.900"
        by_account = [0.0] * self._size.accounts
        by_service = [0.0] * self._size.services
        usage_by_service = [0.0] * self._size.services
        score_by_account = [0.0] * self._size.accounts
        month = self.months.setdefault(month_start(day), {})
        for pair, (number, service, labels) in enumerate(self._pairs):
            cost = _cost(pair, day)
            by_account[number] += cost
            by_service[service] += cost
            month[labels] = month.get(labels, 0.0) + cost
            file.add(DAILY, labels, cost, stamp)
            usage = cost
            if day.day == 1 and pair % 20 == _NON_USAGE_SERVICE:
                file.add(dated_sums.DAILY_NON_USAGE, labels, 40.0, stamp)
                usage -= 40.0
            usage_by_service[service] += usage
            file.add(DAILY_USAGE, labels, usage, stamp)
            file.add(DAILY_EXPECTED, labels, 60.0, stamp)
            score = (usage - 60.0) / 8
            score_by_account[number] = max(score, score_by_account[number], key=abs)
            file.add(DAILY_SCORE, labels, score, stamp)
        file.add(dated_sums.DAILY_NON_USAGE_KNOWN, "", 1.0, stamp)
        for family, names, values in (
            (dated_sums.DAILY_BY_ACCOUNT, self._by_account, by_account),
            (dated_sums.DAILY_BY_SERVICE, self._by_service, by_service),
            (DAILY_SCORE_BY_ACCOUNT, self._by_account, score_by_account),
            (DAILY_USAGE_BY_SERVICE, self._by_service, usage_by_service),
            (
                DAILY_EXPECTED_BY_SERVICE,
                self._by_service,
                [60.0 * self._size.accounts] * self._size.services,
            ),
        ):
            for labels, value in zip(names, values, strict=True):
                file.add(family, labels, value, stamp)
        for family, number, keys, labels in self._keys:
            file.add(family, labels, by_account[number] / keys, stamp)
        for family, names in ((ACCOUNT_INFO, self._infos), (OU_INFO, self._units)):
            for labels in names:
                file.add(family, labels, 1.0, stamp)
        for family in USAGE_FAMILIES[:3]:
            for place, labels in enumerate(self._regions):
                file.add(family, labels, 100.0 + place, stamp)
        if day + _DAY == month_start(day, -1):
            self._add_month(file, month_start(day), month)

    def _add_month(self, file: _File, month: date, costs: Mapping[str, float]) -> None:
        stamp = f"{int(start_of_day(month).timestamp()) + 43_200}.950"
        by_account = [0.0] * self._size.accounts
        by_service = [0.0] * self._size.services
        for number, service, labels in self._pairs:
            if labels in costs:
                by_account[number] += costs[labels]
                by_service[service] += costs[labels]
                file.add(dated_sums.MONTHLY, labels, costs[labels], stamp)
        for family, names, values in (
            (dated_sums.MONTHLY_BY_ACCOUNT, self._by_account, by_account),
            (dated_sums.MONTHLY_BY_SERVICE, self._by_service, by_service),
        ):
            for labels, value in zip(names, values, strict=True):
                file.add(family, labels, value, stamp)


_SAMPLE_LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SCRAPED_DAY = ("aws_cost_today_usd", "aws_cost_yesterday_usd", "aws_cost_month_to_date_usd")


def live_series(size: Size) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of every live series."""
    for line in live_body(size.accounts, size.services).decode().splitlines():
        # Its accounts have no groups.
        if (found := _SAMPLE_LINE.match(line)) is not None and found[1] != ACCOUNT_INFO.name:
            yield found[1], dict(_LABEL.findall(found[2] or "")), float(found[3])
    accounts = [account(number) for number in range(size.accounts)]
    services = [{"service": _service(number)} for number in range(size.services)]
    for day in (day_sums.TODAY, day_sums.YESTERDAY):
        for family, subjects in ((day.by_service, services), (day.by_account, accounts)):
            for number, labels in enumerate(subjects):
                yield family.name, labels, 100.0 + number
        for labels in accounts:
            yield day.non_usage.name, {**labels, **services[_NON_USAGE_SERVICE]}, 1.0
        yield day_sums.NON_USAGE_KNOWN.name, {"day": day.name}, 1.0
    for number, labels in enumerate(accounts):
        more = {"state": "ACTIVE", "ou": _unit(number), "team": _team(number)}
        yield ACCOUNT_INFO.name, {**labels, **more}, 1.0
    for windows, subjects in ((cost_windows.BY_ACCOUNT, accounts), (cost_windows.BY_SERVICE, services)):
        for family, spans in (
            (windows.trailing, cost_windows.TRAILING_DAYS),
            (windows.before, cost_windows.COMPARED_DAYS),
        ):
            for labels in subjects:
                for span in spans:
                    yield family.name, {**labels, "days": str(span)}, 100.0 * span


def scrape(prometheus: Prometheus, size: Size, now: datetime) -> int:
    """Write the live gauges as if scraped once a minute until `now`; returns how many samples.

    Cost of today, yesterday and this month has all of the hours, the rest the newest one.
    """
    midnight = start_of_day(now.date()).timestamp()
    whole: list[tuple[bytes, float]] = []
    rest: list[tuple[bytes, float]] = []
    given = list(live_series(size))
    given += [
        ("aws_cost_data_through_timestamp_seconds", {}, midnight - 86_400),
        ("aws_cost_complete_through_timestamp_seconds", {}, midnight - 86_400),
        ("aws_cost_type_info", {"cost_type": "unblended"}, 1.0),
    ]
    for name, labels, value in given:
        series = encode_labels(name, {**labels, "job": "aws-spend-exporter", "instance": "bench"})
        (whole if name in _SCRAPED_DAY else rest).append((series, value))
    last = int(now.timestamp())
    written = 0
    minutes = 60 * size.live_hours
    for start in range(0, minutes, _MINUTES_A_REQUEST):
        stamps = [last - 60 * (minutes - 1 - minute) for minute in range(start, start + _MINUTES_A_REQUEST)]
        series_now = whole + (rest if start + _MINUTES_A_REQUEST >= minutes else [])
        for first in range(0, len(series_now), _SERIES_A_REQUEST):
            batch = series_now[first : first + _SERIES_A_REQUEST]
            prometheus.send(_request(batch, stamps))
            written += len(batch) * len(stamps)
    return written


def _request(batch: Sequence[tuple[bytes, float]], stamps: Sequence[int]) -> bytes:
    """A write request in which all series have these stamps: the samples of equal values are encoded once."""
    samples: dict[float, bytes] = {}
    parts = []
    for labels, value in batch:
        if value not in samples:
            # What a day has cost grows by the hour.
            samples[value] = encode_samples((b"", 1000 * at, value + at // 3600 % 24 / 8) for at in stamps)
        parts.append(encode_series(labels, samples[value]))
    return b"".join(parts)


@contextmanager
def seeded(
    folder: Path, size: Size, reuse: bool, say: Callable[[str], None]
) -> Iterator[tuple[Prometheus, datetime]]:
    """A Prometheus with thirteen months of history and live gauges until the moment that comes with it."""
    noted = folder / "seeded.json"
    if reuse and noted.exists():
        now = datetime.fromisoformat(json.loads(noted.read_text())["now"])
        with _prometheus(folder) as prometheus:
            yield prometheus, now
        return
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    data = folder / "data"
    data.mkdir(parents=True)
    began, samples = time.monotonic(), 0
    for path, count in Dated(size, now.date()).files(folder):
        _make_blocks(path, data)
        path.unlink()
        samples += count
    say(f"{samples:,} dated samples in blocks after {time.monotonic() - began:.0f} s")
    with _prometheus(folder) as prometheus:
        began = time.monotonic()
        samples = scrape(prometheus, size, now)
        say(f"{samples:,} samples of live gauges after {time.monotonic() - began:.0f} s")
        noted.write_text(json.dumps({"now": now.isoformat()}))
        yield prometheus, now


def _prometheus(folder: Path) -> AbstractContextManager[Prometheus]:
    return running_prometheus(
        folder,
        f"--storage.tsdb.min-block-duration={_CHUNK_RANGE}",
        f"--storage.tsdb.max-block-duration={_CHUNK_RANGE}",
        f"--query.timeout={_QUERY_SECONDS}s",
    )


def _make_blocks(path: Path, data: Path) -> None:
    done = subprocess.run(  # noqa: S603 # Prometheus' own tool
        [  # the one on the PATH
            *("promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet"),
            *("--max-block-duration=512h", str(path), str(data)),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise click.ClickException(f"promtool: {done.stdout}{done.stderr}")


# What Grafana asks


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """One query of a panel, as it is sent."""

    dashboard: str
    panel: str
    text: str
    step: int | None
    """Seconds between two points; None: asked at the end of the range alone."""
    days: float
    """Of the range."""


_GRAFANA_STEPS = (
    (900_000, 600_000), (1_800_000, 1_200_000), (3_600_000, 1_800_000), (7_200_000, 3_600_000),
    (10_800_000, 7_200_000), (21_600_000, 10_800_000), (43_200_000, 21_600_000), (86_400_000, 43_200_000),
    (604_800_000, 86_400_000), (1_209_600_000, 604_800_000),
)  # fmt: skip
"""Milliseconds below which Grafana rounds an interval, and to what."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "M": 2_592_000, "y": 31_536_000}
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:\.\w+)?(?::[\w:]+)?\})|\[\[(\w+)\]\]")


def _span(text: str) -> int:
    """Seconds of a duration such as `1d`; one that begins with a month, `12M/M`, is as long on a 1st."""
    text = text.partition("/")[0]
    return int(text[:-1]) * _UNITS[text[-1]]


def _step(interval: str | None, seconds: float, most_points: int) -> int:
    wanted = 1000 * seconds / most_points
    rounded = next((to for below, to in _GRAFANA_STEPS if wanted < below), 2_592_000_000)
    # Below a quarter of an hour it does not matter for a range of months.
    least = _span(interval) if interval and interval[0].isdigit() else 15
    return max(least, rounded // 1000 if wanted >= 600_000 else int(wanted / 1000))


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What one query cost. CPU is Prometheus' own, user and system time."""

    dashboard: str
    panel: str
    text: str
    query_bytes: int
    cpu_seconds: float
    seconds: float
    series: int | None
    """In the answer; None if there was none in time."""


class Variables:
    """The values that the variables of a dashboard have when it is opened over a range."""

    def __init__(
        self,
        prometheus: Prometheus,
        start: datetime,
        end: datetime,
        dashboard: str,
        chosen: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._prometheus = prometheus
        self._dashboard = dashboard
        self._chosen = chosen or {}
        self._start = start
        self._end = end
        seconds = int((end - start).total_seconds())
        self.values = {
            "__range": f"{seconds}s", "__range_s": str(seconds), "__range_ms": str(1000 * seconds),
            # Asked for as `:date:seconds`.
            "__from": str(int(start.timestamp())), "__to": str(int(end.timestamp())),
            "__interval": "1d", "__interval_ms": "86400000", "__rate_interval": "5m",
        }  # fmt: skip
        self.asked: list[Asked] = []
        """The variables' own queries."""

    def resolve(self, text: str, more: Mapping[str, str] | None = None) -> str:
        """The text with the values of all variables; what is none, such as `$1` of `label_replace`, stays."""
        known = {**self.values, **(more or {})}

        def value(found: re.Match[str]) -> str:
            return known.get(found[1] or found[2] or found[3], found[0])

        return _VARIABLE.sub(value, text)

    def add(self, variable: Mapping[str, Any]) -> None:
        """Take over one variable, after those that it refers to."""
        name, kind = variable["name"], variable["type"]
        if kind == "datasource":
            self.values[name] = "prometheus"
            return
        chosen = self._chosen.get(name) or (variable.get("current") or {}).get("value")
        is_all = chosen in ("$__all", ["$__all"])
        options = self._options(variable, kind)
        if is_all and variable.get("allValue"):
            self.values[name] = variable["allValue"]
        elif is_all:
            self.values[name] = _alternatives(options)
        else:
            wanted = [chosen] if isinstance(chosen, str) else chosen or []
            # What is no longer an option gives way to the first one.
            kept = [option for option in wanted if option in options] or options[:1]
            is_list = bool(variable.get("multi") or variable.get("includeAll"))
            self.values[name] = _alternatives(kept) if is_list else "".join(kept)

    def _options(self, variable: Mapping[str, Any], kind: str) -> list[str]:
        query = variable.get("query") or ""
        text = query.get("query", "") if isinstance(query, dict) else str(query)
        if kind != "query":
            return [part.strip().rpartition(" : ")[2] for part in text.split(",")]
        text = self.resolve(text)
        cpu, began = self._prometheus.cpu_seconds, time.monotonic()
        found = self._ask(text)
        self.asked.append(
            Asked(
                dashboard=self._dashboard,
                panel=f"${variable['name']}",
                text=text,
                query_bytes=len(text.encode()),
                cpu_seconds=self._prometheus.cpu_seconds - cpu,
                seconds=time.monotonic() - began,
                series=len(found),
            )
        )
        if pattern := variable.get("regex"):
            found = _captured(found, pattern)
        return sorted(dict.fromkeys(found)) if variable.get("sort") else list(dict.fromkeys(found))

    def _ask(self, text: str) -> list[str]:
        span = {"start": self._start.timestamp(), "end": self._end.timestamp()}
        if found := re.fullmatch(r"label_names\((.*)\)", text, re.DOTALL):
            return cast("list[str]", self._get("labels", {"match[]": found[1], **span}))
        if found := re.fullmatch(r"label_values\((.*),\s*(\w+)\)", text, re.DOTALL):
            return cast("list[str]", self._get(f"label/{found[2]}/values", {"match[]": found[1], **span}))
        if found := re.fullmatch(r"query_result\((.*)\)", text, re.DOTALL):
            time_of = {"query": found[1], "time": self._end.timestamp()}
            result = self._get("query", time_of)["result"]
            return [
                f"{series['metric'].get('__name__', '')}"
                f"{{{','.join(f'{key}={json.dumps(value)}' for key, value in series['metric'].items() if key != '__name__')}}}"
                f" {series['value'][1]} {int(series['value'][0] * 1000)}"
                for series in result
            ]
        raise click.ClickException(f"a variable asks in a way that is not known: {text[:200]}")

    def _get(self, path: str, parameters: Mapping[str, Any]) -> Any:
        answer = requests.get(f"{self._prometheus.url}/api/v1/{path}", params=parameters, timeout=600).json()
        if answer["status"] != "success":
            raise click.ClickException(f"{answer.get('error')}: {parameters}")
        return answer["data"]


def _alternatives(values: Sequence[str]) -> str:
    """Several values as Grafana puts them into a matcher."""
    escaped = [re.sub(r"([\\^$*+?.()|\[\]{}/])", r"\\\\\1", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _captured(found: Iterable[str], pattern: str) -> list[str]:
    """What a variable's regular expression keeps: its group `value`, the first group, or the whole text."""
    is_global = pattern.startswith("/") and "g" in pattern[pattern.rfind("/") :]
    body = pattern.strip("/")
    body = body[: body.rfind("/")] if pattern.startswith("/") and not pattern.endswith("/") else body
    compiled = re.compile(body.replace("(?<value>", "(?P<value>").replace("(?<text>", "(?P<text>"))
    kept = []
    for text in found:
        for match in compiled.finditer(text):
            groups = match.groupdict()
            value = groups["value"] if "value" in groups else match[1] if match.groups() else match[0]
            if value is not None:
                kept.append(value)
                if not is_global:
                    break
    return kept


def panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All panels, also those of collapsed rows."""
    for panel in dashboard["panels"]:
        yield from panel.get("panels", ())
        yield panel


def queries(dashboard: Mapping[str, Any], name: str, variables: Variables, days: int) -> Iterator[Query]:
    """Every query of a dashboard, with the variables as they are at first."""
    waiting = list(dashboard.get("templating", {}).get("list", ()))
    while waiting:
        # After those that it refers to, wherever it stands.
        names = "|".join(variable["name"] for variable in waiting)
        free = next(
            v for v in waiting if not re.search(rf"\$\{{?({names})\b", json.dumps(v.get("query") or ""))
        )
        waiting.remove(free)
        variables.add(free)
    for panel in panels(dashboard):
        seconds = _span(panel["timeFrom"].lstrip("-")) if panel.get("timeFrom") else 86_400 * days
        for target in panel.get("targets", ()):
            if "expr" not in target or target.get("hide"):
                continue
            step = _step(
                target.get("interval") or panel.get("interval"),
                seconds,
                panel.get("maxDataPoints") or _MAX_POINTS,
            )
            text = variables.resolve(
                target["expr"], {"__interval": f"{step}s", "__interval_ms": str(1000 * step),
                                 "__rate_interval": f"{max(4 * 60, step + 60)}s"},
            )  # fmt: skip
            yield Query(
                dashboard=name,
                panel=panel.get("title") or panel["type"],
                text=text,
                step=None if target.get("instant") else step,
                days=seconds / 86_400,
            )


# Measuring


def ask(prometheus: Prometheus, query: Query, end: datetime) -> Asked:
    """Ask once; ClickException if it fails, other than by being too slow."""
    at = end.timestamp()
    if query.step is None:
        path, span = "query", {"time": at}
    else:
        last = at // query.step * query.step
        first = (at - 86_400 * query.days) // query.step * query.step
        path, span = "query_range", {"start": first, "end": last, "step": query.step}
    cpu, began = prometheus.cpu_seconds, time.monotonic()
    answer = requests.post(
        f"{prometheus.url}/api/v1/{path}", data={"query": query.text, **span}, timeout=_QUERY_SECONDS + 60
    ).json()
    is_answered = answer["status"] == "success"
    # Where its storage notices first, it is an error of execution.
    is_late = re.search("timed out|deadline exceeded", answer.get("error") or "")
    if not is_answered and not is_late:
        raise click.ClickException(
            f"{query.dashboard}, {query.panel}: {answer.get('error')}: {query.text[:500]}"
        )
    return Asked(
        dashboard=query.dashboard,
        panel=query.panel,
        text=query.text,
        query_bytes=len(query.text.encode()),
        cpu_seconds=prometheus.cpu_seconds - cpu,
        seconds=time.monotonic() - began,
        series=len(answer["data"]["result"]) if is_answered else None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One dashboard: all of its queries, and those of its variables."""

    name: str
    queries: tuple[Asked, ...]
    case: str
    """What is chosen."""
    variables: tuple[Asked, ...]

    @property
    def asked(self) -> tuple[Asked, ...]:
        """All that a page load sends."""
        return self.variables + self.queries

    @property
    def bytes(self) -> int:
        """Of the text of all that a page load sends."""
        return sum(each.query_bytes for each in self.asked)


NOTHING_CHOSEN = "nothing chosen"
_GROUP_ACCOUNTS = 100


def group_of(accounts: int, size: Size) -> list[str]:
    """Groups that hold so many accounts together, or a few more."""
    found: dict[str, None] = {}
    for held, team in enumerate(sorted(map(_team, range(size.accounts)))):
        if team not in found and held >= accounts:
            break
        found[team] = None
    return list(found)


def measure(
    size: Size,
    folder: Path,
    *,
    say: Callable[[str], None],
    reuse: bool = False,
    group_accounts: int = _GROUP_ACCOUNTS,
) -> tuple[Page, ...]:
    """Seed, and ask every query of every dashboard over thirteen months, with nothing chosen and with a group."""
    groups = group_of(group_accounts, size)
    held = sum(_team(number) in groups for number in range(size.accounts))
    cases: Mapping[str, Mapping[str, Sequence[str]]] = {
        NOTHING_CHOSEN: {},
        f"a group of {held} accounts chosen": {"grouping": ["team"], "group": groups},
    }
    with seeded(folder, size, reuse, say) as (prometheus, now):
        start = start_of_day(month_start(now.date(), 13))
        days = (now.date() - start.date()).days
        pages = []
        for case, chosen in cases.items():
            for path in sorted(DASHBOARDS.glob("*.json")):
                variables = Variables(prometheus, start, now, path.stem, chosen)
                found = list(queries(json.loads(path.read_text()), path.stem, variables, days))
                asked = tuple(ask(prometheus, query, now) for query in found)
                page = Page(name=path.stem, case=case, queries=asked, variables=tuple(variables.asked))
                pages.append(page)
                cpu = sum(each.cpu_seconds for each in page.asked)
                say(f"{path.stem}, {case}: {len(page.asked)} queries, {cpu:.1f} s of CPU")
    return tuple(pages)


def _over(value: float, limit: float) -> str:
    return f" > {limit:,g}" if value > limit else ""


def print_pages(pages: Sequence[Page], console: Console, size: Size, most: int = 10) -> None:
    """For each case a row for each dashboard, then the slowest queries."""
    for case in dict.fromkeys(page.case for page in pages):
        _print_case([page for page in pages if page.case == case], console, size, most)


def _print_case(pages: Sequence[Page], console: Console, size: Size, most: int) -> None:
    case = pages[0].case
    table = Table(
        title=f"Dashboards over 13 months, {case}: {size.accounts} accounts, {size.services} services"
    )
    for column in ("dashboard", "queries", "bytes", "longest query, bytes", "CPU s", "slowest, CPU s"):
        table.add_column(column, justify="left" if column == "dashboard" else "right")
    for page in pages:
        longest = max((each.query_bytes for each in page.asked), default=0)
        slowest = max((each.cpu_seconds for each in page.asked), default=0.0)
        table.add_row(
            page.name,
            str(len(page.asked)),
            f"{page.bytes:,}{_over(page.bytes, PAGE_BYTES)}",
            f"{longest:,}{_over(longest, QUERY_BYTES)}",
            f"{sum(each.cpu_seconds for each in page.asked):.2f}",
            f"{slowest:.2f}{_over(slowest, CPU_SECONDS)}",
        )
    asked = [each for page in pages for each in page.asked]
    table.add_row(
        "total",
        str(len(asked)),
        f"{sum(page.bytes for page in pages):,}",
        "",
        f"{sum(each.cpu_seconds for each in asked):.2f}",
        "",
    )
    console.print(table)
    slow = Table(title=f"The {most} slowest queries, {case}")
    for column in ("dashboard", "panel", "CPU s", "seconds", "series", "bytes", "query"):
        slow.add_column(column, justify="left" if column in ("dashboard", "panel", "query") else "right")
    for each in sorted(asked, key=lambda each: -each.cpu_seconds)[:most]:
        slow.add_row(
            each.dashboard,
            each.panel,
            f"{each.cpu_seconds:.2f}",
            f"{each.seconds:.2f}",
            "timed out" if each.series is None else str(each.series),
            f"{each.query_bytes:,}",
            escape(each.text[:_SHOWN_CHARACTERS]),
        )
    console.print(slow)


def as_json(pages: Sequence[Page]) -> list[dict[str, Any]]:
    """Every page with its bytes, for `--json`."""
    return [{**asdict(page), "bytes": page.bytes} for page in pages]


@click.command()
@click.option("--accounts", default=300, show_default=True)
@click.option("--services", default=20, show_default=True)
@click.option(
    "--live-hours", default=24, show_default=True, help="Of today's and yesterday's cost, once a minute."
)
@click.option(
    "--group-accounts", default=_GROUP_ACCOUNTS, show_default=True, help="In the groups that are chosen."
)
@click.option("--folder", type=click.Path(path_type=Path), help="Keep Prometheus' data there.")
@click.option("--reuse", is_flag=True, help="Ask what the folder holds already.")
@click.option("--json", "as_text", is_flag=True)
def main(
    accounts: int,
    services: int,
    live_hours: int,
    group_accounts: int,
    folder: Path | None,
    reuse: bool,
    as_text: bool,
) -> None:
    """Measure every query of every dashboard."""
    size = Size(accounts=accounts, services=services, live_hours=live_hours)
    progress = Console(stderr=True)
    with tempfile.TemporaryDirectory() as temporary:
        pages = measure(
            size,
            folder or Path(temporary),
            reuse=reuse,
            say=progress.print,
            group_accounts=group_accounts,
        )
    if as_text:
        click.echo(json.dumps(as_json(pages), indent=2))
    else:
        print_pages(pages, Console(width=160), size)


if __name__ == "__main__":
    main()

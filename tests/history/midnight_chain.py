"""An exporter's cost from a source that books at its own pace into a real Prometheus, on a clock that the test moves.

The collector asks the simulated Cost Explorer over HTTP when it is due, the views are pushed as a scrape would have
read them, and the dated history is written after each commit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from history_harness import DAILY, DAY, Server, Writer, cost_of, midnight
from prometheus_client import CollectorRegistry

from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import Aws
from exporter.aws.meter import Meter
from exporter.aws.settings import CeilingSettings
from exporter.collectors import cost
from exporter.core.metric import Sample
from exporter.core.places import Target
from exporter.cost.dated_sums import DATED_SUMS, DatedSums
from exporter.declarations.context import Context
from exporter.declarations.view import ViewContext
from exporter.history.live import LiveSample, LiveWrite
from exporter.history.live_settings import LiveWriteSettings
from exporter.history.sample_timestamps import Stamps, daily_values
from exporter.history.settings import HistorySettings
from exporter.history.writer import HistoryWriter
from exporter.ledger.file import Ledger
from simulated_aws import ExplicitCost, OrganizationSpec, SimulatedAws

ROOT = Path(__file__).resolve().parents[2]
HOUR = timedelta(hours=1)
ACCOUNTS, SERVICES = 3, 2
_VIEWS = ("cost", "cost_day_sums", "cost_non_usage", "cost_months", "cost_windows")
_HISTORY_DAYS = 130


@dataclass(frozen=True)
class Source:
    """When how much of a day is booked, in hours after the day's start; the last share is 1."""

    name: str
    stages: tuple[tuple[int, str], ...]

    def rows(self, days: Iterable[date], accounts: Iterable[str]) -> Iterator[ExplicitCost]:
        for day in days:
            for number, account_id in enumerate(accounts):
                for service in range(SERVICES):
                    yield from self._booked(
                        day, account_id, f"Service {service}", 8 * cost_of(number, service, day)
                    )

    def _booked(self, day: date, account_id: str, service: str, usd: Decimal) -> Iterator[ExplicitCost]:
        moments = [midnight(day) + hours * HOUR for hours, _ in self.stages]
        for (_, share), start, end in zip(self.stages, moments, [*moments[1:], None], strict=True):
            amounts = {"UnblendedCost": usd * Decimal(share)}
            yield ExplicitCost(day, account_id, service, amounts, visible_from=start, visible_until=end)

    def share(self, day: date, at: datetime) -> Decimal:
        """How much of a day is booked."""
        return max(
            (Decimal(share) for hours, share in self.stages if midnight(day) + hours * HOUR <= at),
            default=Decimal(0),
        )


# Most of a day while it lasts, and the rest in the two hours after its end.
PROMPT = Source("prompt", ((9, "0.3"), (18, "0.625"), (26, "1")))
# Nothing until the evening of the next day, then a part, and all of it one and a half days after its end.
LATE = Source("late", ((44, "0.375"), (59, "1")))


class Chain:
    """The exporter's side, and Prometheus; `clock` is what both go by."""

    def __init__(
        self,
        aws: Aws,
        simulator: SimulatedAws,
        server: Server,
        ledger: Ledger,
        writer: Writer | None,
        source: Source,
    ) -> None:
        self.server, self.ledger, self.source = server, ledger, source
        self._simulator, self._writer = simulator, writer
        if writer is not None:
            written = HistorySettings.model_validate({"write_url": server.write_url, "timeout": "60s"})
            self._sums = DatedSums(ledger, "unblended", written.window, 3, self.clock)
            self._sums_writer = HistoryWriter(
                written,
                "unblended",
                Stamps(ledger, daily_values(DATED_SUMS)),
                writer.endpoint,
                self.clock,
                writer.metrics,
            )
        self._ctx = Context(
            aws=aws,
            ledger=ledger,
            clock=self.clock,
            accounts={},
            settings=cost.CostSettings(history_months=3),
        )
        self._target = Target(simulator.payer_id, "payer", "us-east-1")
        self._samples: tuple[Sample, ...] = ()
        self._rendered_on: date | None = None
        settings = LiveWriteSettings.model_validate({"url": server.write_url})
        self._live = LiveWrite(settings, self._read, self.clock, None)

    def clock(self) -> datetime:
        return self._simulator.clock.now()

    def move_to(self, now: datetime) -> None:
        """What happens at a moment: a refresh if one is due, views after a commit and at midnight, and a scrape."""
        self._simulator.clock.set(now)
        commits = 0
        while cost.due(self._ctx, self._target) <= now:
            list(cost.collect(self._ctx, self._target))
            commits += 1
            assert commits < 10
        if commits and self._writer is not None:
            self._writer.write()
            while self._sums.update():
                pass
            self._sums_writer.write()
        if commits or self._rendered_on != now.date():
            self._samples = tuple(self._render(now))
            self._rendered_on = now.date()
        self._live.push()

    def _render(self, now: datetime) -> Iterator[Sample]:
        view = ViewContext(
            ledger=self.ledger, now=now, settings=self._ctx.settings, names={}, sections=self._ctx.sections
        )
        for each in cost.COLLECTOR.views:
            if each.name in _VIEWS:
                yield from (found for found in each.render(view) if isinstance(found, Sample))

    def _read(self) -> Iterator[LiveSample]:
        for sample in self._samples:
            family = sample.family
            yield family.name, dict(zip(family.labels, sample.values, strict=True)), sample.value


@contextmanager
def running_chain(
    source: Source, until: date, server: Server, make_writer: Callable[..., Writer] | None, ledger: Ledger
) -> Iterator[Chain]:
    """A chain whose source has booked 130 days up to `until`; without `make_writer` it writes no dated history."""
    start = midnight(until - _HISTORY_DAYS * DAY)
    spec = OrganizationSpec(seed=41, accounts=ACCOUNTS, services=1, instances=0, now=start)
    with SimulatedAws(spec) as simulator, pytest.MonkeyPatch.context() as patch:
        for name, value in simulator.environment().items():
            patch.setenv(name, value)
        days = [start.date() + number * DAY for number in range(_HISTORY_DAYS + 1)]
        simulator.set_costs(source.rows(days, [account.id for account in simulator.accounts]))
        meter = Meter(MemoryCharges(), _UNLIMITED, simulator.clock.now, CollectorRegistry())
        aws = Aws(meter, endpoint_url=simulator.url, simulated=True)
        try:
            writer = make_writer(server.write_url, clock=simulator.clock.now) if make_writer else None
            yield Chain(aws, simulator, server, ledger, writer, source)
        finally:
            aws.close()


_UNLIMITED = CeilingSettings.model_validate({"cost": {"day": None, "month": None}, "first_fill": None})


# What Prometheus is asked


def recording_rules(name: str) -> Mapping[str, str]:
    """The expressions of a file of recording rules by the recorded name, without the names of others in them."""
    text = (ROOT / "prometheus/rules" / f"{name}.yml").read_text()
    rules = {
        rule["record"]: " ".join(rule["expr"].split())
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
    }
    return {record: expanded(expression, rules) for record, expression in rules.items()}


def expanded(expression: str, rules: Mapping[str, str]) -> str:
    """An expression with each recorded name replaced by what it records."""
    while found := re.search(r"\b[a-z]+:[a-z0-9_]+:[a-z0-9_]+", expression):
        expression = f"{expression[: found.start()]}({rules[found[0]]}){expression[found.end() :]}"
    return expression


# What the ledger says


@dataclass(frozen=True)
class Truth:
    """Sums of the ledger by day, over the windows that end with the newest complete day."""

    ledger: Ledger
    source: Source
    now: datetime

    @property
    def today(self) -> date:
        return self.now.date()

    def is_complete(self, day: date) -> bool:
        """Whether a day was read after its end when the source had booked all of it."""
        with self.ledger.connection() as db:
            rows = db.execute(
                "SELECT observed_at FROM day_totals WHERE day = ?", (day.toordinal(),)
            ).fetchall()
        read = [datetime.fromtimestamp(at / 1000, UTC) for (at,) in rows]
        return any(at >= midnight(day + DAY) and self.source.share(day, at) == 1 for at in read)

    def newest(self) -> date:
        """The newest complete day."""
        return next(day for back in range(1, 10) if self.is_complete(day := self.today - back * DAY))

    def sums(self, days: Iterable[date], *by: int) -> dict[tuple[str, ...], float]:
        """Cost of the days by account (0), service (1), or both; the names of accounts are those of the ledger."""
        found: dict[tuple[str, ...], float] = {}
        names = self.ledger.accounts.names()
        for day in days:
            for key, usd in self.ledger.cost.sums(day, day + DAY, "unblended").items():
                labels: list[str] = []
                for number in by:
                    labels += [names.get(key[0], key[0]), key[0]] if number == 0 else [key[1]]
                found[tuple(labels)] = found.get(tuple(labels), 0.0) + float(usd)
        return found

    def back(self, count: int, before: int = 0) -> list[date]:
        """So many complete days, of which the newest is `before` days before the newest complete one."""
        return [self.newest() - (before + number) * DAY for number in range(count)]

    def month(self) -> list[date]:
        """The complete days of this month."""
        first = self.today.replace(day=1)
        return [first + number * DAY for number in range((self.newest() - first).days + 1)]

    def same_days(self) -> tuple[list[date], list[date]]:
        """The same days of this month and of the last one."""
        first = self.today.replace(day=1)
        before = (first - DAY).replace(day=1)
        count = min(len(self.month()), (first - before).days)
        return [first + n * DAY for n in range(count)], [before + n * DAY for n in range(count)]

    def window(self, operation: str) -> list[date]:
        """The days of a recorded sum."""
        return {
            "sum1d": partial(self.back, 1),
            "sum7d": partial(self.back, 7),
            "sum30d": partial(self.back, 30),
            "sum30d_before": partial(self.back, 30, 30),
            "month_to_date": self.month,
            "previous_month_to_date": lambda: self.same_days()[1],
        }[operation]()

    def recorded(self, name: str) -> dict[tuple[str, ...], float]:
        """What a recording rule of the history should say."""
        level, metric, operation = name.split(":")
        assert metric == DAILY
        by = {"account": (0,), "service": (1,), "organization": ()}[level]
        if not operation.endswith("_ratio"):
            return self.sums(self.window(operation), *by)
        if operation == "sum30d_ratio":
            above, below = self.back(30), self.back(30, 30)
        else:
            above, below = self.same_days()
        return ratio(self.sums(above, *by), self.sums(below, *by))


def ratio(above: Mapping[Any, float], below: Mapping[Any, float]) -> dict[Any, float]:
    """Absent where there was nothing before."""
    return {key: value / below[key] for key, value in above.items() if below.get(key, 0) > 0}

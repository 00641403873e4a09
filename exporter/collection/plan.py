"""What a configuration will ask of AWS in a month, and what that costs: before it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from math import ceil
from typing import Any

from exporter.aws.meter import ATHENA, COST_EXPLORER_REQUEST_USD, FIRST_FILL, budget_of, unit_price
from exporter.collectors import all_collectors, without_replaced
from exporter.collectors.cost import COLLECTOR as COST
from exporter.collectors.usage import COLLECTOR as USAGE
from exporter.collectors.usage import rows_of
from exporter.config.model import Config
from exporter.core.moments import times_a_month
from exporter.core.places import Scope
from exporter.cost.older_months import tightest, usd_a_month, within_ceilings
from exporter.cost.refresh_plan import (
    ASSUMED_GROUPS_PER_PAGE,
    ASSUMED_SERVICES,
    PAGE_SIZE_FACT,
    first_fill_pages,
    known_scale,
    missing_days,
    seen_groups,
)
from exporter.cost.settings import CostSettings
from exporter.declarations.calls import Scale
from exporter.declarations.collector import AnyCollector
from exporter.ledger.file import Ledger
from exporter.usage.counters import series_in_use

_ASSUMED_REGIONS = 17  # what an account has without opting in to any
_BUDGETS = ("cost", "usage", ATHENA)


_SMALLEST = Scale(1, 1, 1, 1, 1, usage_metrics=1, daily_usage_metrics=1)


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of request in a month of 30 days."""

    collector: str
    service: str
    operation: str
    purpose: str
    requests: Decimal
    usd: Decimal
    may_wait: bool = False
    """Whether it is asked for only as far as the ceilings leave room beside the rest."""
    is_request: bool = True
    """Whether it is counted among requests, and held against the ceilings."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The requests of a month, and how they stand against the ceilings."""

    scale: Scale
    sources: Mapping[str, str]
    """Where each figure of the scale is from: given, seen, configured or assumed."""
    lines: tuple[Line, ...]
    first_fill_usd: Decimal
    over: tuple[str, ...]
    """What passes its ceiling, one sentence each; what may wait is left out."""
    waits: str | None
    """How much less often old days are read than configured, so that the ceilings hold; None: they are not."""

    @property
    def usd(self) -> Decimal:
        """Dollars a month."""
        return sum((line.usd for line in self.lines), Decimal(0))

    @property
    def may_wait_usd(self) -> Decimal:
        """Dollars a month of what waits where something else needs them."""
        return sum((line.usd for line in self.lines if line.may_wait), Decimal(0))

    @property
    def requests(self) -> Decimal:
        """Requests a month, free ones included: each is an event in CloudTrail."""
        return sum((line.requests for line in self.lines if line.is_request), Decimal(0))


def scale_for(
    config: Config,
    ledger: Ledger | None,
    now: datetime,
    *,
    accounts: int | None = None,
    services: int | None = None,
    regions: int | None = None,
    groups_per_page: int | None = None,
) -> tuple[Scale, dict[str, str]]:
    """The scale to plan with, and where each of its figures is from.

    What is given counts; else what the ledger has seen; else the configuration; else an assumption.
    """
    seen = known_scale(ledger, now) if ledger is not None else None
    sources: dict[str, str] = {}
    pick = partial(_pick, sources)
    number = pick(
        "accounts",
        ("given", accounts),
        ("seen", seen.accounts if seen else None),
        ("configured", len(config.accounts.static) if config.accounts.discovery == "static" else None),
        ("assumed", 1),
    )
    used = pick(
        "services",
        ("given", services),
        ("seen", seen.services if seen else None),
        ("assumed", ASSUMED_SERVICES),
    )
    # Given figures mean that every account uses every service; the ledger knows who uses what.
    keys = seen.keys if seen and seen.keys and accounts is None and services is None else number * used
    places = pick(
        "regions",
        ("given", regions),
        ("configured", None if config.regions == "discover" else len(config.regions)),
        ("assumed", _ASSUMED_REGIONS),
    )
    known = ledger if accounts is None and regions is None else None
    hourly, daily = _usage_metrics(config, known, now, places)
    usage = config.settings(USAGE).enabled
    return (
        Scale(
            number,
            used,
            keys,
            places,
            pick(
                "groups_per_page",
                ("given", groups_per_page),
                ("seen", ledger.facts.get(PAGE_SIZE_FACT) if ledger is not None else None),
                ("assumed", ASSUMED_GROUPS_PER_PAGE),
            ),
            # Until resources have been listed: one of each kind in each region of each account.
            pick("usage_metrics", ("seen", hourly[1]), ("assumed", hourly[0] * number)) if usage else 0,
            pick("daily_usage_metrics", ("seen", daily[1]), ("assumed", daily[0] * number)) if usage else 0,
            # Of other accounts and services than the ledger's, nothing of this is known.
            seen_groups(ledger) if ledger is not None and accounts is None and services is None else (),
        ),
        sources,
    )


def _pick(sources: dict[str, str], name: str, *candidates: tuple[str, int | None]) -> int:
    """The first figure that there is; notes its source. The last candidate always has one."""
    sources[name], value = next(((source, value) for source, value in candidates if value), candidates[-1])
    assert value is not None
    return value


def _usage_metrics(
    config: Config, ledger: Ledger | None, now: datetime, regions: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows of the table by the regions where they are polled, and their series in the ledger: hourly, and daily ones."""
    counts = []
    for once_a_day in (False, True):
        rows = [row for row in rows_of(config.settings(USAGE)) if row.once_a_day == once_a_day]
        names = [row.name for row in rows]
        seen = series_in_use(ledger, names, now - timedelta(days=1)) if ledger is not None and names else 0
        counts.append((sum(1 if row.region else regions for row in rows), seen))
    return counts[0], counts[1]


def make_plan(
    config: Config, scale: Scale, sources: Mapping[str, str], now: datetime, ledger: Ledger | None = None
) -> Plan:
    """Price a configuration at a scale, old days as often as the ceilings have room for them.

    The first fill is that of a new ledger; with `ledger`, what that one still lacks.
    """
    paced = _paced(config, scale)
    lines: list[Line] = []
    for collector in _running(config):
        lines += _lines(config, collector, scale, paced if collector is COST else config.settings(collector))
    fill = _first_fill_pages(config, scale, now, ledger) * COST_EXPLORER_REQUEST_USD
    over = tuple(_over(config, lines, fill))
    return Plan(scale, sources, tuple(lines), fill, over, _waits(config, scale, paced))


def _first_fill_pages(config: Config, scale: Scale, now: datetime, ledger: Ledger | None) -> int:
    pages = 0
    for collector in _running(config):
        settings = config.settings(collector)
        if collector is COST:
            if ledger is None or missing_days(ledger, settings, now)[0]:
                pages += first_fill_pages(settings, scale, now.date())
        elif collector.first_fill_pages is not None:
            pages += collector.first_fill_pages(settings, scale, config.sections(), now, ledger)
    return pages


def needed_usd(config: Config, scale: Scale) -> Decimal:
    """Dollars a month that the running collectors need of the ceilings of cost; what may wait is left out."""
    return sum(
        (
            call.per_month * unit_price(call.service, call.operation)
            for collector in _running(config)
            for call in collector.paid_calls(config.settings(collector), scale)
            if budget_of(call.service) == "cost" and not call.may_wait and call.is_request
        ),
        Decimal(0),
    )


def _paced(config: Config, scale: Scale) -> CostSettings:
    limits = config.ceilings.limits("cost")
    return within_ceilings(config.settings(COST), scale, limits, needed_usd(config, scale))


def _waits(config: Config, scale: Scale, paced: CostSettings) -> str | None:
    settings = config.settings(COST)
    if COST not in _running(config) or paced == settings:
        return None
    usd = needed_usd(config, scale) + usd_a_month(settings, scale)
    limits = config.ceilings.limits("cost")
    ceiling = tightest(limits)
    assert ceiling is not None  # nothing else makes them wait
    period = ceiling[0]
    return (
        f"above ceilings.cost.{period} of ${limits[period]}, old days wait: {_intervals(settings, paced)};"
        f" without the ceiling ${usd:.2f} a month"
    )


def _intervals(settings: CostSettings, paced: CostSettings) -> str:
    return ", ".join(
        [
            *_interval(
                "months are compared",
                "months are not compared",
                settings.compare_months,
                paced.compare_months,
            ),
            *_interval(
                "each old day is read again", "old days have no turn", settings.reread_days, paced.reread_days
            ),
        ]
    )


def _interval(is_done: str, is_not: str, wanted: timedelta | None, given: timedelta | None) -> Iterator[str]:
    if given is None and wanted is not None:
        yield is_not
    elif given is not None and wanted is not None:
        less = f" instead of every {_days(wanted)}" if given > wanted else ""
        yield f"{is_done} about every {_days(given)}{less}"


def _days(interval: timedelta) -> str:
    days = ceil(interval / timedelta(days=1))
    return f"{days} days" if days != 1 else "day"


def _running(config: Config) -> list[AnyCollector]:
    """The collectors that ask AWS for something."""
    sections = config.sections()
    enabled = [c for c in all_collectors() if config.settings(c).enabled and config.shard.runs(c)]
    return [c for c in without_replaced(enabled) if not c.rests(sections)]


def declared_requests(config: Config) -> set[tuple[str, str]]:
    """Service and operation, as AWS's SDK names them, of the requests that the running collectors declare."""
    found = set()
    for collector in _running(config):
        settings = config.settings(collector)
        for call in collector.paid_calls(settings, _SMALLEST):
            if call.is_request:
                found.add((call.service, call.operation))
        for free in collector.free_calls(settings, _SMALLEST) if collector.free_calls else ():
            if free.is_request:
                found.add((free.service, free.operation))
    return found


def plan_at_rest(config: Config, now: datetime, **given: int | None) -> Plan:
    """The plan of a configuration with what its ledger's file knows; `given` are figures of the scale as for `scale_for`."""
    ledger = Ledger(config.ledger_path, read_only=True) if config.ledger_path.exists() else None
    try:
        scale, sources = scale_for(config, ledger, now, **given)
        return make_plan(config, scale, sources, now)
    finally:
        if ledger is not None:
            ledger.close()


def _lines(config: Config, collector: AnyCollector, scale: Scale, settings: Any) -> list[Line]:
    paid = [
        Line(
            collector.name,
            call.service,
            call.operation,
            call.note,
            call.per_month,
            call.per_month * unit_price(call.service, call.operation),
            call.may_wait,
            call.is_request,
        )
        for call in collector.paid_calls(settings, scale)
    ]
    accounts = ceil(scale.accounts / config.shard.count)
    if collector.free_calls is not None:
        return paid + [
            Line(
                collector.name,
                call.service,
                call.operation,
                call.note,
                call.per_month,
                call.per_month * call.usd_each,
                is_request=call.is_request,
            )
            for call in collector.free_calls(settings, replace(scale, accounts=accounts))
        ]
    if paid:
        return paid
    targets = {
        Scope.PAYER: 1,
        Scope.ACCOUNT: accounts,
        Scope.REGION: accounts * scale.regions,
    }[collector.scope]
    runs = times_a_month(settings.interval)
    lines = []
    for action in collector.iam_actions:
        service, operation = action.split(":")
        purpose = "a page or more each target and run"
        lines.append(Line(collector.name, service, operation, purpose, runs * targets, Decimal(0)))
    return lines


def _over(config: Config, lines: list[Line], fill: Decimal) -> list[str]:
    over = []
    for budget in _BUDGETS:
        month = sum(
            (
                line.usd
                for line in lines
                if budget_of(line.service) == budget and not line.may_wait and line.is_request
            ),
            Decimal(0),
        )
        limits = config.ceilings.limits(budget)
        for period, usd in (("day", month / 30), ("month", month)):
            limit = limits[period]
            if limit is not None and usd > limit:
                over.append(
                    f"ceilings.{budget}.{period}: found ${limit}, expected at least ${usd:.2f} for the plan"
                )
    limit = config.ceilings.limits(FIRST_FILL)["total"]
    if limit is not None and fill > limit:
        over.append(f"ceilings.first_fill: found ${limit}, expected at least ${fill:.2f} for the plan")
    return over


def refusal(config: Config, ledger: Ledger, now: datetime, accounts: int | None = None) -> str | None:
    """Why a configuration must not run: its plan passes a ceiling. None when it does not.

    `accounts` is what discovery found, where the ledger knows nothing yet. A fill that is done
    is not counted again.
    """
    return "; ".join(_refused(config, ledger, now, accounts)[1]) or None


def refused_collectors(config: Config, ledger: Ledger, now: datetime, accounts: int) -> dict[str, str]:
    """Why each of these collectors must not run: the plan passes the ceiling that it is held against."""
    plan, over = _refused(config, ledger, now, accounts)
    refused = {}
    for line in plan.lines:
        budget = budget_of(line.service)
        keys = (f"ceilings.{budget}.", *(("ceilings.first_fill",) if budget == "cost" else ()))
        reasons = [text for text in over if text.startswith(keys)]
        if budget is not None and reasons:
            refused[line.collector] = "; ".join(reasons)
    return refused


def waiting_days(config: Config, ledger: Ledger, now: datetime, accounts: int) -> str | None:
    """How much less often old days are read than configured, so that the ceilings hold; see `Plan.waits`."""
    return _refused(config, ledger, now, accounts)[0].waits


def needed_usd_as_seen(config: Config, ledger: Ledger, now: datetime) -> Decimal:
    """`needed_usd` at the scale that the ledger has seen."""
    return needed_usd(config, replace(known_scale(ledger, now).as_scale(), groups=seen_groups(ledger)))


def _refused(config: Config, ledger: Ledger, now: datetime, accounts: int | None) -> tuple[Plan, list[str]]:
    known = accounts if accounts and not known_scale(ledger, now).accounts else None
    scale, sources = scale_for(config, ledger, now, accounts=known)
    plan = make_plan(config, scale, sources, now, ledger)
    return plan, list(plan.over)


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON; money as text."""
    scale = plan.scale
    return {
        "scale": {
            "accounts": scale.accounts,
            "services": scale.services,
            "keys": scale.keys,
            "regions": scale.regions,
            "groups_per_page": scale.groups_per_page,
            "usage_metrics": scale.usage_metrics,
            "daily_usage_metrics": scale.daily_usage_metrics,
        },
        "sources": dict(plan.sources),
        "lines": [
            {
                "collector": line.collector,
                "service": line.service,
                "operation": line.operation,
                "purpose": line.purpose,
                "requests_per_month": round(float(line.requests), 1),
                "usd_per_month": f"{line.usd:.2f}",
                "may_wait": line.may_wait,
            }
            for line in plan.lines
        ],
        "requests_per_month": round(float(plan.requests), 1),
        "usd_per_month": f"{plan.usd:.2f}",
        "may_wait_usd_per_month": f"{plan.may_wait_usd:.2f}",
        "first_fill_usd": f"{plan.first_fill_usd:.2f}",
        "over_ceiling": list(plan.over),
        "waits": plan.waits,
    }

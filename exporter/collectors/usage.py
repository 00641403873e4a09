"""Usage from CloudWatch: counters, levels and daily totals of every metric in `exporter.usage.metrics`.

Each request is priced by the metrics that it asks for, not by points: a poll asks for each metric once, as
far back as it is needed. What is read goes to the ledger; what is served comes from there.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from exporter.aws.errors import AwsError, Kind, reading
from exporter.core.fields import AccountId, CollectorSettings, Duration, RoleArn
from exporter.core.folding import OTHER
from exporter.core.metric import Sample
from exporter.core.moments import times_a_month
from exporter.core.places import Account, Scope, Target
from exporter.core.series_settings import SeriesShares
from exporter.declarations.calls import PaidCall, Scale
from exporter.declarations.collector import Collector, RestoredSamples
from exporter.declarations.context import Context
from exporter.ledger.usage_days import CLOUDWATCH
from exporter.usage import counters as usage_ledger
from exporter.usage.counters import Form, Listed, Poll, Reading, Series
from exporter.usage.metrics import DAY, USAGE_METRICS, UsageMetric, matching
from exporter.usage.samples import Served, restored

_QUERIES = 500
_POINTS = 100_800  # a request
_RECENTLY_ACTIVE = timedelta(hours=3)
_DAILY_INTERVAL = timedelta(hours=6)  # a metric that is published once a day is not asked for each hour
_DAILY_LOOK_BACK_DAYS = 3
_LEVEL_LOOK_BACK = timedelta(hours=3)
_RECHECKED_DAYS = 3
# Resources of a kind up to which one listing by namespace, of 20 metrics each and 500 a page, is as few pages.
_LISTED_TOGETHER = 50
_PERIODS = (60, 300, 900, 3600)
_FAMILIES = {row.name: row.family for row in USAGE_METRICS}


class UsageSettings(CollectorSettings):
    """CloudWatch usage; $0.01 for each 1,000 metrics asked for."""

    interval: Duration = Field(default=timedelta(hours=1), description="Time between two polls.")
    period: Duration = Field(
        default=timedelta(hours=1), description="Length of what is summed up: 1m, 5m, 15m or 1h; same price."
    )
    delay: Duration = Field(
        default=timedelta(minutes=10), description="Age at which data is first read; CloudWatch settles late."
    )
    late_window: Duration = Field(
        default=timedelta(hours=6),
        description="How long late data is still added to its period; for three days more it is added to its day.",
    )
    first_read_days: int = Field(
        default=14, ge=1, le=14, description="Whole days that a first poll reads back, for daily totals."
    )
    discovery_interval: Duration = Field(
        default=timedelta(hours=3), description="How often resources are looked for; at most 3h."
    )
    metrics: tuple[str, ...] = Field(
        default=("*",), min_length=1, description="Families to poll: names or globs of them."
    )
    per_resource: tuple[str, ...] = Field(
        default=(), description="Families served per resource instead of per account and region: the same."
    )
    monitoring_account: AccountId | None = Field(
        default=None,
        description="Account to which the others are linked by cross-account observability;"
        " it alone is asked, with one role.",
    )
    monitoring_role_arn: RoleArn | None = Field(
        default=None, description="Role in the monitoring account, unless it is collected or is the payer."
    )

    @field_validator("period")
    @classmethod
    def _known_period(cls, value: timedelta) -> timedelta:
        if value.total_seconds() not in _PERIODS:
            raise ValueError("1m, 5m, 15m or 1h")
        return value

    @field_validator("discovery_interval")
    @classmethod
    def _sees_everything(cls, value: timedelta) -> timedelta:
        if value > _RECENTLY_ACTIVE:
            raise ValueError("at most 3h, because resources are listed that were active within 3 hours")
        return value

    @field_validator("metrics", "per_resource")
    @classmethod
    def _match_something(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if not matching((pattern,)):
                raise ValueError(f"names of usage families or globs of them, which {pattern} does not match")
        return value

    @model_validator(mode="after")
    def _has_an_account(self) -> Self:
        if self.monitoring_role_arn and not self.monitoring_account:
            raise ValueError("monitoring_role_arn: nothing, because monitoring_account is not set")
        return self


@dataclass(frozen=True, slots=True)
class _Query:
    """One metric to ask for, from `start` (epoch seconds) on."""

    listed: Listed
    row: UsageMetric
    start: int
    period: int


def rows_of(settings: UsageSettings, region: str | None = None) -> tuple[UsageMetric, ...]:
    """The rows that are polled, in one region or in any."""
    return tuple(row for row in matching(settings.metrics) if region is None or row.region in (None, region))


def collect(ctx: Context[UsageSettings], target: Target) -> Iterable[Sample]:
    """Poll one account in one region if that is due, and commit the whole of it."""
    now = ctx.clock()
    state = usage_ledger.target_of(ctx.ledger, CLOUDWATCH, target.account_id, target.region)
    last = state.polled_at if state else None
    if last is not None and now < last + ctx.settings.interval * 0.9:
        return ()
    rows = rows_of(ctx.settings, target.region)
    asker = _Asker(ctx, target)
    if state is None or state.listed_at is None or now >= state.listed_at + ctx.settings.discovery_interval:
        # After a longer silence, and before the first poll, what was active in between counts, too.
        recent = last is not None and now < last + _RECENTLY_ACTIVE
        known = usage_ledger.listed(ctx.ledger, state, state.listed_at) if state and state.listed_at else ()
        found = list(_discover(asker, rows, recent, Counter(each.series.metric for each in known)))
        state = usage_ledger.list_series(ctx.ledger, CLOUDWATCH, target.account_id, target.region, found, now)
    usage_ledger.commit(
        ctx.ledger, state, target.account_id, target.region, _poll(ctx, asker, state, rows, now)
    )
    ctx.committed()
    return ()


# Asking


class _Asker:
    """Sends requests about a target's metrics: as its own account, or as the monitoring account."""

    def __init__(self, ctx: Context[UsageSettings], target: Target) -> None:
        self._ctx = ctx
        self._target = target
        monitoring = ctx.settings.monitoring_account
        self.source: str | None = None  # the account that must be named in each query
        self._account = ctx.accounts[target.account_id]
        if monitoring is not None:
            self._account = ctx.accounts.get(monitoring) or Account(monitoring, monitoring)
            if role := ctx.settings.monitoring_role_arn:
                self._account = Account(monitoring, monitoring, role_arn=role)
            self.source = target.account_id if monitoring != target.account_id else None

    def pages(self, operation: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        return self._ctx.aws.paginate(
            self._account, "cloudwatch", operation, self._target.region, params, deadline=self._ctx.deadline
        )


def _discover(
    asker: _Asker, rows: Iterable[UsageMetric], recent: bool, known: Mapping[str, int]
) -> Iterator[Series]:
    """The series of every row that CloudWatch lists; `known` is how many it listed of each the last time."""
    groups: defaultdict[tuple[str, bool], list[UsageMetric]] = defaultdict(list)
    for row in rows:
        groups[row.namespace, row.once_a_day].append(row)
    for (namespace, once_a_day), members in groups.items():
        params: dict[str, Any] = {"Namespace": namespace}
        if recent and not once_a_day:
            params["RecentlyActive"] = "PT3H"
        if asker.source is not None:
            params |= {"IncludeLinkedAccounts": True, "OwningAccount": asker.source}
        # One listing for all of them, unless the namespace's other metrics would be more pages than that saves.
        if len(members) > 1 and max(known.get(row.name, 0) for row in members) <= _LISTED_TOGETHER:
            yield from _listed(asker, params, members)
        else:
            for row in members:
                yield from _listed(asker, {**params, "MetricName": row.metric}, [row])


def _listed(asker: _Asker, params: Mapping[str, Any], rows: Sequence[UsageMetric]) -> Iterator[Series]:
    by_metric = {row.metric: row for row in rows}
    for page in asker.pages("ListMetrics", params):
        with reading("a list of metrics"):
            yield from list(_series_of(page, by_metric, asker.source))


def _series_of(
    page: Mapping[str, Any], by_metric: Mapping[str, UsageMetric], source: str | None
) -> Iterator[Series]:
    owners = page.get("OwningAccounts") or [source] * len(page["Metrics"])
    for metric, owner in zip(page["Metrics"], owners, strict=True):
        row = by_metric.get(metric["MetricName"])
        if row is None or owner != source:
            continue
        dimensions = {each["Name"]: each["Value"] for each in metric.get("Dimensions", ())}
        resource = row.resource_id(dimensions)
        if resource is not None:
            variant = dimensions[row.variant[1]] if row.variant else ""
            yield Series(row.name, resource, variant, tuple(sorted(dimensions.items())))


def _poll(
    ctx: Context[UsageSettings],
    asker: _Asker,
    state: usage_ledger.UsageTarget,
    rows: Sequence[UsageMetric],
    now: datetime,
) -> Poll:
    settings = ctx.settings
    period = int(settings.period.total_seconds())
    through = int((now - settings.delay).timestamp()) // period * period
    oldest = usage_ledger.day_start(now - timedelta(days=settings.first_read_days))
    final_before = through - math.ceil(settings.late_window.total_seconds() / period) * period
    daily = state.daily_polled_at is None or now >= state.daily_polled_at + _DAILY_INTERVAL * 0.9
    assert state.listed_at is not None
    since = usage_ledger.recount_from(state, period)
    recheck = _recheck_from(state, settings, final_before, oldest)
    late = (
        settings.late_window
        if recheck is None
        else max(settings.late_window, timedelta(days=_RECHECKED_DAYS))
    )
    by_name = {row.name: row for row in rows}
    queries = []
    for listed in usage_ledger.listed(ctx.ledger, state, state.listed_at - late):
        row = by_name.get(listed.series.metric)
        if row is None or (row.once_a_day and not daily):
            continue
        if row.once_a_day:
            start = usage_ledger.day_start(now - timedelta(days=_DAILY_LOOK_BACK_DAYS))
            queries.append(_Query(listed, row, start, DAY))
        elif row.is_counter:
            first = listed.final_before or oldest
            if since is not None and listed.final_before is not None:
                first = since
            start = max(oldest, min(first, through - period))
            queries.append(_Query(listed, row, start if recheck is None else min(start, recheck), period))
        else:
            back = math.ceil(_LEVEL_LOOK_BACK.total_seconds() / period) * period
            start = through - back
            queries.append(_Query(listed, row, start if recheck is None else min(start, recheck), period))
    read_through = state.read_through if since is None else since
    gap = read_through is not None and (read_through < oldest or read_through != state.read_through)
    start = max(oldest, read_through or 0)
    return Poll(
        now,
        start,
        max(through, read_through or 0),
        final_before,
        period,
        list(_read(asker, queries, through, usage_ledger.day_start(now))),
        gap=gap,
        daily=daily,
    )


def _recheck_from(
    state: usage_ledger.UsageTarget, settings: UsageSettings, final_before: int, oldest: int
) -> int | None:
    """Once a day, when all periods of one more day are final: from where on days are read again; else None.

    The price is the same: it is by the metric. What CloudWatch has added since then is late data, too, and
    levels are remembered by whole days.
    """
    today = final_before // DAY
    if state.read_through is None:
        return max(oldest, (today - usage_ledger.SERIES_DAYS_KEPT) * DAY)
    before = (state.read_through - int(settings.late_window.total_seconds())) // DAY
    if before >= today:
        return None
    # After a longer absence, levels since then are not known by day either.
    since = max(min(before, today - _RECHECKED_DAYS), today - usage_ledger.SERIES_DAYS_KEPT)
    return max(oldest, since * DAY)


def _read(asker: _Asker, queries: Iterable[_Query], through: int, today: int) -> Iterator[Reading]:
    """Ask for every query, in as few requests as there may be; AwsError unless all is answered in full."""
    ordered = sorted(queries, key=lambda query: (query.period, query.start, query.listed.id))
    while ordered:
        period, start = ordered[0].period, ordered[0].start
        end = today if period == DAY else through
        points = max(1, (end - start) // period)
        # So many that the answer has one page: who is charged for a second one is not documented.
        size = max(1, min(_QUERIES, _POINTS // points))
        batch = [query for query in ordered[:size] if query.period == period]
        ordered = ordered[len(batch) :]
        if end > start:
            yield from _ask(asker, batch, start, end)


def _ask(
    asker: _Asker, batch: Sequence[_Query], start: int, end: int, *, again: bool = True
) -> Iterator[Reading]:
    """Readings of a batch; `again`: what CloudWatch failed to find out for some queries is asked once more."""
    params = {
        "MetricDataQueries": [_query(f"m{index}", query, asker.source) for index, query in enumerate(batch)],
        "StartTime": start,
        "EndTime": end,
        "ScanBy": "TimestampAscending",
    }
    amounts: list[dict[int, float]] = [{} for _ in batch]
    status: dict[str, str] = {}
    for page in asker.pages("GetMetricData", params):
        with reading("CloudWatch's answer"):
            for message in page.get("Messages") or ():
                # E.g. that a limit was met: some of what was asked for is missing then.
                raise ValueError(f"{message.get('Code')}: {message.get('Value')}")
            for result in page["MetricDataResults"]:
                # What failed on one page is not complete with the last.
                if status.get(result["Id"], "PartialData") == "PartialData":
                    status[result["Id"]] = result["StatusCode"]
                index = int(result["Id"][1:])
                amounts[index] |= _amounts(result, batch[index], start, end)
    # Only those: each is paid for again, and the others are complete.
    failed = [index for index in range(len(batch)) if again and status.get(f"m{index}") == "InternalError"]
    if failed:
        yield from _ask(asker, [batch[index] for index in failed], start, end, again=False)
    for index, query in enumerate(batch):
        if index in failed:
            continue
        if status.get(f"m{index}") != "Complete":
            raise AwsError(
                Kind.ACCESS_DENIED if status.get(f"m{index}") == "Forbidden" else Kind.SERVER_ERROR,
                f"CloudWatch answered {status.get(f'm{index}', 'nothing')} to {query.row.namespace}"
                f" {query.row.metric} of {query.listed.series.resource_id}",
            )
        yield Reading(query.listed.id, query.row.name, _form(query.row), amounts[index], start)


def _amounts(result: Mapping[str, Any], query: _Query, start: int, end: int) -> dict[int, float]:
    """The amounts of one result by the start of their period; ValueError for one that was not asked for."""
    amounts = {}
    for at, value in zip(result["Timestamps"], result["Values"], strict=True):
        moment = int(at.timestamp())
        if moment % query.period or not start <= moment < end or not math.isfinite(value):
            raise ValueError(f"{query.row.metric} is {value} at {at}")
        amounts[moment] = value * query.row.scale
    return amounts


def _form(row: UsageMetric) -> Form:
    return Form.SUMS if row.is_counter else Form.DAILY_LEVELS if row.once_a_day else Form.LEVELS


def _query(name: str, query: _Query, source: str | None) -> dict[str, Any]:
    dimensions = [{"Name": name, "Value": value} for name, value in query.listed.series.dimensions]
    metric = {
        "Namespace": query.row.namespace,
        "MetricName": query.row.metric,
        "Dimensions": dimensions,
    }
    asked: dict[str, Any] = {
        "Id": name,
        "MetricStat": {"Metric": metric, "Period": query.period, "Stat": query.row.statistic},
    }
    return asked if source is None else {**asked, "AccountId": source}


# Serving


def restore(ctx: Context[UsageSettings], target: Target) -> RestoredSamples | None:
    """What the ledger knows of a target; a counter that was not scraped yet is 0.

    Where an account's regions have more series than its share, only the first few are served one by one. The
    others are served as one, `other`, by the first of them.
    """
    state = usage_ledger.target_of(ctx.ledger, CLOUDWATCH, target.account_id, target.region)
    if state is None or state.polled_at is None:
        return None
    rows = rows_of(ctx.settings)
    alone = frozenset(
        row.name
        for row in rows
        if any(fnmatchcase(row.name, pattern) for pattern in ctx.settings.per_resource)
    )
    served = {row.name: _served(row) for row in rows}
    together = _regions_together(ctx, target, len(rows))
    if target.region not in together:
        return restored(ctx.ledger, [state], target, served, alone)
    states = [
        found
        for region in together
        if (found := usage_ledger.target_of(ctx.ledger, CLOUDWATCH, target.account_id, region))
        and found.polled_at
    ]
    if target.region != together[0]:
        return RestoredSamples(samples=(), read_at=state.polled_at)
    return restored(ctx.ledger, states, replace(target, region=OTHER), served, alone)


def _regions_together(ctx: Context[UsageSettings], target: Target, families: int) -> list[str]:
    """The account's regions that are served as one; none while there is room for each by itself.

    Which they are depends on no figure: a counter that moved into a sum would raise it.
    """
    share = ctx.sections.of(SeriesShares).of(COLLECTOR.name, len(ctx.accounts))
    count = usage_ledger.families_of_account(ctx.ledger, CLOUDWATCH, target.account_id)
    if sum(count.values()) <= share:
        return []
    home = ctx.aws.region
    ordered = sorted(count, key=lambda region: (region != home, region))
    return ordered[max(0, share // families - 1) :]


def _served(row: UsageMetric) -> Served:
    stale_after = timedelta(days=_DAILY_LOOK_BACK_DAYS + 1) if row.once_a_day else _LEVEL_LOOK_BACK
    return Served(_FAMILIES[row.name], row.variant[0] if row.variant else None, row.across, stale_after)


def due(ctx: Context[UsageSettings], target: Target) -> datetime:
    """An interval after the last poll of the account's region."""
    state = usage_ledger.target_of(ctx.ledger, CLOUDWATCH, target.account_id, target.region)
    last = state.polled_at if state else None
    return ctx.clock() if last is None else last + ctx.settings.interval


def paid_calls(settings: UsageSettings, scale: Scale) -> Iterable[PaidCall]:
    """Metrics are what is paid for; looking for resources is charged by the request."""
    metrics = scale.usage_metrics * times_a_month(settings.interval)
    metrics += scale.daily_usage_metrics * times_a_month(max(_DAILY_INTERVAL, settings.interval))
    yield PaidCall(
        service="cloudwatch",
        operation="GetMetricData",
        per_month=metrics,
        note="metrics of usage, each interval; paid by metric",
    )
    # What reports for the whole world is listed in one region.
    namespaces = {(row.namespace, row.once_a_day): row.region for row in rows_of(settings)}
    listings = scale.accounts * sum(1 if region else scale.regions for region in namespaces.values())
    yield PaidCall(
        service="cloudwatch",
        operation="ListMetrics",
        per_month=listings * times_a_month(max(settings.discovery_interval, settings.interval)),
        note="which resources have metrics; the first million a month of an account is free",
    )


COLLECTOR = Collector(
    name="usage",
    help="Usage of AWS services from CloudWatch.",
    scope=Scope.REGION,
    settings=UsageSettings,
    families=tuple(_FAMILIES.values()),
    series_weight=4,
    iam_actions=("cloudwatch:GetMetricData", "cloudwatch:ListMetrics"),
    collect=collect,
    restore=restore,
    paid_calls=paid_calls,
    due=due,
)

"""Cost by day and region, charge type, usage type, tag or cost category: a paid query each, into the ledger.

`exporter.cube.reading` names the one read that is most worth its price now, `collect` reads the newest slice of it,
commits that and asks again. Killed or cut off anywhere, at most one slice is paid twice.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import COST_EXPLORER_REQUEST_USD
from exporter.aws.partitions import billing_region
from exporter.core.amounts import AMOUNTS
from exporter.core.metric import Family, Sample
from exporter.core.moments import month_start, start_of_day
from exporter.core.money import to_usd
from exporter.core.places import Scope, Target
from exporter.cost.pace import leaves_enough
from exporter.cost.queries import answered_days, ask_costs
from exporter.cost.refresh_plan import known_scale, month_of_pages
from exporter.cost.settings import CostSettings, cost_is_exported
from exporter.cost.slices import remember_page, slice_start
from exporter.cost.unavailable import first_available, remember_unavailable
from exporter.cube import month_to_date, reading, rewrites, values
from exporter.cube.dimensions import OTHER, WITHOUT, Dimension
from exporter.cube.dimensions import Kind as DimensionKind
from exporter.cube.reading import Known, Read, Reading, followed_changes, known_of, next_read, refresh_due
from exporter.cube.settings import CostBreakdownsSettings
from exporter.declarations.calls import PaidCall, Scale
from exporter.declarations.collector import Collector
from exporter.declarations.context import Context
from exporter.declarations.sections import Sections
from exporter.declarations.view import View, ViewContext
from exporter.ledger.file import Ledger

log = logging.getLogger(__name__)

_DAY = timedelta(days=1)
_LOOKED_FOR_EVERY = timedelta(hours=20)  # once a day, at any hour of the refreshes
_BACKFILLS, _CATEGORIES = "tag_backfills", "cost_category_definitions"
_MOST_PAGES = 100

Ctx = Context[CostBreakdownsSettings]


# Asking


def collect(ctx: Ctx, target: Target) -> Iterable[Sample]:
    """Read what is due, one committed slice at a time; the views make the samples.

    Return between two slices once the attempt's deadline has passed; `due` is now then. What AWS refuses of one
    dimension holds up no other; the first such failure is raised in the end.
    """
    failures: list[AwsError] = []
    for look in (_look_for_backfills, _look_at_categories):
        try:
            look(ctx, target)
        except AwsError as error:
            failures.append(_passed(error))
    refused: set[tuple[Reading, str]] = set()
    without_data: set[Reading] = set()  # a question without an answer is paid for once an attempt
    while ctx.deadline is None or ctx.deadline.remaining() > 0:
        now = ctx.clock()
        found = _next(ctx, now, refused, explain=True)
        if found is None:
            break
        which, read = found
        start = slice_start(ctx.ledger, ctx.ledger.facts.get(which.fact) or 0, read.start, read.end)
        try:
            _read(ctx, target, which, read, start)
        except AwsError as error:
            if (
                error.kind is Kind.DATA_UNAVAILABLE
                and which not in without_data
                and remember_unavailable(ctx.ledger, start, read.end, now)
            ):
                without_data.add(which)
                continue
            failures.append(_passed(error))
            refused.add((which, read.budget))
    if failures:
        raise failures[0]
    return ()


def _passed(error: AwsError) -> AwsError:
    """A failure that concerns one query; a failure that the next one would meet as well is raised."""
    if error.retryable or error.kind in (Kind.STOPPED, Kind.DEADLINE):
        raise error
    return error


def _first_day(settings: CostBreakdownsSettings, sections: Sections, today: date) -> date:
    return month_start(today, settings.history_months or sections.of(CostSettings).history_months)


def _known(ctx: Ctx, now: datetime, *, confirm: bool = False) -> dict[Reading, Known]:
    first, found = _first_day(ctx.settings, ctx.sections, now.date()), rewrites.known(ctx.ledger)
    return {
        each: known_of(ctx.ledger, each, first, found, now, confirm=confirm)
        for each in ctx.settings.readings()
    }


def _next(
    ctx: Ctx, now: datetime, refused: Collection[tuple[Reading, str]] = (), *, explain: bool = False
) -> tuple[Reading, Read] | None:
    """The read that is most worth its price now: of what is as urgent, the newest days."""
    due = [
        (each, read)
        for each, known in _known(ctx, now, confirm=explain).items()
        if (read := next_read(known, ctx.settings.interval, now)) is not None
        and (each, read.budget) not in refused
    ]
    due.sort(key=lambda item: (item[1].rank, item[1].may_wait, -item[1].end.toordinal()))
    for each, read in due:
        if not read.may_wait or leaves_enough(ctx.aws.meter, _needed_usd(ctx, now), now):
            return each, read
        if explain:
            log.warning(
                "old days wait: the ceilings of cost leave no more than the refreshes need",
                extra={"part": each.name, "first_day": read.start, "last_day": read.end - _DAY},
            )
            explain = False
    return None


def _needed_usd(ctx: Ctx, now: datetime) -> Decimal:
    """Dollars a month that the ceilings of cost keep for what must not wait."""
    if ctx.needed_usd is not None:
        return ctx.needed_usd()
    scale = known_scale(ctx.ledger, now).as_scale()
    pages = sum(month_of_pages(ctx.sections.of(CostSettings), scale).values(), Decimal(0))
    return pages * COST_EXPLORER_REQUEST_USD


def _read(ctx: Ctx, target: Target, which: Reading, read: Read, start: date) -> None:
    """Ask for a slice and commit it; nothing of it is kept if a page fails for good."""
    ledger, observed_at, end = ctx.ledger, ctx.clock(), read.end
    # As they are before the request: what changes meanwhile is looked at again.
    counts = followed_changes(ledger, which, start, end)
    answer = ask_costs(
        ctx,
        target,
        start,
        end,
        which.group_by,
        record_filter=which.record_filter(read.only),
        budget=read.budget,
        # The deadline ends an attempt between slices: what is paid for is taken.
        deadline=None,
    )
    days = answered_days(start, end, answer.estimated, observed_at.date())
    costs = {
        (day, subject, which.dimension.value(value[0]) if value else WITHOUT): units
        for (day, subject, *value), units in answer.units.items()
        if day in days
    }
    with ledger.transaction():
        found = values.CubeRead(
            which.dimension,
            which.beside,
            observed_at,
            "cost_explorer",
            {day: counts.get(day, 0) for day in days},
            costs,
            read.only,
        )
        values.commit(ledger, found, ctx.settings.values)
        if read.only is None:
            ledger.facts.remember(which.fact, _most_groups(costs))
        remember_page(ledger, answer)
    ctx.committed()
    log.info(
        "cost is read by a dimension",
        extra={
            "part": which.name,
            "first_day": start,
            "last_day": end - _DAY,
            "keys": len(costs),
            "pages": answer.pages,
            "seconds": round(answer.seconds, 1),
            "usd": answer.pages * COST_EXPLORER_REQUEST_USD,
        },
    )


def _most_groups(costs: Mapping[tuple[date, str, str], Any]) -> int:
    """Groups of the fullest day."""
    counts: defaultdict[date, int] = defaultdict(int)
    for day, _, _ in costs:
        counts[day] += 1
    return max(counts.values(), default=0)


def due(ctx: Ctx, target: Target) -> datetime:
    """Now while anything is missing; otherwise when today and yesterday have to be read again, or what else is first."""
    now = ctx.clock()
    if _next(ctx, now) is not None:
        return now
    moments = [refresh_due(known, ctx.settings.interval, now) for known in _known(ctx, now).values()]
    moments += [each.at for each in rewrites.known(ctx.ledger) if each.at > now]
    moments += [
        (ctx.ledger.reads.scanned_at(kind) or now) + _DAY for kind in _looked_at(ctx.settings, ctx.sections)
    ]
    # What is due already and has to wait for the ceilings waits for the next refresh.
    return min((moment for moment in moments if moment > now), default=now + ctx.settings.interval)


# Looking for what is rewritten


def _looked_at(settings: CostBreakdownsSettings, sections: Sections) -> Iterator[str]:
    # A member account that asks a billing view may not ask about the payer's tags and categories.
    if sections.of(CostSettings).billing_view_arn is None:
        if settings.tags:
            yield _BACKFILLS
        if settings.cost_categories:
            yield _CATEGORIES


def _is_looked_at(ctx: Ctx, kind: str, now: datetime) -> bool:
    at = ctx.ledger.reads.scanned_at(kind)
    return kind in _looked_at(ctx.settings, ctx.sections) and (at is None or now >= at + _LOOKED_FOR_EVERY)


def _look_for_backfills(ctx: Ctx, target: Target) -> None:
    """Remember which days a backfill of tags has rewritten."""
    now = ctx.clock()
    if _is_looked_at(ctx, _BACKFILLS, now):
        answers = _pages(ctx, target, "ListCostAllocationTagBackfillHistory")
        with ctx.ledger.transaction():
            rewrites.add(ctx.ledger, rewrites.of_backfills(answers))
            ctx.ledger.reads.mark_scan(_BACKFILLS, now)


def _look_at_categories(ctx: Ctx, target: Target) -> None:
    """Remember which days a changed definition of a cost category has rewritten."""
    now = ctx.clock()
    if not _is_looked_at(ctx, _CATEGORIES, now):
        return
    arns: dict[str, str] | None = None
    for name in ctx.settings.cost_categories:
        found = _definition(ctx, target, rewrites.arn_of(ctx.ledger, name))
        if found is None:
            if arns is None:
                answers = _pages(ctx, target, "ListCostCategoryDefinitions")
                arns = rewrites.arns_of(answers)
            found = _definition(ctx, target, arns.get(name))
        if found is None:
            raise AwsError(Kind.INVALID_REQUEST, f"there is no cost category {name!r}")
        if rewrites.take_definition(ctx.ledger, found, now):
            log.info("a cost category has changed", extra={"part": name, "first_day": found.effective_start})
    ctx.ledger.reads.mark_scan(_CATEGORIES, now)


def _definition(ctx: Ctx, target: Target, arn: str | None) -> rewrites.Definition | None:
    """A definition; None where the category is not known, or was deleted."""
    if arn is None:
        return None
    try:
        answer = _call(ctx, target, "DescribeCostCategoryDefinition", {"CostCategoryArn": arn})
    except AwsError as error:
        if error.code != "ResourceNotFoundException":
            raise
        return None
    return rewrites.definition_of(answer)


def _pages(ctx: Ctx, target: Target, operation: str) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    token: str | None = None
    for _ in range(_MOST_PAGES):
        answers.append(_call(ctx, target, operation, {"NextToken": token} if token else {}))
        token = answers[-1].get("NextToken")
        if not token:
            return answers
    raise AwsError(Kind.MALFORMED_RESPONSE, f"{operation} has no end")


def _call(ctx: Ctx, target: Target, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
    return ctx.call_payer(target, "ce", operation, billing_region("ce", target.partition), params)


# Prices


def paid_calls(settings: CostBreakdownsSettings, scale: Scale) -> Iterable[PaidCall]:
    """The pages of each dimension in a 30-day month, and the daily looks for what is rewritten."""
    for each in settings.readings():
        yield PaidCall(
            service="ce",
            operation="GetCostAndUsage",
            per_month=reading.month_of_pages(each, scale, settings.interval),
            note=f"cost of each day by {each.name.replace(' by ', ' and ')}",
        )
    if settings.tags:
        yield PaidCall(
            service="ce",
            operation="ListCostAllocationTagBackfillHistory",
            per_month=Decimal(30),
            note="whether tags of past months were backfilled",
        )
    if settings.cost_categories:
        yield PaidCall(
            service="ce",
            operation="DescribeCostCategoryDefinition",
            per_month=Decimal(30 * len(settings.cost_categories)),
            note="whether cost categories were changed for past months",
        )
        yield PaidCall(
            service="ce",
            operation="ListCostCategoryDefinitions",
            per_month=Decimal(0),
            note="which cost categories there are: once",
        )


def first_fill_pages(
    settings: CostBreakdownsSettings, scale: Scale, sections: Sections, now: datetime, ledger: Ledger | None
) -> int:
    """Pages of the first read of the history; with a ledger, of what it still lacks."""
    first, today = _first_day(settings, sections, now.date()), now.date()
    pages = 0
    for each in settings.readings():
        until = today
        if ledger is not None:
            have = values.reads(ledger, each.dimension, each.beside, first, today + _DAY)
            until = min(have, default=today + _DAY) - _DAY
        if until >= max(first, first_available(ledger) if ledger is not None else first):
            pages += reading.first_fill_pages(each, scale, first, until)
    return pages


# View


def _family(name: str, what: str, *labels: str) -> Family:
    return Family(
        f"aws_cost_month_to_date_by_{name}_usd",
        f"Cost of the current calendar month, UTC, by {what}; true per key, values beyond the limit are `{OTHER}`.",
        ("account_id", "account", *labels),
    )


MONTH_TO_DATE_BY: Mapping[DimensionKind, Family] = {
    "region": _family("region", "region", "region"),
    "charge_type": _family("charge_type", "charge type (Usage, Tax, Credit, ...)", "charge_type"),
    "usage_type": _family("usage_type", "usage type", "usage_type"),
    "tag": _family("tag", "the value of a cost allocation tag, empty where untagged", "tag_key", "tag_value"),
    "cost_category": _family("cost_category", "cost category", "cost_category", "cost_category_value"),
}
BY_COST_TYPE = Family(
    "aws_cost_month_to_date_by_cost_type_usd",
    "Cost of the current calendar month, UTC, by each of the five cost types; true per cost type. Costs no request.",
    ("account_id", "account", "cost_type"),
)


def _served(settings: CostBreakdownsSettings) -> Iterator[tuple[Dimension, Family]]:
    for dimension in settings.dimensions():
        if (family := MONTH_TO_DATE_BY.get(dimension.kind)) is not None:
            yield dimension, family


def render(view: ViewContext[CostBreakdownsSettings]) -> Iterator[Sample]:
    """The current month by each dimension of which its days have been read, and by cost type from the ledger."""
    today = view.now.date()
    names = view.ledger.accounts.names()
    for dimension, family in _served(view.settings):
        if month_to_date.read_at(view.ledger, dimension, today) is None:
            continue
        units = month_to_date.costs(view.ledger, dimension, today, view.sections.of(CostSettings).cost_type)
        for (account_id, value), amount in sorted(_bounded(units, view.settings.values).items()):
            yield family(
                to_usd(amount),
                account_id=account_id,
                account=view.account(account_id, names),
                **dimension.labels(value),
            )
    for cost_type in AMOUNTS:
        if view.ledger.cost.lacking(cost_type, month_start(today), today + _DAY):
            continue
        sums: defaultdict[str, Decimal] = defaultdict(Decimal)
        for (account_id, _), usd in view.ledger.cost.sums(
            month_start(today), today + _DAY, cost_type
        ).items():
            sums[account_id] += usd
        for account_id, usd in sorted(sums.items()):
            yield BY_COST_TYPE(
                usd, account_id=account_id, account=view.account(account_id, names), cost_type=cost_type
            )


def _bounded(units: Mapping[tuple[str, str], int], most: int) -> dict[tuple[str, str], int]:
    """At most so many values an account, the largest; the rest of its cost is `other`."""
    by_account: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for (account_id, value), amount in units.items():
        by_account[account_id].append((value, amount))
    found: defaultdict[tuple[str, str], int] = defaultdict(int)
    for account_id, of_account in by_account.items():
        of_account.sort(key=lambda item: (-abs(item[1]), item[0]))
        kept = len(of_account) if len(of_account) <= most else most - 1
        for number, (value, amount) in enumerate(of_account):
            found[account_id, value if number < kept else OTHER] += amount
    return found


def _read_at(view: ViewContext[CostBreakdownsSettings]) -> datetime | None:
    today = view.now.date()
    moments = [
        month_to_date.read_at(view.ledger, dimension, today) for dimension, _ in _served(view.settings)
    ]
    return max((moment for moment in moments if moment is not None), default=None)


COLLECTOR = Collector(
    name="cost_breakdowns",
    help="Cost by day and region, charge type, usage type, tag or cost category, from Cost Explorer.",
    scope=Scope.PAYER,
    settings=CostBreakdownsSettings,
    families=(),
    iam_actions=(
        "ce:GetCostAndUsage",
        "ce:ListCostAllocationTagBackfillHistory",
        "ce:ListCostCategoryDefinitions",
        "ce:DescribeCostCategoryDefinition",
    ),
    collect=collect,
    views=(
        View(
            name="cost_breakdowns",
            families=(*MONTH_TO_DATE_BY.values(), BY_COST_TYPE),
            render=render,
            read_at=_read_at,
            valid_until=lambda view: start_of_day(month_start(view.now.date(), -1)),
        ),
    ),
    paid_calls=paid_calls,
    first_fill_pages=first_fill_pages,
    due=due,
    rests=cost_is_exported,
)

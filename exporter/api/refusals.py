"""Why a question about cost has no answer, what to switch on for it, and what that costs a month."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from exporter.api.source import Source
from exporter.aws.meter import unit_price
from exporter.collectors.cost import COLLECTOR as COST
from exporter.collectors.cost_breakdowns import COLLECTOR as BREAKDOWNS
from exporter.collectors.cost_hours import COLLECTOR as HOURS
from exporter.cube.dimensions import Dimension
from exporter.cube.question import LIST, SPLIT_COSTS, SPLIT_KEYS, Cannot, Question
from exporter.cube.settings import CostBreakdownsSettings
from exporter.declarations.calls import Scale
from exporter.declarations.collector import Collector, S

_DOCS = "docs/data-exports.md"
_EXPORT = f"set collectors.cost.source: data_export (S3 requests only; {_DOCS})"
_INSTALL = 'pip install "aws-spend-exporter[export]"'
_BESIDE_SPLIT = (*SPLIT_KEYS, "account", "day", "month")
_LIMITS = {
    "together": "reports two keys at a time",
    "resource": "keeps resources for 14 days only",
}
_SWITCH_ON_SPLIT = (
    "switch on split cost allocation data in the billing preferences, then in a CUR 2.0 export (SplitCosts of"
    " deploy/data-export.yaml); it adds two lines an hour for each pod or task, which cost no more than S3 does"
)
_HOURS_ALONE = "hours are known by account and service only: leave out the other keys, or hour"
_NO_HOURS = f"no hour of these days is known: only the last 14 days have hours, from a source that reports them ({_DOCS})"
_WHOLE_HOURS = "hours are known by service of the whole organization only"


def is_read(source: Source, asked: Question) -> bool:
    """Whether the configuration reads the one dimension of a question: its days come, or are not there yet."""
    if _is_exported(source):
        return True  # what the export has not delivered is missing
    if asked.measure != "cost":
        return False
    (dimension,) = asked.dimensions
    settings = source.config.settings(BREAKDOWNS)
    return settings.enabled and settings == _with(settings, dimension, asked.subjects)


def explain(source: Source, asked: Question, cannot: Cannot) -> str:
    """The refusal in words for a person."""
    if cannot.why == "not_available":
        return _not_available(cannot.missing)
    if cannot.why == "hours_alone":
        return _HOURS_ALONE
    if cannot.why in ("no_hours", "whole_hours"):
        return _of_hours(source, asked, cannot)
    if asked.measure == "list_price":
        return _of_list_prices(source, cannot)
    if asked.measure == "split_cost":
        return _of_split_cost(source, asked, cannot)
    names = _names(asked.keys)
    verb = "are" if len(asked.keys) > 1 else "is"
    if cannot.why == "no_duckdb":
        return f"{names} together need DuckDB: {_INSTALL}"
    if cannot.lines_from is not None:
        return (
            f"{names} {verb} known from {cannot.lines_from} on, where the data"
            f" export begins; Cost Explorer, which was read before, {_LIMITS[cannot.why]}"
        )
    if _is_exported(source):
        return (
            f"{names} {verb} not known for these days: they were read from Cost Explorer, which {_LIMITS[cannot.why]};"
            " the data export has them from its first month on"
        )
    if cannot.why == "together":
        return f"{names} together are not known from Cost Explorer, which {_LIMITS['together']}: {_EXPORT}"
    if any(each.cost_explorer is None for each in asked.dimensions):
        return f"{names} {verb} not known from Cost Explorer, which {_LIMITS['resource']}: {_EXPORT}"
    (dimension,) = asked.dimensions
    beside = " beside service" if "service" in asked.subjects else ""
    return f"{dimension.name}{beside} is not read: {_switch(source, dimension, asked.subjects)}"


def _is_exported(source: Source) -> bool:
    return source.config.settings(COST).source == "data_export"


def _of_list_prices(source: Source, cannot: Cannot) -> str:
    if cannot.why == "list_hours":
        return "list prices are known by day: leave out hour"
    if cannot.why == "no_duckdb":
        return f"list prices need DuckDB: {_INSTALL}"
    if cannot.lines_from is not None:
        return (
            f"list prices are known from {cannot.lines_from} on, where the data export begins; Cost Explorer, which was"
            " read before, has none"
        )
    if _is_exported(source):
        return (
            "list prices are not known for these days: they were read from Cost Explorer, which has none; the data export"
            " has them from its first month on"
        )
    return f"list prices are not known from Cost Explorer, which has none: {_EXPORT}"


def _of_split_cost(source: Source, asked: Question, cannot: Cannot) -> str:
    if cannot.why == "split_alone":
        others = [name for name in (*asked.by, *asked.where) if name not in _BESIDE_SPLIT]
        return f"split cost is known by {_names(_BESIDE_SPLIT)}: leave out {_names(tuple(dict.fromkeys(others)))}"
    if cannot.why == "split_cost_type":
        return f"split cost is known as {' and '.join(SPLIT_COSTS)} cost, not as {cannot.missing}"
    if cannot.why == "no_duckdb":
        return f"split cost needs DuckDB: {_INSTALL}"
    names, verb = _names(asked.split_keys), "are" if len(asked.split_keys) > 1 else "is"
    if cannot.lines_from is not None:
        return (
            f"{names} {verb} known from {cannot.lines_from} on, where split cost of the data export begins; Cost Explorer,"
            " which was read before, has none"
        )
    if _is_exported(source):
        return (
            f"{names} {verb} not known for these days: they were read from Cost Explorer, which has no split cost; for later"
            f" ones, {_SWITCH_ON_SPLIT}"
        )
    return f"{names} {verb} not known from Cost Explorer, which has no split cost: {_EXPORT} and {_SWITCH_ON_SPLIT}"


def _not_available(missing: str) -> str:
    if ":" in missing:
        return f"{missing} is not in the lines of these days: list its key in collectors.cost_breakdowns"
    if missing == LIST:
        return (
            "list prices are not in the data export of these days: have its query select pricing_public_on_demand_cost"
            f" (FOCUS: ListCost), at no charge ({_DOCS})"
        )
    if missing == "split_cost":
        return f"no line of these days is split in the data export: {_SWITCH_ON_SPLIT}"
    return (
        f"{missing.replace('_', ' ')} is not in the data export of these days: FOCUS has only the cost types net_unblended"
        f" and net_amortized, and FOCUS 1.2 no usage type ({_DOCS})"
    )


def _with(
    settings: CostBreakdownsSettings, dimension: Dimension, subjects: Sequence[str]
) -> CostBreakdownsSettings:
    """The settings that read a dimension beside what a question needs."""
    changes: dict[str, object] = {"enabled": True}
    if dimension.kind == "tag":
        changes["tags"] = tuple(dict.fromkeys((*settings.tags, dimension.key)))
    elif dimension.kind == "cost_category":
        changes["cost_categories"] = tuple(dict.fromkeys((*settings.cost_categories, dimension.key)))
    else:
        changes["by"] = tuple(dict.fromkeys((*settings.by, dimension.kind)))
    if "service" in subjects and settings.services is not True:
        changes["services"] = tuple(dict.fromkeys((*(settings.services or ()), dimension.name)))
    return settings.model_copy(update=changes)


def _switch(source: Source, dimension: Dimension, subjects: Sequence[str]) -> str:
    """What to set, and what it adds to the month."""
    now = source.config.settings(BREAKDOWNS)
    then = _with(now, dimension, subjects)
    steps = [] if now.enabled else ["set collectors.cost_breakdowns.enabled: true"]
    for name in ("by", "tags", "cost_categories", "services"):
        listed, wanted = getattr(now, name), getattr(then, name)
        steps += [
            f"add {value} to collectors.cost_breakdowns.{name}"
            for value in (wanted if isinstance(wanted, tuple) else ())
            if not listed or value not in listed
        ]
    return " and ".join(steps) + _price(source, BREAKDOWNS, then)


def _of_hours(source: Source, asked: Question, cannot: Cannot) -> str:
    said = _NO_HOURS if cannot.why == "no_hours" else _WHOLE_HOURS
    now = source.config.settings(HOURS)
    then = now.model_copy(update={"enabled": True, "accounts": now.accounts or "account" in asked.subjects})
    if _is_exported(source) or then == now:
        return said
    steps = [
        f"set collectors.cost_hours.{name}: true"
        for name in ("enabled", "accounts")
        if getattr(then, name) != getattr(now, name)
    ]
    return f"{said}; {' and '.join(steps)}{_price(source, HOURS, then)}"


def _price(source: Source, collector: Collector[S], then: S) -> str:
    """What other settings of a collector add to the month, priced as `plan` does."""
    if source.scale is None:
        return ""
    now, scale = source.config.settings(collector), source.scale()
    usd = _usd(collector, then, scale) - (_usd(collector, now, scale) if now.enabled else 0)
    return f" (about ${usd:.2f} a month)"


def _usd(collector: Collector[S], settings: S, scale: Scale) -> Decimal:
    return sum(
        (
            call.per_month * unit_price(call.service, call.operation)
            for call in collector.paid_calls(settings, scale)
        ),
        Decimal(0),
    )


def _names(keys: Sequence[str]) -> str:
    return _joined([name.replace("_", " ") if ":" not in name else name for name in keys])


def _joined(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))

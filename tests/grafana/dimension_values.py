"""The same as panel_values.py for the dashboards of cost by dimension, from what the exporter answers by dimension."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

import asking
from panel_values import Check, first_of_a_complete_month, organization_budget, range_shown, same

from exporter.aws.cost_explorer import USAGE_RECORD_TYPES
from grafana.builder.dashboards.where import TRANSFER

if TYPE_CHECKING:
    from test_dashboards_on_demo import World


def _family(dimension: str) -> str:
    return f"aws_cost_daily_by_{dimension.partition(':')[0]}_usd"


def _by(dimension: str) -> Check:
    """All of the range by a dimension, of the days that are written by it."""
    return _dollars_by(dimension, lambda key: True)


def _largest_by(dimension: str, *more: str, of: Callable[[str], bool] = bool) -> Check:
    """The key that cost most in the range, which is never among the others."""

    def check(w: World) -> tuple[float, float]:
        names = (*more, dimension)
        rows = w.dimension(",".join(names), 30, w.newest_written(_family(dimension)))
        key, usd = max(((key, usd) for key, usd in rows.items() if of(key[-1])), key=lambda row: row[1])
        labels = {
            {"account": "account_id", "tag:team": "key"}.get(name, name): value or "(no tag:team)"
            for name, value in zip(names, key, strict=True)
        }
        return w.shown("A", **labels), usd

    return check


def _most_of(check: Check) -> Check:
    """Of keys that have a name in their month; a small one may be among the others."""

    def bound(w: World) -> tuple[float, float]:
        shown, known = check(w)
        return float(0.9 * known < shown <= known + 1e-6), 1.0

    return bound


def _bars_by(of: Callable[[str], bool] = lambda key: True, dimension: str = "usage_type") -> Check:
    """Ten days ago."""

    def check(w: World) -> tuple[float, float]:
        return w.on_day(10), sum(usd for (key,), usd in w.dimension(dimension, 10, 10).items() if of(key))

    return check


def _dollars_by(dimension: str, of: Callable[[str], bool], ref: str = "A") -> Check:
    def check(w: World) -> tuple[float, float]:
        rows = w.dimension(dimension, 30, w.newest_written(_family(dimension)))
        return w.shown(ref), sum(usd for (key,), usd in rows.items() if of(key))

    return check


def _untagged_part(w: World) -> tuple[float, float]:
    rows = w.dimension("tag:team", 10, 10)
    return w.on_day(10), rows[("",)] / sum(rows.values())


def _month_by_value(w: World) -> tuple[float, float]:
    first = first_of_a_complete_month(w)
    month = w.today - timedelta(days=first)
    days = calendar.monthrange(month.year, month.month)[1]
    return w.on_day(first, days=100), sum(w.dimension("tag:team", first, first - days + 1).values())


def _mover(w: World) -> tuple[float, float]:
    """The one that moved most, of both ranges."""
    newest = w.newest_written("aws_cost_daily_by_tag_usd")
    days = 31 - newest
    now, before = (w.dimension("account,tag:team", last + days - 1, last) for last in (newest, newest + days))
    changes = {key: now.get(key, 0) - before.get(key, 0) for key in now.keys() | before.keys()}
    largest = max(changes, key=lambda key: abs(changes[key]))
    shown = w.shown("A", account_id=largest[0], key=largest[1] or "(no tag:team)")
    return shown, changes[largest]


def _moves(usage_type: str) -> bool:
    return re.fullmatch(TRANSFER, usage_type) is not None


def _is_no_usage(charge_type: str) -> bool:
    return charge_type not in USAGE_RECORD_TYPES


def _newest_hour(w: World) -> tuple[float, float]:
    """At the begin of the hour, what is written at its middle."""
    bars = [(float(at), float(value)) for one in w.series("A") for at, value in one["values"]]
    newest = max(at for at, _ in bars)
    written = "sum(last_over_time(aws_cost_hourly_usd[1h]))"
    (known,) = asking.instant(w.stack.urls["prometheus"], written, newest + 3600)
    return sum(value for at, value in bars if at == newest), float(known["value"][1])


DIMENSION_VALUES: Mapping[str, Mapping[str, Check]] = {
    "allocation": {
        "The range shown": range_shown,
        "Not allocated": _dollars_by("tag:team", lambda value: not value, "C"),
        "Projection of budget": organization_budget,
        "By $allocation": _by("tag:team"),
        "Not allocated, by day": _untagged_part,
        "Daily cost by value": _bars_by(dimension="tag:team"),
        "Monthly cost by value": _month_by_value,
        "Movers": _mover,
        "Groups": range_shown,
        "Values in accounts": _largest_by("tag:team", "account", of=lambda value: True),
        "AWS Budgets": same("aws_budget_forecast_usd", "C"),
        "Accounts": range_shown,
    },
    "where": {
        "In the range": range_shown,
        "Data transfer": _most_of(_dollars_by("usage_type", _moves)),
        "Not usage": _dollars_by("charge_type", _is_no_usage),
        "Accounts": range_shown,
        "Services": range_shown,
        "Daily cost by region": _bars_by(dimension="region"),
        "Regions": _largest_by("region"),
        "Daily cost by usage type": _bars_by(),
        "Usage types": _largest_by("usage_type"),
        "Daily data transfer": _most_of(_bars_by(_moves)),
        "Data transfer by account": _largest_by("usage_type", "account", of=_moves),
        "Daily cost by charge type": _bars_by(dimension="charge_type"),
        "Charge types": _largest_by("charge_type"),
        "Daily cost by resource": lambda w: (w.count(), 0.0),
        "Resources": lambda w: (w.count(), 0.0),
        "Hourly cost by service": _newest_hour,
    },
}

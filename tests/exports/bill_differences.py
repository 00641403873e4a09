"""What an import has against what the bill was: the judge of exports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from export_reader import DAY, METRICS, Reader

from exporter.aws.cost_explorer import USAGE_RECORD_TYPES
from exporter.core.amounts import AMOUNTS
from exporter.core.moments import month_start
from exporter.core.money import to_usd
from exporter.cube.answering import answer
from exporter.cube.question import Question

DIMENSIONS = (
    "region", "usage_type", "operation", "charge_type", "billing_entity", "resource", "tag:team", "tag:environment",
    "cost_category:CostCenter",
)  # fmt: skip
NAMES = {"charge_type": "record_type"}
TOGETHER = ("day", "account", "service", "region", "usage_type", "charge_type", "tag:team")


def differences(
    reader: Reader, at: datetime, *, start: date | None = None, cost_types: Sequence[str] = AMOUNTS
) -> list[str]:
    """What of the ledger, the values by each dimension and the lines is not as the bill was at a moment."""
    start = start or at.date().replace(day=1)
    end = min(month_start(start, -1), at.date() + DAY)
    found: list[str] = []

    def truth(cost_type: str, *by: str, where: Any = None) -> dict[tuple[str, ...], Any]:
        names = [NAMES.get(name, name) for name in by]
        totals = reader.aws.truth.totals(start, end, at, names, METRICS[cost_type], where)
        return {key: usd for key, usd in totals.items() if usd}

    for cost_type in cost_types:
        if reader.cost(start, end, cost_type) != truth(cost_type, "day", "account", "service"):
            found.append(f"{cost_type} by service")
        non_usage = {
            (row.day.isoformat(), row.account_id, row.service): usd
            for row in reader.ledger.cost.rows(start, end)
            if row.charge_class == "other" and (usd := getattr(row.amounts, cost_type))
        }
        if non_usage != truth(
            cost_type,
            "day",
            "account",
            "service",
            where=lambda key: key.record_type not in USAGE_RECORD_TYPES,
        ):
            found.append(f"{cost_type} that is no usage")
        for name in DIMENSIONS:
            if reader.values(name, "account", start, end, cost_type) != truth(
                cost_type, "day", "account", name
            ):
                found.append(f"{cost_type} by account and {name}")
            if reader.values(name, "service", start, end, cost_type) != truth(
                cost_type, "day", "service", name
            ):
                found.append(f"{cost_type} by service and {name}")
        answered = answer(reader.ledger, Question(start, end, TOGETHER, {}, cost_type))
        costs = {key: to_usd(units) for key, units in answered.costs.items() if units}
        if answered.missing or costs != truth(cost_type, *TOGETHER):
            found.append(f"{cost_type} of lines")
    return found

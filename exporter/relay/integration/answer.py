"""What a tick is answered: cost of the monitored organization, or of the account whose keys it brings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from exporter.core.moments import start_of_day
from exporter.relay.exporter_api import ExporterApi, ExporterError
from exporter.relay.integration.contract import NAME, Wanted
from exporter.relay.neutral import Neutral, link

_CENT = Decimal("0.01")
_DAY = timedelta(days=1)
_SETTLED_AFTER = timedelta(hours=36)
COST_TYPE = "amortized"
"""Of every answer; thresholds of the exporter are of `collectors.cost.cost_type`, which each of its alerts names."""
ORGANIZATION = "all accounts of the organization"


class NoAnswerError(Exception):
    """Why there is no answer, in words for the channel; without secrets."""


@dataclass(frozen=True, slots=True)
class Spend:
    """Amortized cost of a period."""

    account: str
    usd: Decimal


def of_organization(api: ExporterApi, wanted: Wanted, today: date) -> Spend:
    """From the ledger of the exporter; NoAnswerError."""
    start, end = wanted.period(today)
    try:
        costs = api.costs(start, end, COST_TYPE)
    except ExporterError as error:
        raise NoAnswerError(str(error)) from None
    if costs.missing_days or costs.total_usd is None:
        raise NoAnswerError(
            f"the exporter has not read {len(costs.missing_days)} of the {(end - start).days + 1} days yet"
        )
    return Spend(ORGANIZATION, costs.total_usd)


def values(
    wanted: Wanted | None, spend: Spend | None, problem: str, now: datetime, dashboard_url: str | None
) -> dict[str, Any]:
    """What the template of an answer can use; `problem` is empty where there is an answer."""
    start, end = wanted.period(now.date()) if wanted else (None, None)
    usd = spend.usd.quantize(_CENT, ROUND_HALF_UP) if spend else None
    notes = []
    if spend and end and now < start_of_day(end + _DAY) + _SETTLED_AFTER:
        notes.append("AWS may still add to this cost.")
    if wanted and not wanted.interval_is_usable:
        notes.append("interval: expected the five fields of a crontab")
    url = link(dashboard_url or "")
    # Equal to the threshold is within budget.
    over = usd is not None and wanted is not None and usd > wanted.threshold
    return {
        "title": NAME,
        "account": spend.account if spend else "",
        "frequency": wanted.frequency if wanted else "",
        "start": start,
        "end": end,
        "spend": usd,
        "cost_type": COST_TYPE,
        "threshold": wanted.threshold if wanted else None,
        "ratio": usd / wanted.threshold if usd is not None and wanted and wanted.threshold else None,
        "over": over,
        "problem": problem,
        "notes": notes,
        "links": [Neutral(f"Dashboard: {url}")] if url and spend and spend.account == ORGANIZATION else [],
    }


def samples(now: datetime) -> list[dict[str, Any]]:
    """Answers of every kind, to try a template on."""
    wanted = Wanted(None, Decimal(100), "Monthly", interval_is_usable=False)
    spend = Spend(ORGANIZATION, Decimal("123.456"))
    url = "https://grafana.example/d/aws"
    return [
        values(wanted, spend, "", now, url),
        values(wanted, None, "x", now, None),
        values(None, None, "x", now, None),
    ]

"""What reading days again would cost, and how far the last such request is."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from pydantic import AwareDatetime

from exporter.api.source import Endpoint, Source
from exporter.collectors.cost import COLLECTOR as COST
from exporter.core.fields import StrictModel
from exporter.core.money import usd_text
from exporter.cost import rereads
from exporter.cost.refresh_plan import refreshed_at


class Query(StrictModel):
    """The days, both included; `since` is a moment from which on reads of them count."""

    start: date
    end: date
    since: AwareDatetime | None = None


def answer(source: Source, query: Query) -> dict[str, Any]:
    """Days, requests and dollars, why a ceiling would not allow it, and days that are read and left."""
    wanted = rereads.Reread(query.start, query.end + timedelta(days=1))
    if (refusal := wanted.refusal(source.config.settings(COST), source.now)) is not None:
        raise ValueError(refusal)
    read_at = refreshed_at(source.ledger, source.now)
    return {
        "now": source.now.isoformat(),
        "read_at": read_at.isoformat() if read_at else None,
        "start": query.start.isoformat(),
        "end": query.end.isoformat(),
        "days": wanted.days,
        "requests": wanted.pages(source.ledger, source.now),
        "usd": usd_text(wanted.usd(source.ledger, source.now)),
        "over_ceiling": wanted.over_ceiling(source.ledger, source.config.ceilings, source.now),
        "days_left": rereads.days_left(source.ledger),
        "days_read": wanted.days_read_since(source.ledger, query.since) if query.since else 0,
    }


ENDPOINT = Endpoint(
    name="reread",
    help="What reading days again costs",
    query=Query,
    answer=answer,
    is_cached=lambda query: False,  # it holds the moment
)

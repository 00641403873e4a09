"""The services that have had cost, by the names of Cost Explorer."""

from __future__ import annotations

from typing import Any

from exporter.api.source import Endpoint, Source
from exporter.core.fields import StrictModel
from exporter.cost.refresh_plan import refreshed_at


class Query(StrictModel):
    """All of them."""


def answer(source: Source, query: Query) -> dict[str, Any]:
    """A row a service: how many accounts have used it, and since when."""
    days: dict[str, list[str]] = {}
    for (_, service), day in source.ledger.cost.first_seen().items():
        days.setdefault(service, []).append(day.isoformat())
    read_at = refreshed_at(source.ledger, source.now)
    return {
        "read_at": read_at.isoformat() if read_at else None,
        "rows": [
            {"service": service, "accounts": len(seen), "first_seen": min(seen)}
            for service, seen in sorted(days.items())
        ],
    }


ENDPOINT = Endpoint(name="services", help="Services that have had cost", query=Query, answer=answer)

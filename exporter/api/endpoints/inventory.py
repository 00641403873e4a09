"""Resources as the running exporter read them last: what, where, since when, and what they cost at list price."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from exporter.api.source import Endpoint, Source
from exporter.collectors.inventory import COLLECTOR, missing_tags
from exporter.core.fields import StrictModel, parse_duration
from exporter.core.money import usd_text
from exporter.core.resource import PublishedResources, Resource
from exporter.resources import all_resource_files


class Query(StrictModel):
    """Which resources; every filter that is given must hold."""

    account_id: str | None = Field(default=None, description="Only this account.")
    region: str | None = Field(default=None, description="Only this region; `global` for what has none.")
    service: str | None = Field(default=None, description="Only this service, e.g. ec2 or rds.")
    type: str | None = Field(default=None, description="Only this type, e.g. ec2:volume.")
    unused: bool | None = Field(default=None, description="Only what is unused, or only what is used.")
    untagged: bool | None = Field(
        default=None, description="Only what lacks a required tag or bears none at all, or only the others."
    )
    older_than: Annotated[timedelta, BeforeValidator(parse_duration)] | None = Field(
        default=None, description="Only what is older, e.g. 90d."
    )
    limit: int = Field(default=1000, ge=1, le=100_000, description="Most rows; the sums are of all.")


def _refuse_unknown(source: Source, query: Query) -> None:
    """ValueError for a service or type that no file lists: an empty answer would be wrong."""
    types = {kind for file in all_resource_files() for kind in file.types}
    # Those of the Tagging API are declared nowhere.
    types |= {resource.type for held in source.published_resources for resource in held.resources}
    services = {file.name for file in all_resource_files()} | {kind.partition(":")[0] for kind in types}
    for name, found, known in (("service", query.service, services), ("type", query.type, types)):
        if found is not None and found not in known:
            near = difflib.get_close_matches(found, known, n=1) or [
                kind for kind in known if kind.endswith(f":{found}")
            ]
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{name}: found {found!r}, expected one of {', '.join(sorted(known))}{hint}")


def _matching(source: Source, query: Query) -> Iterator[tuple[PublishedResources, Resource, list[str]]]:
    required = source.config.settings(COLLECTOR).required_tags
    for held in source.published_resources:
        if not held.unit.startswith(f"{COLLECTOR.name}_") or query.account_id not in (None, held.account_id):
            continue
        for resource in held.resources:
            missing = missing_tags(resource, required)
            service = held.unit.removeprefix(f"{COLLECTOR.name}_")
            if (
                query.service in (None, service, resource.type.partition(":")[0])
                and query.type in (None, resource.type)
                and query.region in (None, resource.region or held.region)
                and query.unused in (None, resource.unused_reason is not None)
                and query.untagged in (None, bool(missing))
                and (query.older_than is None or _is_older(source, resource, query.older_than))
            ):
                yield held, resource, missing


def _is_older(source: Source, resource: Resource, age: timedelta) -> bool:
    return resource.created is not None and resource.created <= source.now - age


def answer(source: Source, query: Query) -> dict[str, Any]:
    """Rows, most expensive first, money as text; `null` where a price or date is not known.

    `read_at` is of the unit that was read longest ago; `failing` are units whose resources could not be read again, or never were.
    """
    _refuse_unknown(source, query)
    rows = sorted(
        _matching(source, query),
        key=lambda row: (-(row[1].monthly_usd or Decimal(0)), row[1].type, row[1].id),
    )
    read = [held.read_at for held in source.published_resources if held.unit.startswith(f"{COLLECTOR.name}_")]
    priced = [resource.monthly_usd for _, resource, _ in rows if resource.monthly_usd is not None]
    return {
        "read_at": min(read).isoformat() if read else None,
        "count": len(rows),
        "priced": len(priced),
        "estimated_monthly_usd": str(sum(priced, Decimal(0))),
        "failing": sorted(
            [
                {"unit": held.unit, "account_id": held.account_id, "region": held.region, "kind": held.error}
                for held in source.published_resources
                if held.error is not None
                and held.unit.startswith(f"{COLLECTOR.name}_")
                and query.account_id in (None, held.account_id)
            ],
            key=str,
        ),
        "rows": [_row(*row) for row in rows[: query.limit]],
    }


def _row(held: PublishedResources, resource: Resource, missing: list[str]) -> dict[str, Any]:
    def text(usd: Decimal | None) -> str | None:
        return None if usd is None else usd_text(usd)

    return {
        "account_id": held.account_id,
        "account": held.account,
        "region": resource.region or held.region,
        "type": resource.type,
        "id": resource.id,
        "name": resource.name,
        "state": resource.state,
        "subtype": resource.subtype,
        "created": resource.created.isoformat() if resource.created else None,
        "created_is_first_seen": resource.first_seen,
        "tags": None if resource.tags is None else dict(resource.tags),
        "missing_tags": missing,
        "estimated_monthly_usd": text(resource.monthly_usd),
        "unused_reason": resource.unused_reason,
        "unused_monthly_usd": text(resource.wasted_usd) if resource.unused_reason else None,
        "savings": {saving.kind: text(saving.monthly_usd) for saving in resource.savings},
        "read_at": held.read_at.isoformat(),
    }


ENDPOINT = Endpoint(
    name="inventory",
    help="Resources with age, list price, unused reason and missing tags",
    query=Query,
    answer=answer,
    reads_resources=True,
    is_cached=lambda query: query.older_than is None,  # ages by the second
)

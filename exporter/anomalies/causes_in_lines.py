"""What made a spike, from months of lines: at once, at no charge, and down to the resource."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

from exporter.anomalies.causes import (
    Cause,
    Expected,
    Explanation,
    GrownResource,
    commit,
    compared_day,
    explain,
    lines_of_week,
)
from exporter.aws.cost_explorer import USAGE_RECORD_TYPES
from exporter.core.money import to_usd
from exporter.cube import lines
from exporter.cube.dimensions import OTHER, WITHOUT
from exporter.cube.lines import Filter, LinesError, LinesGoneError
from exporter.ledger.file import Ledger

log = logging.getLogger(__name__)

_KEYS = ("usage_type", "operation", "region", "resource")
_COST_TYPES = ("amortized", "net_amortized")  # FOCUS has the second alone
_KEPT_CAUSES = 20
_KEPT_RESOURCES = 3
_SECONDS = 5.0
_DAY = timedelta(days=1)
_NOWHERE = ("NoRegion", "global")

_Key = tuple[str, str, str]


def explain_spikes(ledger: Ledger, spikes: Iterable[Expected], now: datetime, *, again: bool = True) -> bool:
    """Keep what made each spike whose day lines cover; whether any was kept.

    Those that are explained are explained `again`: their lines may have been restated.
    """
    kept = False
    for spike in spikes:
        known = explain(ledger, spike.day, spike.account_id, spike.service)
        if known is not None and not again:
            continue
        found = explanation(ledger, spike)
        if found is not None and found != known:
            commit(ledger, spike.account_id, spike.service, found, now, from_lines=True)
            kept = True
    return kept


def explanation(ledger: Ledger, spike: Expected) -> Explanation | None:
    """The usage types, operations, regions and resources that grew; None if lines do not show it or cannot be read."""
    files = lines_of_week(ledger, spike.day)
    if not files:
        return None
    paths = sorted(set(files.values()))
    try:
        unknown = {key for key in (*_KEYS, *_COST_TYPES) if lines.unknown(paths, [key], seconds=_SECONDS)}
        cost_type = next((each for each in _COST_TYPES if each not in unknown), None)
        keys = [key for key in _KEYS if key not in unknown]
        if cost_type is None or not keys:
            return None
        chosen = Filter(
            [(day, day + _DAY) for day in sorted(files)],
            {
                "account": frozenset({spike.account_id}),
                "service": frozenset({spike.service}),
                "charge_type": frozenset(USAGE_RECORD_TYPES),
            },
        )
        sums = lines.sums(paths, ["day", *keys], chosen, cost_type, seconds=_SECONDS)
    except (LinesError, LinesGoneError) as error:
        log.warning("lines of a spike are not read", extra={"day": spike.day, "error": error})
        return None
    return _explained(spike, files, keys, sums)


def _explained(
    spike: Expected, days: Iterable[date], keys: list[str], sums: Mapping[tuple[str, ...], int]
) -> Explanation:
    totals = {day: 0 for day in days if day != spike.day}
    by_day: defaultdict[date, dict[tuple[_Key, str], int]] = defaultdict(dict)
    for (day_text, *values), units in sums.items():
        day, found = date.fromisoformat(day_text), dict(zip(keys, values, strict=True))
        region = found.get("region", "")
        key = found.get("usage_type", ""), found.get("operation", ""), "" if region in _NOWHERE else region
        part = by_day[day]
        part[key, found.get("resource", "")] = part.get((key, found.get("resource", "")), 0) + units
        if day in totals:
            totals[day] += units
    compared = compared_day(spike, {day: float(to_usd(units)) for day, units in totals.items()})
    return Explanation(spike.day, compared, tuple(_causes(by_day[compared], by_day[spike.day])))


def _causes(before: Mapping[tuple[_Key, str], int], after: Mapping[tuple[_Key, str], int]) -> Iterable[Cause]:
    """What grew, the most first, with the resources that grew most of each."""
    parts: defaultdict[_Key, list[tuple[str, int, int]]] = defaultdict(list)
    for key, resource in before.keys() | after.keys():
        part = key, resource
        parts[key].append((resource, before.get(part, 0), after.get(part, 0)))
    sums = {key: (sum(p[1] for p in found), sum(p[2] for p in found)) for key, found in parts.items()}
    grown = sorted((old - new, key) for key, (old, new) in sums.items() if new > old)
    for _, key in grown[:_KEPT_CAUSES]:
        named = [part for part in parts[key] if part[0] not in (WITHOUT, OTHER) and part[2] > part[1]]
        named.sort(key=lambda part: (part[1] - part[2], part[0]))
        resources = tuple(
            GrownResource(name, to_usd(old), to_usd(new)) for name, old, new in named[:_KEPT_RESOURCES]
        )
        old, new = sums[key]
        yield Cause(*key, to_usd(old), to_usd(new), resources)

"""Usage by resource and day."""

from __future__ import annotations

from datetime import date

from exporter.ledger.file import Ledger

EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
"""Of the day from which the days of these tables are numbered."""

CLOUDWATCH = "cloudwatch"
"""The source of what is polled from CloudWatch."""


def series_days(
    ledger: Ledger, source: str, account_id: str, region: str, metric: str, start: date, end: date
) -> dict[str, dict[date, float]]:
    """Each resource's days of [start, end) that are known: of sums their total, of levels the highest."""
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT resource_id, day, SUM(amount) FROM usage_series_days"
            " JOIN usage_series ON usage_series.id = usage_series_days.series"
            " WHERE metric = ? AND day >= ? AND day < ? AND target ="
            " (SELECT id FROM usage_targets WHERE source = ? AND account_id = ? AND region = ?)"
            " GROUP BY resource_id, day",
            (
                metric,
                start.toordinal() - EPOCH_ORDINAL,
                end.toordinal() - EPOCH_ORDINAL,
                source,
                account_id,
                region,
            ),
        ).fetchall()
    found: dict[str, dict[date, float]] = {}
    for resource, day, amount in rows:
        found.setdefault(resource, {})[date.fromordinal(day + EPOCH_ORDINAL)] = amount
    return found

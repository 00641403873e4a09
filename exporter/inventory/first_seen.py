"""When resources whose creation time AWS does not tell were seen first, remembered in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from exporter.ledger.file import Ledger


def first_seen(
    ledger: Ledger,
    account_id: str,
    region: str,
    unit: str,
    found: Mapping[str, datetime | None],
    now: datetime,
) -> dict[str, datetime]:
    """When each of `found` was seen first; those that are gone are forgotten.

    A value of `found` is a moment at which the resource existed for certain, if AWS tells one: what is
    seen first now may be known to be older.
    """
    with ledger.connection() as db:
        known = dict(
            db.execute(
                "SELECT id, since FROM resources_seen WHERE account_id = ? AND region = ? AND unit = ?",
                (account_id, region, unit),
            ).fetchall()
        )
    new = {
        identifier: int(min(existed or now, now).timestamp())
        for identifier, existed in found.items()
        if identifier not in known
    }
    gone = known.keys() - found.keys()
    if new or gone:
        with ledger.transaction(), ledger.connection() as db:
            db.executemany(
                "INSERT OR REPLACE INTO resources_seen (account_id, region, unit, id, since) VALUES (?, ?, ?, ?, ?)",
                [(account_id, region, unit, identifier, since) for identifier, since in new.items()],
            )
            db.executemany(
                "DELETE FROM resources_seen WHERE account_id = ? AND region = ? AND unit = ? AND id = ?",
                [(account_id, region, unit, identifier) for identifier in gone],
            )
    return {
        identifier: datetime.fromtimestamp(since, UTC)
        for identifier, since in (known | new).items()
        if identifier in found
    }

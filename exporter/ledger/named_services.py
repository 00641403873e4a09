"""Which services of each account are served by name, so that a start need not find them again before it serves cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from exporter.ledger.file import Ledger

_COUNT_FACT = "named_services"


def remembered(ledger: Ledger) -> dict[str, frozenset[str]] | None:
    """The services that were remembered last, by account id; accounts that are served whole are not among them.

    None if nothing was ever remembered.
    """
    if ledger.facts.get(_COUNT_FACT) is None:
        return None
    with ledger.connection() as db:
        rows = db.execute("SELECT account_id, service FROM named_services").fetchall()
    found: defaultdict[str, set[str]] = defaultdict(set)
    for account_id, service in rows:
        found[account_id].add(service)
    return {account_id: frozenset(services) for account_id, services in found.items()}


def remember(ledger: Ledger, named: Mapping[str, Collection[str]]) -> None:
    """Replace what is remembered."""
    rows = [(account_id, service) for account_id, services in named.items() for service in services]
    with ledger.transaction() as db:
        db.execute("DELETE FROM named_services")
        db.executemany("INSERT INTO named_services VALUES (?, ?)", rows)
        ledger.facts.remember(_COUNT_FACT, len(rows))

"""Sums of an export's lines in tables of the ledger's file: a month's are replaced in the transaction of its commit.

Amounts are integers of 1e-10 USD. Nothing is there of what the export has no column for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from exporter.core.money import stored_sum
from exporter.ledger.file import Ledger

WHOLE_MONTH = 0
"""The day of a sum over the month."""
_TABLES = ("export_resources", "export_splits", "export_list_costs", "export_commitments")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceCost:
    """Amortized cost of a resource on a day (its ordinal) or in the month; `other` is a sum, an empty one has no id.

    `service` and `region` are those of its largest cost.
    """

    day: int
    account_id: str
    resource: str
    service: str
    region: str
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCost:
    """Cost of a namespace: what its pods asked for or used, and their part of what is idle."""

    day: int
    account_id: str
    kind: str
    cluster: str
    namespace: str
    units: int
    unused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCost:
    """Usage of an account in a month: at amortized cost, and at list prices."""

    account_id: str
    units: int
    list_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentDay:
    """What a Savings Plan or reservation was on a day; the end of its term as AWS writes it, empty if it does not."""

    day: int
    arn: str
    kind: str
    used: int
    unused: int
    end_time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthSums:
    """All that is kept of a month's lines."""

    resources: Iterable[ResourceCost] = ()
    splits: Iterable[SplitCost] = ()
    list_costs: Iterable[ListCost] = ()
    commitments: Iterable[CommitmentDay] = ()


def replace_month(ledger: Ledger, month: date, sums: MonthSums) -> None:
    """Replace what was kept of a month; to be called within the transaction of its commit."""
    number = month.toordinal()
    with ledger.transaction() as db:
        for table in _TABLES:
            db.execute(f"DELETE FROM {table} WHERE month = ?", (number,))  # noqa: S608 # names of ours
        db.executemany(
            "INSERT INTO export_resources VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    number,
                    each.day,
                    each.account_id,
                    each.resource,
                    each.service,
                    each.region,
                    stored_sum(each.units),
                )
                for each in sums.resources
            ),
        )
        db.executemany(
            "INSERT INTO export_splits VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    number,
                    each.day,
                    each.account_id,
                    each.kind,
                    each.cluster,
                    each.namespace,
                    stored_sum(each.units),
                    stored_sum(each.unused),
                )
                for each in sums.splits
            ),
        )
        db.executemany(
            "INSERT INTO export_list_costs VALUES (?, ?, ?, ?)",
            (
                (number, each.account_id, stored_sum(each.units), stored_sum(each.list_units))
                for each in sums.list_costs
            ),
        )
        db.executemany(
            "INSERT INTO export_commitments VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    number,
                    each.day,
                    each.arn,
                    each.kind,
                    stored_sum(each.used),
                    stored_sum(each.unused),
                    each.end_time,
                )
                for each in sums.commitments
            ),
        )


def forget_before(ledger: Ledger, month: date, oldest_commitments: date) -> None:
    """Drop the months before `month`, and of commitments those before another one."""
    with ledger.transaction() as db:
        for table in _TABLES:
            oldest = oldest_commitments if table == "export_commitments" else month
            db.execute(f"DELETE FROM {table} WHERE month < ?", (oldest.toordinal(),))  # noqa: S608 # names of ours


def resource_costs(ledger: Ledger, month: date, day: int) -> list[ResourceCost]:
    """Of a day or the whole month, the largest first; sums without a resource and of others at the end."""
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT account_id, resource, service, region, units FROM export_resources WHERE month = ? AND day = ?"
            " ORDER BY resource IN ('', 'other'), ABS(units) DESC, account_id, resource",
            (month.toordinal(), day),
        ).fetchall()
    return [
        ResourceCost(
            day=day, account_id=account_id, resource=resource, service=service, region=region, units=units
        )
        for account_id, resource, service, region, units in rows
    ]


def split_costs(ledger: Ledger, month: date, day: int) -> list[SplitCost]:
    """Of a day or the whole month, the largest first; sums of others at the end."""
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT account_id, kind, cluster, namespace, units, unused FROM export_splits WHERE month = ? AND day = ?"
            " ORDER BY cluster = 'other', ABS(units + unused) DESC, account_id, kind, cluster, namespace",
            (month.toordinal(), day),
        ).fetchall()
    return [
        SplitCost(
            day=day,
            account_id=account_id,
            kind=kind,
            cluster=cluster,
            namespace=namespace,
            units=units,
            unused=unused,
        )
        for account_id, kind, cluster, namespace, units, unused in rows
    ]


def list_costs(ledger: Ledger, month: date) -> list[ListCost]:
    """Of each account; empty where the export has no list prices."""
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT account_id, units, list_units FROM export_list_costs WHERE month = ? ORDER BY account_id",
            (month.toordinal(),),
        ).fetchall()
    return [
        ListCost(account_id=account_id, units=units, list_units=list_units)
        for account_id, units, list_units in rows
    ]


def commitment_days(ledger: Ledger, start: date, end: date) -> list[CommitmentDay]:
    """Of each commitment the days of [start, end) on which it was in effect."""
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT day, arn, kind, used, unused, end_time FROM export_commitments WHERE day >= ? AND day < ?"
            " ORDER BY arn, day",
            (start.toordinal(), end.toordinal()),
        ).fetchall()
    return [
        CommitmentDay(day=day, arn=arn, kind=kind, used=used, unused=unused, end_time=end_time)
        for day, arn, kind, used, unused, end_time in rows
    ]


def end_of_term(text: str) -> datetime | None:
    """A moment as AWS writes the end of a term; None where it is not known."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

"""Months of an export whose lines a test writes by hand, committed as an import commits them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import duckdb

from exporter.core.amounts import AMOUNTS
from exporter.core.metric import Sample
from exporter.cube.months import CubeMonths
from exporter.declarations.view import ViewContext
from exporter.exports.fold_settings import FoldResult
from exporter.exports.month_commit import FoldedMonth, commit_month
from exporter.exports.settings import CostExportSettings
from exporter.ledger.file import Ledger

USD = 10**10
COST_TYPES = (*AMOUNTS, "list_cost")
A, B = "111111111111", "222222222222"
_versions = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of lines.parquet, in USD: the same of every cost type but `net`, and the list price where it is another."""

    day: date
    account: str = A
    service: str = "Amazon Elastic Compute Cloud - Compute"
    region: str = "us-east-1"
    charge_type: str = "Usage"
    billing_entity: str = "AWS"
    resource: str = ""
    usd: float = 0
    net: float | None = None
    listed: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A row of split.parquet."""

    day: date
    cluster: str
    namespace: str
    usd: float
    unused: float
    account: str = A
    kind: str = "eks"
    pod: str = "p"
    net: float | None = None
    """What it costs after discounts, of which as much is taken off what is unused."""

    @property
    def discount(self) -> float:
        return 0 if self.net is None else self.usd - self.net


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A row of commitments.parquet."""

    day: date
    arn: str
    kind: str = "reservation"
    account: str = A
    used: float = 0
    unused: float = 0
    end_time: str = ""


def commit(
    ledger: Ledger,
    rows: Sequence[Row],
    now: datetime,
    *,
    pods: Iterable[Pod] = (),
    uses: Iterable[Use] = (),
    hours: Mapping[datetime, float] | None = None,
    cost_types: Collection[str] = COST_TYPES,
    unknown: Collection[str] = (),
) -> None:
    """The month of the rows, delivered at `now`; columns of `unknown` and of other cost types are NULL.

    `hours` has the USD of account A by hour.
    """
    month = rows[0].day.replace(day=1)
    folder = CubeMonths(ledger).new_folder(month)
    lines = [_line(row, cost_types, unknown) for row in rows]
    paths = {"lines": _write(folder / "lines.parquet", lines)}
    split = [
        {"day": pod.day, "account_id": pod.account, "cluster": pod.cluster, "namespace": pod.namespace, "pod": pod.pod,
         "kind": pod.kind, "split_cost": _units(pod.usd), "unused_cost": _units(pod.unused),
         "net_split_cost": _units(pod.usd - pod.discount), "net_unused_cost": _units(pod.unused - pod.discount)}
        for pod in pods
    ]  # fmt: skip
    if split:
        paths["split"] = _write(folder / "split.parquet", split)
    commitments = [
        {"day": use.day, "account_id": use.account, "arn": use.arn, "kind": use.kind, "used": _units(use.used),
         "unused": _units(use.unused), "list_cost": 0, "end_time": use.end_time}
        for use in uses
    ]  # fmt: skip
    if commitments:
        paths["commitments"] = _write(folder / "commitments.parquet", commitments)
    by_hour = [
        {"hour": hour.replace(tzinfo=None), "account_id": A, "service": Row(day=month).service,
         **dict.fromkeys(AMOUNTS, _units(usd))}
        for hour, usd in (hours or {}).items()
    ]  # fmt: skip
    if by_hour:
        paths["hours"] = _write(folder / "hours.parquet", by_hour)
    days = [row.day for row in rows]
    result = FoldResult(
        rows=len(rows),
        lines=len(rows),
        files={},
        unknown_charge_types={},
        unknown_services={},
        currencies=("USD",),
        cost_types=tuple(cost_types),
        tags_seen=(),
        unknown_dimensions=tuple(unknown),
        days=(min(days), max(days)),
        hourly=bool(by_hour),
        paths=paths,
    )
    folded = FoldedMonth(
        month=month,
        version=str(next(_versions)),
        delivered_at=now,
        folder=folder,
        result=result,
        names={A: "alpha", B: "beta"},
        details={},
    )
    commit_month(ledger, folded, (), 10, now)


def _units(usd: float) -> int:
    return round(usd * USD)


def _line(row: Row, cost_types: Collection[str], unknown: Collection[str]) -> dict[str, Any]:
    keys: dict[str, Any] = {
        "day": row.day, "account_id": row.account, "service": row.service, "region": row.region, "usage_type": "u",
        "operation": "o", "charge_type": row.charge_type, "billing_entity": row.billing_entity, "resource": row.resource,
    }  # fmt: skip
    net = row.usd if row.net is None else row.net
    usd = {name: net if name.startswith("net") else row.usd for name in AMOUNTS}
    usd["list_cost"] = row.usd if row.listed is None else row.listed
    amounts = {name: _units(value) if name in cost_types else None for name, value in usd.items()}
    return {name: None if name in unknown else value for name, value in keys.items()} | amounts


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    def kind(name: str) -> str:
        if name in ("day", "hour"):
            return "DATE" if name == "day" else "TIMESTAMP"
        return (
            "BIGINT"
            if name in COST_TYPES or name.endswith("cost") or name in ("used", "unused")
            else "VARCHAR"
        )

    with duckdb.connect() as db:
        db.execute(f"CREATE TABLE found ({', '.join(f'{name} {kind(name)}' for name in rows[0])})")
        db.executemany(
            f"INSERT INTO found VALUES ({', '.join('?' * len(rows[0]))})",  # noqa: S608 # question marks
            [list(row.values()) for row in rows],
        )
        db.execute("COPY (SELECT * FROM found ORDER BY ALL) TO ? (FORMAT parquet)", [str(path)])
    return path


def view(ledger: Ledger, now: datetime, **settings: Any) -> ViewContext[CostExportSettings]:
    """What views are rendered from."""
    return ViewContext(ledger=ledger, now=now, settings=CostExportSettings(**settings), names={})


def by_family(samples: Iterable[Sample]) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by the labels, the name of the account left out, of each family."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for sample in samples:
        labels = tuple(_without_name(sample))
        of_family = found.setdefault(sample.family.name, {})
        assert labels not in of_family, (sample.family.name, labels)
        of_family[labels] = sample.value
    return found


def _without_name(sample: Sample) -> Iterator[str]:
    for label, value in zip(sample.family.labels, sample.values, strict=True):
        if label != "account":
            yield value

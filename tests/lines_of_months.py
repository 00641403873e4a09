"""Writes months of lines as an import of an export leaves them: Parquet, the ledger's cost, and the row that names the file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import duckdb

from exporter.core.amounts import AMOUNTS, Units
from exporter.core.moments import month_start
from exporter.cube import values
from exporter.cube.dimensions import parse_dimension
from exporter.cube.months import LINES, SPLIT, CubeMonths
from exporter.cube.values import AnyUnits, Beside, CubeRead, Source
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

DIMENSIONS = (
    "region", "usage_type", "operation", "charge_type", "billing_entity", "resource", "tag:team", "cost_category:unit",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """Cost of one key on one day, the same of every cost type unless `amounts` says so."""

    day: date
    account: str
    service: str
    units: int
    region: str = "us-east-1"
    usage_type: str | None = "BoxUsage:m6i.large"
    operation: str = "RunInstances"
    charge_type: str = "Usage"
    billing_entity: str = "AWS"
    resource: str = ""
    tags: dict[str, str | None] = field(default_factory=dict)
    """Values of `tag:team` and `cost_category:unit`; without one there is none."""
    amounts: tuple[int | None, ...] | None = None
    listed: int | None = None
    """At list prices; a file with a line that has none does not know them."""

    @property
    def all_amounts(self) -> AnyUnits:
        a, b, c, d, e = self.amounts or (self.units,) * len(AMOUNTS)
        return a, b, c, d, e

    def value(self, name: str) -> str | None:
        """Of a dimension, or of account, service, day or month."""
        if name == "month":
            return f"{self.day:%Y-%m}"
        if ":" in name:
            return self.tags.get(name, "")
        found = getattr(self, name)
        return str(found) if name == "day" else found


@dataclass(frozen=True)
class Pod:
    """Split cost of a pod on a day, gross and net alike."""

    day: date
    account: str
    cluster: str
    namespace: str
    pod: str
    units: int
    unused: int = 0
    kind: str = "eks"


def all_days(month: date, until: date | None = None) -> list[date]:
    end = min(month_start(month, -1), until or date.max)
    return [month + timedelta(days=number) for number in range((end - month).days)]


def write_lines(path: str, lines: Sequence[Line], dimensions: Collection[str] = DIMENSIONS) -> None:
    """A file of lines, sorted by day and account; equal keys may occur more than once."""
    columns = ["day", "account_id", "service", *dimensions]
    types = ["DATE", *["VARCHAR"] * (len(columns) - 1), *["BIGINT"] * (len(AMOUNTS) + 1)]
    names = [*columns, *AMOUNTS, "list_cost"]
    with duckdb.connect() as db:
        quoted = ['"' + name.replace('"', '""') + '"' for name in names]
        declared = ", ".join(f"{name} {kind}" for name, kind in zip(quoted, types, strict=True))
        db.execute(f"CREATE TABLE lines ({declared})")
        if lines:
            db.executemany(
                f"INSERT INTO lines VALUES ({', '.join('?' * len(names))})",  # noqa: S608 # question marks
                [
                    [
                        line.day,
                        line.account,
                        line.service,
                        *(line.value(name) for name in dimensions),
                        *line.all_amounts,
                        line.listed,
                    ]
                    for line in lines
                ],
            )
        db.execute(
            "COPY (SELECT * FROM lines ORDER BY day, account_id) TO ? (FORMAT parquet)",
            [path],
        )


def write_pods(path: str, pods: Sequence[Pod]) -> None:
    """A file of split cost."""
    with duckdb.connect() as db:
        db.execute(
            "CREATE TABLE split (day DATE, account_id VARCHAR, cluster VARCHAR, namespace VARCHAR, pod VARCHAR, kind VARCHAR,"
            " split_cost BIGINT, unused_cost BIGINT, net_split_cost BIGINT, net_unused_cost BIGINT)"
        )
        db.executemany(
            "INSERT INTO split VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                [
                    pod.day,
                    pod.account,
                    pod.cluster,
                    pod.namespace,
                    pod.pod,
                    pod.kind,
                    *(pod.units, pod.unused) * 2,
                ]
                for pod in pods
            ],
        )
        db.execute("COPY split TO ? (FORMAT parquet)", [path])


def commit_ledger(
    ledger: Ledger,
    days: Iterable[date],
    lines: Iterable[Line],
    at: datetime,
    *,
    source: Source = "cost_explorer",
    cost_types: Collection[str] = AMOUNTS,
) -> None:
    """What the ledger holds of these days by account and service."""
    sums: defaultdict[tuple[date, str, str], list[int]] = defaultdict(lambda: [0] * len(AMOUNTS))
    for line in lines:
        for index, units in enumerate(line.all_amounts):
            sums[line.day, line.account, line.service][index] += units or 0
    known = dict.fromkeys(days, False)
    costs = {key: Units(*amounts) for key, amounts in sums.items() if key[0] in known}
    ledger.reads.commit(CostRead(at, known, costs, source, tuple(cost_types)))


def commit_values(
    ledger: Ledger,
    dimension: str,
    beside: Beside,
    days: Iterable[date],
    lines: Iterable[Line],
    at: datetime,
    *,
    source: Source = "cost_explorer",
    most: int = 100,
) -> None:
    """What the single-key values hold of these days."""
    sums: defaultdict[tuple[date, str, str], list[int | None]] = defaultdict(lambda: [0] * len(AMOUNTS))
    for line in lines:
        key = line.day, line.account if beside == "account" else line.service, line.value(dimension) or ""
        sums[key] = [
            None if a is None or b is None else a + b
            for a, b in zip(sums[key], line.all_amounts, strict=True)
        ]
    costs: dict[tuple[date, str, str], AnyUnits] = {}
    for key, (a, b, c, d, e) in sums.items():
        costs[key] = a, b, c, d, e
    read = CubeRead(parse_dimension(dimension), beside, at, source, dict.fromkeys(days, 1), costs)
    values.commit(ledger, read, most)


def commit_export(
    ledger: Ledger,
    month: date,
    lines: Sequence[Line],
    *,
    at: datetime | None = None,
    version: str = "1",
    dimensions: Collection[str] = DIMENSIONS,
    until: date | None = None,
    details: dict[str, object] | None = None,
    cost_types: Collection[str] = AMOUNTS,
    pods: Sequence[Pod] = (),
) -> None:
    """A month of an export, whole."""
    at = at or datetime.combine(month_start(month, -1), datetime.min.time(), UTC) + timedelta(days=2)
    days = all_days(month, until)
    months = CubeMonths(ledger)
    folder = months.new_folder(month)
    write_lines(str(folder / LINES), lines, dimensions)
    found: dict[str, object] = {"lines": len(lines), **(details or {})}
    if pods:
        write_pods(str(folder / SPLIT), pods)
        found["split_days"] = [
            min(pod.day for pod in pods).isoformat(),
            max(pod.day for pod in pods).isoformat(),
        ]
    with ledger.transaction():
        commit_ledger(ledger, days, lines, at, source="data_export", cost_types=cost_types)
        months.commit(month, "data_export", version, folder, at, found)
    months.remove_superseded()

"""Seconds of a question over thirteen months of lines of 100 accounts x 20 services x 20 regions x 200 usage types.

python -m bench.cube_questions [--folder FOLDER]

An account has each of ten usage types of a service in the two regions that it works in, in a few others, and here and there
in the rest: a fifth of what could be. A quarter of the lines has a resource. The months are kept in `--folder`, if given,
and used again. Each question is asked as the exporter asks it, and beside it of other layouts of the same lines.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import click
import duckdb

from exporter.core.moments import month_start
from exporter.cube import lines
from exporter.cube.lines import Filter
from exporter.cube.months import LINES

_LAST = date(2026, 10, 1)
_MONTHS = 13
_GOAL_SECONDS = 2.0
_ROW_GROUP = 122_880

QUESTIONS: Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
    "region, usage type": (("region", "usage_type"), {}),
    "account, service, region": (("account", "service", "region"), {}),
    "account, service, region, usage type": (("account", "service", "region", "usage_type"), {}),
    "month, region of a service in an account": (
        ("month", "region"),
        {"account": "000000000007", "service": "Service 03"},
    ),
    "resource, usage type of an account": (("resource", "usage_type"), {"account": "000000000007"}),
    "day, tag of a region": (("day", "tag:team"), {"region": "region-05"}),
}
"""By what the rows are, and filters."""


@dataclass(frozen=True, slots=True)
class Measure:
    """The best of some runs: seconds on the clock, of CPU, and the rows of the answer."""

    seconds: float
    cpu: float
    rows: int


def write_month(path: Path, month: date, accounts: int, order: str = "day, account_id") -> None:
    """The lines of a month, the same ones each time."""
    with duckdb.connect(config={"threads": 2, "memory_limit": "4GB"}) as db:
        db.execute(
            f"""
            COPY (
                SELECT day, printf('%012d', a) AS account_id, printf('Service %02d', s) AS service,
                    printf('region-%02d', r) AS region, printf('S%02d-Usage:type.%d', s, u) AS usage_type,
                    printf('Operation%d', u % 4) AS operation,
                    CASE h % 50 WHEN 0 THEN 'Tax' WHEN 1 THEN 'SavingsPlanCoveredUsage' ELSE 'Usage' END AS charge_type,
                    'AWS' AS billing_entity,
                    CASE WHEN copies > 1 THEN printf('arn:aws:service:%012d:resource/%d', a, (h + copy) % 500)
                        ELSE '' END AS resource,
                    CASE h % 3 WHEN 0 THEN '' ELSE printf('team-%d', (a + s) % 25) END AS "tag:team",
                    amount AS unblended, amount AS blended, amount * 9 // 10 AS amortized,
                    amount * 95 // 100 AS net_unblended, amount * 85 // 100 AS net_amortized, amount AS list_cost,
                    amount / 1e10 AS usage
                FROM (
                    SELECT *, 1 + hash(h, day) % 1000000000000 AS amount, unnest(range(copies)) AS copy FROM (
                        SELECT *, CASE WHEN s < 4 AND r < 2 THEN 4 ELSE 1 END AS copies
                        FROM (SELECT range AS a FROM range(?)), (SELECT range AS s FROM range(20)),
                            (SELECT range AS r FROM range(20)), (SELECT range AS u FROM range(10)),
                            LATERAL (SELECT hash(a, s, r, u) % 1000 AS h)
                        WHERE h < CASE WHEN r < 2 THEN 900 WHEN r < 5 THEN 400 ELSE 60 END
                    ), (SELECT unnest(generate_series(?::DATE, ?::DATE - 1, INTERVAL 1 DAY))::DATE AS day)
                )
                ORDER BY {order}
            ) TO ? (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP})
            """,  # noqa: S608 # the order is ours
            [accounts, month, month_start(month, -1), str(path)],
        )


def ask(files: Sequence[Path], by: Sequence[str], where: Mapping[str, str]) -> int:
    """As the exporter asks; the rows of the answer."""
    ranges = [(month_start(_LAST, _MONTHS - 1), month_start(_LAST, -1))]
    chosen = Filter(ranges, {key: frozenset({value}) for key, value in where.items()})
    lines.unknown(files, (*by, *where, "unblended"))
    return len(lines.sums(files, by, chosen, "unblended", seconds=600))


def measure(run: Callable[[], int], times: int) -> Measure:
    """The quickest of some runs."""
    found = []
    for _ in range(times):
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        rows = run()
        seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append(Measure(seconds, cpu, rows))
    return min(found, key=lambda each: each.seconds)


def run(folder: Path, accounts: int, times: int, *, layouts: bool) -> bool:
    """Write what is missing, ask, print; whether the goal is kept."""
    months = [month_start(_LAST, number) for number in range(_MONTHS)]
    files = [folder / f"{month:%Y-%m}" / LINES for month in months]
    began = time.perf_counter()
    for month, path in zip(months, files, strict=True):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".unfinished")
            write_month(unfinished, month, accounts)
            unfinished.rename(path)
    with duckdb.connect() as db:
        row = db.execute("SELECT COUNT(*) FROM read_parquet(?)", [[str(path) for path in files]]).fetchone()
    count = row[0] if row else 0
    size = sum(path.stat().st_size for path in files)
    click.echo(
        f"{count:,} lines in {_MONTHS} months, {size / 1e6:,.0f} MB, written in {time.perf_counter() - began:.0f} s"
    )
    kept = True
    # What a file holds is looked up once in its life.
    for by, where in QUESTIONS.values():
        lines.unknown(files, (*by, *where, "unblended"))
    for name, (by, where) in QUESTIONS.items():
        found = measure(lambda by=by, where=where: ask(files, by, where), times)  # type: ignore[misc]
        kept = kept and found.seconds < _GOAL_SECONDS
        click.echo(f"{name}: {found.seconds:.2f} s, {found.cpu:.2f} s of CPU, {found.rows:,} rows")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    click.echo(
        f"peak memory of the process {peak / 1024:,.0f} MB, load of the machine {os.getloadavg()[0]:.1f}"
    )
    click.echo(f"goal of {_GOAL_SECONDS:g} s on the clock: {'kept' if kept else 'missed'}")
    if layouts:
        compare(folder, files, times)
    return kept


def compare(folder: Path, files: Sequence[Path], times: int) -> None:
    """The same questions of the same lines in other layouts, all as plain SQL with the exporter's limits."""
    by_account = []
    for path in files:
        copy = path.with_name("by_account.parquet")
        by_account.append(copy)
        if not copy.exists():
            with duckdb.connect(config={"threads": 2, "memory_limit": "4GB"}) as db:
                db.execute(
                    "COPY (SELECT * FROM read_parquet(?) ORDER BY account_id, day) TO ?"  # noqa: S608 # a number
                    f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP})",
                    [str(path), str(copy)],
                )
    database = folder / "lines.duckdb"
    if not database.exists():
        with duckdb.connect(str(database), config={"threads": 2, "memory_limit": "4GB"}) as db:
            db.execute(
                "CREATE TABLE lines AS SELECT * FROM read_parquet(?)", [[str(path) for path in sorted(files)]]
            )
    sources: dict[str, tuple[str, list[Path], str]] = {
        "months, sorted by day": ("read_parquet(?)", list(files), ":memory:"),
        "months, sorted by account": ("read_parquet(?)", by_account, ":memory:"),
        "one DuckDB database": ("lines", [], str(database)),
    }
    for layout, (source, paths, opened) in sources.items():
        size = sum(path.stat().st_size for path in paths or [database])
        click.echo(f"{layout}: {size / 1e6:,.0f} MB")
        for name, (by, where) in QUESTIONS.items():
            found = measure(
                lambda by=by, where=where, source=source, paths=paths, opened=opened: _ask_plainly(  # type: ignore[misc]
                    source, paths, opened, by, where
                ),
                times,
            )
            click.echo(f"  {name}: {found.seconds:.2f} s, {found.cpu:.2f} s of CPU")


def _ask_plainly(
    source: str, paths: Sequence[Path], opened: str, by: Sequence[str], where: Mapping[str, str]
) -> int:
    names = {"account": "account_id", "month": "strftime(day, '%Y-%m')"}
    keys = ", ".join(names.get(key, f'"{key}"') for key in by)
    conditions = "".join(f' AND "{names.get(key, key)}" = ?' for key in where)
    given: list[object] = [[str(path) for path in paths]] if paths else []
    given += [month_start(_LAST, _MONTHS - 1), month_start(_LAST, -1), *where.values()]
    with duckdb.connect(
        opened, read_only=opened != ":memory:", config={"threads": 2, "memory_limit": "256MB"}
    ) as db:
        return len(
            db.execute(
                f"SELECT {keys}, SUM(unblended) FROM {source} WHERE day >= ? AND day < ?{conditions} GROUP BY ALL",  # noqa: S608 # ours
                given,
            ).fetchall()
        )


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where the months are kept; removed if not given."
)
@click.option("--accounts", default=100, show_default=True)
@click.option("--times", default=3, show_default=True, help="Runs of each question; the best counts.")
@click.option("--layouts", is_flag=True, help="Ask other layouts of the same lines, too.")
def main(folder: Path | None, accounts: int, times: int, layouts: bool) -> None:
    """Write thirteen months and ask."""
    path = folder or Path(tempfile.mkdtemp(prefix="cube-questions-"))
    try:
        run(path, accounts, times, layouts=layouts)
    finally:
        if folder is None:
            shutil.rmtree(path)


if __name__ == "__main__":
    main()

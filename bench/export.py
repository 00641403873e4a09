"""How much CPU and memory it takes to fold a month of an AWS Data Export, beside polars and pyarrow on the same files.

python -m bench.export fold
python -m bench.export fold --files 100 --engines ours    # 100 million lines, a file at a time

Each engine runs in a separate process on two cores, groups by the same keys and sums the same amounts. The lines lie in no
order, so that every file has lines of nearly every group: the worst that an export can do to a fold file by file.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import NamedTuple

import click
import duckdb
from rich.console import Console
from rich.table import Table

from exporter.exports.folding import FoldSettings, MonthFold

LINES = 1_000_000  # of one file
MONTH = date(2026, 11, 1)
_HOURS = 720
_SERIES = 10_000_000 // _HOURS  # of resource and usage type, each with a line an hour
_CORES = 2

# 34 columns. Half of the lines have no resource id; a tenth are covered by a Savings Plan, with as many negations; a tenth are
# reserved. Random text is what makes the files of AWS large.
_FILE = """
WITH maps AS MATERIALIZED (
  -- Made once: a map for each line takes most of the time.
  SELECT place,
    MAP {{'product_name': 'Product ' || (1 + place % 10), 'instance_type': 'm6i.large', 'vcpu': '2',
      'region': ['us-east-1', 'eu-west-1', 'eu-central-1', 'us-west-2', 'ap-southeast-1'][1 + place % 5]}} AS product,
    MAP {{'user_team': 'team-' || place % 50, 'user_environment': 'env-' || place % 4}} AS resource_tags,
    MAP {{'unit': 'unit-' || place % 8}} AS cost_category
  FROM range(200) AS places(place)
)
SELECT
  md5(CAST(number AS VARCHAR)) || md5(CAST(-number AS VARCHAR)) AS identity_line_item_id,
  TIMESTAMP '2026-11-01' AS bill_billing_period_start_date,
  'AWS' AS bill_billing_entity,
  'Anniversary' AS bill_bill_type,
  '100000000001' AS bill_payer_account_id,
  'payer' AS bill_payer_account_name,
  account AS line_item_usage_account_id,
  'account ' || account AS line_item_usage_account_name,
  TIMESTAMP '2026-11-01' + to_hours(CAST(hour AS INTEGER)) AS line_item_usage_start_date,
  TIMESTAMP '2026-11-01' + to_hours(CAST(hour + 1 AS INTEGER)) AS line_item_usage_end_date,
  CASE draw WHEN 0 THEN 'SavingsPlanCoveredUsage' WHEN 1 THEN 'SavingsPlanNegation' WHEN 2 THEN 'DiscountedUsage'
    ELSE 'Usage' END AS line_item_line_item_type,
  ['AmazonEC2', 'AmazonRDS', 'AmazonS3', 'AWSLambda', 'AmazonCloudWatch', 'AmazonDynamoDB', 'AmazonVPC', 'awskms',
    'AWSELB', 'AmazonECS'][service] AS line_item_product_code,
  region || '-' || ['BoxUsage:m6i.large', 'InstanceUsage:db.r6g.large', 'TimedStorage-ByteHrs', 'Lambda-GB-Second',
    'CW:MetricMonitorUsage', 'ReadCapacityUnit-Hrs', 'NatGateway-Hours', 'KMS-Requests', 'LCUUsage',
    'Fargate-vCPU-Hours'][service] || series % 20 AS line_item_usage_type,
  ['RunInstances', 'CreateDBInstance', 'StandardStorage', 'Invoke', '', 'CommittedThroughput', 'NatGateway', 'Decrypt',
    'LoadBalancing', 'FargateTask'][service] AS line_item_operation,
  CASE WHEN series % 2 = 0 THEN '' ELSE 'arn:aws:service:' || region || ':' || account || ':thing/i-' ||
    substr(md5(CAST(series AS VARCHAR)), 1, 17) END AS line_item_resource_id,
  cost * 3 AS line_item_usage_amount,
  'USD' AS line_item_currency_code,
  CASE draw WHEN 1 THEN -cost WHEN 2 THEN 0 ELSE cost END AS line_item_unblended_cost,
  CASE draw WHEN 1 THEN -cost WHEN 2 THEN 0 ELSE cost END AS line_item_blended_cost,
  CASE draw WHEN 1 THEN -cost WHEN 2 THEN 0 ELSE cost * 0.9 END AS line_item_net_unblended_cost,
  '$' || round(cost, 4) || ' per unit' AS line_item_line_item_description,
  'Amazon Web Services, Inc.' AS line_item_legal_entity,
  product,
  region AS product_region_code,
  'Service' || service AS product_servicecode,
  cost * 1.2 AS pricing_public_on_demand_cost,
  'OnDemand' AS pricing_term,
  resource_tags,
  cost_category,
  CASE WHEN draw < 2 THEN 'arn:aws:savingsplans::100000000001:savingsplan/' || series % 30 ELSE '' END
    AS savings_plan_savings_plan_a_r_n,
  CASE draw WHEN 0 THEN cost * 0.7 END AS savings_plan_savings_plan_effective_cost,
  CASE draw WHEN 0 THEN cost * 0.63 END AS savings_plan_net_savings_plan_effective_cost,
  CASE WHEN draw = 2 THEN 'arn:aws:ec2:us-east-1:100000000001:reserved-instances/' || series % 20 ELSE '' END
    AS reservation_reservation_a_r_n,
  CASE draw WHEN 2 THEN cost * 0.6 END AS reservation_effective_cost
FROM (
  SELECT number, series, hour, 1 + series % 10 AS service, series // 10 % 10 AS draw,
    lpad(CAST(200000000000 + series % 97 AS VARCHAR), 12, '0') AS account,
    ['us-east-1', 'eu-west-1', 'eu-central-1', 'us-west-2', 'ap-southeast-1'][1 + series % 5] AS region,
    (hash(series, hour) % 100000000) / 1e8 AS cost
  FROM (
    SELECT number, number % {series} AS series, number // {series} % 720 AS hour
    FROM (SELECT (place * {files} + {file}) AS number FROM range({lines}) AS places(place))
  )
) JOIN maps ON maps.place = series % 200
"""


class Run(NamedTuple):
    """What one engine took."""

    engine: str
    seconds: float
    cpu: float
    megabytes: float
    groups: int
    cost: str


def _generate(folder: Path, files: int, number: int) -> Path:
    """File `number` of `files`, made unless it is there; the same bytes each time."""
    path = folder / f"bench-{number + 1:05}-of-{files}.snappy.parquet"
    if not path.exists():
        query = _FILE.format(series=_SERIES * max(1, files // 10), files=files, file=number, lines=LINES)
        with duckdb.connect(config={"memory_limit": "4GB"}) as db:
            db.execute("SET enable_progress_bar = false")
            db.execute(f"COPY ({query}) TO '{path}.part' (FORMAT parquet, COMPRESSION snappy)")
        Path(f"{path}.part").rename(path)
    return path


def _ours(files: list[Path] | Callable[[int], Path], count: int, work: Path) -> tuple[int, str]:
    settings = FoldSettings(
        month=MONTH, table="cur2", tags=("team",), spill=work / "spill", hours_from=date(2026, 11, 17)
    )
    with MonthFold(settings) as fold:
        for number in range(count):
            path = files[number] if isinstance(files, list) else files(number)
            fold.add(path, path.name)
            if not isinstance(files, list):
                path.unlink()
        result = fold.finish(work / "month")
    with duckdb.connect() as db:
        [(units,)] = db.read_parquet(str(result.paths["lines"])).aggregate("sum(amortized)").fetchall()
    return result.rows, f"{int(units) / 10**10:.2f}"


_KEYS = (
    "line_item_usage_account_id", "line_item_product_code", "product_region_code", "line_item_usage_type",
    "line_item_operation", "line_item_line_item_type", "bill_billing_entity", "line_item_resource_id",
)  # fmt: skip


def _polars(files: list[Path]) -> tuple[int, str]:
    """The same keys (one tag key included) and cost types, streaming; without the largest resources, names and hours."""
    import polars as pl

    kind, unblended = pl.col("line_item_line_item_type"), pl.col("line_item_unblended_cost")
    net = pl.coalesce("line_item_net_unblended_cost", "line_item_unblended_cost")

    def amortized(covered: pl.Expr, otherwise: pl.Expr) -> pl.Expr:
        return (
            pl.when(kind == "SavingsPlanCoveredUsage").then(covered)
            .when(kind == "SavingsPlanNegation").then(0.0)
            .when(kind == "DiscountedUsage").then(pl.col("reservation_effective_cost"))
            .otherwise(otherwise)
        )  # fmt: skip

    team = pl.col("resource_tags").map.get("user_team")
    grouped = (
        pl.scan_parquet(files)
        .group_by(pl.col("line_item_usage_start_date").dt.date().alias("day"), *_KEYS, team.alias("team"))
        .agg(
            unblended.sum().alias("unblended"),
            pl.col("line_item_blended_cost").sum().alias("blended"),
            net.sum().alias("net_unblended"),
            amortized(pl.col("savings_plan_savings_plan_effective_cost"), unblended).sum().alias("amortized"),
            amortized(pl.col("savings_plan_net_savings_plan_effective_cost"), net)
            .sum()
            .alias("net_amortized"),
            pl.col("pricing_public_on_demand_cost").sum().alias("list_cost"),
            pl.col("line_item_usage_amount").sum().alias("usage"),
        )
        .collect(engine="streaming")
    )
    return grouped.height, f"{grouped['amortized'].sum():.2f}"


def _pyarrow(files: list[Path]) -> tuple[int, str]:
    """The same without the tag key, file by file, and the groups of all files at the end."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    money = (
        "line_item_unblended_cost", "line_item_blended_cost", "line_item_net_unblended_cost",
        "savings_plan_savings_plan_effective_cost", "savings_plan_net_savings_plan_effective_cost",
        "reservation_effective_cost", "pricing_public_on_demand_cost", "line_item_usage_amount",
    )  # fmt: skip
    sums = ("unblended", "blended", "net_unblended", "amortized", "net_amortized", "list_cost", "usage")
    parts = []
    for file in files:
        lines = pq.read_table(file, columns=[*_KEYS, "line_item_usage_start_date", *money])
        kind = lines["line_item_line_item_type"]
        unblended = lines["line_item_unblended_cost"]
        net = pc.coalesce(lines["line_item_net_unblended_cost"], unblended)
        is_kind = [
            pc.equal(kind, each)
            for each in ("SavingsPlanCoveredUsage", "SavingsPlanNegation", "DiscountedUsage")
        ]
        cases = pc.make_struct(*is_kind)
        reserved = lines["reservation_effective_cost"]
        columns = {key: lines[key] for key in _KEYS}
        columns |= {
            "day": pc.cast(lines["line_item_usage_start_date"], pa.date32(), safe=False),
            "unblended": unblended,
            "blended": lines["line_item_blended_cost"],
            "net_unblended": net,
            "amortized": pc.case_when(
                cases, lines["savings_plan_savings_plan_effective_cost"], 0.0, reserved, unblended
            ),
            "net_amortized": pc.case_when(
                cases, lines["savings_plan_net_savings_plan_effective_cost"], 0.0, reserved, net
            ),
            "list_cost": lines["pricing_public_on_demand_cost"],
            "usage": lines["line_item_usage_amount"],
        }
        grouped = pa.table(columns).group_by(["day", *_KEYS]).aggregate([(name, "sum") for name in sums])
        parts.append(grouped.rename_columns(["day", *_KEYS, *sums]))
    total = pa.concat_tables(parts).group_by(["day", *_KEYS]).aggregate([(name, "sum") for name in sums])
    return total.num_rows, f"{pc.sum(total['amortized_sum']).as_py():.2f}"


def _measure(engine: str, folder: Path, count: int, *, cached: bool) -> Run:
    """Run an engine in a separate process; its children count, as the process of the fold is one."""
    command = [sys.executable, "-m", "bench.export", "engine", engine, str(folder), str(count)]
    started = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(  # noqa: S603 # this program
        [*command, *([] if cached else ["--delete"])],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    groups, cost, megabytes, generating = done.stdout.split()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - float(generating)
    return Run(engine, time.perf_counter() - started, cpu, float(megabytes), int(groups), cost)


@click.group()
def main() -> None:
    """Measure what the cube of AWS Data Exports takes."""


@main.command(hidden=True)
@click.argument("name", type=click.Choice(["ours", "polars", "pyarrow"]))
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("count", type=int)
@click.option("--delete", is_flag=True)
def engine(name: str, folder: Path, count: int, delete: bool) -> None:
    """One engine; prints groups, amortized cost, peak MB of the largest process, and CPU seconds spent on making files."""
    generating = 0.0

    def made(number: int) -> Path:
        nonlocal generating
        started = time.process_time()
        path = _generate(folder, count, number)
        generating += time.process_time() - started
        return path

    work = Path(tempfile.mkdtemp(prefix="bench-export-", dir=folder))
    try:
        if name == "ours":
            files: list[Path] | Callable[[int], Path] = (
                made if delete else [made(number) for number in range(count)]
            )
            groups, cost = _ours(files, count, work)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        else:
            paths = [made(number) for number in range(count)]
            groups, cost = (_polars if name == "polars" else _pyarrow)(paths)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    finally:
        shutil.rmtree(work)
    click.echo(f"{groups} {cost} {peak / 1024:.0f} {generating:.2f}")


@main.command()
@click.option("--files", default=10, show_default=True, help="Of a million lines each.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(tempfile.gettempdir()) / "aws-spend-exporter-bench-export",
    show_default=True,
    help="Where the files are kept for the next run.",
)
@click.option("--engines", default="ours,polars,pyarrow", show_default=True)
@click.option(
    "--delete", is_flag=True, help="Make each file when it is folded, and delete it then (only ours)."
)
def fold(files: int, folder: Path, engines: str, delete: bool) -> None:
    """Fold a month of `files` million lines of 34 columns."""
    if delete and engines != "ours":
        raise click.UsageError("--delete: the other engines read all files at once")
    folder.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])
    size = 0.0
    if not delete:
        size = sum(_generate(folder, files, number).stat().st_size for number in range(files)) / 1e9
    table = Table(title=f"{files} million lines" + (f", {size:.2f} GB" if size else ""))
    for name in ("engine", "seconds", "CPU s", "peak MB", "groups", "amortized USD"):
        table.add_column(name, justify="left" if name == "engine" else "right")
    for name in engines.split(","):
        run = _measure(name, folder, files, cached=not delete)
        click.echo(f"{name}: {run.seconds:.1f} s", err=True)
        table.add_row(
            run.engine,
            f"{run.seconds:.1f}",
            f"{run.cpu:.1f}",
            f"{run.megabytes:.0f}",
            f"{run.groups:,}",
            run.cost,
        )
    Console().print(table)


if __name__ == "__main__":
    main()

"""`aws-spend-exporter usage`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from exporter.cli.commands import examples
from exporter.cli.options import (
    account_named,
    ask_or_fail,
    asking_options,
    live_options,
    load,
    refresh_if_live,
)
from exporter.cli.output import Column, Format, account_id_column, emit, note
from exporter.core.moments import utc_now


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.2f}"


@click.command(
    "usage", epilog=examples("usage --service lambda --by-account", "usage --days 30 --by-day --csv")
)
@asking_options
@live_options
@click.option("--days", type=click.IntRange(1, 450), help="The last complete UTC days; 7 by default.")
@click.option(
    "--hours", type=click.IntRange(1, 450 * 24), help="The complete UTC days that the last hours touch."
)
@click.option("--service", help="Only this service, e.g. lambda, s3 or ec2.")
@click.option("--account", help="Only this account, by id or name.")
@click.option("--region", help="Only this region.")
@click.option("--by-account", is_flag=True, help="A row a metric and account.")
@click.option("--by-region", is_flag=True, help="A row a metric and region.")
@click.option("--by-day", is_flag=True, help="A row a metric and day.")
def command(
    config_path: Path | None,
    url: str | None,
    output: str,
    live: bool,
    yes: bool,
    days: int | None,
    hours: int | None,
    service: str | None,
    account: str | None,
    region: str | None,
    by_account: bool,
    by_region: bool,
    by_day: bool,
) -> None:
    """What was used, by metric.

    Daily totals of CloudWatch that the exporter has collected.
    """
    if days and hours:
        raise click.UsageError("give one of --days and --hours")
    config = load(config_path)
    refresh_if_live(config, "usage", url, live=live, yes=yes)
    now = utc_now()
    last = now.date() - timedelta(days=1)
    first = (now - timedelta(hours=hours)).date() if hours else last - timedelta(days=(days or 7) - 1)
    flags = {"account": by_account, "region": by_region, "day": by_day}
    by = ["metric", *(key for key, chosen in flags.items() if chosen)]
    parameters = {
        "start": min(first, last).isoformat(),
        "end": last.isoformat(),
        "by": by,
        "account_id": account_named(config, url, account),
        "region": region,
    }
    found = ask_or_fail(config, "usage", parameters, url)
    rows = found.data["rows"]
    if service is not None:
        prefix = f"aws_{service.casefold().replace('-', '_').removeprefix('aws_')}_"
        known = sorted({str(row["metric"]).split("_")[1] for row in rows})
        rows = [row for row in rows if str(row["metric"]).startswith(prefix)]
        if not rows and known:
            raise click.UsageError(f"--service: found {service!r}, expected one of {', '.join(known)}")
    if rows or output != Format.TABLE:
        emit(output, {**found.data, "rows": rows}, rows, _columns(by))
    if output == Format.TABLE:
        if not rows:
            note(
                "No daily totals are like that."
                if found.read_at
                else "No daily totals are known: enable collectors.usage (docs/usage.md)."
            )
        note(f"{found.data['start']} to {found.data['end']} UTC, {found.age(utc_now())}.")


def _columns(by: list[str]) -> list[Column]:
    headings = {"metric": "Metric", "account": "Account", "region": "Region", "day": "Day"}
    columns = [Column(key, headings[key]) for key in by]
    if "account" in by:
        columns.insert(by.index("account") + 1, account_id_column())
    return [
        *columns,
        Column("total", "Total of its days", _number, right=True),
        Column("mean", "Mean of a day", _number, right=True),
        Column("days", "Days", right=True),
    ]

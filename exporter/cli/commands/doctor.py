"""`aws-spend-exporter doctor`."""

from __future__ import annotations

import dataclasses
import json
import sys
from datetime import datetime
from pathlib import Path

import click

from exporter.cli.commands import examples
from exporter.cli.options import config_option, json_option, load
from exporter.cli.tables import findings_table, progress


@click.command(
    "doctor", epilog=examples("doctor", "doctor --prometheus-url http://localhost:9090 --send-test-message")
)
@config_option
@click.option("--prometheus-url", help="Prometheus; by default the one that the history is written to.")
@click.option("--ask-cost-explorer", is_flag=True, help="Also send one Cost Explorer request, for $0.01.")
@click.option(
    "--compare-month",
    type=click.DateTime(["%Y-%m"]),
    metavar="YYYY-MM",
    help="Also compare a month of the data export with Cost Explorer by service, for $0.01.",
)
@click.option("--send-test-message", is_flag=True, help="Also post a message to each channel.")
@json_option
def command(
    config_path: Path | None,
    prometheus_url: str | None,
    ask_cost_explorer: bool,
    compare_month: datetime | None,
    send_test_message: bool,
    as_json: bool,
) -> None:
    """Walk the chain from credentials to channels.

    It shows how to fix what fails; exit code 1 if anything does.
    """
    from exporter.cli.doctor import examine

    config = load(config_path)
    with progress("Checking accounts", enabled=not as_json) as advance:
        findings = list(
            examine(
                config,
                prometheus_url=prometheus_url,
                ask_cost_explorer=ask_cost_explorer,
                compare_month=compare_month.date() if compare_month is not None else None,
                send_test_message=send_test_message,
                progress=advance,
            )
        )
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        findings_table("From credentials to channels", findings)
    sys.exit(1 if any(finding.error for finding in findings) else 0)

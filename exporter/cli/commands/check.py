"""`aws-spend-exporter check`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import click

from exporter.cli.commands import examples
from exporter.cli.options import config_option, json_option, load
from exporter.cli.output import note
from exporter.cli.tables import findings_table, progress
from exporter.core.moments import utc_now


@click.command("check", epilog=examples("check", "check --aws"))
@config_option
@click.option(
    "--aws", "with_aws", is_flag=True, help="Also try credentials, each role and each region; free."
)
@json_option
def command(config_path: Path | None, with_aws: bool, as_json: bool) -> None:
    """Validate the configuration, and access to AWS.

    Nothing of it is paid; exit code 1 if something cannot be reached.
    """
    import sqlite3

    from exporter.collection.plan import plan_at_rest

    config = load(config_path)
    if not with_aws:
        try:
            waits = plan_at_rest(config, utc_now()).waits
        except sqlite3.Error as error:
            waits = None
            note(f"Warning: the plan is not looked at: {config.ledger_path} cannot be read: {error}")
        _report_configuration(waits, as_json)
        return
    from exporter.cli.check import check_aws

    with progress("Checking accounts", enabled=not as_json) as advance:
        findings = list(check_aws(config, advance))
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        findings_table("AWS access", findings)
    sys.exit(1 if any(finding.error for finding in findings) else 0)


def _report_configuration(waits: str | None, as_json: bool) -> None:
    """That it is valid, and what of it waits for a ceiling."""
    if as_json:
        click.echo(json.dumps({"config": "valid"} | ({"waits": waits} if waits else {})))
        return
    click.echo("The configuration is valid.")
    if waits is not None:
        click.echo(f"{waits[0].upper()}{waits[1:]}.")

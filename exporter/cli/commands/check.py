"""`aws-spend-exporter check`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import click

from exporter.cli.commands import examples
from exporter.cli.options import config_option, json_option, load
from exporter.cli.tables import findings_table, progress


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
    config = load(config_path)
    if not with_aws:
        click.echo(json.dumps({"config": "valid"}) if as_json else "The configuration is valid.")
        return
    from exporter.cli.check import check_aws

    with progress("Checking accounts", enabled=not as_json) as advance:
        findings = list(check_aws(config, advance))
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        findings_table("AWS access", findings)
    sys.exit(1 if any(finding.error for finding in findings) else 0)

"""The command line; each command calls one function elsewhere.

Exit codes: 0 done, 1 it failed, 2 the command line or the configuration cannot be used.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from exporter.config import CONFIG_VARIABLE, Config, ConfigError, load_config


class _LazyGroup(click.Group):
    """Adds `demo` where the simulator is installed; it is imported only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "demo"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "demo":
            return super().get_command(ctx, cmd_name)
        try:
            from exporter.demo.cli import demo
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("exporter"):
                raise
            message = f"the demo needs the extra `demo` (pip install 'aws-spend-exporter[demo]'): {error}"
            raise click.ClickException(message) from None
        return demo


def _config_option(function: Any) -> Any:
    return click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        envvar=CONFIG_VARIABLE,
        help="Configuration file; config.yaml if it exists, defaults otherwise.",
    )(function)


def _load(config_path: Path | None) -> Config:
    try:
        return load_config(config_path)
    except ConfigError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aws-spend-exporter")
def main() -> None:
    """AWS cost, usage and inventory of an organization, as Prometheus metrics."""


@main.command()
@_config_option
@click.option(
    "--allow-plan-over-ceiling",
    is_flag=True,
    help="Run even if the plan passes a ceiling; the ceilings themselves stay in force.",
)
def run(config_path: Path | None, allow_plan_over_ceiling: bool) -> None:
    """Collect and serve until SIGTERM; SIGHUP reloads the configuration."""
    config = _load(config_path)
    from exporter.service import run_exporter

    sys.exit(run_exporter(config, config_path, allow_plan_over_ceiling))


@main.command()
@_config_option
@click.option("--accounts", type=click.IntRange(1), help="Linked accounts; otherwise what was seen.")
@click.option("--services", type=click.IntRange(1), help="Services that each account uses.")
@click.option("--regions", type=click.IntRange(1), help="Regions of regional collectors.")
@click.option("--groups-per-page", type=click.IntRange(1), help="Groups on a page of Cost Explorer.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(
    config_path: Path | None,
    accounts: int | None,
    services: int | None,
    regions: int | None,
    groups_per_page: int | None,
    as_json: bool,
) -> None:
    """Price the configuration: requests and dollars a month. Asks AWS nothing; exit code 1 if over a ceiling."""
    config = _load(config_path)
    from exporter.ledger import Ledger
    from exporter.model import utc_now
    from exporter.plan import make_plan, plan_json, scale_for
    from exporter.tables import plan_table

    ledger = Ledger(config.ledger_path, read_only=True) if config.ledger_path.exists() else None
    scale, sources = scale_for(
        config,
        ledger,
        utc_now(),
        accounts=accounts,
        services=services,
        regions=regions,
        groups_per_page=groups_per_page,
    )
    priced = make_plan(config, scale, sources, utc_now())
    if as_json:
        click.echo(json.dumps(plan_json(priced), indent=2))
    else:
        plan_table(priced)
    sys.exit(1 if priced.over else 0)


@main.command()
@_config_option
def relay(config_path: Path | None) -> None:
    """Take alerts from Alertmanager and post them to Telex."""
    config = _load(config_path)
    from exporter.logs import configure_logging
    from exporter.relay.main import serve

    configure_logging(config.log)
    sys.exit(serve(config.relay))


@main.command()
@_config_option
@click.option(
    "--aws", "with_aws", is_flag=True, help="Also try credentials, each role and each region; free."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(config_path: Path | None, with_aws: bool, as_json: bool) -> None:
    """Validate the configuration, and with --aws what it needs of AWS, without a paid call."""
    config = _load(config_path)
    from exporter.check import check_aws
    from exporter.tables import findings_table, progress

    if not with_aws:
        click.echo(json.dumps({"config": "valid"}) if as_json else "The configuration is valid.")
        return
    with progress("Checking accounts", enabled=not as_json) as advance:
        findings = list(check_aws(config, advance))
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        findings_table(findings)
    sys.exit(1 if any(finding.error for finding in findings) else 0)


@main.command()
@_config_option
@click.option("--remote-write", "url", metavar="URL", help="Write to this endpoint; `history` says how.")
@click.option(
    "--openmetrics",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a file for `promtool tsdb create-blocks-from openmetrics`.",
)
@click.option("--from", "start", type=click.DateTime(["%Y-%m-%d"]), help="First day; the oldest by default.")
@click.option("--to", "end", type=click.DateTime(["%Y-%m-%d"]), help="Last day; yesterday by default.")
def backfill(
    config_path: Path | None, url: str | None, file: Path | None, start: datetime | None, end: datetime | None
) -> None:
    """Write the whole dated history of the ledger again; asks AWS nothing."""
    if (url is None) == (file is None):
        raise click.UsageError("give exactly one of --remote-write and --openmetrics")
    config = _load(config_path)
    from exporter.backfill import run_backfill

    sys.exit(run_backfill(config, url, file, start and start.date(), end and end.date()))


@main.command("iam-policy")
@click.argument("role", type=click.Choice(["payer", "member", "member-trust"]))
def iam_policy(role: str) -> None:
    """Print the IAM policy that a role needs, derived from what the collectors declare."""
    from exporter.iam import policy_files

    name = {"payer": "payer-role", "member": "member-role", "member-trust": "member-role-trust"}[role]
    click.echo(policy_files()[f"{name}.json"], nl=False)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def metrics(as_json: bool) -> None:
    """List every metric family with its labels and meaning."""
    from exporter.reference import family_rows, metrics_markdown

    click.echo(json.dumps(family_rows(), indent=2) if as_json else metrics_markdown(), nl=as_json)


if __name__ == "__main__":
    main()

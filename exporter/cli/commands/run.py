"""`aws-spend-exporter run`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from exporter.cli.options import config_option, load


@click.command("run")
@config_option
@click.option(
    "--allow-plan-over-ceiling",
    is_flag=True,
    help="Run even if the plan passes a ceiling; the ceilings themselves stay in force.",
)
def command(config_path: Path | None, allow_plan_over_ceiling: bool) -> None:
    """Collect and serve until SIGTERM.

    SIGHUP reads the configuration again.
    """
    from exporter.app.service import run_exporter

    config = load(config_path)
    sys.exit(run_exporter(config, config_path, allow_plan_over_ceiling))

"""`aws-spend-exporter relay`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from exporter.cli.options import config_option, load


@click.command("relay")
@config_option
def command(config_path: Path | None) -> None:
    """Take alerts from Alertmanager and post them to channels."""
    from exporter.core.logs import configure_logging
    from exporter.relay.main import serve

    config = load(config_path)
    configure_logging(config.log)
    sys.exit(serve(config.relay, config.aws))

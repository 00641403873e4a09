"""`aws-spend-exporter config-schema`."""

from __future__ import annotations

import click


@click.command("config-schema")
def command() -> None:
    """Print the JSON schema of the configuration, for editors."""
    from exporter.config.schema import config_schema_text

    click.echo(config_schema_text(), nl=False)

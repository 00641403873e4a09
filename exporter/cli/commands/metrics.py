"""`aws-spend-exporter metrics`."""

from __future__ import annotations

import json

import click

from exporter.cli.options import json_option


@click.command("metrics")
@json_option
def command(as_json: bool) -> None:
    """List every metric family with its labels and meaning."""
    from exporter.generated.reference import family_rows, metrics_markdown

    click.echo(json.dumps(family_rows(), indent=2) if as_json else metrics_markdown(), nl=as_json)

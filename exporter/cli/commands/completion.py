"""`aws-spend-exporter completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from exporter.cli.commands import PROGRAM

_VARIABLE = "_AWS_SPEND_EXPORTER_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that completes commands in a shell."""
    found = get_completion_class(shell)
    assert found is not None
    main = click.get_current_context().find_root().command
    click.echo(found(main, {}, PROGRAM, _VARIABLE).source())

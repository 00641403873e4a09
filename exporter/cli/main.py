"""The command line: each module of `exporter/cli/commands` is one command, imported when it is asked for.

Exit codes: 0 done, 1 it failed (or a plan or a check found something), 2 the command line or the
configuration cannot be used.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from exporter.cli import commands

_DEMO = "demo"
DEMO_HELP = "Run the whole chain on simulated AWS."
"""The first sentence of its help, which stands in the list although the demo is not loaded for that."""


class _Commands(click.Group):
    """Finds commands by the names of their modules.

    These modules import what they work with only when they are called. The demo belongs to another distribution,
    and is loaded when it is called, neither to list nor to complete it.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        names = [module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__)]
        return sorted([*names, _DEMO])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        names = self.list_commands(ctx)
        room = formatter.width - 6 - max(map(len, names))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._short_help(ctx, name, room)) for name in names])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        items = [
            CompletionItem(name, help=self._short_help(ctx, name))
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def _short_help(self, ctx: click.Context, name: str, room: int = 45) -> str:
        if name == _DEMO:
            return DEMO_HELP
        command = self.get_command(ctx, name)
        assert command is not None
        return command.get_short_help_str(room)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from None

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == _DEMO:
            return _demo()
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{commands.__name__}.{cmd_name.replace('-', '_')}")
        command = module.command
        assert isinstance(command, click.Command)
        return command


def _demo() -> click.Command:
    """The demo's command; where the demo is not installed, one that fails and says how to get it."""
    from importlib.metadata import entry_points

    for found in entry_points(group="aws_spend_exporter.commands", name=_DEMO):
        command = found.load()
        assert isinstance(command, click.Command)
        return command
    return click.Command(
        "demo",
        callback=_fail_without_demo,
        short_help="Run the whole chain on simulated AWS (installed separately).",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )


def _fail_without_demo() -> None:
    raise click.ClickException(
        "the demo is a distribution beside this one; get it with: pip install aws-spend-exporter-demo"
    )


_EPILOG = """\b
Begin with:
  aws-spend-exporter demo          all of it, without an AWS account
  aws-spend-exporter check --aws   whether AWS can be read, for free
  aws-spend-exporter plan          what reading it costs

Exit codes: 0 done, 1 it failed or found something, 2 the command line or the configuration cannot be used.
"""


@click.group(cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aws-spend-exporter")
def main() -> None:
    """AWS cost, usage and inventory of an organization, as Prometheus metrics."""
    read_dotenv(Path.cwd())


def read_dotenv(folder: Path) -> None:
    """Take over `.env` of the folder, if there is one; a variable that is set already stays as it is."""
    file = folder / ".env"
    if file.exists():
        from dotenv import load_dotenv

        load_dotenv(file, override=False)


if __name__ == "__main__":
    main()

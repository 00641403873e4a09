"""How commands print rows: a table for people, JSON or CSV with nothing but data on standard output."""

from __future__ import annotations

import csv
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

F = TypeVar("F", bound=Callable[..., Any])

_CENT = Decimal("0.01")
_WIDTH_IN_A_PIPE = 160
_UNBOUNDED = 10_000
_BORDER = 3  # a line and a space on either side
_LEAST_TEXT = 6
_FOLDS_WELL = 1.5  # a table that wants to be this much wider than the terminal can still be read when folded
_BLOCKS = "▁▂▃▄▅▆▇█"
_CONTROLS = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # bidirectional ones included
_CONTROLS_OF_CELLS = re.compile(f"[\x00-\x1f\ud800-\udfff]|{_CONTROLS.pattern}")
# What spreadsheets begin a formula with, the wide forms of East Asian keyboards included.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


class Format(StrEnum):
    """What a command prints."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its key in a row, its heading for people, and how a value is shown to them.

    What is on the right, or `whole`, is never folded; `for_programs` is in CSV only.
    """

    key: str
    heading: str
    show: Callable[[Any], str] = lambda value: "" if value is None else str(value)
    right: bool = False
    whole: bool = False
    for_programs: bool = False

    @property
    def is_whole(self) -> bool:
        """Half a number or id is worth nothing."""
        return self.right or self.whole


def output_options(function: F) -> F:
    """`--json` and `--csv`, passed as `output`; UsageError for both."""

    def choose(chosen: Format) -> Callable[[click.Context, click.Parameter, bool], None]:
        def callback(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
            before = ctx.params.setdefault("output", Format.TABLE.value)
            if value and before != Format.TABLE:
                raise click.UsageError("give one of --json and --csv", ctx)
            if value:
                ctx.params["output"] = chosen.value

        return callback

    for chosen in reversed((Format.JSON, Format.CSV)):
        function = click.option(
            f"--{chosen.value}",
            is_flag=True,
            expose_value=False,
            callback=choose(chosen),
            help=f"Print {chosen.name}.",
        )(function)
    return function


def dollars(value: str | float | None) -> str:
    """E.g. `$1,234.56`; a dash where it is not known."""
    if value is None:
        return "–"
    usd = Decimal(str(value)).quantize(_CENT, ROUND_HALF_EVEN)
    return f"-${-usd:,}" if usd < 0 else f"${abs(usd):,}"


def account_id_column(*, for_programs: bool = False) -> Column:
    """A column of account ids, without which two accounts of one name are one."""
    return Column("account_id", "Account id", whole=True, for_programs=for_programs)


def money(key: str, heading: str) -> Column:
    """A column of dollars."""
    return Column(key, heading, dollars, right=True)


def sparkline(values: Iterable[float | None]) -> str:
    """A line of bars, the highest value highest; a gap where a value is not known."""
    found = list(values)
    highest = max((value for value in found if value is not None), default=0.0)
    if highest <= 0:
        return "".join(" " if value is None else _BLOCKS[0] for value in found)
    steps = len(_BLOCKS) - 1
    return "".join(
        " " if value is None else _BLOCKS[round(max(value, 0.0) / highest * steps)] for value in found
    )


def console() -> Console:
    """Standard output for people: colours on a terminal only, and a fixed width in a pipe."""
    from rich.console import Console

    return Console(
        markup=False, highlight=False, width=None if sys.stdout.isatty() else _WIDTH_IN_A_PIPE, emoji=False
    )


def emit(
    output: str,
    data: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    *,
    title: str = "",
    footer: Mapping[str, Any] | None = None,
) -> None:
    """Print `data` as JSON, or `rows` as CSV or as a table; `footer` is a last row for people."""
    if output == Format.JSON:
        click.echo(_json(data))
    elif output == Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([column.key for column in columns])
        writer.writerows([_cell(row.get(column.key)) for column in columns] for row in rows)
    else:
        _print_table(rows, [column for column in columns if not column.for_programs], title, footer)


def _print_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    title: str,
    footer: Mapping[str, Any] | None,
) -> None:
    """The rows as a table, or below each other on a terminal that has no room for one."""
    from rich.measure import Measurement

    shown = [[printable(column.show(row.get(column.key))) for column in columns] for row in rows]
    title = printable(title)
    last = footer and [
        printable(column.show(footer[column.key])) if column.key in footer else "" for column in columns
    ]
    table, least = _table([*shown, *([last] if last else [])], columns, title)
    for texts in shown:
        table.add_row(*texts)
    if last:
        table.add_section()
        table.add_row(*last)
    screen = console()
    wanted = Measurement.get(screen, screen.options.update(max_width=_UNBOUNDED), table).maximum
    if screen.is_terminal and (wanted > screen.width * _FOLDS_WELL or least > screen.width):
        _print_lines([*rows, *([footer] if footer else [])], columns, title)
    else:
        screen.print(table)


def _table(texts: Sequence[Sequence[str]], columns: Sequence[Column], title: str) -> tuple[Table, int]:
    """A table without rows that has room for `texts`, and the least width at which it can be read."""
    from rich.cells import cell_len
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    least = 1
    for index, column in enumerate(columns):
        cells = max((cell_len(row[index]) for row in texts), default=0)
        heading, width = column.heading, min(cells, _LEAST_TEXT)
        if column.is_whole:
            # A heading may go on in a second line, and hardly ever has to in a third.
            whole = cell_len(heading)
            width = max(cells, min(whole, max(whole // 2 + 2, *map(cell_len, heading.split()))))
            heading = textwrap.fill(heading, width)
        justify: Literal["right", "left"] = "right" if column.right else "left"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=column.is_whole)
        least += _BORDER + width
    return table, least


def _print_lines(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], title: str) -> None:
    """The rows below each other, a line a value, for a terminal that has no room for columns."""
    width = max(len(column.heading) for column in columns)
    if title:
        click.echo(title)
    for row in rows:
        click.echo()
        for column in columns:
            value = printable(column.show(row[column.key])) if column.key in row else ""
            if value:
                click.echo(f"{column.heading:<{width}}  {value}")


def printable(text: str) -> str:
    """Names come from AWS and tags: control characters must not reach a terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def _json(data: Any) -> str:
    """JSON for programs, which people look at: what controls a terminal is escaped, like the rest below a space."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    return _CONTROLS.sub(lambda found: "".join(f"\\u{ord(each):04x}" for each in found[0]), text)


def _cell(value: Any) -> str:
    """A cell of CSV: no spreadsheet takes it for a formula, no terminal for a command; numbers stay numbers."""
    text = _CONTROLS_OF_CELLS.sub("�", _plain(value))
    is_formula = text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, dict | list):
        return str(value)
    if any(isinstance(part, dict | list) for part in (value.values() if isinstance(value, dict) else value)):
        return json.dumps(value, ensure_ascii=False)
    return ";".join(
        [f"{key}={part}" for key, part in value.items()] if isinstance(value, dict) else map(str, value)
    )


def note(text: str) -> None:
    """A line for people, beside the data."""
    click.echo(printable_lines(text), err=True)

"""What the demo shows: progress, where to look, each Telex message; plain lines when not on a terminal."""

import unicodedata
from collections.abc import Callable, Mapping
from time import monotonic
from types import TracebackType
from typing import Self
from urllib.parse import quote

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from demo.telex_channel import Message

QUERIES = (
    (
        "The most expensive accounts yesterday",
        "topk(5, sum by (account_id, account) (aws_cost_yesterday_usd))",
    ),
    ("This month by service", "sort_desc(sum by (service) (aws_cost_month_to_date_usd))"),
    ("Machines that run now", 'sum by (region, instance_type) (aws_ec2_instances{state="running"})'),
)


_LINE_SECONDS = 15.0  # between two lines of a log about one part that is still starting


class Progress:
    """One row for each part of the chain while it starts; a context manager."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = monotonic) -> None:
        self._console = console
        self._clock = clock
        self._rows: dict[str, tuple[float, float | None, str]] = {}
        self._left_out: set[str] = set()
        self._written: dict[str, float] = {}
        self._spinner = Spinner("dots")
        self._live = Live(
            console=console, get_renderable=self._table, refresh_per_second=10, transient=True, screen=False
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def starting(self, name: str) -> None:
        self._rows[name] = (self._clock(), None, "")

    def ready(self, name: str, detail: str = "") -> None:
        began = self._rows[name][0]
        ended = self._clock()
        self._rows[name] = (began, ended, detail)
        if not self._console.is_terminal:
            self._line(f"{name} ready in {ended - began:.1f} s" + (f" ({detail})" if detail else ""))

    def reading(self, name: str, detail: str) -> None:
        """How far a part is that is not ready yet."""
        began, now = self._rows[name][0], self._clock()
        self._rows[name] = (began, None, detail)
        if not self._console.is_terminal and now - self._written.get(name, began) >= _LINE_SECONDS:
            self._written[name] = now
            self._line(f"{name}, after {now - began:.0f} s: {detail}")

    def left_out(self, name: str, reason: str) -> None:
        """That the chain goes on without a part."""
        text = printable(f"The demo goes on without {name}: {reason}")
        now = self._clock()
        self._rows[name] = (self._rows.get(name, (now,))[0], now, reason)
        self._left_out.add(name)
        self._line(text)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for name, (began, ended, detail) in self._rows.items():
            done = Text("-", style="yellow") if name in self._left_out else Text("✓", style="green")
            mark = self._spinner if ended is None else done
            seconds = (self._clock() if ended is None else ended) - began
            table.add_row(mark, name, Text(f"{seconds:.1f} s", style="dim"), Text(detail, style="dim"))
        return table


def show_where(console: Console, urls: Mapping[str, str]) -> None:
    """The table of URLs, and three queries with links that open them in Prometheus."""
    table = Table(title="The demo is running", title_justify="left", title_style="bold", box=None)
    table.add_column("What", style="cyan", no_wrap=True)
    table.add_column("Where", overflow="fold")
    for name, url in urls.items():
        table.add_row(name, Text(url, style=f"link {url}"))
    console.print(table)
    console.print()
    console.print(Text("Three queries to try in Prometheus", style="bold"))
    for question, promql in QUERIES:
        link = f"{urls['Prometheus']}/graph?g0.tab=1&g0.expr={quote(promql)}"
        console.print(Text(f" {question}", style="cyan"))
        console.print(Text(f"   {promql}", style=f"link {link}"), soft_wrap=True)
    console.print()


def show_message(console: Console, message: Message) -> None:
    """One Telex message; its text is foreign and carries neither markup nor control characters."""
    text = printable(message.message)
    head = f"Telex, {message.received_at:%H:%M:%S} UTC: {printable(message.event_name)}"
    if console.is_terminal:
        colour = "red" if message.status == "error" else "green"
        console.print(Panel(Text(text), title=Text(head), title_align="left", border_style=colour))
    else:
        console.print(f"{head} [{message.status}]", markup=False, highlight=False, soft_wrap=True)
        for line in text.splitlines():
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """The text without control and format characters, which could steer a terminal."""
    return "".join(
        character
        for character in text
        if character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cf"}
    )

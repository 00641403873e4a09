"""What commands show to a person: tables, and progress that keeps out of pipes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exporter.cli.output import printable_lines

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.cli.finding import CheckFinding
    from exporter.cli.prices_update import RegionChange
    from exporter.collection.plan import Plan
    from exporter.inventory.prices import Source

_LOG_EVERY_SECONDS = 2.0


def findings_table(title: str, findings: Iterable[CheckFinding]) -> None:
    """Print the findings of `check --aws` or of `doctor`."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for heading in ("What", "Account", "Name", "Region", "Result"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        style = "red" if finding.error else ""
        result = f"{finding.error}: {finding.result}" if finding.error else finding.result
        if finding.advice:
            result += f"\n→ {finding.advice}"
        texts = (finding.subject, finding.account_id, finding.account, finding.region, result)
        table.add_row(*map(printable_lines, texts), style=style)
    Console(markup=False, width=None if sys.stdout.isatty() else 160).print(table)


def plan_table(plan: Plan) -> None:
    """Print what `plan` found."""
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 160)
    scale = ", ".join(
        f"{getattr(plan.scale, name)} {name.replace('_', ' ')} ({source})"
        for name, source in plan.sources.items()
    )
    table = Table(title="AWS requests in a month of 30 days")
    for heading in ("Collector", "Request", "What for"):
        table.add_column(heading, overflow="fold")
    for heading in ("Requests", "Dollars"):
        table.add_column(heading, justify="right")
    for line in plan.lines:
        usd = f"{line.usd:,.2f}" if line.usd else "free"
        request = f"{line.service}:{line.operation}"
        table.add_row(line.collector, request, line.purpose, f"{line.requests:,.0f}", usd)
    table.add_section()
    table.add_row(
        "", "", "a month; each request is an event in CloudTrail", f"{plan.requests:,.0f}", f"{plan.usd:,.2f}"
    )
    if plan.may_wait_usd:
        table.add_row(
            "", "", "of which may wait: days older than last month", "", f"{plan.may_wait_usd:,.2f}"
        )
    table.add_row("", "", "once, for the first read of the history", "", f"{plan.first_fill_usd:,.2f}")
    console.print(table)
    console.print(f"Planned with {scale}.")
    if plan.waits is not None:
        console.print(f"{plan.waits[0].upper()}{plan.waits[1:]}.", style="yellow")
    for text in plan.over:
        console.print(f"Over its ceiling: {text}", style="red")


def price_changes_table(lines: Sequence[RegionChange], path: Path) -> None:
    """Print what `prices --update` found."""
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 160)
    table = Table(title="List prices against the shipped table")
    table.add_column("Region")
    for heading in ("Rows", "New", "Changed", "Ambiguous"):
        table.add_column(heading, justify="right")
    for line in lines:
        counts = (line.rows, line.new, len(line.changed), len(line.ambiguous))
        table.add_row(line.region, *(f"{count:,}" for count in counts))
    console.print(table)
    console.print(f"Written to {path}. Ambiguous rows have several prices, and are left out.")


def price_sources_table(counts: Mapping[Source, int]) -> None:
    """Print where the shipped list prices are from, the newest first."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Sources of list prices")
    table.add_column("Source", overflow="fold")
    table.add_column("Version")
    table.add_column("Date")
    table.add_column("Rows", justify="right")
    for source, count in sorted(counts.items(), key=lambda item: item[0].date, reverse=True):
        table.add_row(source.name, source.version, str(source.date), f"{count:,}")
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 160).print(table)


@contextmanager
def progress(title: str, *, enabled: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a line every two seconds otherwise; on standard error."""
    if not enabled:
        yield lambda done, total: None
        return
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    last = time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _LOG_EVERY_SECONDS:
            last = time.monotonic()
            print(f"{title}: {done} of {total}", file=sys.stderr)  # noqa: T201 # the progress display

    yield line


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """A spinner on a terminal, a line otherwise, on standard error, for work whose progress is not known."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status(title):
            yield
        return
    print(f"{title} ...", file=sys.stderr)  # noqa: T201 # the progress display
    yield

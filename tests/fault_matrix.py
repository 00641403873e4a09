"""The matrix of faults: what is broken between which parts, what must hold then, and whether it held.

Each test of a fault carries `@pytest.mark.fault("what is broken", "what holds")`; a name in braces in either text
is a parameter of the test. `make chaos` runs them all and prints the matrix.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

NOT_TRIED = (
    "a disk whose writes succeed and whose contents are lost on power failure (kills are of the process)",
    "a file system that reorders writes, and network file systems",
    "memory that runs out in the exporter itself (bounds on what comes from outside are tried)",
    "faults of AWS's own clock, and answers that are well formed, signed and false",
    "a network that corrupts what TCP's checksum lets through (TLS ends there)",
    "two faults at once, but for the soak, which draws them at random",
)
_PROPERTY = "fault"
Row = tuple[str, str]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Called once, before anything is collected."""
    parser.addoption(
        "--faults",
        type=int,
        metavar="KINDS",
        help="print the matrix of faults, and fail if it holds fewer kinds than this",
    )


def fault_of(item: pytest.Item) -> Row | None:
    """The kind of fault and the invariant that a test declares."""
    mark = item.get_closest_marker("fault")
    if mark is None:
        return None
    kind, invariant = mark.args
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return str(kind).format(**parameters), str(invariant).format(**parameters)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hand the declaration on with the test's report, which crosses processes."""
    row = fault_of(item)
    if row is not None:
        item.user_properties.append((_PROPERTY, list(row)))


class Matrix:
    """The rows of one run, and how many tests of each held and broke."""

    def __init__(self) -> None:
        self.held: Counter[Row] = Counter()
        self.broken: Counter[Row] = Counter()

    def add(self, report: Any) -> None:
        """Count one phase of one test."""
        for name, value in getattr(report, "user_properties", ()):
            if name != _PROPERTY:
                continue
            row = (str(value[0]), str(value[1]))
            if report.failed:
                self.broken[row] += 1
            elif report.when == "call" and report.passed:
                self.held[row] += 1

    @property
    def kinds(self) -> set[str]:
        """What was broken."""
        return {kind for kind, _ in (*self.held, *self.broken)}

    def lines(self) -> list[str]:
        """The matrix as text, the kinds in order."""
        rows = sorted({*self.held, *self.broken})
        width = max((len(kind) for kind, _ in rows), default=0)
        return [
            f"{kind:{width}}  {'BROKEN' if self.broken[kind, invariant] else 'held  '}  {invariant}"
            for kind, invariant in rows
        ]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A matrix that has lost kinds is no matrix."""
    least = session.config.getoption("--faults")
    if least is None or hasattr(session.config, "workerinput"):
        return
    if len(_collected(session.config).kinds) < least and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _collected(config: pytest.Config) -> Matrix:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    matrix = Matrix()
    for outcome in ("passed", "failed", "error"):
        for report in reporter.stats.get(outcome, ()) if reporter is not None else ():
            matrix.add(report)
    return matrix


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the matrix."""
    least = config.getoption("--faults")
    if least is None:
        return
    matrix = _collected(config)
    terminalreporter.section("faults")
    for line in matrix.lines():
        terminalreporter.write_line(line)
    held = len(matrix.kinds) - len({kind for kind, _ in matrix.broken})
    terminalreporter.write_line(
        f"{len(matrix.kinds)} kinds of fault, {held} held (at least {least} are wanted)"
    )
    terminalreporter.write_line("Not tried:")
    for text in NOT_TRIED:
        terminalreporter.write_line(f"  {text}")

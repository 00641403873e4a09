"""Folds the files of an export's month in a separate process, whose memory is bounded and whose death is an error here."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from exporter.exports.delivery.work_folders import work_folder
from exporter.exports.fold_settings import FoldResult, FoldSettings, Table

__all__ = ["FoldError", "FoldResult", "FoldSettings", "MonthFold", "Table"]

_COMMAND = (sys.executable, "-m", "exporter.exports.fold_process")
# The fold reads files of customers and nothing else: it gets no credentials.
_ENVIRONMENT = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "TMPDIR",
    "VIRTUAL_ENV",
)
_PREFIX = "fold-"
_ERRORS = "errors"
_SHOWN = 300  # characters of what a dying process has said
_SECONDS_TO_END = 10


class FoldError(Exception):
    """A month that could not be folded; the message names the file and says why."""


class MonthFold:
    """Folds one month: enter it, add each of its files, finish.

    Not safe for threads, but for `cancel`. Leaving it ends the process and removes what it had on disk.
    """

    def __init__(self, settings: FoldSettings) -> None:
        """Nothing runs before it is entered."""
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self._folder = Path()
        self._work = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start the process; FoldError if it does not start."""
        if importlib.util.find_spec("duckdb") is None:
            raise FoldError(
                "The month was not folded: duckdb is missing; pip install 'aws-spend-exporter[export]'"
            )
        self._folder = self._work.enter_context(work_folder(self._settings.spill, _PREFIX))
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        try:
            with (self._folder / _ERRORS).open("w", encoding="utf-8") as errors:
                self._process = subprocess.Popen(  # noqa: S603 # our own program
                    _COMMAND,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=environment,
                    start_new_session=True,  # Ctrl-C is for the exporter, which ends its folds
                )
            self._ask("The month", folder=str(self._folder), settings=self._settings.to_json())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the process, and remove what it had on disk."""
        self._end()

    def add(self, path: Path, name: str) -> int:
        """Fold one file, and return its lines; the caller may delete it then.

        `name` is the file's name in the export: its suffix says whether it is Parquet or CSV. FoldError if the file cannot be read, is
        not of this month or has been added already; the fold is over then.
        """
        return int(self._ask(name, add=str(path.absolute()), name=name)["lines"])

    def query(
        self, subject: str, columns: Mapping[str, str], table: str, condition: str, files: Mapping[str, str]
    ) -> dict[str, str]:
        """Athena's queries for what is in a table, by the table of the fold that takes their rows.

        `subject` names it in errors; `columns` are DuckDB's types by name, `files` names of its files by their path.
        """
        asked = {"columns": dict(columns), "table": table, "condition": condition, "files": dict(files)}
        return dict(self._ask(subject, query=asked)["queries"])

    def take(self, path: Path, table: str) -> None:
        """Take in one Parquet file of the rows for a table of the fold."""
        self._ask(f"The answer for {table}", take=str(path.absolute()), table=table)

    def look(self, subject: str) -> tuple[dict[str, str], dict[str, str]]:
        """Athena's queries for the sums, once `look` and `found` are taken; and the names of accounts."""
        answer = self._ask(subject, look=True)
        return dict(answer["queries"]), dict(answer["names"])

    def finish(self, folder: Path) -> FoldResult:
        """Write the month's files to `folder`, on disk when this returns, and end the process."""
        result = FoldResult.from_json(self._ask("The month", finish=str(folder.absolute()))["result"])
        self._end()
        return result

    def cancel(self) -> None:
        """Kill the process; what another thread waits for raises FoldError."""
        process = self._process
        if process is not None:
            process.kill()

    def _ask(self, subject: str, **request: Any) -> dict[str, Any]:
        process = self._process
        if process is None:
            raise FoldError(f"{subject}: the fold has ended already")
        assert process.stdin is not None
        assert process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):  # it has died: why is found out below
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line.endswith("\n"):
            reason = self._death(process)
            self._end()
            raise FoldError(f"{subject} was not folded: {reason}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self._end()
            raise FoldError(f"{subject} {answer['error']}")
        return answer

    def _death(self, process: subprocess.Popen[str]) -> str:
        try:
            code = process.wait(timeout=_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            return "the process of the fold has closed its output"
        if code == -signal.SIGKILL:
            return "the process of the fold was killed, as Linux does when memory runs out"
        if code < 0:
            return f"the process of the fold died of {signal.Signals(-code).name}"
        said = (self._folder / _ERRORS).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"the process of the fold ended with code {code}" + (f": {said[-1][:_SHOWN]}" if said else "")

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with contextlib.suppress(BrokenPipeError), process:  # closes the pipes and waits
                pass
        self._work.close()

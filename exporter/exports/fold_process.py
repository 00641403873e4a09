"""The process that folds the files of one month: `python -m exporter.exports.fold_process`.

It reads a line of JSON from its standard input and answers it with one: first its settings, then a file to add for each
line, at last the folder for what it has folded. It ends with the process that has started it, also in the middle of a
query: DuckDB has memory and disk in use that no one would free.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import sys
import threading
from pathlib import Path
from typing import IO, Any

import duckdb

from exporter.exports.athena.queried import QueriedMonth
from exporter.exports.fold_settings import FoldSettings
from exporter.exports.line_file import LineFileError
from exporter.exports.month_files import write_month
from exporter.exports.month_tables import MonthTables, details

_NICENESS = 10
_KILLED_FIRST = 500  # of 1000: when memory ends, Linux takes this process and not the exporter


class FoldFailedError(Exception):
    """A fold that cannot go on; the message says why in words."""


def _requests(lines: queue.SimpleQueue[str], folder: Path) -> None:
    for line in sys.stdin:
        lines.put(line)
    # The other end is gone. A query does not see that, and `sys.exit` would wait for it.
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _output() -> IO[str]:
    """The output for answers; what a library prints goes to the errors."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return output


def _write(output: IO[str], **fields: Any) -> None:
    output.write(json.dumps(fields) + "\n")
    output.flush()


def answer(
    tables: MonthTables, request: dict[str, Any], queried: QueriedMonth | None = None
) -> dict[str, Any]:
    """The answer to one request; FoldFailedError, with words that follow the file's name, if the fold is over."""
    try:
        if "add" in request:
            return {"lines": tables.add(Path(request["add"]), request["name"])}
        if queried is not None and "query" in request:
            return {"queries": queried.begin(**request["query"])}
        if queried is not None and "take" in request:
            queried.take(request["table"], Path(request["take"]))
            return {}
        if queried is not None and "look" in request:
            queries, names = queried.look()
            return {"queries": queries, "names": names}
        return {"result": write_month(tables, Path(request["finish"])).to_json()}
    except LineFileError as error:
        raise FoldFailedError(str(error)) from error
    except duckdb.OutOfMemoryException as error:
        raise FoldFailedError(
            f"needs more than the {tables.settings.memory_mb} MB that the fold may use: {details(error)}"
        ) from error
    except duckdb.Error as error:
        raise FoldFailedError(f"cannot be folded: {details(error)}") from error
    except OSError as error:
        raise FoldFailedError(f"cannot be folded: {error.strerror or error}") from error


def main() -> None:
    """Fold until the month is written, or the parent is gone."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
        Path("/proc/self/oom_score_adj").write_text(str(_KILLED_FIRST), encoding="ascii")
    output = _output()
    start = json.loads(sys.stdin.readline())
    folder = Path(start["folder"])
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_requests, args=(lines, folder), daemon=True).start()
    tables = MonthTables(FoldSettings.from_json(start["settings"]), folder)
    queried = QueriedMonth(tables)
    _write(output, ready=True)
    while True:
        request = json.loads(lines.get())
        try:
            answered = answer(tables, request, queried)
        except FoldFailedError as failed:
            _write(output, error=str(failed))
            os._exit(1)  # a thread waits for the input, and an interpreter that ends waits for it
        _write(output, **answered)
        if "result" in answered:
            os._exit(0)  # closing the database would write what is not read again


if __name__ == "__main__":
    main()

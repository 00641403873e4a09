"""Cleans up after a demo that was killed; a separate process, with nothing but the standard library.

It reads orders from its standard input: `group PID` and `remove PATH` are remembered, `done` ends it. When
the input ends without `done`, the demo is dead: the process groups are killed and the paths removed.
"""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import sleep


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: list[int] = []
    paths: list[Path] = []
    for line in sys.stdin:
        order, _, value = line.rstrip("\n").partition(" ")
        if order == "group":
            groups.append(int(value))
        elif order == "remove":
            paths.append(Path(value))
        elif order == "done":
            return
    clean_up(groups, paths)


def clean_up(groups: Iterable[int], paths: Sequence[Path]) -> None:
    """Kill the process groups, and remove the files and folders."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    for _ in range(20):  # the dying may still write for a moment
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if not any(path.exists() for path in paths):
            return
        sleep(0.1)


if __name__ == "__main__":
    main()

"""Folders for temporary files that outlive a kill: the next one in the same place removes what no process holds."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "lock"


@contextmanager
def work_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, for its owner only, until the end; it holds a file `lock`.

    Those of the same prefix that killed processes left are removed first; those of running ones are not.
    """
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    gate = os.open(parent, os.O_RDONLY)
    try:
        # A folder that is made and not locked yet looks like one that was left.
        fcntl.flock(gate, fcntl.LOCK_EX)
        _remove_left_over(parent, prefix)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = (folder / _LOCK).open("w", encoding="ascii")
        fcntl.flock(lock, fcntl.LOCK_EX)
    finally:
        os.close(gate)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _remove_left_over(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        try:
            with (folder / _LOCK).open("a", encoding="ascii") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue  # of a process that runs
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)

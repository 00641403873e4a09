"""Move the wall clock of this Python process by MOVED_CLOCK_SECONDS and by what the file MOVED_CLOCK_FILE holds now.

Python imports this file by itself where its folder is on PYTHONPATH, as tests/moments.py arranges. Monotonic time,
sleeping and the times of files stay real.
"""

import importlib
import os
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

_FILE = os.environ.get("MOVED_CLOCK_FILE")
_LOOK_SECONDS = 0.02

# time_machine imports pytest where there is one, which costs each child a quarter of a second.
sys.modules.setdefault("pytest", None)
time_machine = importlib.import_module("time_machine")
if sys.modules["pytest"] is None:
    del sys.modules["pytest"]
# pytest warns of a plugin that it can no longer rewrite; this one has no assertions.
time_machine.__doc__ = "PYTEST_DONT_REWRITE"
_by_file = float(Path(_FILE).read_text()) if _FILE else 0.0
_clock = time_machine.travel(
    timedelta(seconds=float(os.environ.get("MOVED_CLOCK_SECONDS", "0")) + _by_file)
).start()
time.time()  # the moved clock starts with its first use


def _follow(path: Path, seconds: float) -> None:
    """Set the clock as often as the file changes."""
    while True:
        time.sleep(_LOOK_SECONDS)
        found = float(path.read_text())
        if found != seconds:
            _clock.shift(found - seconds)
            seconds = found


if _FILE:
    threading.Thread(target=_follow, args=(Path(_FILE), _by_file), name="moved clock", daemon=True).start()

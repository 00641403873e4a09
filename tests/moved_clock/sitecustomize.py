"""Move the wall clock of this Python process by MOVED_CLOCK_SECONDS.

Python imports this file by itself where its folder is on PYTHONPATH, as tests/moments.py arranges. Monotonic time,
sleeping and the times of files stay real.
"""

import importlib
import os
import sys
import time
from datetime import timedelta

# time_machine imports pytest where there is one, which costs each child a quarter of a second.
sys.modules.setdefault("pytest", None)
time_machine = importlib.import_module("time_machine")
if sys.modules["pytest"] is None:
    del sys.modules["pytest"]
# pytest warns of a plugin that it can no longer rewrite; this one has no assertions.
time_machine.__doc__ = "PYTEST_DONT_REWRITE"
time_machine.travel(timedelta(seconds=float(os.environ["MOVED_CLOCK_SECONDS"]))).start()
time.time()  # the moved clock starts with its first use

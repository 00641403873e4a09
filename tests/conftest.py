"""What every test shares: patience on a busy machine, and one order of sets in all processes of a run."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from exporter.core import redaction
from exporter.core.logs import LogSettings, log_handler

# A shell that starts a run in the background has it ignore Ctrl-C, and with it all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is. In CI the same examples come each time, so that a
# red run says something about the change; `make test` elsewhere goes on looking.
settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("patient")

# Tests that share something dear to start run one after the other in one process; all others go wherever a process
# is free.
_TOGETHER = {
    "tests/browser/": "dashboards",
    "tests/grafana/test_dashboards_on_demo.py": "dashboards",
    "tests/grafana_server/test_dashboards_on_grafana.py": "dashboards",
    "tests/grafana/test_dashboards_on_export.py": "dashboards of an export",
    "tests/grafana_server/test_suite_on_stand_in.py": "a stand-in for Grafana",
    "tests/grafana/test_dashboards_at_other_hours.py": "dashboards at other hours",
    "tests/grafana/test_dashboards_on_prometheus.py": "prometheus",
    "tests/deploy/test_wheel.py": "wheel",
    "tests/docs/": "docs",
    "tests/answers/": "answers",
    "tests/e2e/test_commands.py": "commands",
    "tests/inventory/": "inventory",
    "tests/property/test_cost_reconciles.py": "cost",
    "tests/simulated_aws/": "simulator",
    "tests/unit/exports/test_fold_of_simulated_exports.py": "simulated exports",
}


class _Together(LoadScopeScheduling):
    """xdist's own scheduling by scope, with these scopes."""

    def _split_scope(self, nodeid: str) -> str:
        return next((group for path, group in _TOGETHER.items() if nodeid.startswith(path)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Called once, by the process that hands the tests out."""
    return _Together(config, log)


pytest_plugins = ("demo_stack", "fault_matrix")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """One hash seed for all workers: they must collect the same tests, also where parameters come from a set."""
    os.environ.setdefault("PYTHONHASHSEED", str(random.randrange(1, 2**32)))


def pytest_report_header() -> str:
    """The seed that repeats a run's order of sets."""
    return f"PYTHONHASHSEED: {os.environ.get('PYTHONHASHSEED', 'random')}"


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Threads that switch at every chance, and a garbage collection that runs Python at every turn."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()

    def run_python(phase: str, info: dict[str, int]) -> None:
        sum(range(50))

    gc.callbacks.append(run_python)
    gc.set_threshold(50)
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
        gc.callbacks.remove(run_python)


_DAY_SECONDS = 86_400
_LAST_OF_A_DAY_SECONDS = 100  # as long as nearly every test takes on a busy machine
_FIRST_OF_A_DAY_SECONDS = 60  # in which the panels take no live gauge for the new day's


@pytest.fixture(autouse=True)
def _within_one_day() -> None:
    """Tests count days from today (UTC): none begins where tomorrow would come in between, or has just begun."""
    since = time.time() % _DAY_SECONDS
    if since > _DAY_SECONDS - _LAST_OF_A_DAY_SECONDS:
        since -= _DAY_SECONDS
    if since < _FIRST_OF_A_DAY_SECONDS:
        time.sleep(_FIRST_OF_A_DAY_SECONDS - since)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """An exporter in this process sets the logging up for itself, with its secrets and what nobody caught."""
    root = logging.getLogger()
    handlers, hooks = root.handlers[:], (sys.excepthook, threading.excepthook)
    loggers = [root, *(each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger))]
    levels, secrets = [(logger, logger.level) for logger in loggers], redaction._secrets
    yield
    redaction._secrets = secrets
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
    sys.excepthook, threading.excepthook = hooks
    for logger, level in levels:
        logger.setLevel(level)


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """As pytest's, but `text` has the fields of each line, as the exporter writes them."""
    caplog.handler.setFormatter(log_handler(LogSettings(), sys.stderr).formatter)
    return caplog

"""What every test shares: patience on a busy machine, and one order of sets in all processes of a run."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

pytest_plugins = ("demo_stack",)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """One hash seed for all workers: they must collect the same tests, also where parameters come from a set."""
    os.environ.setdefault("PYTHONHASHSEED", str(random.randrange(1, 2**32)))


def pytest_report_header() -> str:
    """The seed that repeats a run's order of sets."""
    return f"PYTHONHASHSEED: {os.environ.get('PYTHONHASHSEED', 'random')}"

"""What every test folder shares: the same order of sets in all processes of a run."""

from __future__ import annotations

import os
import random

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """One hash seed for all workers: they must collect the same tests, also where parameters come from a set."""
    os.environ.setdefault("PYTHONHASHSEED", str(random.randrange(1, 2**32)))


def pytest_report_header() -> str:
    """The seed that repeats a run's order of sets."""
    return f"PYTHONHASHSEED: {os.environ.get('PYTHONHASHSEED', 'random')}"

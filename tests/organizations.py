"""Simulated organizations that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from simulated_aws import OrganizationSpec, SimulatedAws

MakeAws = Callable[..., SimulatedAws]


@contextmanager
def making_aws(monkeypatch: pytest.MonkeyPatch, **defaults: Any) -> Iterator[MakeAws]:
    """What starts organizations; the environment of this process becomes that of the last one."""
    with ExitStack() as made:

        def make(**spec: Any) -> SimulatedAws:
            aws = made.enter_context(SimulatedAws(OrganizationSpec(**(defaults | spec))))
            for name, value in aws.environment().items():
                monkeypatch.setenv(name, value)
            return aws

        yield make

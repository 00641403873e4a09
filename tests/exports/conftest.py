"""Simulated organizations with exports."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from organizations import MakeAws, making_aws

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)


@pytest.fixture
def make_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeAws]:
    """Starts organizations of a March with charges of all kinds."""
    with making_aws(
        monkeypatch, seed=11, accounts=3, services=4, now=NOW, days=50, varied_charges=True
    ) as make:
        yield make

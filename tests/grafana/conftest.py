"""The dashboards as they are committed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "grafana" / "dashboards"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with a `dashboard` argument runs once for each file."""
    if "dashboard" in metafunc.fixturenames:
        paths = sorted(FOLDER.glob("*.json"))
        metafunc.parametrize(
            "dashboard",
            [json.loads(path.read_text(encoding="utf-8")) for path in paths],
            ids=[path.stem for path in paths],
        )

"""A misspelt section or key of the configuration is found by the type checker, and each collector gets its own type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from exporter.anomalies.settings import AnomalySettings
from exporter.collectors import all_collectors
from exporter.collectors.cost import COLLECTOR as COST
from exporter.config.model import Config
from exporter.cost.settings import CostSettings
from exporter.declarations.sections import Sections

ROOT = Path(__file__).parents[3]

_PROGRAM = """
from exporter.collectors.cost import COLLECTOR as COST
from exporter.config.model import Config

config = Config()
reveal_type(config.settings(COST))
print(config.settings(COST).cost_type)
print(config.collectors.csot.cots_type + config.collectors.usage.nothing())
print(config.settings(COST).cots_type)
"""


def test_mypy_finds_what_is_misspelt(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    shown = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert not shown.stderr, shown.stderr
    # Its cache knows a file of this name and text by the path that it had first.
    found = [line.partition(": ")[2] for line in shown.stdout.splitlines() if "program.py:" in line]
    assert found == [
        'note: Revealed type is "exporter.cost.settings.CostSettings"',
        'error: "StrictModel" has no attribute "csot"  [attr-defined]',
        'error: "StrictModel" has no attribute "usage"  [attr-defined]',
        'error: "CostSettings" has no attribute "cots_type"; maybe "cost_type"?  [attr-defined]',
    ]


def test_each_collector_has_its_own_settings() -> None:
    config = Config.model_validate({"collectors": {"cost": {"cost_type": "amortized"}}})
    for collector in all_collectors():
        assert type(config.settings(collector)) is collector.settings
    assert config.settings(COST).cost_type == "amortized"


def test_sections_are_found_by_their_type() -> None:
    config = Config.model_validate(
        {"anomalies": {"percentage": 70}, "collectors": {"cost": {"cost_type": "blended"}}}
    )
    sections = config.sections()
    assert sections.of(AnomalySettings) is config.anomalies
    assert sections.of(CostSettings).cost_type == "blended"
    assert Sections().of(CostSettings) == CostSettings()
    with pytest.raises(ValueError, match="two sections are of one type"):
        Sections(CostSettings(), CostSettings())

"""Commands of an installation whose cost comes from the data export of a simulated organization."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import moments
from running_exporter import collectors, organization

from simulated_aws import SimulatedAws

START = datetime(2026, 5, 17, 12, 30, tzinfo=UTC)


def at_start() -> dict[str, str]:
    """The environment of a process whose clock begins at START."""
    return moments.python_path(Path(__file__).parents[2], moment=START)


def export_of(aws: SimulatedAws, **definition: Any) -> Any:
    return aws.exports.create(**({"manual_discounts": True, "hourly": False} | definition))


def configuration(aws: SimulatedAws, **chosen: Any) -> dict[str, Any]:
    return organization(
        aws={"endpoint_url": aws.url},
        collectors=collectors(
            cost={"source": "data_export", "history_months": 1},
            cost_breakdowns={"by": ["region", "charge_type", "usage_type"], "tags": ["team"]},
            **chosen,
        )
        | {"cost_export": {"export": "cost"}},
    )


def command(
    tmp_path: Path, aws: SimulatedAws, config: dict[str, Any], *words: str
) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"data_dir": str(tmp_path / "data"), **config}))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        **at_start(),
        **aws.environment(),
    }
    return subprocess.run(
        [sys.executable, "-m", "exporter", *words, "-c", str(path)],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

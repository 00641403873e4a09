"""The dashboards on a chain that is at another hour and date, Prometheus and Alertmanager included.

The hour decides which day is settled and assessed, and the date what there is of the month: a panel can be right on
the afternoon of a plain day, and empty in the morning or on the 1st.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import moments
import pytest

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
SUITE = HERE / "test_dashboards_on_demo.py"


def test_panels_are_right_on_the_other_side_of_noon(tmp_path: Path) -> None:
    """On the 1st of a month to come: in the morning if it is past noon now, else in the afternoon."""
    now = datetime.now(UTC)
    first = moments.at(date(now.year + 1, now.month, 1), "06:00" if now.hour >= 12 else "18:00")
    run_at(first, tmp_path, "-k", "anomalies or overview or all_of_the_chain")


@pytest.mark.long
@pytest.mark.parametrize(
    "moment", moments.moments(datetime.now(UTC).date()), ids=lambda at: f"{at:%m-%d %H:%M}"
)
def test_every_panel_is_right_at_every_moment(moment: datetime, tmp_path: Path) -> None:
    run_at(moment, tmp_path)


def run_at(moment: datetime, folder: Path, *chosen: str) -> None:
    """Run the suite in a separate pytest whose chain and date are at the moment."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", str(SUITE), *chosen],
        cwd=HERE.parents[1],
        env=ours | moments.moved_servers(folder, moment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=850,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    assert re.search(r"\d+ passed", done.stdout)

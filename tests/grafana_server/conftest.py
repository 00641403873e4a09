"""What the tests of the dashboards share with those of a server that shows them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "grafana"))

"""Where the deployment's files and tools are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Rendered = dict[str, Any]


def binary(name: str) -> str:
    """A program of the development environment."""
    return str(Path(sys.executable).parent / name)

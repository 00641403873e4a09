"""`make screenshots`: every dashboard on the demo's data, as PNGs in build/screenshots."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # demo_stack

from demo_stack import filled_stack
from drawing import DASHBOARDS, draw

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "build" / "screenshots"
WIDTH = 1600
# What else is worth a picture.
MORE = {
    "overview-13-months": {"dashboard": "overview", "from": "now-13M"},
    # What docs/images holds: copy them there when they are to be renewed.
    "readme-overview": {"dashboard": "overview", "from": "now-13M", "height": 1000},
    "readme-inventory": {"dashboard": "inventory", "height": 1030},
}


def main() -> None:
    """Start the demo, draw everything once, say where it is."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    jobs = {name: {"dashboard": name} for name in DASHBOARDS} | MORE
    with filled_stack() as stack:
        draw(
            stack.urls["prometheus"],
            [{"width": WIDTH} | job | {"png": str(OUTPUT / f"{name}.png")} for name, job in jobs.items()],
            timeout=300,
        )
    for name in jobs:
        sys.stdout.write(f"{(OUTPUT / name).relative_to(ROOT)}.png\n")


if __name__ == "__main__":
    main()

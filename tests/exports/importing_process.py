"""A process that imports what is due of an export once, as of a given moment: what tests kill.

Its arguments are the simulator's URL, the payer's id, the moment and the data folder.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from export_reader import reading


def main() -> None:
    url, payer_id, moment, data_dir = sys.argv[1:]
    now = datetime.fromisoformat(moment)
    aws: Any = SimpleNamespace(url=url, payer_id=payer_id, clock=SimpleNamespace(now=lambda: now))
    with reading(aws, Path(data_dir), cost_settings={"history_months": 1}) as reader:
        reader.read()


if __name__ == "__main__":
    main()

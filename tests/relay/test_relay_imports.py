"""What the relay holds in memory: the web stack, and neither arrays nor AWS's SDK nor an analytical database."""

from __future__ import annotations

import json
import subprocess
import sys

MOST_MIB = 60
HEAVY = {"boto3", "botocore", "demo", "duckdb", "moto", "numpy", "rich", "simulated_aws"}


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_relay_loads_neither_arrays_nor_aws() -> None:
    """AWS's SDK comes with the first tick that brings keys."""
    program = (
        "import json, sys\n"
        "import exporter.relay.main\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    loaded = set(json.loads(run(program)))
    assert loaded & HEAVY == set()
    assert loaded >= {"fastapi", "jinja2"}, "the test sees what is loaded"


def test_reading_the_configuration_loads_no_arrays() -> None:
    """The declarations of collectors are read with it, by the relay and by every command."""
    program = (
        "import json, sys\n"
        "import exporter.relay.main\n"
        "from exporter.config.read import load_config\n"
        "load_config(None, {})\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    loaded = set(json.loads(run(program)))
    assert loaded & (HEAVY - {"botocore"}) == set()
    assert "botocore" in loaded, "the test sees what is loaded"


def test_the_relay_takes_at_most_60_mib() -> None:
    """The peak of the process itself: `ru_maxrss` would begin with that of the test's own process."""
    program = (
        "from pathlib import Path\n"
        "import exporter.relay.main\n"
        "lines = Path('/proc/self/status').read_text().splitlines()\n"
        "print(next(line.split()[1] for line in lines if line.startswith('VmHWM:')))\n"
    )
    assert int(run(program)) / 1024 <= MOST_MIB

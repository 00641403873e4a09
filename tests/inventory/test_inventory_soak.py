"""Round after round, the inventory of a whole organisation takes no more memory, threads or files.

The simulated AWS is a separate process here, so that the exporter's figures hold nothing else.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from inventory_harness import RemoteAws, world_of

from exporter.collectors.inventory import COLLECTOR as INVENTORY
from simulated_aws import OrganizationSpec

pytestmark = pytest.mark.stack

REGIONS = ("us-east-1", "eu-west-1", "us-west-2")
_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def simulator(accounts: int) -> Iterator[RemoteAws]:
    """A simulated organisation in a separate process."""
    command = [sys.executable, "-m", "simulated_aws", "--accounts", str(accounts), "--seed", "31"]
    command += ["--regions", ",".join(REGIONS), "--days", "30", "--services", "3", "--instances", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            spec = OrganizationSpec(seed=31, accounts=accounts, regions=REGIONS)
            yield RemoteAws(ready["url"], ready["environment"], spec, process.pid)
        finally:
            process.terminate()


def memory_mib() -> float:
    """Resident memory of this process now."""
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def soak(
    folder: Path, patch: pytest.MonkeyPatch, accounts: int, rounds: int, services: list[str], warm: int
) -> str:
    """Run, hold everything flat after `warm` rounds, and say what it took."""
    with simulator(accounts) as aws:
        for name, value in aws.environment().items():
            patch.setenv(name, value)
        with world_of(folder, aws, {"services": services}) as world:
            began = time.monotonic()
            assert world.collect() == 0, world.failures()
            first = time.monotonic() - began
            expected = world.total("aws_resources")
            seen, calls = [], []
            began, own, its = time.monotonic(), time.process_time(), cpu_seconds(aws.pid)
            for _ in range(rounds):
                before = world.requests()
                assert world.collect() == 0, world.failures()
                calls.append(world.requests() - before)
                assert world.total("aws_resources") == expected
                gc.collect()
                files = len(list(Path("/proc/self/fd").iterdir()))
                seen.append((memory_mib(), threading.active_count(), files))
            wall = (time.monotonic() - began) / rounds
            own = (time.process_time() - own) / rounds
            its = (cpu_seconds(aws.pid) - its) / rounds
            collected = len({held.account_id for held in world.store.published_resources() if held.resources})
            files_read = len(world.config.settings(INVENTORY).files())
            size = len(world.store.exposition()[0]) / 2**20
    steady = seen[warm:]
    text = (
        f" [{collected} accounts x {len(REGIONS)} regions x {files_read} files, {rounds} rounds after the first:"
        f" {expected:.0f} resources, {calls[0]:.0f} calls; first round, which fills the simulator, {first:.1f} s;"
        f" then a round takes {wall:.1f} s wall, {own:.1f} s CPU of the exporter and {its:.1f} s of the simulator;"
        f" memory {steady[0][0]:.1f} to {steady[-1][0]:.1f} MiB, {steady[-1][1]} threads,"
        f" {min(each[2] for each in steady)} to {max(each[2] for each in steady)} files, {size:.1f} MiB a scrape]"
    )
    half = len(steady) // 2
    memory, threads, files = (max(column[half:]) - max(column[:half]) for column in zip(*steady, strict=True))
    assert len(set(calls)) == 1, (calls, text)
    assert threads <= 0, (seen, text)
    # Connections that are kept open come and go by how many calls met.
    assert files <= 8, (seen, text)
    assert memory < 8, (seen, text)
    return text


def test_a_few_accounts_stay_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    print(soak(tmp_path, monkeypatch, 3, 8, ["sqs", "sns", "vpc", "logs"], warm=3))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_accounts_three_regions_and_every_type_stay_flat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # One of the 21 is suspended.
    text = soak(tmp_path, monkeypatch, 21, 20, [], warm=4)
    with capsys.disabled():
        sys.stdout.write(text)

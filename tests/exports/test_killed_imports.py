"""An import that is killed at any moment leaves the month as it was or as it became, and the next one ends as if nothing was."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from bill_differences import differences
from drawn_bills import drawn_bill
from export_reader import DAY, reading
from waiting import wait_for

from exporter.cube.months import LINES, CubeMonths
from simulated_aws import OrganizationSpec, SimulatedAws

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

BEFORE = datetime(2026, 3, 17, 12, tzinfo=UTC)
AFTER = BEFORE + timedelta(hours=25)  # the month before is looked at, too, once a day
MARCH = date(2026, 3, 1)
COST_TYPES = ("unblended", "net_amortized")


@dataclass
class Imports:
    """A ledger that has a month of an export, and a newer delivery of it that waits to be read."""

    aws: SimulatedAws
    folder: Path
    moments: list[tuple[float, str]] = field(default_factory=list)
    """When each request to S3 came during the last import, and for which key."""
    kill_at: tuple[int, float] | None = None
    """At which request the import is killed, and how many seconds after it."""
    process: subprocess.Popen[bytes] | None = None

    def seen(self, key: str) -> None:
        """A request to S3 for an object."""
        self.moments.append((time.monotonic(), key))
        if self.kill_at is not None and len(self.moments) == self.kill_at[0]:
            process = self.process
            assert process is not None
            timer = threading.Timer(self.kill_at[1], process.kill)
            timer.daemon = True
            timer.start()
            if not self.kill_at[1]:
                timer.join()

    def run(self, data_dir: Path, kill_at: tuple[int, float] | None) -> int:
        """Import in a process, killed at a moment, if not over by then; returns its code."""
        self.moments.clear()
        self.kill_at = kill_at
        program = str(Path(__file__).with_name("importing_process.py"))
        arguments = (self.aws.url, self.aws.payer_id, AFTER.isoformat(), str(data_dir))
        with subprocess.Popen([sys.executable, program, *arguments]) as process:
            self.process = process
            try:
                return process.wait()
            finally:
                process.kill()

    def copy(self, name: str) -> Path:
        """A data folder of before the newer delivery."""
        return Path(shutil.copytree(self.folder / "before", self.folder / name))


@pytest.fixture
def imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Imports]:
    with SimulatedAws(OrganizationSpec(seed=7, accounts=3, now=BEFORE), costs=()) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        ids = [account.id for account in aws.accounts]
        end = BEFORE.date() + DAY
        old = [
            replace(row, visible_until=AFTER)
            for row in drawn_bill(ids, MARCH, end, 1)
            if row.visible_from is not None and row.visible_from < AFTER
        ]
        new = [
            replace(row, visible_from=max(AFTER, row.visible_from or AFTER))
            for row in drawn_bill(ids, MARCH, end, 2)
        ]
        aws.set_costs([*old, *new])
        aws.exports.create(manual_discounts=True, hourly=False, lines_per_file=100)
        aws.exports.hold()
        made = Imports(aws, tmp_path)
        answered = aws.exports.before_get

        def before_get(bucket: str, key: str, operation: str) -> None:
            made.seen(key)
            answered(bucket, key, operation)

        aws.exports.before_get = before_get  # type: ignore[method-assign] # the other end of the wire
        aws.exports.deliver(force=True)
        (tmp_path / "before").mkdir()
        with reading(aws, tmp_path / "before", cost_settings={"history_months": 1}) as reader:
            reader.read()
            assert differences(reader, BEFORE, cost_types=COST_TYPES) == []
        aws.clock.set(AFTER)
        aws.exports.deliver(force=True)
        yield made


def judge(imports: Imports, data_dir: Path) -> str:
    """Which of both deliveries the ledger has, whole; then it is read to the end."""
    with reading(imports.aws, data_dir, cost_settings={"history_months": 1}) as reader:
        # What the exporter does at its start.
        CubeMonths(reader.ledger).forget_missing()
        CubeMonths(reader.ledger).remove_superseded(unfinished=True)
        month = reader.month(MARCH)
        assert month is not None
        assert month.file(LINES) is not None
        state = {BEFORE: "before", AFTER: "after"}[month.read_at]
        assert differences(reader, month.read_at, cost_types=COST_TYPES) == []
        reader.read()
        assert differences(reader, AFTER, cost_types=COST_TYPES) == []
        assert len([*(data_dir / "cube").iterdir()]) == 1
    # A fold whose parent was killed ends by itself; on a busy machine that takes a while.
    wait_for("the end of what was killed", lambda: not [*(data_dir / "spill").glob("f*-*")])
    return state


def killed(imports: Imports, kills: list[tuple[int, float]]) -> list[str]:
    states = []
    for number, kill_at in enumerate(kills):
        data_dir = imports.copy(f"killed-{number}")
        imports.run(data_dir, kill_at)
        states.append(judge(imports, data_dir))
        shutil.rmtree(data_dir)
    return states


@dataclass(frozen=True)
class Whole:
    """An import that no one killed."""

    requests: int
    last_of_month: int
    """The number of the request after which the month is committed; it looks at the manifest once more."""
    commit_seconds: float
    """From then to the first look at the month before."""


def whole(imports: Imports) -> Whole:
    data_dir = imports.copy("whole")
    assert imports.run(data_dir, None) == 0
    moments = list(imports.moments)
    assert judge(imports, data_dir) == "after"
    last = max(number for number, (_, key) in enumerate(moments, 1) if "BILLING_PERIOD=2026-03" in key)
    assert last < len(moments)
    return Whole(len(moments), last, moments[last][0] - moments[last - 1][0])


@pytest.mark.fault("the exporter, killed while it imports a month", "the old month or the new one, whole")
def test_a_killed_import_leaves_the_month_as_it_was_or_as_it_became(imports: Imports) -> None:
    known, random = whole(imports), Random(1)
    during = [(known.last_of_month, random.uniform(0, known.commit_seconds)) for _ in range(2)]
    states = killed(
        imports, [(2, 0.0), (known.last_of_month // 2, 0.0), *during, (known.last_of_month + 1, 0.0)]
    )
    assert states[:2] == ["before", "before"]
    assert states[-1] == "after"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_killed_imports(imports: Imports) -> None:
    known, random = whole(imports), Random()
    kills = [(random.randint(1, known.last_of_month), random.uniform(0, 0.2)) for _ in range(20)]
    kills += [(known.last_of_month, random.uniform(0, 1.2 * known.commit_seconds)) for _ in range(20)]
    print(kills)
    assert {*killed(imports, kills)} == {"before", "after"}

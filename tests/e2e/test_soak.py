"""Days of faults, drawn at random: at the end the ledger, the history and the channel are as if there had been none."""

from __future__ import annotations

import random
import statistics
import sys
from pathlib import Path

import pytest
from soak_world import DAY, Plan, World, draw_plan, rest, running_world
from waiting import wait_for

pytestmark = pytest.mark.stack

RESTS = 3
SEED = 19  # of the three days: something of each kind breaks


def plans(days: int, seed: int) -> list[Plan]:
    """What breaks on each day. In the last third no process ends, so that it shows what they hold on to."""
    draws = random.Random(f"{seed}:plans")
    return [draw_plan(draws, restarts=number < days - days // 3) for number in range(days)]


def soak(folder: Path, capsys: pytest.CaptureFixture[str], days: int, seed: int) -> None:
    with running_world(folder, seed, days) as world:
        first = world.now.date() + DAY
        say(capsys, f"seed {seed}, {days} days from {first}")
        for number, plan in enumerate(plans(days, seed)):
            say(capsys, world.pass_day(first + number * DAY, plan))
        rest(world, RESTS, lambda: history_is_whole(world))
        end = world.now.date()
        ledger = world.in_ledger(end)
        assert ledger == world.truth(end), "the ledger is what Cost Explorer says, to the cent"
        assert world.in_prometheus(end) == ledger, "the history is what the ledger says"
        world.send_alerts()  # as Prometheus does, no matter what became of the last time
        wait_for("every alert is in the channel", lambda: world.arrived() == set(world.alerts))
        sent, charged = world.paid()
        # A kill may come between a charge and its request, and the other way round never.
        assert sent <= charged <= sent + world.kills
        served = world.exporter.value("aws_spend_exporter_ledger_rows")
        assert served is not None
        assert served > 0
        say(capsys, f"{sent} paid requests, {charged} charged, {world.kills} kills; {footprints(world)}")
        check_flat(world)


def history_is_whole(world: World) -> bool:
    end = world.now.date()
    return world.in_prometheus(end) == world.in_ledger(end)


def footprints(world: World) -> str:
    return "; ".join(
        f"{name}: {found[0].kib // 1024} to {found[-1].kib // 1024} MiB, {found[0].files} to {found[-1].files} files,"
        f" {found[0].threads} to {found[-1].threads} threads"
        for name, found in world.footprints.items()
    )


def check_flat(world: World) -> None:
    """Of the days since processes last ended, the later ones hold no more than the earlier ones, but for what comes and goes."""
    for name, found in world.footprints.items():
        for each in found:
            assert each.kib < 400 * 1024, (name, each)
            assert each.files < 128, (name, each)
            assert each.threads < 64, (name, each)
        late = found[len(found) - len(found) // 3 :]
        if len(late) < 6:
            continue  # too few to have a median
        half = len(late) // 2
        for measure, room in (("kib", 24 * 1024), ("files", 12), ("threads", 8)):
            before, after = (
                statistics.median(getattr(each, measure) for each in part)
                for part in (late[:half], late[half:])
            )
            assert after <= before + room, (name, measure, before, after)


def say(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n  {text}")
        sys.stdout.flush()


MARK = pytest.mark.fault(
    "days of faults of AWS, the write endpoint and Telex, and kills, drawn at random",
    "ledger, history and channel end as they should; nothing committed is lost",
)


@MARK
def test_three_days_of_faults_leave_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [kind for plan in plans(3, SEED) for kind in plan.broken]
    assert any(kind.startswith("SIGKILL of the exporter") for kind in broken)
    assert "SIGKILL of the relay" in broken
    assert any(kind.startswith("the write endpoint") for kind in broken)
    assert any(kind.startswith("Telex") for kind in broken)
    soak(tmp_path, capsys, days=3, seed=SEED)


@MARK
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_thirty_days_of_faults_leave_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soak(tmp_path, capsys, days=30, seed=random.randrange(10**6))

"""Other hours and dates: which ones there are, and that a process and its children are at them."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta

import pytest
from moments import HOURS, environment, moments, short_moment


def _kind(day: date) -> str:
    if (day + timedelta(days=1)).day == 1:
        return "end"
    return "start" if day.day <= 3 else "plain"


@pytest.mark.parametrize(
    "today", [date(2026, 11, 30), date(2027, 12, 1), date(2028, 2, 29), date(2098, 7, 1)]
)
def test_each_hour_meets_each_kind_of_day_and_each_date_both_halves(today: date) -> None:
    chosen = moments(today)
    assert {(f"{at:%H:%M}", _kind(at.date())) for at in chosen} >= {
        (hour, kind) for hour in HOURS for kind in ("start", "plain", "end")
    }
    halves: dict[str, set[bool]] = {}
    for at in chosen:
        names = [f"{at.day}" if _kind(at.date()) != "end" else "last", f"{at:%m-%d}"]
        for name in names:
            halves.setdefault(name, set()).add(at.hour >= 12)
    assert {"1", "2", "3", "11", "last", "12-31", "02-29"} <= halves.keys()
    assert all(half == {False, True} for half in halves.values())
    for hour in (11, 12):
        now = datetime.combine(today, time(hour), UTC)
        assert short_moment(now) > now
        assert (short_moment(now).hour >= 12) != (hour >= 12)
    assert min(chosen).date() >= today


def test_a_process_and_its_children_are_at_the_moved_time_and_wait_real_seconds() -> None:
    look = (
        "import datetime, time, time_machine;"
        "began = time.monotonic(); time.sleep(0.1); assert 0.1 <= time.monotonic() - began < 60;"
        "print(time.time() - time_machine.escape_hatch.time.time());"
        "print(datetime.datetime.now(datetime.UTC).isoformat())"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {look!r}], check=True)"
    seconds = timedelta(days=400, hours=7).total_seconds()
    for program in (look, parent):
        printed = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | environment(seconds),
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        moved, now = printed.split()
        assert float(moved) == pytest.approx(seconds, abs=5)
        assert datetime.fromisoformat(now).tzinfo == UTC

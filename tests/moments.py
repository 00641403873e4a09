"""Run the suites of one process at other hours and dates than now: `make clocks`.

Each run's clock starts at its moment and goes on from there, in child processes, too. Python's clock is moved from
within. Go's servers ask the kernel for the time past every library; those that `moved_servers` wraps run in QEMU's user
mode, which asks the C library for them, where libfaketime answers. All else stays at the real time.
"""

from __future__ import annotations

import argparse
import calendar
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
_SITE = TESTS / "moved_clock"
_VARIABLE = "MOVED_CLOCK_SECONDS"
HOURS = ("00:05", "06:00", "11:55", "12:05", "18:00", "23:55")
_SERVERS = ("prometheus", "alertmanager", "prometheus-alertmanager", "victoria-metrics")
ONE_PROCESS = "not stack and not long and not alone"
DEPENDS_ON_THE_CLOCK = "not clockless"


def environment(seconds: float) -> dict[str, str]:
    """Settings that move the clock of a Python process and of its Python children by so many seconds."""
    folders = [str(_SITE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(folders), _VARIABLE: repr(seconds)}


def python_path(*folders: Path, moment: datetime | None = None) -> dict[str, str]:
    """PYTHONPATH for a child with a separate environment, and the clock of this process, or one that starts at `moment`."""
    moved = {name: os.environ[name] for name in (_VARIABLE,) if name in os.environ}
    if moment is not None:
        own = float(moved.get(_VARIABLE, "0"))
        moved = {_VARIABLE: repr((moment - datetime.now(UTC)).total_seconds() + own)}
    paths = [str(path) for path in ([_SITE, *folders] if moved else folders)]
    return {"PYTHONPATH": os.pathsep.join(paths), **moved}


def clock_at(moment: datetime) -> dict[str, str]:
    """Settings that start the clock of a Python process at this moment, if it starts now."""
    return environment((moment - datetime.now(UTC)).total_seconds())


def moved_servers(folder: Path, moment: datetime) -> dict[str, str]:
    """Settings that move Prometheus and Alertmanager as well; `folder` takes programs that start the real ones.

    The test is skipped where QEMU or libfaketime cannot be used; `make setup` installs both.
    """
    qemu, library = _qemu(), _faketime()
    if qemu is None or library is None:
        pytest.skip("QEMU's user mode or libfaketime is missing; `make setup` as root installs both")
    seconds = (moment - datetime.now(UTC)).total_seconds()
    for name in _SERVERS:
        if program := shutil.which(name):
            starter = folder / name
            starter.write_text(
                "#!/bin/sh\n"
                f"FAKETIME={seconds:+.3f}s FAKETIME_DONT_FAKE_MONOTONIC=1 LD_PRELOAD={library}"
                f' exec {qemu} -U LD_PRELOAD,FAKETIME {program} "$@"\n'
            )
            starter.chmod(0o755)
    return environment(seconds) | {"PATH": f"{folder}:{os.environ['PATH']}"}


def _qemu() -> str | None:
    program = shutil.which(f"qemu-{platform.machine()}")
    if program and not subprocess.run([program, "--version"], capture_output=True).returncode:
        return program
    return None  # an unpacked one may lack libraries


def _faketime() -> Path | None:
    for root in (Path("/"), TESTS.parent / ".tools"):
        if found := next(root.glob("usr/lib/*/faketime/libfaketimeMT.so.1"), None):
            return found
    return None


def leap_year(today: date) -> int:
    """The first leap year whose moments all lie in the future, as the data of a release does not."""
    year = (today + timedelta(days=31)).year + 1  # the earliest moment is 30 November of the year before
    while not calendar.isleap(year):
        year += 1
    return year


def moments(today: date) -> list[datetime]:
    """Each hour on a plain day, at the start and at the end of a month; each date before and after noon."""
    leap = leap_year(today)
    days = {
        # Ten days of the month are complete on the 11th, none on the 1st; fees of a month come until the 3rd, which may
        # be the assessed day until the 6th.
        date(leap, 1, 11): HOURS,
        date(leap, 1, 1): ("00:05", "18:00"),
        date(leap, 3, 2): ("06:00", "23:55"),
        date(leap, 3, 3): ("11:55", "12:05"),
        date(leap, 3, 5): ("06:00", "18:00"),
        date(leap, 3, 6): ("11:55", "12:05"),
        date(leap - 1, 11, 30): ("11:55", "12:05"),
        date(leap - 1, 12, 31): ("06:00", "18:00"),
        date(leap, 2, 29): ("00:05", "23:55"),
    }
    return [at(day, hour) for day, hours in days.items() for hour in hours]


def short_moment(now: datetime) -> datetime:
    """One on the other side of noon: a year's first morning, or the last minutes of a leap day."""
    leap = leap_year(now.date())
    return at(date(leap, 1, 1), "06:00") if now.hour >= 12 else at(date(leap, 2, 29), "23:55")


def at(day: date, hour: str) -> datetime:
    """The hour, such as `06:00`, of a UTC day."""
    return datetime.combine(day, clock_time.fromisoformat(hour), UTC)


def run(moment: datetime, arguments: list[str]) -> bool:
    """Run pytest at a moment and print one line, and pytest's output if anything failed."""
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command,
        cwd=TESTS.parent,
        env=os.environ | clock_at(moment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    counts = dict(_counts(done.stdout))
    failed = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    seconds = time.monotonic() - began
    print(
        f"{moment:%Y-%m-%d %H:%M} UTC: {counts.get('passed', 0)} passed, {failed} failed, {seconds:.0f} s",
        flush=True,
    )
    if done.returncode:
        print(done.stdout, flush=True)
    return done.returncode == 0


def _counts(output: str) -> Iterator[tuple[str, int]]:
    """What pytest's last line counts, such as `3 failed, 844 passed in 60.12s`."""
    summary = next((line for line in reversed(output.splitlines()) if re.search(r" in [\d.]+s", line)), "")
    return ((what, int(count)) for count, what in re.findall(r"(\d+) (\w+)", summary))


def main() -> int:
    """0 if all tests passed at all moments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="one moment instead of all, and only tests that depend on it"
    )
    parser.add_argument(
        "--at", action="append", help="only at this moment, such as 2028-02-29T23:55", default=[]
    )
    parser.add_argument("--workers", default="4", help="processes that share the tests")
    parser.add_argument("-m", dest="marks", default=ONE_PROCESS, help="which tests, as pytest has it")
    parser.add_argument("paths", nargs="*", help="tests to run, default all of one process")
    given = parser.parse_args()
    now = datetime.now(UTC)
    chosen = [datetime.fromisoformat(at).replace(tzinfo=UTC) for at in given.at]
    chosen = chosen or ([short_moment(now)] if given.short else moments(now.date()))
    marks = f"({given.marks}) and {DEPENDS_ON_THE_CLOCK}" if given.short else given.marks
    arguments = ["-n", given.workers, "-m", marks, *given.paths]
    results = [run(moment, arguments) for moment in chosen]
    return not all(results)


if __name__ == "__main__":
    sys.exit(main())

"""How far month-end projections are off, by shape of the series: ours, Holt-Winters and the mean day.

Series and seeds are drawn at run time; the seed is printed. An organization is the sum of its series.
Its bounds: on day 10, growth, decline and every other week at most 3%, and the organization no worse than Holt-Winters.

    python -m bench.projection --organizations 40
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.projection.judge import HOLT_WINTERS, ORGANIZATION, OTHERS, SUMMED, Error, Line, judge, lines

BOUND_PERCENT = 3.0
BOUND_DAY = 10
BOUNDED = ("growth", "decline", "every other week")
WHOLE = (ORGANIZATION, OTHERS)


def missed(found: Sequence[Line]) -> list[str]:
    """The bounds that do not hold, in words."""
    out = []
    for line in found:
        if line.day != BOUND_DAY:
            continue
        worst = max(line.median["ours"], line.mean["ours"])
        if line.what in BOUNDED and worst > BOUND_PERCENT:
            out.append(f"{line.what}: {worst:.2f}%, not at most {BOUND_PERCENT:g}%")
        # Worse than Holt-Winters where the whole interval is.
        if line.what in WHOLE and line.worse[HOLT_WINTERS][0] > 0:
            out.append(f"{line.what}: worse than Holt-Winters by {line.worse[HOLT_WINTERS][0]:.2f} at least")
    return out


def _run(seeds: Sequence[tuple[int, bool]], jobs: int) -> list[Error]:
    # One thread a process: more would only wait for each other.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    errors: list[Error] = []
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for number, found in enumerate(pool.map(judge, seeds), start=1):
            click.echo(f"organization {number} of {len(seeds)}", err=True)
            errors += found
    return errors


@click.command()
@click.option(
    "--organizations", default=40, show_default=True, help="Of shapes; each has one series of each."
)
@click.option(
    "--others", default=20, show_default=True, help="Of the anomaly bench; each has one of each class."
)
@click.option("--seed", type=int, help="Of everything that is drawn; printed, and drawn if not given.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Processes.")
@click.option("--classes", is_flag=True, help="Also a line for each class of the anomaly bench.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(organizations: int, others: int, seed: int | None, jobs: int, classes: bool, as_json: bool) -> None:
    """Compare month-end projections with what the months cost; exit with 1 where a bound does not hold."""
    drawn = random.SystemRandom().randrange(1, 10**6) if seed is None else seed
    seeds = np.random.default_rng(drawn).integers(1, 2**31, organizations + others).tolist()
    errors = _run([(each, number >= organizations) for number, each in enumerate(seeds)], jobs)
    found = lines(errors, drawn)
    if not classes:
        found = [line for line in found if not line.what.startswith("class: ")]
    if as_json:
        click.echo(json.dumps({"seed": drawn, "lines": [asdict(line) for line in found]}))
    else:
        _print(found, f"{organizations} organizations of shapes, {others} of the anomaly bench, seed {drawn}")
    for text in missed(found):
        click.echo(f"bound not held on day {BOUND_DAY}: {text}", err=True)
    sys.exit(bool(missed(found)))


def _between(line: Line, method: str) -> str:
    low, high = line.worse.get(method, (None, None))
    return "" if low is None else f"{low:+.2f} to {high:+.2f}"


def _print(found: Sequence[Line], title: str) -> None:
    methods = ("ours", HOLT_WINTERS, SUMMED, "mean day")
    table = Table(
        "series",
        "day",
        "projections",
        *(f"{name}: median / mean / p90 %" for name in methods),
        "worse than Holt-Winters by: mean, 95%",
        "than it summed",
        title=f"Absolute percentage errors of month-end projections, {title}",
    )
    for line in sorted(found, key=lambda line: (line.what in WHOLE, line.day)):
        table.add_row(
            line.what,
            str(line.day),
            str(line.count),
            *(
                f"{line.median[name]:.2f} / {line.mean[name]:.2f} / {line.p90[name]:.2f}"
                if name in line.median
                else ""
                for name in methods
            ),
            *(_between(line, name) for name in (HOLT_WINTERS, SUMMED)),
        )
    Console(width=None if sys.stdout.isatty() else 190).print(table)


if __name__ == "__main__":
    main()

"""How good anomaly findings are: precision, recall and delay by class of service, on labelled organisations.

Each organisation is replayed day by day as the exporter sees it. What counts, for every method alike:

- An event is found by an alarm of its sign on one of its days; a lasting change (shift, launch, shutdown)
  within a week.
- Alarms of a series on consecutive days (one silent day between them allowed) and of one sign are one
  message. A message none of whose days is within an event of its sign is a false alarm; a lasting change
  is no news after two weeks.
- Precision is found / (found + false alarms), recall is found / events.

The other methods look at the whole cost, as tools that use them do, and are given the same floor of
dollars a day where it helps them. Seeds are drawn at run time and printed; nothing is tuned to one.

    python -m bench.anomaly --seeds 20
"""

from __future__ import annotations

import json
import math
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.anomaly_generator import (
    ASSESSED_DAYS,
    CLASSES,
    DAYS,
    HISTORY_DAYS,
    Costs,
    Event,
    Organization,
    generate,
)
from exporter.anomalies.settings import SCORES, AnomalySettings, Sensitivity
from exporter.expectation import baseline
from exporter.expectation.limits import Limits

OURS, Z_SCORE, WEEKLY_MEAN, ORIGINAL = "ours", "30-day z-score", "20% over weekly mean", "original"
ALL = "all"
FLOOR_USD = 25.0
BILL_IS_FINAL_ON = 5
"""The day on which the organisations' bills of the month before become final; AWS says so of each day."""

Signs = NDArray[np.int64]
Method = Callable[[Sequence[date], Costs, Costs], Signs]
"""Dates, usage and whole cost up to the assessed day to the sign of an alarm of each series: 1, -1 or 0."""


def z_score(days: Sequence[date], usage: Costs, total: Costs) -> Signs:
    """Three standard deviations from the mean of the 30 days before the tested one, which is not among them."""
    window, cost = total[:, -31:-1], total[:, -1]
    mean, deviation = np.nanmean(window, axis=1), np.nanstd(window, axis=1)
    off = cost - mean
    return np.where((abs(off) > 3 * deviation) & (abs(off) >= FLOOR_USD), np.sign(off), 0).astype(np.int64)


def weekly_mean(days: Sequence[date], usage: Costs, total: Costs) -> Signs:
    """A fifth more than the mean of the seven days before."""
    mean, cost = np.nanmean(total[:, -8:-1], axis=1), total[:, -1]
    return np.asarray((cost > 1.2 * mean) & (cost - mean >= FLOOR_USD), dtype=np.int64)


def original(days: Sequence[date], usage: Costs, total: Costs) -> Signs:
    """A z-score of 3 over seven days of which the tested one is one, which no data reach; and as stopped, what
    does not change: the day's cost is that of the day before, to the cent.

    Reconstructed from its description.
    """
    window, cost = total[:, -7:], total[:, -1]
    mean, deviation = np.nanmean(window, axis=1), np.nanstd(window, axis=1)
    above = (deviation > 0) & (cost - mean > 3 * np.maximum(deviation, 1e-9))
    steady = (abs(cost - total[:, -2]) < 0.005) & (np.nanmax(total, axis=1) > 0)
    return np.asarray(above, dtype=np.int64) - np.asarray(steady & ~above, dtype=np.int64)


def ours(
    days: Sequence[date], usage: Costs, total: Costs, *, sensitivity: Sensitivity | None = None
) -> Signs:
    """The exporter's baseline at its default settings, or at another sensitivity."""
    limits = AnomalySettings().limits(sensitivity)
    found = baseline.assess(usage, days, limits, last_month_is_open=days[-1].day < BILL_IS_FINAL_ON)
    above = baseline.spikes(found, limits) | found.new
    below = baseline.drops(found, limits) | found.stopped
    return above.astype(np.int64) - below.astype(np.int64)


METHODS: dict[str, Method] = {OURS: ours, Z_SCORE: z_score, WEEKLY_MEAN: weekly_mean, ORIGINAL: original}


# Scoring


@dataclass(slots=True)
class Score:
    """Counts over one or more series; `delays` are the days from an event to its first alarm."""

    events: int = 0
    found: int = 0
    false_alarms: int = 0
    pair_days: int = 0
    delays: tuple[int, ...] = ()

    def __add__(self, other: Score) -> Score:
        """The counts of both."""
        return Score(
            self.events + other.events,
            self.found + other.found,
            self.false_alarms + other.false_alarms,
            self.pair_days + other.pair_days,
            self.delays + other.delays,
        )

    @property
    def precision(self) -> float | None:
        """The share of findings that are true; None if nothing was found."""
        findings = self.found + self.false_alarms
        return self.found / findings if findings else None

    @property
    def recall(self) -> float | None:
        """The share of true anomalies that were found; None if there were none."""
        return self.found / self.events if self.events else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both; None without any event."""
        if not self.events:
            return None
        return 2 * self.found / (self.events + self.found + self.false_alarms)

    @property
    def false_per_100_pair_months(self) -> float:
        """False alarms per 100 account-service pairs in 30 days."""
        return self.false_alarms / self.pair_days * 100 * 30 if self.pair_days else 0.0


def messages(signs: Iterable[int]) -> list[tuple[int, list[int]]]:
    """The sign and the days of each message of one series."""
    found: list[tuple[int, list[int]]] = []
    for day, sign in enumerate(signs):
        if not sign:
            continue
        if (open_ := next((m for m in found if m[0] == sign and day - m[1][-1] <= 2), None)) is not None:
            open_[1].append(day)
        else:
            found.append((sign, [day]))
    return found


def score_series(signs: Sequence[int], events: Sequence[Event]) -> Score:
    """One series; `signs` by column, zero before the assessed days."""
    delays = []
    for event in events:
        days = [day for day in range(event.first, event.found_by + 1) if signs[day] == event.sign]
        if days:
            delays.append(days[0] - event.first)
    false = 0
    for sign, days in messages(signs):
        if not any(e.sign == sign and e.first <= day <= e.excused for e in events for day in days):
            false += 1
    return Score(len(events), len(delays), false, ASSESSED_DAYS, tuple(delays))


def replay(organization: Organization, method: Method) -> Signs:
    """The alarms of each series on each column, zero where nothing is assessed."""
    signs = np.zeros(organization.usage.shape, dtype=np.int64)
    for assessed in range(HISTORY_DAYS, DAYS):
        usage, total = organization.seen(assessed)
        signs[:, assessed] = method(organization.days(assessed), usage, total)
    return signs


def measure(organization: Organization, method: Method) -> dict[str, Score]:
    """The scores by class, and of all."""
    signs = replay(organization, method)
    by_series: dict[int, list[Event]] = defaultdict(list)
    for event in organization.events:
        by_series[event.series].append(event)
    scores = {name: Score() for name in (*CLASSES, ALL)}
    for series, name in enumerate(organization.classes):
        score = score_series(signs[series].tolist(), by_series[series])
        scores[name] += score
        scores[ALL] += score
    return scores


def not_ahead(totals: dict[str, dict[str, Score]]) -> list[str]:
    """The classes in which another method is as good as ours or better, in words.

    By F1; in a class without events by false alarms.
    """
    found = []
    for group in (*CLASSES, ALL):
        ours_ = totals[OURS][group]
        for name in METHODS:
            theirs = totals[name][group]
            if name == OURS:
                continue
            if ours_.f1 is None:
                if theirs.false_alarms <= ours_.false_alarms:
                    found.append(
                        f"{group}: {theirs.false_alarms} false alarms of {name}, {ours_.false_alarms} of ours"
                    )
            elif (theirs.f1 or 0) >= ours_.f1:
                found.append(f"{group}: F1 {theirs.f1:.3f} of {name}, {ours_.f1:.3f} of ours")
    return found


def seconds_for(series: int, days: int) -> tuple[float, float]:
    """Seconds to assess one day of so many series, by the clock and of processor time; the best of three."""
    rng = np.random.default_rng(1)
    values = rng.lognormal(3, 1, (series, 1)) * rng.lognormal(0, 0.05, (series, days))
    dates = [date(2026, 3, 31) - timedelta(days=days - 1 - number) for number in range(days)]
    best = (math.inf, math.inf)
    for _ in range(3):
        began, worked = time.perf_counter(), time.process_time()
        limits = Limits()
        found = baseline.assess(values, dates, limits)
        baseline.spikes(found, limits)
        baseline.drops(found, limits)
        best = min(best, (time.perf_counter() - began, time.process_time() - worked))
    return best


def _number(value: float | None, form: str = ".2f") -> str:
    return "–" if value is None else format(value, form)


def _row(name: str, method: str, score: Score) -> dict[str, Any]:
    return {
        "class": name,
        "method": method,
        "events": score.events,
        "precision": score.precision,
        "recall": score.recall,
        "f1": score.f1,
        "days_to_detect": statistics.mean(score.delays) if score.delays else None,
        "false_alarms": score.false_alarms,
        "false_per_100_pair_months": score.false_per_100_pair_months,
    }


@click.command()
@click.option("--seeds", default=20, show_default=True, help="Organisations.")
@click.option("--seed", "chosen", multiple=True, type=int, help="Exactly these seeds instead.")
@click.option("--per-class", default=8, show_default=True, help="Account-service pairs of each class.")
@click.option(
    "--sensitivity", type=click.Choice(list(SCORES)), help="Ours at another sensitivity than medium."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every seed's scores.")
def main(
    seeds: int, chosen: tuple[int, ...], per_class: int, sensitivity: Sensitivity | None, as_json: bool
) -> None:
    """Compare anomaly findings with what really happened in drawn organisations."""
    drawn = chosen or tuple(random.SystemRandom().randrange(1, 10**6) for _ in range(seeds))
    methods = METHODS | {OURS: partial(ours, sensitivity=sensitivity)}
    progress = Console(file=sys.stderr)
    totals: dict[str, dict[str, Score]] = {m: {c: Score() for c in (*CLASSES, ALL)} for m in METHODS}
    by_seed: dict[str, list[Score]] = {method: [] for method in METHODS}
    for number, seed in enumerate(drawn, start=1):
        progress.print(f"seed {seed} ({number} of {len(drawn)})")
        organization = generate(seed, per_class)
        for name, method in methods.items():
            scores = measure(organization, method)
            by_seed[name].append(scores[ALL])
            for group, score in scores.items():
                totals[name][group] += score
    rows = [_row(group, name, totals[name][group]) for group in (*CLASSES, ALL) for name in METHODS]
    if as_json:
        each = {name: [asdict(score) for score in scores] for name, scores in by_seed.items()}
        click.echo(json.dumps({"seeds": drawn, "rows": rows, "by_seed": each}))
        return
    table = Table(
        "class", "method", "events", "precision", "recall", "F1", "days", "false", "per 100 pair-months",
        title=f"Findings against labels: {len(drawn)} organisations x {per_class * len(CLASSES)} account-service"
        f" pairs x {ASSESSED_DAYS} days",
        caption=f"Seeds {' '.join(map(str, drawn))}",
    )  # fmt: skip
    last = list(METHODS)[-1]
    for row in rows:
        table.add_row(
            row["class"],
            row["method"],
            str(row["events"]),
            _number(row["precision"]),
            _number(row["recall"]),
            _number(row["f1"]),
            _number(row["days_to_detect"], ".1f"),
            str(row["false_alarms"]),
            _number(row["false_per_100_pair_months"]),
            end_section=row["method"] == last,
        )
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(table)
    for name, of_seeds in by_seed.items():
        f1 = sorted(score.f1 or 0.0 for score in of_seeds)
        false = sorted(score.false_per_100_pair_months for score in of_seeds)
        console.print(
            f"{name}, by seed: F1 {f1[0]:.3f} to {f1[-1]:.3f} (median {statistics.median(f1):.3f}),"
            f" false alarms per 100 pair-months {false[0]:.2f} to {false[-1]:.2f}"
        )
    for line in not_ahead(totals) or ["ours is ahead in every class"]:
        console.print(f"not ahead in {line}" if ":" in line else line)
    by_clock, worked = seconds_for(20_000, 60)
    console.print(f"20,000 series x 60 days: {by_clock:.2f} s, {worked:.2f} s of processor time")


if __name__ == "__main__":
    main()

"""Tables and JSON of what was judged."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.anomaly.judging import Judged, Whole, difference, verdict
from bench.anomaly.scoring import Score
from bench.anomaly.world import JUDGED_DAYS

OURS = "ours"
REALISTIC = 1.0
"""Events per 100 pairs in a month where precision is also given; the bench has thirty times as many."""


def _number(value: float | None, form: str = ".2f") -> str:
    return "–" if value is None else format(value, form)


def _macro(judged: Judged, counts: Any) -> float:
    names = np.array(judged.classes)
    return float(np.mean([Score.of(counts[names == name]).f1 for name in dict.fromkeys(judged.classes)]))


def as_row(judged: Judged, method: str) -> dict[str, Any]:
    """The figures of a method on one split's held-back classes."""
    counts = judged.ours if method == OURS else judged.others[method]
    found = Score.of(counts)
    equal = None if method == OURS else Score.of(judged.equal[method])
    return {
        "split": judged.split.seed,
        "method": method,
        "f1": found.f1,
        "f1_over_classes": _macro(judged, counts),
        "precision": found.precision,
        "recall": found.recall,
        "covered_recall": found.covered_recall,
        "false_per_100_pair_months": found.rate,
        "precision_at_realistic_rate": found.precision_at(REALISTIC),
        "f1_at_equal_rate": equal.f1 if equal else None,
        "recall_at_equal_rate": equal.recall if equal else None,
        "false_per_100_pair_months_at_equal_rate": equal.rate if equal else None,
    }


def split_rows(whole: Whole) -> list[dict[str, Any]]:
    """Every split and method, then the mean over splits of each method."""
    methods = (OURS, *whole.others)
    rows = [as_row(part, method) for part in whole.parts for method in methods]
    for method in methods:
        mine = [row for row in rows if row["method"] == method]
        mean: dict[str, Any] = {"split": "mean", "method": method}
        for key in list(mine[0])[2:]:
            known = [row[key] for row in mine if row[key] is not None]
            mean[key] = float(np.mean(known)) if known else None
        rows.append(mean)
    return rows


def class_rows(whole: Whole) -> list[dict[str, Any]]:
    """A line for each class: ours, and F1 of every alternative as tuned."""
    rows = []
    for name in dict.fromkeys(sorted(whole.classes)):
        at = whole.of_class(name)
        found = Score.of(whole.ours[at])
        rows.append(
            {
                "class": name,
                "months": len(at) * JUDGED_DAYS / 30,
                "events": found.events,
                "precision": found.precision,
                "recall": found.recall,
                "covered": found.covered,
                "covered_recall": found.covered_recall,
                "f1": found.f1,
                "false_per_100_pair_months": found.rate,
                "others": {other: Score.of(counts[at]).f1 for other, counts in whole.others.items()},
            }
        )
    return rows


def as_json(whole: Whole, seed: int) -> dict[str, Any]:
    """All figures."""
    return {
        "seed": seed,
        "splits": [
            {
                "split": part.split.seed,
                "development": part.split.development,
                "held_back": part.split.held_back,
                "chosen": part.chosen.as_json(),
                "large_organization": large(part),
            }
            for part in whole.parts
        ],
        "by_split": split_rows(whole),
        "by_class": class_rows(whole),
        "paired": {name: intervals(whole, name) for name in whole.others},
        "verdict": [{"holds": bool(bound.holds), "bound": bound.text} for bound in verdict(whole)],
    }


def spread(whole: Whole) -> str:
    """The range over splits and over organizations of ours' false alarms per 100 pairs a month."""
    splits = sorted(Score.of(part.ours).rate for part in whole.parts)
    each = [
        Score.of(whole.ours[whole.organizations == number]).rate for number in np.unique(whole.organizations)
    ]
    low, middle, high = np.quantile(each, (0.05, 0.5, 0.95))
    return (
        f"by split {splits[0]:.2f} to {splits[-1]:.2f}; by organization {middle:.2f}"
        f" (nine in ten from {low:.2f} to {high:.2f})"
    )


def intervals(whole: Whole, name: str) -> dict[str, list[float]]:
    """F1 of a method less that of ours, and the ends of the paired 95% interval."""
    found = {}
    for key, counts in (("as_tuned", whole.others[name]), ("at_equal_rates", whole.equal[name])):
        by = difference(whole.ours, counts, whole.organizations)
        found[key] = [by.value, by.low, by.high]
    return found


def large(part: Judged) -> dict[str, Any]:
    """Ours in the large organization of a split, with messages by week."""
    found = part.realistic
    return {
        "pairs": found.score.pairs,
        "events": found.score.events,
        "precision": found.score.precision,
        "recall": found.score.recall,
        "false_per_100_pair_months": found.score.rate,
        "sent_a_week": float(found.sent.mean()),
        "sent_most": int(found.sent.max()),
        "false_a_week": float(found.false.mean()),
        "false_most": int(found.false.max()),
    }


def _split_table(whole: Whole) -> Table:
    table = Table(
        "split", "method", "F1", "F1 by class", "precision", "recall", "covered days", "false", "precision at 1",
        "F1 equal", "recall equal", title="Held-back classes, by split", caption=(
            "false: alarms per 100 pairs a month; precision at 1: with one event per 100 pairs a month;"
            " equal: with the threshold moved until there are no more false alarms than of ours"
        ),
    )  # fmt: skip
    rows = split_rows(whole)
    last = [*whole.others][-1]
    for row in rows:
        table.add_row(
            str(row["split"]),
            row["method"],
            *(
                _number(row[key], ".3f")
                for key in ("f1", "f1_over_classes", "precision", "recall", "covered_recall")
            ),
            _number(row["false_per_100_pair_months"]),
            _number(row["precision_at_realistic_rate"]),
            _number(row["f1_at_equal_rate"], ".3f"),
            _number(row["recall_at_equal_rate"], ".3f"),
            end_section=row["method"] == last,
        )
    return table


def _class_table(whole: Whole) -> Table:
    table = Table(
        "class", "events", "precision", "recall", "covered days", "false", "F1", *whole.others,
        title="Every class where it is held back; alternatives: F1 as tuned",
    )  # fmt: skip
    for row in class_rows(whole):
        table.add_row(
            row["class"],
            str(row["events"]),
            _number(row["precision"]),
            _number(row["recall"]),
            _number(row["covered_recall"]),
            _number(row["false_per_100_pair_months"]),
            _number(row["f1"]),
            *(_number(value) for value in row["others"].values()),
        )
    return table


def print_report(whole: Whole, seed: int, console: Console) -> None:
    """Splits, tables and verdict, for people."""
    for part in whole.parts:
        console.print(f"split {part.split.seed}: developed on {', '.join(part.split.development)}")
        console.print(f"  chosen: {part.chosen.as_json()}")
        beside = large(part)
        console.print(
            f"  an organization of {beside['pairs']} pairs with {beside['events']} events:"
            f" precision {_number(beside['precision'])}, recall {_number(beside['recall'])};"
            f" messages a week {_number(beside['sent_a_week'])}, at most {beside['sent_most']};"
            f" false ones {_number(beside['false_a_week'])}, at most {beside['false_most']}"
        )
    console.print(_split_table(whole))
    console.print(_class_table(whole))
    console.print(f"false alarms per 100 pairs a month, {spread(whole)}")
    for name in whole.others:
        value, low, high = intervals(whole, name)["at_equal_rates"]
        console.print(f"{name} at equal rates: F1 {value:+.3f} ({low:+.3f} to {high:+.3f}) against ours")
    for bound in verdict(whole):
        console.print(f"{'holds' if bound.holds else 'FAILS'}: {bound.text}")
    console.print(f"repeat with --seed {seed}")

"""The figures as Markdown, for the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.anomaly.judging import Whole, verdict
from bench.anomaly.report import OURS, class_rows, intervals, large, split_rows, spread
from bench.anomaly.world import JUDGED_DAYS

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def _methods(whole: Whole) -> list[str]:
    rows = [row for row in split_rows(whole) if row["split"] == "mean"]
    head = (
        "method", "F1", "F1, mean of classes", "precision", "recall", "recall on covered days",
        "false alarms per 100 pairs a month", "precision at 1", "F1 at equal rates", "against ours (95%)",
    )  # fmt: skip
    return _table(
        head,
        (
            (
                f"**{row['method']}**" if row["method"] == OURS else row["method"],
                _number(row["f1"], 3),
                _number(row["f1_over_classes"], 3),
                *(_number(row[key]) for key in ("precision", "recall", "covered_recall")),
                _number(row["false_per_100_pair_months"]),
                _number(row["precision_at_realistic_rate"]),
                _number(row["f1_at_equal_rate"], 3),
                "–" if row["method"] == OURS else _against(whole, row["method"]),
            )
            for row in rows
        ),
    )


def _against(whole: Whole, name: str) -> str:
    value, low, high = intervals(whole, name)["at_equal_rates"]
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def _splits(whole: Whole) -> list[str]:
    own = {row["split"]: row for row in split_rows(whole) if row["method"] == OURS}

    def row(part: Any) -> tuple[str, ...]:
        found, beside = own[part.split.seed], large(part)
        return (
            str(part.split.seed),
            _number(found["f1"], 3),
            _number(found["covered_recall"]),
            _number(found["false_per_100_pair_months"]),
            ", ".join(f"{name} {value:g}" for name, value in part.chosen.ours.items()) or "–",
            f"{beside['pairs']:,}",
            f"{_number(beside['sent_a_week'])}, at most {beside['sent_most']}",
            f"{_number(beside['false_a_week'])}, at most {beside['false_most']}",
        )

    head = (
        "split", "F1", "recall on covered days", "false alarms per 100 pairs a month", "chosen",
        "large organization: pairs", "messages a week", "false messages a week",
    )  # fmt: skip
    return _table(head, map(row, whole.parts))


def _classes(whole: Whole) -> list[str]:
    head = (
        "class",
        "events",
        "precision",
        "recall",
        "F1",
        "false alarms",
        *(f"F1 {name}" for name in whole.others),
    )
    return _table(
        head,
        (
            (
                row["class"],
                str(row["events"]),
                *(_number(row[key]) for key in ("precision", "recall", "f1", "false_per_100_pair_months")),
                *(_number(value) for value in row["others"].values()),
            )
            for row in class_rows(whole)
        ),
    )


def as_markdown(whole: Whole, seed: int) -> str:
    """Methods, splits, classes, and the bounds that are not met."""
    months = len(whole.classes) * JUDGED_DAYS / 30
    events = sum(row["events"] for row in class_rows(whole))
    failed = [f"- {bound.text}" for bound in verdict(whole) if not bound.holds]
    return "\n".join(
        [
            f"One run of `python -m bench.anomaly --seed {seed} --splits {len(whole.parts)}`: {events:,} events in"
            f" {months:,.0f} months of pairs, all held back. The mean of the splits:",
            "",
            *_methods(whole),
            "Ours by split:",
            "",
            *_splits(whole),
            f"False alarms per 100 pairs a month, {spread(whole)}.",
            "",
            "Every class where it is held back:",
            "",
            *_classes(whole),
            *(["Bounds of the project that this run does not meet:", *failed, ""] if failed else []),
        ]
    )


def write(path: Path, whole: Whole, seed: int) -> None:
    """Replace what stands between the two marks; ValueError if they are not there."""
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no marks {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{as_markdown(whole, seed)}{END}{after}")

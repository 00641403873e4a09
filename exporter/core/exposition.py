"""Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.core.metric import Family, Sample

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class DuplicateSeriesError(Exception):
    """One series was published twice; Prometheus would drop one silently."""


def render_labels(names: Iterable[str], values: Iterable[str]) -> str:
    """`{a="b"}`, or nothing without labels; an empty value is the same as an absent label."""
    pairs = [
        f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True) if value
    ]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def render_value(value: float) -> str:
    """A float as Prometheus reads it, without a needless fraction."""
    if value == int(value) if abs(value) < 1e15 else False:
        return str(int(value))
    return repr(value)


def render(samples: Iterable[Sample]) -> dict[Family, str]:
    """Exposition lines by family; DuplicateSeriesError if a series occurs twice."""
    lines: dict[Family, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    for sample in samples:
        labels = render_labels(sample.family.labels, sample.values)
        series = (sample.family.name, labels)
        if series in seen:
            raise DuplicateSeriesError(f"{sample.family.name}{labels}")
        seen.add(series)
        lines.setdefault(sample.family, []).append(
            f"{sample.family.name}{labels} {render_value(sample.value)}\n"
        )
    return {family: "".join(text) for family, text in lines.items()}


def header(family: Family) -> str:
    """HELP and TYPE of a family."""
    text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {family.name} {text}\n# TYPE {family.name} {family.type}\n"

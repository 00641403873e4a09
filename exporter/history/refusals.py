"""The words by which receivers refuse a sample, and what each of them tells about other samples.

Only these words are about samples. Any other refusal (a page of a proxy, a limit, a body that was not understood) is
about the request, which may succeed later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class Reason(Enum):
    """Which samples a refusal is about, beside the one that caused it."""

    SERIES = "its labels"  # every sample of the series
    OLD = "too old for the receiver"  # every older sample, of any series
    ORDER = "older than the newest of its series"  # every older sample of the series
    SAMPLE = "itself"  # none


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a receiver says, in lower case, and where its source says it."""

    text: str
    reason: Reason
    source: str
    status: int | None = None
    """The only status that they count with; None: any that refuses."""


_PROMETHEUS = "Prometheus, Thanos, Cortex, AMP: prometheus/storage/interface.go"
_PROMETHEUS_LABELS = "Prometheus: storage/remote/write_handler.go, remote write 2.0"
_MIMIR = "Mimir: pkg/util/globalerror/user.go"
_CORTEX = "Cortex, AMP: pkg/util/validation/errors.go"
_CORTEX_LIMITS = "Cortex, AMP: pkg/ingester/limiter.go"
_THANOS = "Thanos: pkg/store/labelpb/label.go"

# VictoriaMetrics refuses no sample: it leaves out what it does not keep, and refuses a body that it cannot read.
REFUSALS = (
    Words(text="out of order sample", reason=Reason.ORDER, source=_PROMETHEUS),
    Words(text="too old sample", reason=Reason.OLD, source=_PROMETHEUS),
    Words(text="out of bounds", reason=Reason.OLD, source=_PROMETHEUS),
    Words(text="duplicate sample for timestamp", reason=Reason.SAMPLE, source=_PROMETHEUS),
    Words(text="invalid metric name or labels", reason=Reason.SERIES, source=_PROMETHEUS_LABELS),
    Words(text="invalid labels for series", reason=Reason.SERIES, source=_PROMETHEUS_LABELS),
    Words(text="err-mimir-sample-out-of-order", reason=Reason.ORDER, source=_MIMIR),
    Words(text="err-mimir-sample-timestamp-too-old", reason=Reason.OLD, source=_MIMIR),
    Words(text="err-mimir-too-far-in-past", reason=Reason.OLD, source=_MIMIR),
    Words(text="err-mimir-too-far-in-future", reason=Reason.SAMPLE, source=_MIMIR),
    Words(text="err-mimir-sample-duplicate-timestamp", reason=Reason.SAMPLE, source=_MIMIR),
    Words(text="err-mimir-missing-metric-name", reason=Reason.SERIES, source=_MIMIR),
    Words(text="err-mimir-metric-name-invalid", reason=Reason.SERIES, source=_MIMIR),
    Words(text="err-mimir-max-label-names-per-series", reason=Reason.SERIES, source=_MIMIR),
    Words(text="err-mimir-max-label-names-per-info-series", reason=Reason.SERIES, source=_MIMIR),
    Words(text="err-mimir-label-invalid", reason=Reason.SERIES, source=_MIMIR),
    Words(text="err-mimir-label-value-invalid", reason=Reason.SERIES, source=_MIMIR),
    Words(text="err-mimir-label-name-too-long", reason=Reason.SERIES, source=_MIMIR),
    Words(text="err-mimir-label-value-too-long", reason=Reason.SERIES, source=_MIMIR),
    Words(text="err-mimir-duplicate-label-names", reason=Reason.SERIES, source=_MIMIR),
    Words(text="err-mimir-labels-not-sorted", reason=Reason.SERIES, source=_MIMIR),
    Words(text="timestamp too old:", reason=Reason.OLD, source=_CORTEX),
    Words(text="timestamp too new:", reason=Reason.SAMPLE, source=_CORTEX),
    Words(text="label name too long", reason=Reason.SERIES, source=_CORTEX),
    Words(text="label value too long", reason=Reason.SERIES, source=_CORTEX),
    Words(text="sample invalid label", reason=Reason.SERIES, source=_CORTEX),
    Words(text="duplicate label name", reason=Reason.SERIES, source=f"{_CORTEX}; {_THANOS}"),
    Words(text="labels not sorted", reason=Reason.SERIES, source=_CORTEX),
    Words(text="series has too many labels", reason=Reason.SERIES, source=_CORTEX),
    Words(text="sample missing metric name", reason=Reason.SERIES, source=_CORTEX),
    Words(text="sample invalid metric name", reason=Reason.SERIES, source=_CORTEX),
    Words(text="out of order labels", reason=Reason.SERIES, source=_THANOS),
    Words(text="label set contains a label with empty name or value", reason=Reason.SERIES, source=_THANOS),
    # Where several replicas disagree, Thanos gives no other reason.
    Words(
        text="store locally for endpoint",
        reason=Reason.SAMPLE,
        source="Thanos: pkg/receive/handler.go",
        status=409,
    ),
)
"""The first that an answer contains decides."""

LIMITS = {
    "err-mimir-tenant-max-": _MIMIR,
    "err-mimir-max-series-per-": _MIMIR,
    "err-mimir-max-active-series": _MIMIR,
    "err-mimir-distributor-max-": _MIMIR,
    "err-mimir-ingester-max-": _MIMIR,
    "per-user series limit": _CORTEX_LIMITS,
    "per-metric series limit": _CORTEX_LIMITS,
    "ingestion rate limit": _CORTEX_LIMITS,
    "index out of bounds": "a program in front of the receiver that failed",
}
"""What is not about samples, and where it comes from: the same sample may be taken later."""


def is_limit(text: str) -> bool:
    """Whether an answer is about something else than samples, whichever other words it contains."""
    found = text.lower()
    return "<html" in found or "<!doctype" in found or any(words in found for words in LIMITS)


def reason_of(status: int, text: str) -> Reason | None:
    """Why a receiver refuses a sample; None if its answer is not about samples."""
    if is_limit(text):
        return None
    found = text.lower()
    for words in REFUSALS:
        if words.text in found and words.status in (None, status):
            return words.reason
    return None


_SERIES = re.compile(r" (?:for series|got|labels) (\{.*\})(?:, duplicated label .*)?$")


def series_named(text: str) -> list[tuple[Reason, str]]:
    """The reason and the series of each line that Prometheus answers to remote write 2.0, one for each refused sample.

    Of a refusal for its labels there is one line a series. Empty if there is a line of another kind.
    """
    found = []
    for line in text.strip().splitlines():
        reason, series = reason_of(400, line), _SERIES.search(line)
        if reason is None or series is None:
            return []
        found.append((reason, series[1]))
    return found

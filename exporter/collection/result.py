"""One unit of collection, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from exporter.aws.errors import Kind
from exporter.core.metric import Sample
from exporter.core.resource import Resource


@dataclass(frozen=True, slots=True)
class Key:
    """What a result is of: a collector's part or a view, an account and a region; empty where it has none."""

    unit: str
    account_id: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionResult:
    """The whole result of one unit: samples, or an error kind; never a part of either.

    `succeeded_at` is when AWS was read, so that staleness does not begin with the process.
    """

    samples: tuple[Sample, ...]
    attempted_at: datetime
    succeeded_at: datetime | None
    error: str | None = None
    valid_until: datetime | None = None
    """When the samples stop being true however fresh they are, e.g. a month's forecast at its end."""
    resources: tuple[Resource, ...] = ()
    folded: int = 0
    """Series that were summed up as `other`."""

    @property
    def is_denied(self) -> bool:
        """Whether a service control policy denies the region: a state of the unit, not a failure."""
        return self.error == Kind.REGION_DENIED

    @property
    def has_failed(self) -> bool:
        """Whether the last attempt failed."""
        return self.error is not None and not self.is_denied

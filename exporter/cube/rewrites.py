"""Days whose keys AWS has rewritten at unchanged cost: by a backfill of tags, or a changed cost category.

No comparison of sums shows it. So the history of backfills and the definitions of the configured categories are looked
at once a day; what they show is kept here, and the days that were read before are read again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

from exporter.aws.errors import reading
from exporter.core.moments import to_milliseconds, to_moment
from exporter.ledger.file import Ledger

_SHOWN_AFTER = timedelta(hours=24)
"""Cost Explorer is refreshed once in 24 hours, so it shows a backfill up to that long after it has succeeded."""
_KEPT_DAYS = 430
_CONTENT = ("EffectiveStart", "RuleVersion", "Rules", "SplitChargeRules", "DefaultValue")


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Days [start, end) of a dimension that were rewritten; Cost Explorer shows it from `at` on."""

    kind: Literal["tag", "cost_category"]
    key: str
    """The name of the category; empty for all tags."""
    start: date
    end: date
    at: datetime

    def is_due(self, day: date, whole_at: datetime, now: datetime) -> bool:
        """Whether a day that was read at `whole_at` has to be read again by now."""
        return self.start <= day < self.end and whole_at < self.at <= now


def known(ledger: Ledger) -> tuple[Rewrite, ...]:
    """All that were found, the oldest first."""
    with ledger.connection() as db:
        rows = db.execute("SELECT kind, key, start, end, at FROM cube_rewrites ORDER BY at").fetchall()
    return tuple(
        Rewrite(kind, key, date.fromordinal(start), date.fromordinal(end), to_moment(at))
        for kind, key, start, end, at in rows
    )


def add(ledger: Ledger, rewrites: Sequence[Rewrite]) -> None:
    """Take over what was found; again costs nothing. Those of days beyond any history are forgotten."""
    with ledger.transaction() as db:
        db.executemany(
            "INSERT OR IGNORE INTO cube_rewrites VALUES (?, ?, ?, ?, ?)",
            [
                (each.kind, each.key, each.start.toordinal(), each.end.toordinal(), to_milliseconds(each.at))
                for each in rewrites
            ],
        )
        if rewrites:
            oldest = max(each.at for each in rewrites) - timedelta(days=_KEPT_DAYS)
            db.execute("DELETE FROM cube_rewrites WHERE at < ?", (to_milliseconds(oldest),))


def of_backfills(answers: Sequence[Mapping[str, Any]]) -> list[Rewrite]:
    """What ListCostAllocationTagBackfillHistory has answered, page by page: the backfills that have succeeded.

    A backfill rewrites the days from its first month until it was requested.
    """
    found = []
    with reading("Cost Explorer's history of tag backfills"):
        for answer in answers:
            for each in answer["BackfillRequests"]:
                if each["BackfillStatus"] == "SUCCEEDED":
                    start, end = _moment(each["BackfillFrom"]), _moment(each["RequestedAt"])
                    at = _moment(each["CompletedAt"]) + _SHOWN_AFTER
                    found.append(Rewrite("tag", "", start.date(), end.date() + timedelta(days=1), at))
    return found


@dataclass(frozen=True, slots=True)
class Definition:
    """A cost category as AWS described it."""

    name: str
    arn: str
    digest: str
    """Differs where its rules, or their first day, differ."""
    effective_start: date
    is_applied: bool
    """Whether Cost Explorer shows it already."""


def definition_of(answer: Mapping[str, Any]) -> Definition:
    """What DescribeCostCategoryDefinition has answered."""
    with reading("Cost Explorer's definition of a cost category"):
        category = answer["CostCategory"]
        text = json.dumps({name: category.get(name) for name in _CONTENT}, sort_keys=True, default=str)
        return Definition(
            category["Name"],
            category["CostCategoryArn"],
            hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
            _moment(category["EffectiveStart"]).date(),
            all(
                status["Status"] == "APPLIED"
                for status in category.get("ProcessingStatus") or ()
                if status["Component"] == "COST_EXPLORER"
            ),
        )


def arns_of(answers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What ListCostCategoryDefinitions has answered, page by page: the ARN of each cost category by its name."""
    with reading("Cost Explorer's cost categories"):
        return {
            each["Name"]: each["CostCategoryArn"]
            for answer in answers
            for each in answer["CostCategoryReferences"]
        }


def arn_of(ledger: Ledger, name: str) -> str | None:
    """The ARN of a cost category that was described before."""
    with ledger.connection() as db:
        row = db.execute("SELECT arn FROM cost_category_definitions WHERE name = ?", (name,)).fetchone()
    return str(row[0]) if row else None


def take_definition(ledger: Ledger, found: Definition, now: datetime) -> bool:
    """Remember a definition once Cost Explorer shows it; True if it is another than before: its days were rewritten."""
    with ledger.transaction() as db:
        row = db.execute(
            "SELECT digest FROM cost_category_definitions WHERE name = ?", (found.name,)
        ).fetchone()
        before = row[0] if row else None
        # A definition that is read before it is applied has no digest yet; any later one differs from that.
        digest = found.digest if found.is_applied else before or ""
        db.execute(
            "INSERT OR REPLACE INTO cost_category_definitions VALUES (?, ?, ?)",
            (found.name, found.arn, digest),
        )
        if before in (None, digest):
            return False
        end = now.date() + timedelta(days=1)
        add(ledger, [Rewrite("cost_category", found.name, found.effective_start, end, now)])
        return True


def _moment(text: str) -> datetime:
    """A moment as Cost Explorer writes it, with its offset; ValueError."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return found

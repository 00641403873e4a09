"""Organizations of accounts and services with labelled cost; they are the same for the same seed.

Nothing here depends on a detector. `Organization.seen` is what is known when a day is assessed, in the
evening of the second day after it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from bench.anomaly.draft import Draft, Draw, Early, Label, Neutral
from bench.anomaly.events import put_events
from bench.anomaly.registry import CostClass
from bench.anomaly.world import DAYS, HISTORY_DAYS, Numbers, Values, World, draw_world

SERVICES = (
    "Amazon EC2", "EC2 - Other", "Amazon RDS", "Amazon S3", "Amazon CloudFront", "AWS Lambda",
    "Amazon DynamoDB", "Amazon ElastiCache", "Amazon EKS", "Amazon ECS", "Amazon Redshift", "Amazon EMR",
    "AWS Glue", "Amazon Athena", "Amazon Kinesis", "Amazon SQS", "Amazon SNS", "AWS KMS", "Amazon Route 53",
    "AWS WAF", "Amazon SageMaker", "Amazon Bedrock", "AWS Backup", "Amazon CloudWatch", "AWS Config",
    "Amazon OpenSearch", "AWS Step Functions", "Amazon EFS", "AWS Direct Connect", "Amazon MSK",
)  # fmt: skip
_SERVICES_AN_ACCOUNT = 18
_UNREAD_FOR = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known when the last of `days` is assessed; arrays are series by `days`, NaN where unread."""

    days: tuple[date, ...]
    usage: Values
    total: Values
    keys: tuple[tuple[str, str], ...]  # account and service of each series
    last_month_is_open: bool  # whether AWS still marks the bill of the month before as estimated


@dataclass(frozen=True, slots=True)
class Organization:
    """Series by `DAYS`: final usage and other charges in USD, and the labels of each series."""

    seed: int
    world: World
    classes: tuple[str, ...]
    keys: tuple[tuple[str, str], ...]
    usage: Values
    other: Values
    labels: tuple[tuple[Label, ...], ...]
    neutral: tuple[tuple[Neutral, ...], ...]
    early: tuple[Numbers, Values]  # (series, day, final_from) by row, and the factor of each
    unread: tuple[tuple[int, int], ...]  # (series or -1 for all, day): until twenty days later

    def seen(self, assessed: int) -> Seen:
        """What is known of the days up to the assessed column."""
        usage = self.usage[:, : assessed + 1].copy()
        (series, day, final_from), factor = self.early[0].T, self.early[1]
        now = (day <= assessed) & (assessed < final_from)
        usage[series[now], day[now]] *= factor[now]
        total = usage + self.other[:, : assessed + 1]
        for which, unread in self.unread:
            if unread <= assessed < unread + _UNREAD_FOR:
                rows = slice(None) if which < 0 else which
                usage[rows, unread] = total[rows, unread] = np.nan
        days = self.world.dates[: assessed + 1]
        month = days[-1].month
        before = next((at for at in range(assessed, -1, -1) if days[at].month != month), None)
        is_open = before is not None and assessed < int(self.world.final_on[before])
        return Seen(days, usage, total, self.keys, is_open)


@dataclass(slots=True)
class _Overlay:
    """What befalls whole accounts and services; days of events, and those around them, are spared."""

    rng: np.random.Generator
    drafts: Sequence[Draft]

    def spared(self, draft: Draft, day: int) -> bool:
        return any(label.first - 3 <= day <= label.excused + 1 for label in draft.labels) or any(
            neutral.first - 1 <= day <= neutral.last + 1 for neutral in draft.neutral
        )

    def late(self, members: Sequence[int], every: int) -> None:
        """Everything of these series is low on some days until they are read again."""
        for day in np.flatnonzero(self.rng.random(DAYS) < 1 / every):
            if day < HISTORY_DAYS - 2:
                continue
            nothing, until = self.rng.random() < 0.6, int(day) + int(self.rng.integers(1, 3))
            for member in members:
                if not self.spared(self.drafts[member], int(day)):
                    part = 0.0 if nothing else float(self.rng.uniform(0, 0.6))
                    self.drafts[member].early.append(Early(int(day), part, until))

    def outages(self, members: Sequence[int], every: int) -> None:
        """An account is down for a day: true, but all of it at once, so it counts neither way."""
        for day in np.flatnonzero(self.rng.random(DAYS) < 1 / every):
            for member in members:
                draft = self.drafts[member]
                if not self.spared(draft, int(day)):
                    draft.usage[day] *= float(self.rng.uniform(0, 0.5))
                    draft.neutral_days(-1, int(day), int(day) + 1)

    def unread(self, members: Sequence[int], every: int) -> list[tuple[int, int]]:
        """An account's cost is not read for a day."""
        return [
            (member, int(day))
            for day in np.flatnonzero(self.rng.random(DAYS) < 1 / every)
            for member in members
            if not self.spared(self.drafts[member], int(day))
        ]


def _keys(rng: np.random.Generator, count: int) -> tuple[list[int], list[int]]:
    """The account and the service number of each series; no pair occurs twice."""
    accounts = max(2, -(-count // _SERVICES_AN_ACCOUNT))
    cells = rng.choice(accounts * len(SERVICES), count, replace=False)
    return [int(cell) // len(SERVICES) for cell in cells], [int(cell) % len(SERVICES) for cell in cells]


def _drafts(
    seed: int, world: World, kinds: Sequence[CostClass], per_class: int, keep: float
) -> tuple[list[Draft], list[str]]:
    drafts, names = [], []
    for kind in kinds:
        for number in range(per_class):
            rng = np.random.default_rng([seed, zlib.crc32(kind.name.encode()), number])
            draw = Draw(rng, world)
            draft = kind.draw(draw)
            if keep >= 1 or rng.random() < keep:
                put_events(draw, draft, kind.events)
            drafts.append(draft)
            names.append(kind.name)
    return drafts, names


def generate(seed: int, kinds: Sequence[CostClass], per_class: int, *, keep: float = 1.0) -> Organization:
    """An organization with so many series of each class; `keep` is the share of series that get events."""
    rng = np.random.default_rng(seed)
    world = draw_world(rng)
    drafts, names = _drafts(seed, world, kinds, per_class, keep)
    accounts, services = _keys(rng, len(drafts))
    overlay = _Overlay(rng, drafts)
    unread = [(-1, int(day)) for day in np.flatnonzero(world.unread)]
    for account in sorted(set(accounts)):
        members = [series for series, of in enumerate(accounts) if of == account]
        overlay.late(members, 60)
        overlay.outages(members, 150)
        unread += overlay.unread(members, 120)
    for service in sorted(set(services)):
        overlay.late([series for series, of in enumerate(services) if of == service], 90)
    early = [(series, each) for series, draft in enumerate(drafts) for each in draft.early]
    early = [(series, each) for series, each in early if each.final_from > HISTORY_DAYS]
    return Organization(
        seed,
        world,
        tuple(names),
        tuple((f"{account:012d}", SERVICES[of]) for account, of in zip(accounts, services, strict=True)),
        np.stack([draft.usage for draft in drafts]),
        np.stack([draft.other for draft in drafts]),
        tuple(tuple(label for label in draft.labels if label.first >= HISTORY_DAYS) for draft in drafts),
        tuple(_neutral(draft) for draft in drafts),
        (
            np.array([(series, each.day, each.final_from) for series, each in early], dtype=np.int64).reshape(
                -1, 3
            ),
            np.array([each.factor for _, each in early]),
        ),
        tuple(unread),
    )


def _neutral(draft: Draft) -> tuple[Neutral, ...]:
    """Also what began before the judged days and is still excused."""
    past = [
        Neutral(label.sign, label.first, label.excused)
        for label in draft.labels
        if label.first < HISTORY_DAYS
    ]
    return tuple(each for each in (*draft.neutral, *past) if each.last >= HISTORY_DAYS)

"""The families of each Savings Plan and reservation, from Cost Explorer or from a data export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from exporter.core.metric import Family, Sample
from exporter.cost.commitments import SingleCommitment
from exporter.declarations.view import ViewContext

SAVINGS_PLANS = "savings_plans"
RESERVATIONS = "reservations"
SERVICES = {
    "ec2": "Amazon Elastic Compute Cloud - Compute",
    "rds": "Amazon Relational Database Service",
    "elasticache": "Amazon ElastiCache",
    "memorydb": "Amazon MemoryDB",
    "opensearch": "Amazon OpenSearch Service",
    "redshift": "Amazon Redshift",
}
"""What Cost Explorer calls the services that can be reserved; a request is about one of them."""
DAYS_LATE = 2
PERIOD = "over the last `collectors.commitments.days` days up to two days ago"
BY_ID_VIEW = "commitments_by_id"
"""The name of the views that have these families: one of them serves at a time."""

_SINGLE = ("account_id", "account", "kind", "commitment_id")
_EACH = f"of each Savings Plan and reservation {PERIOD}, with `collectors.commitments.each` or from a data export; by the account that owns it"

UTILIZATION_BY_ID = Family(
    "aws_commitment_utilization_by_id_ratio",
    f"Share of what was committed that was used, {_EACH}: of Savings Plans in dollars, of reservations in hours, from a data export"
    " in dollars.",
    _SINGLE,
    is_summable=False,
)
USED_BY_ID = Family(
    "aws_commitment_used_by_id_usd",
    f"Commitment that was used, {_EACH}; of reservations, their amortized fees.",
    _SINGLE,
)
UNUSED_BY_ID = Family(
    "aws_commitment_unused_by_id_usd",
    f"Commitment that was paid and not used, {_EACH}; of reservations, their amortized fees.",
    _SINGLE,
)
EXPIRY = Family(
    "aws_commitment_expiry_timestamp_seconds",
    "When the term of a Savings Plan or reservation ends, with `collectors.commitments.each` or from a data export; in the past of one that was in"
    " effect on any of the last `collectors.commitments.days` days.",
    _SINGLE,
    is_summable=False,
)
INFO = Family(
    "aws_commitment_info",
    "What a Savings Plan or reservation is, in AWS's own words, with `collectors.commitments.each` or from a data export, which does not have all of it: always 1. The label service is"
    " empty for Savings Plans, region where it is of any; instance is an instance type, or the family of a plan.",
    (*_SINGLE, "service", "type", "term", "payment_option", "region", "instance", "instances"),
    is_summable=False,
)
LEFT_OUT = Family(
    "aws_commitments_left_out",
    "Savings Plans and reservations that are not served one by one, because more are larger than"
    " `collectors.commitments.series_limit` allows.",
    ("kind",),
)
BY_ID_FAMILIES = (UTILIZATION_BY_ID, USED_BY_ID, UNUSED_BY_ID, EXPIRY, INFO, LEFT_OUT)


def by_id_samples(
    view: ViewContext[Any],
    found: Sequence[tuple[str, str, SingleCommitment]],
    kinds: Iterable[str],
    limit: int,
    *,
    has_amounts: bool = True,
) -> Iterator[Sample]:
    """The largest of these (kind, service, commitment), and how many of each kind are left out.

    `has_amounts` is whether their use is known for all of the days.
    """
    ranked = sorted(found, key=lambda item: (-(item[2].used + item[2].unused), item[2].id))
    names = view.ledger.accounts.names()
    for kind, service, each in ranked[:limit]:
        labels = {
            "account_id": each.account_id,
            "account": view.account(each.account_id, names),
            "kind": kind,
            "commitment_id": each.id,
        }
        if has_amounts:
            if each.utilization is not None:
                yield UTILIZATION_BY_ID(each.utilization, **labels)
            yield USED_BY_ID(each.used, **labels)
            yield UNUSED_BY_ID(each.unused, **labels)
        if each.expires_at is not None:
            yield EXPIRY(each.expires_at.timestamp(), **labels)
        yield INFO(
            1,
            **labels,
            service=service,
            type=each.type,
            term=each.term,
            payment_option=each.payment_option,
            region=each.region,
            instance=each.instance,
            instances=each.instances,
        )
    left = Counter(kind for kind, _, _ in ranked[limit:])
    for kind in kinds:
        yield LEFT_OUT(left[kind], kind=kind)

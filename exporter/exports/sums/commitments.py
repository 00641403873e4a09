"""Each Savings Plan and reservation from the lines that are covered by it and the fees that are not used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

from exporter.core.metric import Sample
from exporter.core.money import to_usd
from exporter.cost.commitment_families import (
    DAYS_LATE,
    RESERVATIONS,
    SAVINGS_PLANS,
    SERVICES,
    by_id_samples,
)
from exporter.cost.commitments import SingleCommitment
from exporter.declarations.view import ViewContext
from exporter.exports.sums.families import days_known
from exporter.exports.sums.tables import CommitmentDay, commitment_days, end_of_term

_KINDS = {"savings_plan": SAVINGS_PLANS, "reservation": RESERVATIONS}
_SERVICES = {**SERVICES, "es": SERVICES["opensearch"], "dynamodb": "Amazon DynamoDB"}
"""By the prefix of the ARNs of reservations."""


def render_commitments(view: ViewContext[Any], days: int, limit: int) -> Iterator[Sample]:
    """Each commitment that was in effect on one of the days; without its use where the export lacks some of them."""
    end = view.now.date() - timedelta(days=DAYS_LATE - 1)
    start = end - timedelta(days=days)
    found = [
        _single(arn, list(of_arn))
        for arn, of_arn in groupby(commitment_days(view.ledger, start, end), key=lambda each: each.arn)
    ]
    kinds = dict.fromkeys(kind for kind, _, _ in found)
    yield from by_id_samples(view, found, kinds, limit, has_amounts=days_known(view.ledger, start, end))


def _single(arn: str, days: Sequence[CommitmentDay]) -> tuple[str, str, SingleCommitment]:
    used, unused = to_usd(sum(each.used for each in days)), to_usd(sum(each.unused for each in days))
    kind = _KINDS[days[-1].kind]
    # arn:aws:rds:eu-west-1:111122223333:reserved-instances/ID; what is no ARN is the id itself.
    parts = arn.split(":") if arn.startswith("arn:") else []
    owner, region, account_id = parts[2:5] if len(parts) > 4 else ("", "", "")
    single = SingleCommitment(
        id=arn.rpartition("/")[2],
        account_id=account_id,
        utilization=used / (used + unused) if used + unused > Decimal(0) else None,
        used=used,
        unused=unused,
        expires_at=end_of_term(max(each.end_time for each in days)),
        region=region,
    )
    return kind, _SERVICES.get(owner, "") if kind == RESERVATIONS else "", single

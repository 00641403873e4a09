"""Polls of a simulated organisation's CloudWatch, and what they should have found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.aws.clients import Aws
from exporter.aws.meter import Meter
from exporter.aws.settings import CeilingSettings
from exporter.collectors import ec2_running, usage
from exporter.core.metric import Sample
from exporter.core.places import Account, Target
from exporter.declarations.context import Context
from exporter.ledger.daily_values import totals
from exporter.ledger.file import Ledger
from simulated_aws import SimulatedAws

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
REGION = "us-east-1"

# Written down once more, by hand: namespace, metric and the dimensions that a family is made of.
TRUE_SOURCES: dict[str, tuple[str, str, tuple[frozenset[str], ...]]] = {
    "aws_lambda_invocations_total": ("AWS/Lambda", "Invocations", (frozenset({"FunctionName"}),)),
    "aws_alb_requests_total": ("AWS/ApplicationELB", "RequestCount", (frozenset({"LoadBalancer"}),)),
    "aws_dynamodb_consumed_read_capacity_units_total": (
        "AWS/DynamoDB",
        "ConsumedReadCapacityUnits",
        (frozenset({"TableName"}), frozenset({"TableName", "GlobalSecondaryIndexName"})),
    ),
    "aws_apigateway_requests_total": (
        "AWS/ApiGateway",
        "Count",
        (frozenset({"ApiName"}), frozenset({"ApiId"})),
    ),
    "aws_sns_messages_published_total": (
        "AWS/SNS",
        "NumberOfMessagesPublished",
        (frozenset({"TopicName"}),),
    ),
}

Values = dict[tuple[str, str, str], float]
"""Values by family, resource id and variant."""


class Poller:
    """One exporter's polls; a new one on the same folder is the same exporter after a restart."""

    def __init__(
        self,
        aws: SimulatedAws,
        client: Aws,
        folder: Path,
        ceilings: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.simulated = aws
        self.ledger = Ledger(folder / "ledger.sqlite")
        self.clock = aws.clock.now
        self.registry = CollectorRegistry()
        limits = {"usage": {"day": None, "month": None}, "cost": {"day": None, "month": None}}
        self.meter = Meter(
            self.ledger.charges,
            CeilingSettings.model_validate({**limits, **(ceilings or {})}),
            self.clock,
            self.registry,
        )
        self.aws = client  # shared: making botocore's clients takes longer than a poll
        role = f"arn:aws:iam::{{}}:role/{aws.spec.member_role}"
        self.accounts = {
            account.id: Account(
                account.id,
                account.name,
                role_arn=None if account.id == aws.payer_id else role.format(account.id),
            )
            for account in aws.accounts
        }
        self.settings = usage.UsageSettings.model_validate(
            {"enabled": True, "metrics": ["aws_lambda_invocations_total"], **settings}
        )

    def context(self, **more: Any) -> Context[Any]:
        return Context(
            aws=self.aws,
            ledger=self.ledger,
            clock=self.clock,
            accounts=self.accounts,
            settings=self.settings,
            **more,
        )

    def target(self, account_id: str | None = None, region: str = REGION) -> Target:
        account = self.accounts[account_id or self.simulated.payer_id]
        return Target(account.id, account.name, region)

    def poll(self, account_id: str | None = None, region: str = REGION) -> None:
        self.aws.meter = self.meter
        assert tuple(usage.collect(self.context(), self.target(account_id, region))) == ()

    def samples(self, account_id: str | None = None, region: str = REGION) -> tuple[Sample, ...]:
        found = usage.restore(self.context(), self.target(account_id, region))
        return found.samples if found else ()

    def show(self, account_id: str | None = None, region: str = REGION) -> Values:
        """What is served once counters have been seen at zero."""
        found = usage.restore(self.context(), self.target(account_id, region))
        if found is not None and found.seen is not None:
            found.seen()
        return values(self.samples(account_id, region))

    def running(self, account_id: str | None = None, region: str = REGION) -> None:
        """A run of the collector of EC2 running time."""
        self.aws.meter = self.meter
        ctx: Context[Any] = Context(
            aws=self.aws,
            ledger=self.ledger,
            clock=self.clock,
            accounts=self.accounts,
            settings=ec2_running.Ec2RunningSettings(enabled=True),
        )
        assert tuple(ec2_running.collect(ctx, self.target(account_id, region))) == ()

    def ran(self, account_id: str | None = None, region: str = REGION) -> Values:
        ctx: Context[Any] = Context(
            aws=self.aws,
            ledger=self.ledger,
            clock=self.clock,
            accounts=self.accounts,
            settings=ec2_running.Ec2RunningSettings(enabled=True),
        )
        found = ec2_running.restore(ctx, self.target(account_id, region))
        assert found is not None
        if found.seen is not None:
            found.seen()
            found = ec2_running.restore(ctx, self.target(account_id, region))
            assert found is not None
        return values(found.samples)

    def days(self, family: str, account_id: str | None = None, region: str = REGION) -> dict[Any, float]:
        """The daily totals of a family by day."""
        account = account_id or self.simulated.payer_id
        rows = totals(self.ledger, (NOW - 400 * DAY).date(), (NOW + 400 * DAY).date(), (family,))
        return {day: value for day, _, owner, label, value in rows if owner == account and label == region}

    def charged(self) -> Decimal:
        return self.ledger.charges.charged_since("usage", None)

    def close(self) -> None:
        self.ledger.close()


MakePoller = Callable[..., Poller]


def values(samples: Iterable[Sample]) -> Values:
    """Samples by family, resource id and variant."""
    found: Values = {}
    for sample in samples:
        labels = dict(zip(sample.family.labels, sample.values, strict=True))
        variant = labels.get("storage_type", labels.get("instance_type", ""))
        found[sample.family.name, labels["resource_id"], variant] = sample.value
    return found


def true_sum(
    aws: SimulatedAws,
    family: str,
    start: datetime,
    end: datetime,
    account_id: str | None = None,
    region: str = REGION,
) -> float:
    """The sum over all resources of a family, as CloudWatch has it now."""
    namespace, metric, dimension_sets = TRUE_SOURCES[family]
    account = account_id or aws.payer_id
    return sum(
        value
        for key, series in aws.metrics.series(account, region).items()
        if key[:2] == (namespace, metric)
        and frozenset(name for name, _ in series.dimensions) in dimension_sets
        for _, value in aws.metrics.values(
            series, int(start.timestamp()), int(end.timestamp()), aws.clock.now()
        )
    )

"""What made a spike: one Cost Explorer request for each, by usage type and operation, unless lines show it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from exporter.anomalies import causes as anomaly_causes
from exporter.anomalies import causes_in_lines
from exporter.anomalies.settings import AnomalyCausesSettings, AnomalySettings
from exporter.aws.cost_explorer import USAGE_RECORD_TYPES
from exporter.aws.errors import RETRIED, Kind, classify
from exporter.core.metric import Sample
from exporter.core.places import Scope, Target
from exporter.cost.queries import ask_costs
from exporter.declarations.calls import PaidCall, Scale
from exporter.declarations.collector import Collector
from exporter.declarations.context import Context

if TYPE_CHECKING:
    from exporter.anomalies.finding import Finding

_KEPT_CAUSES = 20
_TRIED_AGAIN_SOON = RETRIED | {Kind.DEADLINE, Kind.STOPPED}
_DAY = timedelta(days=1)
_SPIKES_PER_KEY = Decimal("0.02")  # a month: what `plan` assumes of real and false ones


def collect(ctx: Context[AnomalyCausesSettings], target: Target) -> Iterable[Sample]:
    """Ask about each spike that stands and was not asked about, and commit the answer; the view shows it.

    Those of months of lines are explained with their assessment; what could not be read then is tried again.
    """
    from exporter.anomalies.cost import assess  # numpy, which readers of the declaration do without

    settings = ctx.sections.of(AnomalySettings)
    now = ctx.clock()
    assessment = assess(ctx.ledger, now, settings) if settings.enabled else None
    spikes = assessment.spikes if assessment else ()
    if causes_in_lines.explain_spikes(ctx.ledger, spikes, now, again=False):
        ctx.committed()
    asked = anomaly_causes.to_ask(ctx.ledger, spikes, now, ctx.settings.requests_per_day)
    for finding in asked:
        try:
            told = _ask(ctx, target, finding)
        except Exception as error:
            if classify(error).kind not in _TRIED_AGAIN_SOON:
                # A ceiling or a missing permission: no alert is to wait for what will not come.
                anomaly_causes.end_waits(ctx.ledger, asked)
                ctx.committed()
            raise
        anomaly_causes.commit(ctx.ledger, finding.account_id, finding.service, told, now)
        ctx.committed()
    return ()


def _ask(ctx: Context[AnomalyCausesSettings], target: Target, finding: Finding) -> anomaly_causes.Explanation:
    answer = ask_costs(
        ctx,
        target,
        finding.day - anomaly_causes.COMPARED_DAYS * _DAY,
        finding.day + _DAY,
        ("USAGE_TYPE", "OPERATION"),
        record_filter={
            "And": [
                {"Dimensions": {"Key": "LINKED_ACCOUNT", "Values": [finding.account_id]}},
                {"Dimensions": {"Key": "SERVICE", "Values": [finding.service]}},
                {"Dimensions": {"Key": "RECORD_TYPE", "Values": list(USAGE_RECORD_TYPES)}},
            ]
        },
        deadline=ctx.deadline,
    )
    by_day: dict[date, dict[tuple[str, str], Decimal]] = {
        finding.day - number * _DAY: {} for number in range(anomaly_causes.COMPARED_DAYS + 1)
    }
    for (day, usage_type, operation), amounts in answer.amounts.items():
        by_day[day][usage_type, operation] = amounts.amortized
    totals = {day: float(sum(costs.values())) for day, costs in by_day.items() if day != finding.day}
    compared = anomaly_causes.compared_day(finding, totals)
    causes = anomaly_causes.grown(by_day[compared], by_day[finding.day], finding.service, _KEPT_CAUSES)
    return anomaly_causes.Explanation(finding.day, compared, tuple(causes))


def paid_calls(settings: AnomalyCausesSettings, scale: Scale) -> Iterable[PaidCall]:
    """A spike in fifty pairs of account and service a month, and never more than the limit."""
    per_month = min(scale.keys * _SPIKES_PER_KEY, Decimal(settings.requests_per_day * 30))
    yield PaidCall(
        service="ce",
        operation="GetCostAndUsage",
        per_month=per_month,
        note=f"what made a spike, at most {settings.requests_per_day} a day",
    )


def due(ctx: Context[AnomalyCausesSettings], target: Target) -> datetime:
    """An interval from now: spikes are looked for in the ledger."""
    return ctx.clock() + ctx.settings.interval


COLLECTOR = Collector(
    name="anomaly_causes",
    help="The usage types and operations behind a cost spike, from Cost Explorer where no export shows them.",
    scope=Scope.PAYER,
    settings=AnomalyCausesSettings,
    families=(),
    iam_actions=("ce:GetCostAndUsage",),
    collect=collect,
    paid_calls=paid_calls,
    due=due,
    follows=("cost",),
)

"""Findings of AWS Cost Anomaly Detection, asked for once a day and kept in the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import Field

from exporter.aws.errors import AwsError, Kind, reading
from exporter.aws.partitions import billing_region
from exporter.core.fields import CollectorSettings, Duration
from exporter.core.folding import fold
from exporter.core.metric import Family, Folded, Sample
from exporter.core.moments import times_a_month
from exporter.core.money import parse_amount
from exporter.core.places import Scope, Target
from exporter.cost import detected_anomalies
from exporter.cost.detected_anomalies import AnomalyShare, LastRead
from exporter.declarations.calls import PaidCall, Scale
from exporter.declarations.collector import Collector
from exporter.declarations.context import Context
from exporter.declarations.view import View, ViewContext

_PAGE = 100
_ROUNDING = Decimal("0.01")
_NOT_OPEN = ("NO", "PLANNED_ACTIVITY")  # somebody judged that it is no anomaly, or was intended

IMPACT = Family(
    "aws_cost_anomaly_detection_impact_usd",
    "What the anomalies that AWS Cost Anomaly Detection found cost more than AWS expected, if they ended within the"
    " configured days. Monitors overlap: true per monitor. Without account or service where AWS names several.",
    ("account_id", "account", "service", "monitor"),
)
FINDINGS = Family(
    "aws_cost_anomaly_detection_findings",
    "Anomalies that AWS Cost Anomaly Detection found, if they ended within the configured days.",
)


class CostAnomalyDetectionSettings(CollectorSettings):
    """Findings of AWS Cost Anomaly Detection; one request of $0.01 a page each interval."""

    interval: Duration = Field(default=timedelta(days=1), description="Time between two reads.")
    days: int = Field(
        default=7, ge=1, le=90, description="How many days ago an anomaly may have ended to be served."
    )
    series_limit: int = Field(
        default=500, ge=1, le=10_000, description="Most series; the smallest impacts become `other`."
    )


def collect(ctx: Context[CostAnomalyDetectionSettings], target: Target) -> Iterable[Sample]:
    """Ask once if it is due, and commit all pages; the view makes the samples."""
    now = ctx.clock()
    holds_until = _holds_until(ctx)
    if holds_until is not None and now < holds_until:
        return ()
    if target.partition == "aws-cn":
        # The answer names no currency: what cannot be told from dollars is not paid for.
        raise AwsError(
            Kind.CURRENCY, "Cost Anomaly Detection answers in the bill's currency, which is not USD"
        )
    today = now.date()
    params = {
        "DateInterval": {
            "StartDate": (today - timedelta(days=ctx.settings.days)).isoformat(),
            "EndDate": today.isoformat(),  # it is inclusive here
        },
        "MaxResults": _PAGE,
    }
    pages = ctx.paginate_payer(target, "ce", "GetAnomalies", billing_region("ce", target.partition), params)
    shares = [share for page in pages for share in read_page(page, today)]
    detected_anomalies.commit(ctx.ledger, LastRead(now, ctx.settings.days), shares)
    ctx.committed()
    return ()


def read_page(page: Mapping[str, Any], today: date) -> list[AnomalyShare]:
    """The shares of every open anomaly of a page; AwsError if one is malformed."""
    with reading("an anomaly"):
        return [
            share
            for anomaly in page["Anomalies"]
            if anomaly.get("Feedback") not in _NOT_OPEN
            for share in _shares(anomaly, today)
        ]


def _shares(anomaly: Mapping[str, Any], today: date) -> Iterator[AnomalyShare]:
    # Without an end it goes on.
    ended = anomaly.get("AnomalyEndDate")
    last_day = date.fromisoformat(ended[:10]) if ended else today
    # The name of a monitor is a further paid request; its id is the end of its ARN.
    monitor = anomaly["MonitorArn"].rpartition("/")[2]
    causes = [
        (
            (cause.get("LinkedAccount", ""), cause.get("Service", "")),
            _usd(cause["Impact"]["Contribution"]) if "Impact" in cause else None,
        )
        for cause in anomaly.get("RootCauses", ())
    ]
    amounts = attribute(_usd(anomaly["Impact"]["TotalImpact"]), causes)
    for (account_id, service), usd in amounts.items():
        yield AnomalyShare(anomaly["AnomalyId"], monitor, last_day, account_id, service, usd)


def _usd(amount: float) -> Decimal:
    return parse_amount(repr(amount))  # the shortest digits that are the same number, as AWS wrote them


def attribute(
    total: Decimal, causes: Sequence[tuple[tuple[str, str], Decimal | None]]
) -> dict[tuple[str, str], Decimal]:
    """The whole of an anomaly by account and service; empty stands for what AWS does not tell apart.

    `causes` are the account and service of each root cause, and what AWS says that it contributed, if it does.
    """
    named = {key for key, _ in causes}
    if len(named) == 1:
        return {named.pop(): total}
    amounts: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for key, usd in causes:
        if usd is not None:
            amounts[key] += usd
    rest = total - sum(amounts.values(), Decimal(0))
    if amounts and abs(rest) < _ROUNDING:
        amounts[max(amounts, key=lambda key: amounts[key])] += rest
    else:
        account_id, service = (
            values.pop() if len(values := {key[place] for key in named}) == 1 else "" for place in (0, 1)
        )
        amounts[account_id, service] += rest
    return dict(amounts)


def due(ctx: Context[CostAnomalyDetectionSettings], target: Target) -> datetime:
    """When the last answer ends to hold; now where there is none."""
    return _holds_until(ctx) or ctx.clock()


def _holds_until(ctx: Context[CostAnomalyDetectionSettings]) -> datetime | None:
    """An interval after the last read, unless more days are wanted now than were asked for then."""
    last = detected_anomalies.last_read(ctx.ledger)
    if last is None or last.days < ctx.settings.days:
        return None
    return last.observed_at + ctx.settings.interval


def paid_calls(settings: CostAnomalyDetectionSettings, scale: Scale) -> Iterable[PaidCall]:
    """One page each interval: more than a hundred anomalies are rare."""
    per_month = times_a_month(settings.interval)
    yield PaidCall(
        service="ce",
        operation="GetAnomalies",
        per_month=per_month,
        note="anomalies, each page of a hundred and interval",
    )


# View


def render(view: ViewContext[CostAnomalyDetectionSettings]) -> Iterator[Sample | Folded]:
    """The anomalies that ended within the configured days; nothing until AWS was asked."""
    if detected_anomalies.last_read(view.ledger) is None:
        return
    first = view.now.date() - timedelta(days=view.settings.days)
    shares = detected_anomalies.since(view.ledger, first)
    yield FINDINGS(len({share.anomaly_id for share in shares}))
    sums: defaultdict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for share in shares:
        sums[share.account_id, share.service, share.monitor] += share.usd
    names = view.ledger.accounts.names()
    samples = [
        IMPACT(
            usd,
            account_id=account_id,
            account=view.account(account_id, names),
            service=service,
            monitor=monitor,
        )
        for (account_id, service, monitor), usd in sorted(sums.items())
    ]
    yield from fold(samples, ("account_id", "account", "service"), view.settings.series_limit)


def _read_at(view: ViewContext[CostAnomalyDetectionSettings]) -> datetime | None:
    last = detected_anomalies.last_read(view.ledger)
    return last.observed_at if last else None


COLLECTOR = Collector(
    name="cost_anomaly_detection",
    help="Findings of AWS Cost Anomaly Detection.",
    scope=Scope.PAYER,
    settings=CostAnomalyDetectionSettings,
    families=(),
    iam_actions=("ce:GetAnomalies",),
    collect=collect,
    views=(
        View(name="cost_anomaly_detection", families=(IMPACT, FINDINGS), render=render, read_at=_read_at),
    ),
    paid_calls=paid_calls,
    due=due,
)

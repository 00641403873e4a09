"""AWS Cost Anomaly Detection: GetAnomalies in its real shape, of anomalies that a test draws or injected spikes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from simulated_aws.cost_truth import CostTruth
from simulated_aws.generated_costs import Change
from simulated_aws.input_model import check_input
from simulated_aws.organization import Organization
from simulated_aws.wire import AwsCall, AwsError, Tokens

_PAGE = 50
_MOST_DAYS = 90


@dataclass(frozen=True, slots=True)
class RootCause:
    """What AWS says that an anomaly comes from; without `usd`, it does not say how much of it."""

    account_id: str
    service: str
    usd: float | None = None
    region: str = "us-east-1"
    usage_type: str = "BoxUsage:m6i.large"


@dataclass(frozen=True, slots=True)
class SimulatedAnomaly:
    """An anomaly as GetAnomalies reports it; without `last`, it has no end."""

    id: str
    first: date
    last: date | None
    usd: float
    causes: tuple[RootCause, ...] = ()
    monitor: str = "services"
    feedback: str | None = None


class AnomalyDetection:
    """Answers GetAnomalies for the payer, who alone has monitors."""

    def __init__(
        self,
        organization: Organization,
        truth: CostTruth,
        injected: Callable[[], Sequence[Change]],
        now: Callable[[], datetime],
        tokens: Tokens,
    ) -> None:
        self._organization = organization
        self._truth = truth
        self._injected = injected
        self._now = now
        self._tokens = tokens
        self.drawn: Sequence[SimulatedAnomaly] | None = None
        """Exactly these; None for the spikes that were injected."""

    def answer(self, call: AwsCall) -> dict[str, Any]:
        """The response members of one call; AwsError otherwise."""
        check_input("ce", "GetAnomalies", call.params)
        interval = call.params["DateInterval"]
        today = self._now().date()
        start = _day(interval["StartDate"])
        end = _day(interval.get("EndDate") or today.isoformat())
        if start > end or start < today - timedelta(days=_MOST_DAYS):
            raise AwsError("ValidationException", "The date interval must lie within the last 90 days.")
        is_payer = call.account_id == self._organization.payer.id
        found = [
            anomaly
            for anomaly in (self.existing() if is_payer else ())
            if start <= (anomaly.last or today) <= end
        ]
        size = int(call.params.get("MaxResults") or _PAGE)
        page, more = self._tokens.page(call, found, size, "NextPageToken")
        return {"Anomalies": [self._described(anomaly) for anomaly in page], **more}

    def existing(self) -> Sequence[SimulatedAnomaly]:
        """The anomalies that there are."""
        if self.drawn is not None:
            return self.drawn
        found = (self._of(number, change) for number, change in enumerate(self._injected(), start=1))
        return [anomaly for anomaly in found if anomaly is not None]

    def _of(self, number: int, change: Change) -> SimulatedAnomaly | None:
        last = min(change.last, self._now().date() - timedelta(days=1))
        if change.kind != "scale" or change.ppm <= 10**6 or last < change.first:
            return None
        account_id, service = change.account_id or "", change.service or ""
        costs = self._truth.totals(
            change.first,
            last + timedelta(days=1),
            by=(),
            where=lambda key: (key.account_id, key.service) == (account_id, service),
        )
        more = costs.get((), Decimal(0)) * (change.ppm - 10**6) / change.ppm
        usd = float(round(more, 2))
        return SimulatedAnomaly(
            f"injected-{number}", change.first, last, usd, (RootCause(account_id, service, usd),)
        )

    def _described(self, anomaly: SimulatedAnomaly) -> dict[str, Any]:
        members: dict[str, Any] = {
            "AnomalyId": anomaly.id,
            "AnomalyStartDate": _moment(anomaly.first),
            "RootCauses": [self._cause(cause) for cause in anomaly.causes],
            "AnomalyScore": {"MaxScore": 0.9, "CurrentScore": 0.7},
            "Impact": {"MaxImpact": anomaly.usd, "TotalImpact": anomaly.usd},
            "MonitorArn": f"arn:aws:ce::{self._organization.payer.id}:anomalymonitor/{anomaly.monitor}",
        }
        if anomaly.causes:
            members["DimensionValue"] = anomaly.causes[0].service
        if anomaly.last is not None:
            members["AnomalyEndDate"] = _moment(anomaly.last)
        if anomaly.feedback is not None:
            members["Feedback"] = anomaly.feedback
        return members

    def _cause(self, cause: RootCause) -> dict[str, Any]:
        account = self._organization.by_id.get(cause.account_id)
        members: dict[str, Any] = {
            "Service": cause.service,
            "Region": cause.region,
            "LinkedAccount": cause.account_id,
            "LinkedAccountName": account.name if account else "",
            "UsageType": cause.usage_type,
        }
        if cause.usd is not None:
            members["Impact"] = {"Contribution": cause.usd}
        return members


def _moment(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise AwsError("ValidationException", f"Date {text} is not in the format yyyy-MM-dd") from None

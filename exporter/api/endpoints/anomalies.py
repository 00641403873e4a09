"""What stands out, with its evidence: of the newest assessed day, or of the last days, from the ledger."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from pydantic import Field

from exporter.anomalies import causes as anomaly_causes
from exporter.anomalies import causes_in_lines
from exporter.anomalies import cost as anomalies
from exporter.anomalies import usage as usage_anomalies
from exporter.anomalies.causes import Explanation
from exporter.anomalies.finding import Finding
from exporter.anomalies.settings import SCORES, Kind, Sensitivity
from exporter.anomalies.usage_days import UsageDays, day_inputs, usage_cost_type
from exporter.api.source import Endpoint, Source
from exporter.core.fields import StrictModel
from exporter.core.money import usd_text
from exporter.cost.refresh_plan import refreshed_at
from exporter.expectation import baseline

_MOST_FROM_LINES = 20  # each is a separate question


class Query(StrictModel):
    """Which days, and how sensitive."""

    days: int = Field(
        default=1, ge=1, le=31, description="The last assessed days, from what is known of them now."
    )
    sensitivity: Sensitivity | None = Field(default=None, description="Another than the configured one.")
    account_id: str | None = Field(default=None, description="Only this account.")
    service: str | None = Field(default=None, description="Only this service, e.g. ec2.")
    kind: Kind | None = Field(default=None, description="Only findings of this kind.")


def answer(source: Source, query: Query) -> dict[str, Any]:
    """Findings in US dollars, the newest day and the largest first; ValueError where none can be given."""
    settings = source.config.anomalies
    if not settings.enabled:
        raise ValueError("anomalies.enabled is false: no day is assessed")
    wanted = source.service(query.service)
    newest = anomalies.assessed_day(source.ledger, source.now)
    days: list[date] = []
    findings: list[Finding] = []
    usage = _usage_days(source, newest, query.days) if newest else None
    for number in range(query.days if newest else 0):
        assert newest is not None
        day = newest - timedelta(days=number)
        found = anomalies.assess_day(source.ledger, day, settings, query.sensitivity, usage)
        if not found.shown.any():
            continue  # not read, or nothing is known of it
        days.append(day)
        findings += [
            finding
            for finding in found.findings
            if query.account_id in (None, finding.account_id)
            and wanted in (None, finding.service)
            and query.kind in (None, finding.kind)
        ]
    read_at = refreshed_at(source.ledger, source.now)
    return {
        "read_at": read_at.isoformat() if read_at else None,
        "assessed_day": newest.isoformat() if newest else None,
        "days": [day.isoformat() for day in days],
        "settings": {
            "sensitivity": query.sensitivity or settings.sensitivity,
            "score": SCORES[query.sensitivity or settings.sensitivity],
            "percentage": settings.percentage,
            "usd_per_day": float(settings.usd_per_day),
            "new_service_usd_per_day": float(settings.new_service_usd_per_day),
        },
        "cost_type": usage_cost_type(source.ledger),
        "charge_class": "usage",
        "findings": [
            _row(source, finding, told)
            for finding, told in zip(findings, _explanations(source, findings), strict=True)
        ],
        **_usage(source, query),
    }


def _usage_days(source: Source, newest: date, days: int) -> UsageDays:
    """Read once for all days that are asked for."""
    first = baseline.input_days(newest - timedelta(days=days - 1))[0]
    return UsageDays(source.ledger, day_inputs(source.ledger, first, newest + timedelta(days=1)))


def _usage(source: Source, query: Query) -> dict[str, Any]:
    """Daily usage totals that stand out; none where the question is about a service or a kind of cost.

    Each metric is assessed on the last days that it has; `usage_assessed_day` is the newest of all.
    """
    settings = source.config.anomalies
    newest = usage_anomalies.assessed_days(source.ledger, source.now) if settings.usage.enabled else {}
    rows: list[dict[str, Any]] = []
    for number in range(0 if query.service or query.kind else query.days):
        days = {family: day - timedelta(days=number) for family, day in newest.items()}
        for finding in usage_anomalies.assess(source.ledger, days, settings, query.sensitivity):
            if query.account_id in (None, finding.account_id):
                rows.append(
                    {
                        "day": finding.day.isoformat(),
                        "account_id": finding.account_id,
                        "account": source.account(finding.account_id),
                        "region": finding.region,
                        "metric": finding.metric,
                        "change": finding.change,
                        "ratio": _cents(finding.ratio),
                        "value": finding.value,
                        "expected": _cents(finding.expected),
                        "lower": _cents(finding.lower),
                        "upper": _cents(finding.upper),
                        "score": _cents(finding.score),
                        "same_weekdays": [
                            {"day": day.isoformat(), "value": value} for day, value in finding.same_weekdays
                        ],
                    }
                )
    rows.sort(key=lambda row: row["day"], reverse=True)
    return {
        "usage_assessed_day": max(newest.values()).isoformat() if newest else None,
        "usage_findings": rows,
    }


def _explanations(source: Source, findings: Sequence[Finding]) -> Iterator[Explanation | None]:
    """What made each finding: as it was kept, else from lines, of the newest and largest spikes."""
    left = _MOST_FROM_LINES
    for finding in findings:
        told = None
        if finding.kind == "spike":
            told = anomaly_causes.explain(source.ledger, finding.day, finding.account_id, finding.service)
            if told is None and left:
                left -= 1
                told = causes_in_lines.explanation(source.ledger, finding)
        yield told


def _row(source: Source, finding: Finding, told: Explanation | None) -> dict[str, Any]:
    return {
        "day": finding.day.isoformat(),
        "account_id": finding.account_id,
        "account": source.account(finding.account_id),
        "service": finding.service,
        "kind": finding.kind,
        "usd": _cents(finding.usd),
        "cost_usd": _cents(finding.cost),
        "expected_usd": _cents(finding.expected),
        "lower_usd": _cents(finding.lower),
        "upper_usd": _cents(finding.upper),
        "percentage": _cents(finding.percentage),
        "deviation_usd": _cents(finding.deviation),
        "score": _cents(finding.score),
        "recurs": finding.recurs,
        "same_weekdays": [
            {"day": day.isoformat(), "cost_usd": _cents(usd)} for day, usd in finding.same_weekdays
        ],
        "cause": {
            "compared_with": told.compared_with.isoformat(),
            "spike_day": told.spike_day.isoformat(),
            "grew": [
                {
                    "usage_type": cause.usage_type,
                    "operation": cause.operation,
                    "region": cause.region or None,
                    "before_usd": _text(cause.before),
                    "after_usd": _text(cause.after),
                    "usd": _text(cause.after - cause.before),
                    "resources": [
                        {
                            "resource": each.resource,
                            "before_usd": _text(each.before),
                            "after_usd": _text(each.after),
                            "usd": _text(each.after - each.before),
                        }
                        for each in cause.resources
                    ],
                }
                for cause in told.causes
            ],
        }
        if told
        else None,
    }


def _text(usd: Decimal) -> str:
    return usd_text(usd.normalize())


def _cents(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)


ENDPOINT = Endpoint(
    name="anomalies", help="Cost that stands out, with its evidence", query=Query, answer=answer
)

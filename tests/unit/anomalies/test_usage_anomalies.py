"""Daily usage totals are judged by the baseline of cost, in their own units, and silence is no drop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exporter.anomalies import usage as usage_anomalies
from exporter.anomalies import usage_families
from exporter.anomalies.settings import AnomalySettings, UsageAnomalySettings
from exporter.api.endpoints.anomalies import Query, answer
from exporter.api.source import Source
from exporter.config.model import Config
from exporter.core.amounts import Amounts
from exporter.core.moments import start_of_day
from exporter.cost.settings import CostSettings
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.ledger.daily_values import DailyValue, upsert
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

DAY = timedelta(days=1)
TESTED = date(2026, 5, 19)
NOW = datetime(2026, 5, 20, 9, tzinfo=UTC)
PROD = "111111111111"
INVOCATIONS, BYTES, SECONDS, STORED = (
    "aws_lambda_invocations_daily",
    "aws_nat_gateway_out_bytes_daily",
    "aws_ec2_instance_running_seconds_daily",
    "aws_s3_bucket_size_bytes_daily",
)
Daily = Callable[[date], float | None]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def fill(ledger: Ledger, series: dict[tuple[str, str], Daily], days: int = 40, last: date = TESTED) -> None:
    """Totals by family and region; None where CloudWatch had nothing to tell."""
    upsert(
        ledger,
        [
            DailyValue(day, family, PROD, region, value)
            for (family, region), daily in series.items()
            for day in (last - number * DAY for number in range(days))
            if (value := daily(day)) is not None
        ],
        NOW,
    )


def newest(ledger: Ledger, now: datetime) -> date | None:
    return max(usage_anomalies.assessed_days(ledger, now).values(), default=None)


def on_last(usual: float, last: float | None, days: int = 1) -> Daily:
    return lambda day: last if day > TESTED - days * DAY else usual


def found(
    ledger: Ledger, settings: AnomalySettings | None = None, now: datetime = NOW
) -> dict[tuple[str, ...], float]:
    view = ViewContext(
        ledger=ledger, now=now, settings=CostSettings(), names={PROD: "prod"}, sections=Sections(settings)
    )
    return {
        sample.values: round(sample.value, 3)
        for sample in usage_anomalies.render(view)
        if sample.family == usage_families.ANOMALY
    }


def test_a_total_stands_out_by_score_share_and_a_floor_of_its_unit(ledger: Ledger) -> None:
    fill(
        ledger,
        {
            (INVOCATIONS, "eu-west-1"): on_last(10_000, 25_000),
            (INVOCATIONS, "us-east-1"): on_last(10_000, 14_000),  # less than half as much again
            (INVOCATIONS, "us-west-2"): on_last(20, 900),  # hundreds
            (BYTES, "eu-west-1"): on_last(4e9, 1e9, days=2),
            (BYTES, "us-east-1"): on_last(4e6, 4e8),  # megabytes
            (SECONDS, "eu-west-1"): on_last(86_400, 86_400 * 3),
        },
    )
    assert found(ledger) == {
        (PROD, "prod", "eu-west-1", "aws_lambda_invocations", "more"): 1.5,
        (PROD, "prod", "eu-west-1", "aws_nat_gateway_out_bytes", "less"): -0.75,
        (PROD, "prod", "eu-west-1", "aws_ec2_instance_running_seconds", "more"): 2.0,
    }
    assert len(found(ledger, AnomalySettings(usage=UsageAnomalySettings(percentage=30)))) == 4
    assert found(ledger, AnomalySettings(usage=UsageAnomalySettings(enabled=False))) == {}
    assert found(ledger, AnomalySettings(enabled=False)) == {}


def test_a_finding_carries_the_groups_of_its_account_for_routing(ledger: Ledger) -> None:
    fill(ledger, {(INVOCATIONS, "eu-west-1"): on_last(10_000, 25_000)})
    for groups, team in (({PROD: {"team": "platform"}}, "platform"), ({}, "")):
        view = ViewContext(
            ledger=ledger,
            now=NOW,
            settings=None,
            names={PROD: "prod"},
            group_labels=("env", "team"),
            groups=groups,
        )
        (sample,) = (s for s in usage_anomalies.render(view) if s.family.name == "aws_usage_anomaly_ratio")
        assert dict(zip(sample.family.labels, sample.values, strict=True)) == {
            "account_id": PROD, "account": "prod", "region": "eu-west-1", "metric": "aws_lambda_invocations",
            "change": "more", "env": "", "team": team,
        }  # fmt: skip


def test_a_day_without_data_is_not_known(ledger: Ledger) -> None:
    fill(
        ledger,
        {
            (INVOCATIONS, "eu-west-1"): on_last(10_000, None, days=3),
            (INVOCATIONS, "us-east-1"): on_last(10_000, 10_000),
        },
    )
    assert found(ledger) == {}


def test_a_day_is_judged_when_late_data_is_in_and_while_it_is_news(ledger: Ledger) -> None:
    fill(ledger, {(INVOCATIONS, "eu-west-1"): on_last(10_000, 25_000)})
    assert newest(ledger, start_of_day(TESTED + DAY) + timedelta(hours=2)) == TESTED - DAY
    assert newest(ledger, NOW) == TESTED
    assert newest(ledger, NOW + 2 * DAY) == TESTED
    assert newest(ledger, NOW + 3 * DAY) is None
    assert found(ledger, now=NOW + 3 * DAY) == {}


def test_a_metric_that_comes_a_day_later_is_assessed_on_its_newest_day(ledger: Ledger) -> None:
    """CloudWatch has S3's daily metrics of the day before yesterday at best."""
    late = TESTED - DAY

    def grown(day: date) -> float:
        return 9e9 if day == late else 1e9

    fill(ledger, {(INVOCATIONS, "eu-west-1"): on_last(10_000, 25_000)})
    fill(ledger, {(STORED, "eu-west-1"): grown}, last=late)
    of_storage = {(PROD, "prod", "eu-west-1", "aws_s3_bucket_size_bytes", "more"): 8.0}
    of_both = of_storage | {(PROD, "prod", "eu-west-1", "aws_lambda_invocations", "more"): 1.5}
    # In the night both are assessed on the day before yesterday; from 08:00 on, each on its newest day.
    assert found(ledger, now=NOW.replace(hour=7)) == of_storage
    assert found(ledger, now=NOW.replace(hour=8)) == of_both
    view = ViewContext(ledger=ledger, now=NOW, settings=None, names={PROD: "prod"})
    (day,) = (s.value for s in usage_anomalies.render(view) if s.family == usage_families.DAY_TIMESTAMP)
    assert day == start_of_day(TESTED).timestamp()
    source = Source(ledger=ledger, config=Config(), now=NOW, names={PROD: "prod"})
    for days in (1, 3):
        answered = answer(source, Query(days=days))
        assert answered["usage_assessed_day"] == str(TESTED)
        assert [(row["day"], row["metric"]) for row in answered["usage_findings"]] == [
            (str(TESTED), "aws_lambda_invocations"),
            (str(late), "aws_s3_bucket_size_bytes"),
        ]


def test_two_weeks_are_needed(ledger: Ledger) -> None:
    fill(ledger, {(INVOCATIONS, "eu-west-1"): on_last(10_000, 25_000)}, days=14)
    assert found(ledger) == {}
    fill(ledger, {(INVOCATIONS, "eu-west-1"): on_last(10_000, 25_000)}, days=15)
    assert len(found(ledger)) == 1


def test_the_api_shows_the_same_with_its_evidence(ledger: Ledger) -> None:
    fill(ledger, {(INVOCATIONS, "eu-west-1"): on_last(10_000, 25_000)})
    source = Source(ledger=ledger, config=Config(), now=NOW, names={PROD: "prod"})

    def told(**query: Any) -> dict[str, Any]:
        return answer(source, Query(**query))

    (row,) = told()["usage_findings"]
    assert told()["usage_assessed_day"] == "2026-05-19"
    assert {
        (row["account_id"], row["account"], row["region"], row["metric"], row["change"]): row["ratio"]
    } == found(ledger)
    assert (row["value"], row["expected"]) == (25_000, 10_000)
    assert row["lower"] < 10_000 < row["upper"] < 25_000
    assert row["same_weekdays"] == [
        {"day": str(TESTED - 7 * week * DAY), "value": 10_000} for week in range(1, 6)
    ]
    ledger.reads.commit(
        CostRead(NOW, {TESTED: False}, {(TESTED, PROD, "AWS Lambda"): Amounts(*[Decimal(1)] * 5)})
    )
    assert told(account_id="2")["usage_findings"] == told(service="AWS Lambda")["usage_findings"] == []

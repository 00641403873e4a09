"""The JSON API of a running exporter answers from the ledger, and says what it cannot."""

from __future__ import annotations

from datetime import timedelta

import pytest
from running_exporter import MakeAws, MakeExporter, collectors, organization
from waiting import wait_for

pytestmark = pytest.mark.stack


def test_costs_equal_the_metrics_and_a_wrong_question_is_told_what_is_wrong(
    make_aws: MakeAws, make_exporter: MakeExporter
) -> None:
    aws = make_aws()
    exporter = make_exporter(aws, organization(collectors=collectors(cost={"history_months": 2}))).start()
    wait_for("it is ready", exporter.is_ready)
    calls = len(aws.requests.entries())

    answer = exporter.get("/api/v1/costs").json()
    yesterday = exporter.get(
        "/api/v1/costs", params={"start": answer["end"], "end": answer["end"], "by": ["account", "service"]}
    ).json()

    assert answer["missing_days"] == []
    assert yesterday["rows"]
    served = {
        (labels["account_id"], labels["account"], labels["service"]): value
        for labels, value in exporter.samples()["aws_cost_yesterday_usd"]
    }
    assert {
        (row["account_id"], row["account"], row["service"]): float(row["usd"]) for row in yesterday["rows"]
    } == served
    by_day = exporter.get("/api/v1/costs", params={"by": "day"}).json()
    assert len(by_day["rows"]) == timedelta(days=30).days
    assert by_day["total_usd"] == answer["total_usd"]

    assert exporter.get("/api/v1/costs", params={"bye": "day"}).status_code == 422
    refused = {
        (
            "start=2026-02-01",
            "end=2026-01-01",
        ): "start: found 2026-02-01, expected a day that is not after 2026-01-01",
        ("start=9999-12-31",): "start: found 9999-12-31, expected a day that is not after",
        ("start=9999-12-31", "end=9999-12-31"): "expected at most 3660 days",
        ("start=0001-01-01",): "expected at most 3660 days",
        ("account_id=prod",): "account_id: found 'prod', expected the id of an account that is known",
        ("service=lamda",): "service: found 'lamda', expected a service with cost in the ledger",
    }
    for parameters, reason in refused.items():
        answered = exporter.get(f"/api/v1/costs?{'&'.join(parameters)}")
        assert answered.status_code == 400
        assert reason in answered.json()["detail"]
    unknown = exporter.get("/api/v1/costs?start=2020-01-01&end=2020-01-31").json()
    assert (unknown["total_usd"], len(unknown["missing_days"])) == (None, 31), (
        "what nobody has read is not $0"
    )
    by_word, by_name = (
        exporter.get("/api/v1/costs", params={"service": service, "by": "account"}).json()
        for service in ("ec2", "Amazon Elastic Compute Cloud - Compute")
    )
    assert by_word["rows"] == by_name["rows"] != []
    assert len(aws.requests.entries()) == calls

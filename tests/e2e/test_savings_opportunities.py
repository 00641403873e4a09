"""What Cost Optimization Hub recommends is served as it says, each resource once, and folded without a loss."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from running_exporter import (
    InProcess,
    MakeAws,
    check_with_promtool,
    collectors,
    in_process,
    organization,
)
from waiting import wait_for

from simulated_aws import Recommendation, SimulatedAws

pytestmark = pytest.mark.stack

FAMILY = "aws_savings_opportunity_usd"
TOTAL = "aws_savings_opportunity_deduplicated_usd"
LABELS = ("account", "region", "resource_type", "action")


def config(aws: SimulatedAws, **settings: Any) -> dict[str, Any]:
    return organization(
        aws={"endpoint_url": aws.url},
        collectors=collectors(savings_opportunities=settings),
        regions=["eu-west-1"],
    )


def served(exporter: InProcess) -> dict[tuple[str, ...], float]:
    return {
        tuple(labels.get(name, "") for name in LABELS): value
        for labels, value in exporter.samples().get(FAMILY, [])
    }


def test_each_resource_counts_once_over_all_pages(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=3, services=3)
    payer, prod, staging = (account.id for account in aws.accounts)
    hub = aws.optimization_hub
    hub.page_size, hub.overlap = 2, Decimal("3.05")
    hub.recommendations = [
        Recommendation(prod, "eu-west-1", "i-1", "Ec2Instance", "Rightsize", Decimal("10.1")),
        Recommendation(prod, "eu-west-1", "i-1", "Ec2Instance", "MigrateToGraviton", Decimal("4")),
        Recommendation(prod, "eu-west-1", "i-2", "Ec2Instance", "Rightsize", Decimal("0.2")),
        Recommendation(prod, "us-east-1", "i-3", "Ec2Instance", "Stop", Decimal("20")),
        Recommendation(staging, "eu-west-1", "vol-1", "EbsVolume", "Upgrade", Decimal("1.5")),
        Recommendation("999999999999", "eu-west-1", "vol-2", "EbsVolume", "Delete", Decimal("2")),
        Recommendation(payer, "global", "", "ComputeSavingsPlans", "PurchaseSavingsPlans", Decimal("30")),
    ]
    with in_process(tmp_path, aws, config(aws)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        assert served(exporter) == {
            ("prod", "eu-west-1", "Ec2Instance", "Rightsize"): 10.3,
            ("prod", "us-east-1", "Ec2Instance", "Stop"): 20,
            ("staging", "eu-west-1", "EbsVolume", "Upgrade"): 1.5,
            ("999999999999", "eu-west-1", "EbsVolume", "Delete"): 2,
            ("management", "global", "ComputeSavingsPlans", "PurchaseSavingsPlans"): 30,
        }
        assert exporter.value(TOTAL) == 60.75
        check_with_promtool(exporter.get("/metrics").text)
        assert exporter.failures("savings_opportunities") == {}
    asked = [entry.operation for entry in aws.requests.entries(service="cost-optimization-hub")]
    assert asked == [*3 * ["ListRecommendations"], "ListRecommendationSummaries"]


def test_beyond_the_limit_the_smallest_are_other_and_the_total_stays(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(accounts=3, services=3)
    _, prod, staging = (account.id for account in aws.accounts)
    aws.optimization_hub.recommendations = [
        Recommendation(
            account, f"xx-test-{number}", f"i-{number}", "Ec2Instance", "Stop", Decimal(number + 1)
        )
        for account in (prod, staging)
        for number in range(20)
    ]
    with in_process(tmp_path, aws, config(aws, series_limit=10)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        found = served(exporter)
        assert len(found) == 10
        assert sum(found.values()) == 2 * sum(range(1, 21))
        assert {key for key in found if key[1] == "other"} == {
            (account, "other", "other", "Stop") for account in ("prod", "staging")
        }
        folded = exporter.value("aws_spend_exporter_folded_series", collector="savings_opportunities")
        assert folded == 32


def test_where_nothing_is_recommended_only_the_total_is_told(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=2, services=3)
    aws.optimization_hub.recommendations = []
    with in_process(tmp_path, aws, config(aws)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        assert served(exporter) == {}
        assert exporter.value(TOTAL) == 0
        assert exporter.failures("savings_opportunities") == {}


@pytest.mark.fault("Cost Optimization Hub is not enabled", "not_enrolled with what enables it")
def test_without_enrolment_the_failure_says_so_and_what_to_do(
    make_aws: MakeAws, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    aws = make_aws(accounts=2, services=3)
    aws.optimization_hub.is_enrolled = False
    with in_process(tmp_path, aws, config(aws)) as exporter:
        wait_for(
            "it fails", lambda: exporter.failures("savings_opportunities") == {"management": {"not_enrolled"}}
        )
        assert FAMILY not in exporter.samples()
        assert TOTAL not in exporter.samples()
        assert "enable Cost Optimization Hub once in the payer's console" in caplog.text

        aws.optimization_hub.is_enrolled = True
        exporter.service.runner.collect_now(exporter.collector("savings_opportunities"))
        assert exporter.failures("savings_opportunities") == {}
        assert served(exporter)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "access_denied", "service": "cost-optimization-hub"}, "access_denied"),
        ({"kind": "access_denied", "operation": "ListRecommendationSummaries"}, "access_denied"),
        ({"kind": "last_page_fails", "service": "cost-optimization-hub"}, "server_error"),
    ],
)
@pytest.mark.fault("the last page of recommendations fails", "nothing of the answer is served")
def test_a_part_of_the_answer_is_no_answer(
    make_aws: MakeAws, tmp_path: Path, fault: dict[str, str], kind: str
) -> None:
    aws = make_aws(accounts=3, services=3)
    aws.optimization_hub.page_size = 2
    aws.faults.add(**fault)
    with in_process(tmp_path, aws, config(aws)) as exporter:
        wait_for("it fails", lambda: exporter.failures("savings_opportunities") == {"management": {kind}})
        assert FAMILY not in exporter.samples()
        assert TOTAL not in exporter.samples()


def test_another_currency_is_a_failure(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=2, services=3)
    aws.optimization_hub.currency = "EUR"
    with in_process(tmp_path, aws, config(aws)) as exporter:
        wait_for(
            "it fails", lambda: exporter.failures("savings_opportunities") == {"management": {"currency"}}
        )
        assert FAMILY not in exporter.samples()

"""What is served: valid, whole, and without a call to AWS."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from running_exporter import (
    MakeAws,
    MakeExporter,
    check_with_promtool,
    collectors,
    in_process,
    organization,
    warm,
)
from waiting import wait_for

from exporter.api.endpoints import all_endpoints

pytestmark = [pytest.mark.stack, pytest.mark.alone]

COLLECTORS = collectors(cost={"history_months": 2}, ec2_instances={}, budgets={}, cost_anomaly_detection={})


def assert_valid(text: str) -> None:
    """Prometheus keeps the first of two series silently; nothing may stand twice."""
    lines = text.splitlines()
    assert text.endswith("\n")
    for kind in ("HELP", "TYPE"):
        names = [line.split(" ", 3)[2] for line in lines if line.startswith(f"# {kind} ")]
        assert [name for name, count in Counter(names).items() if count > 1] == []
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert [name for name, count in Counter(series).items() if count > 1] == []
    # Each family stands in one block.
    blocks = [line.split(" ", 3)[2] for line in lines if line.startswith("# TYPE ")]
    assert [family.name for family in text_string_to_metric_families(text)] == [
        name.removesuffix("_total") if f"# TYPE {name} counter" in text else name for name in blocks
    ]
    assert not [line for line in lines if "_created" in line]


def test_fifty_scrapes_make_no_call_and_what_they_get_is_valid(
    make_aws: MakeAws, make_exporter: MakeExporter
) -> None:
    aws = make_aws(duplicate_names=True)
    warm(aws)
    aws.faults.add("access_denied", account="prod", operation="AssumeRole")
    aws.faults.add("access_denied", account="dev", service="ec2")
    exporter = make_exporter(aws, organization(collectors=COLLECTORS)).start()
    wait_for("it is ready", exporter.is_ready)
    assert exporter.get("/metrics").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    before = len(aws.requests.entries())
    for _ in range(50):
        assert exporter.get("/metrics").status_code == 200
    for path in ("/", "/-/ready", "/-/healthy", "/api/v1/status", "/docs"):
        assert exporter.get(path).status_code == 200
        head = requests.head(f"{exporter.url}{path}", timeout=60)
        assert (head.status_code, head.content) == (200, b""), path
    for path in ("/", "/docs"):
        page = exporter.get(path).text
        assert "<script" not in page
        assert "http" not in page, "nothing is loaded from elsewhere"
    assert all(f"/api/v1/{endpoint.name}" in page for endpoint in all_endpoints())
    assert len(aws.requests.entries()) == before

    plain = exporter.get("/metrics", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    packed = exporter.get("/metrics", headers={"Accept-Encoding": "gzip"}, stream=True)
    assert packed.headers["content-encoding"] == "gzip"
    unpacked = gzip.decompress(packed.raw.read(decode_content=False)).decode()
    for text in (plain.text, unpacked):
        assert_valid(text)
        check_with_promtool(text)
    names = [
        {line.split(" ")[2] for line in text.splitlines() if line[0] == "#"}
        for text in (plain.text, unpacked)
    ]
    assert names[0] == names[1]
    assert "aws_cost_yesterday_usd" in names[0]
    assert "aws_ec2_instances" in names[0]
    assert {"aws_budget_forecast_usd", "aws_cost_anomaly_detection_findings"} <= names[0]
    assert exporter.stop() < 5


@pytest.mark.fault("AWS denies everything from the start", "the exposition is valid and holds no zeros")
def test_an_empty_exporter_is_valid_too(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=2)
    aws.faults.add("access_denied")
    with in_process(tmp_path, aws, organization(collectors=COLLECTORS)) as exporter:
        wait_for("discovery has failed", lambda: "failed" in exporter.get("/-/ready").text)
        text = exporter.get("/metrics").text
    assert_valid(text)
    check_with_promtool(text)
    assert not re.search("^aws_cost_", text, re.MULTILINE)
    assert not re.search("^aws_ec2_", text, re.MULTILINE)


@pytest.mark.fault("a commit of the ledger takes long", "scrapes do not wait for it")
def test_a_scrape_does_not_wait_for_a_commit(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=2)
    with in_process(
        tmp_path, aws, organization(collectors=collectors(cost={"history_months": 1}))
    ) as exporter:
        wait_for("it is ready", exporter.is_ready)
        # A commit of 300 accounts and a month takes seconds.
        with exporter.service.ledger.transaction():
            for path in ("/metrics", "/-/ready", "/api/v1/status", "/"):
                # Whoever waited for it would wait until the client gives up.
                assert exporter.get(path, timeout=60).status_code == 200, path
        assert (
            exporter.value("aws_spend_exporter_ledger_rows") == exporter.service.ledger.cost.row_count() > 0
        )
        remaining = exporter.value(
            "aws_spend_exporter_request_ceiling_remaining_usd", ceiling="first_fill", period="total"
        )
        assert remaining is not None
        assert remaining < 10

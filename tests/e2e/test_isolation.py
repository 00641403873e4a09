"""What fails in one account stays in that account, with its right name, and never becomes a zero."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median

import pytest
import requests
from running_exporter import (
    Client,
    MakeAws,
    MakeExporter,
    ShiftedClock,
    collectors,
    in_process,
    organization,
    warm,
)
from waiting import wait_for

from simulated_aws import SimulatedAws

pytestmark = [pytest.mark.stack, pytest.mark.alone]

FAULTS = {
    "prod": ("access_denied", {"service": "sts", "operation": "AssumeRole"}, "access_denied"),
    "staging": ("hang", {"service": "ec2"}, "timeout"),
    "data-platform": ("throttle", {"service": "ec2"}, "throttled"),
    "dev": ("malformed", {"service": "ec2"}, "malformed_response"),
    "sandbox": ("expired_credentials", {"service": "ec2"}, "expired_credentials"),
    "security": ("server_error", {"service": "ec2"}, "server_error"),
    "machine-learning": ("reset", {"service": "ec2"}, "connection"),
}
HEALTHY = {"management", "shared-services"}


def break_accounts(aws: SimulatedAws) -> None:
    for account, (kind, where, _) in FAULTS.items():
        aws.faults.add(kind, account=account, **where)


def accounts_with_instances(client: Client) -> set[str]:
    return {labels["account"] for labels, _ in client.samples().get("aws_ec2_instances", [])}


@contextmanager
def scraped(url: str) -> Iterator[list[float]]:
    """Scrapes without a pause, from three threads, and collects the seconds that each took."""
    took: list[float] = []
    end = threading.Event()

    def scrape() -> None:
        with requests.Session() as session:
            while not end.wait(0.02):
                began = time.monotonic()
                session.get(f"{url}/metrics", timeout=60).raise_for_status()
                took.append(time.monotonic() - began)

    threads = [threading.Thread(target=scrape) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield took
    finally:
        end.set()
        for thread in threads:
            thread.join()


def test_each_failure_has_its_kind_and_the_others_are_fresh_while_metrics_answers_at_once(
    make_aws: MakeAws, make_exporter: MakeExporter
) -> None:
    aws = make_aws()
    warm(aws)
    break_accounts(aws)
    # A healthy account needs three attempts in one region: nobody else has used them up.
    aws.faults.add("server_error", account="shared-services", service="ec2", region="us-east-1", count=2)
    exporter = make_exporter(aws, organization())
    exporter.start()
    with scraped(exporter.url) as took:
        wait_for("the healthy accounts are read", lambda: accounts_with_instances(exporter) == HEALTHY)
        wait_for("every account is through", exporter.is_ready)
    assert exporter.failures("ec2_instances") == {name: {kind} for name, (_, _, kind) in FAULTS.items()}
    success = {
        labels.get("account", ""): value
        for labels, value in exporter.samples()["aws_spend_exporter_collector_success"]
        if labels["collector"] == "ec2_instances"
    }
    assert success == dict.fromkeys(["", *FAULTS], 0)
    # Unknown is never zero: an account that was never read has no sample at all.
    assert accounts_with_instances(exporter) == HEALTHY
    assert len(took) > 50
    # The machine may be busy; who waited for a call that hangs would wait for two seconds at least.
    assert median(took) < 0.25, sorted(took)[-5:]
    assert max(took) < 2, sorted(took)[-5:]
    assert exporter.stop() < 5


def test_healthy_accounts_stay_fresh_although_a_hanging_one_takes_longer_than_the_interval(
    make_aws: MakeAws, make_exporter: MakeExporter
) -> None:
    aws = make_aws(accounts=4)
    warm(aws)
    for account in ("prod", "staging"):
        aws.faults.add("hang", account=account)
    config = organization(
        aws={"read_timeout": "10s", "threads": 6},
        collectors=collectors(ec2_instances={"interval": "4s"}),
    )
    exporter = make_exporter(aws, config).start()
    fresh = {"management", "data-platform"}
    wait_for("the healthy accounts are read", lambda: accounts_with_instances(exporter) == fresh)
    for _ in range(64):  # longer than samples stay
        assert accounts_with_instances(exporter) == fresh
        time.sleep(0.25)


def test_last_good_samples_stay_for_three_intervals_and_then_go_absent(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws()
    warm(aws)
    clock = ShiftedClock()
    config = organization(collectors=collectors(ec2_instances={"interval": "1h"}))
    everyone = HEALTHY | set(FAULTS)
    with in_process(tmp_path, aws, config, clock) as exporter:
        wait_for(
            "every account is read",
            lambda: exporter.is_ready() and accounts_with_instances(exporter) == everyone,
        )
        before = exporter.samples()["aws_ec2_instances"]
        break_accounts(aws)
        aws.faults.add("access_denied", account="prod")  # its session is still good for an hour
        collector = exporter.collector("ec2_instances")
        clock.advance(timedelta(hours=1))
        assert exporter.service.runner.collect_now(collector) > 0
        assert set(exporter.failures("ec2_instances")) == set(FAULTS)
        assert exporter.samples()["aws_ec2_instances"] == before

        clock.advance(timedelta(hours=1, minutes=59))
        assert accounts_with_instances(exporter) == everyone
        clock.advance(timedelta(minutes=2))
        # Three intervals after AWS was read, not after it failed; the healthy ones were read an hour later.
        assert accounts_with_instances(exporter) == HEALTHY
        assert set(exporter.failures("ec2_instances")) == set(FAULTS)
        clock.advance(timedelta(hours=1))
        assert accounts_with_instances(exporter) == set()

        aws.faults.clear()
        assert exporter.service.runner.collect_now(collector) == 0
        assert accounts_with_instances(exporter) == everyone
        assert exporter.failures("ec2_instances") == {}


def test_a_hanging_payer_account_does_not_hold_up_cost(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=2, regions=("us-east-1", "eu-west-1", "us-west-2", "eu-north-1"))
    warm(aws)
    aws.faults.add("hang", account="management", service="ec2")
    config = organization(
        regions=list(aws.spec.regions),
        aws={"read_timeout": "120s"},  # so that it hangs for longer than the test waits
        collectors=collectors(cost={"history_months": 1}, ec2_instances={}),
    )
    with in_process(tmp_path, aws, config) as exporter:
        wait_for(
            "cost is read",
            lambda: exporter.value("aws_spend_exporter_collector_success", collector="cost") == 1,
            100,
        )

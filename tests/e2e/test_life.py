"""Starting, ending, reloading: within seconds, with the right exit code, with an AWS that answers or hangs."""

from __future__ import annotations

import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from running_exporter import MakeAws, MakeExporter, collectors, in_process, organization, warm
from waiting import wait_for

from simulated_aws import SimulatedAws

pytestmark = [pytest.mark.stack, pytest.mark.alone]

BOTH: dict[str, Any] = collectors(cost={"history_months": 3}, ec2_instances={})
COST: dict[str, Any] = {
    "accounts": {"discovery": "payer"},
    "collectors": collectors(cost={"history_months": 1}),
}


@pytest.fixture
def aws(make_aws: MakeAws) -> SimulatedAws:
    aws = make_aws(accounts=3)
    warm(aws)
    return aws


def test_sigterm_ends_an_idle_exporter(aws: SimulatedAws, make_exporter: MakeExporter) -> None:
    exporter = make_exporter(aws, organization(collectors=BOTH)).start()
    wait_for("it is ready", exporter.is_ready)
    assert exporter.stop() < 5


@pytest.mark.fault("SIGTERM while the history is first read", "it ends in five seconds")
def test_sigterm_ends_the_first_fill(aws: SimulatedAws, make_exporter: MakeExporter) -> None:
    slow = aws.faults.add("latency", service="ce", seconds=1.5)
    exporter = make_exporter(aws, COST).start()
    wait_for("Cost Explorer is asked", lambda: aws.faults.hits(slow))
    assert exporter.stop() < 5


@pytest.mark.parametrize(
    "operation", ["DescribeInstances", "AssumeRole", "GetCallerIdentity", "ListAccounts"]
)
@pytest.mark.fault("SIGTERM while AWS hangs", "it ends in five seconds")
def test_sigterm_ends_while_a_call_hangs(
    aws: SimulatedAws, make_exporter: MakeExporter, operation: str
) -> None:
    hang = aws.faults.add("hang", operation=operation)
    exporter = make_exporter(aws, organization(aws={"read_timeout": "30s"}, collectors=BOTH)).start()
    wait_for("it hangs", lambda: aws.faults.hits(hang))
    assert exporter.stop() < 5


@pytest.mark.fault("SIGTERM while scrapers hold connections", "it ends in five seconds")
def test_sigterm_ends_although_scrapers_hold_their_connections(
    aws: SimulatedAws, make_exporter: MakeExporter
) -> None:
    exporter = make_exporter(aws, COST).start()
    address = exporter.url.removeprefix("http://").split(":")
    with requests.Session() as session, socket.create_connection((address[0], int(address[1]))) as half_open:
        session.get(f"{exporter.url}/metrics", timeout=60)
        half_open.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        assert exporter.stop() < 5


@pytest.mark.fault("SIGTERM while a reload waits for AWS", "it ends in five seconds")
def test_sigterm_ends_a_reload_that_waits_for_a_hanging_call(
    aws: SimulatedAws, make_exporter: MakeExporter
) -> None:
    hang = aws.faults.add("hang", service="ec2")
    exporter = make_exporter(aws, organization(aws={"read_timeout": "30s"})).start()
    wait_for("it hangs", lambda: aws.faults.hits(hang))
    answers: list[int] = []

    def reload() -> None:
        try:
            answers.append(exporter.reload().status_code)
        except requests.ConnectionError:
            answers.append(0)

    threads = [threading.Thread(target=reload) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    assert exporter.stop() < 5
    for thread in threads:
        thread.join(60)
    assert len(answers) == 3


def test_a_second_sigterm_does_no_harm(aws: SimulatedAws, make_exporter: MakeExporter) -> None:
    hang = aws.faults.add("hang", service="ec2")
    exporter = make_exporter(aws, organization(aws={"read_timeout": "30s"})).start()
    wait_for("it hangs", lambda: aws.faults.hits(hang))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        exporter.signal(number)
    assert exporter.wait(20) == 0  # the call would hang for longer


@pytest.mark.fault("the exporter's port is taken", "one line and exit code 1")
def test_a_taken_port_is_one_clear_line(aws: SimulatedAws, make_exporter: MakeExporter) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        exporter = make_exporter(aws, COST | {"server": {"port": port}}).start(wait=False)
        assert exporter.wait(60) == 1
    (line,) = exporter.log().splitlines()
    assert f"server.port: found 127.0.0.1:{port} in use" in line
    assert aws.requests.count() == 0


@pytest.mark.fault("a second exporter on the same ledger", "it is refused, the first one goes on")
def test_a_second_exporter_on_the_same_ledger_is_refused(
    aws: SimulatedAws, make_exporter: MakeExporter, tmp_path: Path
) -> None:
    shared = {"data_dir": str(tmp_path / "shared")}
    first = make_exporter(aws, COST | shared, "first").start()
    second = make_exporter(aws, COST | shared, "second").start(wait=False)
    assert second.wait(60) == 1
    (line,) = second.log().splitlines()
    assert "data_dir: found" in line
    assert "another process is writing" in line
    assert first.stop() < 5
    # The lock does not outlive its holder.
    assert second.start().stop() < 5


@pytest.mark.fault("the ledger's file is damaged", "one line and exit code 1")
def test_a_ledger_that_is_damaged_is_one_clear_line(aws: SimulatedAws, make_exporter: MakeExporter) -> None:
    exporter = make_exporter(aws, COST).start()
    wait_for("it is ready", exporter.is_ready)
    exporter.stop()
    ledger = exporter.folder / "data" / "ledger.sqlite"
    header = 2 * 4096  # of SQLite; it says that this is a ledger
    with ledger.open("r+b") as file:
        file.seek(header)
        file.write(b"\xff" * (ledger.stat().st_size - header))
    assert exporter.start(wait=False).wait(20) == 1
    (line,) = exporter.log().splitlines()
    assert f"data_dir: found {ledger}, expected a ledger that we can read: " in line


@pytest.mark.parametrize("how", ["SIGHUP", "POST"])
def test_a_reload_takes_the_new_configuration(
    aws: SimulatedAws, make_exporter: MakeExporter, how: str
) -> None:
    exporter = make_exporter(aws, COST).start()
    wait_for("it is ready", exporter.is_ready)
    assert exporter.value("aws_cost_threshold_usd", scope="organization") is None
    exporter.configure(COST | {"thresholds": {"organization": {"day": 7}}})
    if how == "POST":
        assert exporter.reload().status_code == 200
    else:
        exporter.signal(signal.SIGHUP)
    wait_for(
        "the threshold is served",
        lambda: exporter.value("aws_cost_threshold_usd", scope="organization", period="day") == 7,
    )
    assert exporter.value("aws_spend_exporter_config_last_reload_successful") == 1
    assert exporter.stop() < 5


@pytest.mark.fault("a bad configuration on reload", "it is refused, the old one stays")
def test_a_bad_configuration_is_refused_and_the_old_one_stays(
    aws: SimulatedAws, make_exporter: MakeExporter
) -> None:
    old = COST | {"thresholds": {"organization": {"day": 7}}}
    exporter = make_exporter(aws, old).start()
    wait_for("it is ready", exporter.is_ready)
    read_at = exporter.value("aws_spend_exporter_config_last_reload_success_timestamp_seconds")
    for bad, key in (
        ({"colectors": {}}, "colectors: found an unknown key"),
        ({"thresholds": {"organization": {"day": "much"}}}, "thresholds.organization.day"),
        ({"server": {"port": 1}}, "server: has changed"),
        ({"aws": {"profile": "there-is-none"}}, "there-is-none"),
    ):
        exporter.configure(COST | bad)
        answer = exporter.reload()
        assert (answer.status_code, key in answer.text) == (500, True), answer.text
        assert exporter.value("aws_spend_exporter_config_last_reload_successful") == 0
    exporter.config_path.write_text("a: [")
    assert "is not usable YAML" in exporter.reload().text
    exporter.config_path.unlink()
    assert "cannot be read" in exporter.reload().text
    assert exporter.value("aws_cost_threshold_usd", scope="organization", period="day") == 7
    assert exporter.value("aws_spend_exporter_config_last_reload_success_timestamp_seconds") == read_at
    assert exporter.is_ready()
    exporter.configure(old)
    assert exporter.reload().status_code == 200
    assert exporter.value("aws_spend_exporter_config_last_reload_successful") == 1
    # By signal the log says why.
    exporter.configure(COST | {"colectors": {}})
    exporter.signal(signal.SIGHUP)
    wait_for(
        "it is refused",
        lambda: exporter.value("aws_spend_exporter_config_last_reload_successful") == 0,
    )
    wait_for("it says why", lambda: "colectors: found an unknown key" in exporter.log())
    assert exporter.value("aws_cost_threshold_usd", scope="organization", period="day") == 7
    assert exporter.stop() < 5


@pytest.mark.fault("reloads while collecting, and many at once", "nothing is paid twice, nothing leaks")
def test_reloads_while_collecting_and_all_at_once_pay_nothing_twice_and_leak_nothing(
    make_aws: MakeAws, make_exporter: MakeExporter
) -> None:
    aws = make_aws(accounts=3, groups_per_page=100)
    warm(aws)
    aws.faults.add("latency", service="ce", seconds=0.15)
    exporter = make_exporter(aws, organization(collectors=BOTH)).start()
    wait_for("the first fill has begun", lambda: aws.requests.count("ce") or None)
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda _: exporter.reload().status_code, range(8)))
    assert codes == [200] * 8
    wait_for("it is ready", exporter.is_ready)
    asked = [(str(entry.params)) for entry in aws.requests.entries(service="ce", status=200) if entry.params]
    # Each reload may repeat the one request in flight, and what its unfinished query had read before.
    assert len(asked) - len(set(asked)) <= 8 * 2, len(asked)
    threads = len(list(exporter.proc("task").iterdir()))
    handles = len(list(exporter.proc("fd").iterdir()))
    for _ in range(6):
        assert exporter.reload().status_code == 200
        wait_for("it is ready", exporter.is_ready)
    assert len(list(exporter.proc("task").iterdir())) <= threads + 3
    assert len(list(exporter.proc("fd").iterdir())) <= handles + 10
    assert exporter.stop() < 5


def test_a_reload_drops_the_accounts_and_collectors_that_are_configured_no_more(
    aws: SimulatedAws, make_exporter: MakeExporter
) -> None:
    exporter = make_exporter(aws, organization()).start()
    wait_for("it is ready", exporter.is_ready)

    def names() -> set[str]:
        return {labels["account"] for labels, _ in exporter.samples().get("aws_ec2_instances", [])}

    assert names() == {"management", "prod", "staging"}
    accounts = organization()["accounts"] | {"exclude": ["prod"]}
    exporter.configure(organization(accounts=accounts))
    assert exporter.reload().status_code == 200
    wait_for("prod is gone", lambda: names() == {"management", "staging"})
    exporter.configure(organization(collectors=collectors()))
    assert exporter.reload().status_code == 200
    assert names() == set()
    assert not [
        labels
        for series in exporter.samples().values()
        for labels, _ in series
        if labels.get("collector") == "ec2_instances"
        and "le" not in labels
        and "kind" not in labels
        and not labels.keys() <= {"collector"}
    ]
    assert exporter.stop() < 5


@pytest.mark.fault("a reload fails unforeseen", "the exporter goes on")
def test_an_unforeseen_failure_does_not_end_the_exporter_on_reload(aws: SimulatedAws, tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("no more")

    with in_process(tmp_path, aws, COST, load=broken) as exporter:
        wait_for("it is ready", exporter.is_ready)
        answer = exporter.reload()
        assert (answer.status_code, "no more" in answer.text) == (500, True)
        assert exporter.value("aws_spend_exporter_config_last_reload_successful") == 0
        assert exporter.is_ready()

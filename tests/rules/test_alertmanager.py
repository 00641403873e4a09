"""The shipped Alertmanager files on a real Alertmanager: what is inhibited, and what arrives where."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from waiting import wait_for

from demo.processes import choose_ports

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "alertmanager/alertmanager.yml"
TEAMS = ROOT / "alertmanager/teams.example.yml"

PRESENTED = "Basic " + base64.b64encode(b"alertmanager:for-the-relay").decode()

Labels = dict[str, str]


def daily(scope: str, **labels: str) -> Labels:
    """The labels of an alert on a day's spend."""
    return {
        "alertname": "AwsDailySpendAboveThreshold", "component": "cost", "severity": "warning",
        "period": "day", "scope": scope, **labels,
    }  # fmt: skip


class Alertmanager:
    """A running Alertmanager."""

    def __init__(self, url: str) -> None:
        self.url = url

    def send(self, *alerts: Labels, resolved: bool = False) -> None:
        """Send alerts as Prometheus does."""
        now = datetime.now(UTC)
        ends = now if resolved else now + timedelta(hours=1)
        # An alert that is older than group_wait is sent at once, before the others of its group are there.
        starts = now - timedelta(seconds=10 if resolved else 0)
        body = [
            {"labels": labels, "startsAt": starts.isoformat(), "endsAt": ends.isoformat()}
            for labels in alerts
        ]
        answer = requests.post(f"{self.url}/api/v2/alerts", json=body, timeout=60)
        assert answer.status_code == 200, answer.text

    def inhibited(self) -> list[Labels]:
        """The labels of the alerts that another one silences."""
        alerts = requests.get(f"{self.url}/api/v2/alerts", timeout=60).json()
        return [alert["labels"] for alert in alerts if alert["status"]["inhibitedBy"]]


class Sink:
    """Takes every webhook: the relay, and the services outside."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str, dict[str, Any]]] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                sink.received.append((self.path, self.headers.get("Authorization", ""), body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def close(self) -> None:
        """End the server."""
        self.server.shutdown()
        self.server.server_close()

    def at(self, path: str) -> list[tuple[str, list[str]]]:
        """Status and sorted subjects (or names) of each notification at a path."""
        return [
            (
                body["status"],
                sorted(
                    alert["labels"].get("subject", alert["labels"]["alertname"]) for alert in body["alerts"]
                ),
            )
            for received, _, body in self.received
            if received == path
        ]


@contextmanager
def running(config: Path, folder: Path) -> Iterator[Alertmanager]:
    """Alertmanager with a configuration file."""
    program = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")
    if program is None:
        pytest.skip("alertmanager is not installed")
    url = f"http://127.0.0.1:{choose_ports({'alertmanager': 0})['alertmanager']}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address={url.removeprefix('http://')}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        wait_for("it is ready", lambda: _ready(url))
        yield Alertmanager(url)
    finally:
        process.terminate()
        process.wait(60)


def _ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/-/ready", timeout=10).ok
    except requests.RequestException:
        return False


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """The shipped file as it is; there is no relay, which nothing here needs."""
    with running(SHIPPED, tmp_path_factory.mktemp("alertmanager")) as alertmanager:
        yield alertmanager


ONE, TWO = {"account_id": "111111111111"}, {"account_id": "222222222222"}
EC2 = {"service": "Amazon EC2"}


def test_only_what_another_alert_explains_is_inhibited(shipped: Alertmanager) -> None:
    """A service under its own account, drops under stale data, collection under its reason; nothing else."""
    explained = [
        daily("account_service", **ONE, **EC2),
        {"alertname": "AwsCostAnomaly", "kind": "drop", "severity": "warning", **ONE, **EC2},
        {"alertname": "AwsCostAnomaly", "kind": "stopped_service", "severity": "warning", **ONE, **EC2},
        {"alertname": "AwsAccountCollectionStalled", "collector": "ec2", **ONE},
        {"alertname": "AwsAccountCollectionFailing", "collector": "cost", **TWO},
        {"alertname": "AwsAccountCollectionStalled", "collector": "cost", "account_id": "333333333333"},
        {"alertname": "AwsAccountCollectionStalled", "collector": "inventory"},
    ]
    explaining = [
        daily("account", **ONE),
        {"alertname": "AwsCostDataStale", "component": "freshness", "severity": "warning"},
        {"alertname": "AwsAccountCollectionFailing", "collector": "ec2", **ONE},
        {"alertname": "AwsRequestCeilingReached", "collector": "cost"},
        {"alertname": "AwsCollectionLagging", "collector": "inventory"},
    ]
    others = [
        daily("organization"),
        daily("ou", ou="/Workloads"),
        daily("group", group="team", group_value="platform"),
        daily("service", **EC2),
        # Another account's, another period's, and what the month is expected to end at.
        daily("account_service", **TWO, **EC2),
        daily("account_service", **ONE, **EC2) | {"period": "month"},
        daily("account_service", **ONE, **EC2) | {"period": "month_end"},
        daily("account", **TWO) | {"period": "month"},
        {"alertname": "AwsCostAnomaly", "kind": "spike", "severity": "warning", **ONE, **EC2},
        {"alertname": "AwsCostAnomaly", "kind": "new_service", "severity": "warning", **ONE, **EC2},
        {"alertname": "AwsAccountCollectionStalled", "collector": "ec2", **TWO},
        {"alertname": "AwsAccountCollectionStalled", "collector": "inventory", **ONE},
        {
            "alertname": "AwsUnusedResourcesAboveThreshold",
            "component": "resources",
            "scope": "account",
            **ONE,
        },
    ]

    def same(found: list[Labels], expected: list[Labels]) -> bool:
        return sorted(map(str, map(sorted, map(dict.items, found)))) == sorted(
            map(str, map(sorted, map(dict.items, expected)))
        )

    shipped.send(*explained, *others)
    assert shipped.inhibited() == []
    shipped.send(*explaining)
    wait_for("they are inhibited", lambda: same(shipped.inhibited(), explained))
    # It holds whenever it is looked at, and ends with its reason.
    shipped.send(*explaining, resolved=True)
    wait_for("none is inhibited", lambda: shipped.inhibited() == [])


@pytest.fixture
def sink() -> Iterator[Sink]:
    """What stands for the relay and for the services outside."""
    sink = Sink()
    yield sink
    sink.close()


def _local(shipped: Path, sink: Sink, folder: Path) -> Path:
    """The file with its hosts and secrets here, and without waiting."""
    config = yaml.safe_load(shipped.read_text())
    (folder / "password").write_text("for-the-relay")

    def hurry(route: dict[str, Any]) -> None:
        route |= {"group_wait": "500ms", "group_interval": "500ms"}
        for child in route.get("routes", []):
            hurry(child)

    hurry(config["route"])
    for receiver in config["receivers"]:
        for hook in receiver.get("webhook_configs", []):
            hook["url"] = sink.url + "/" + hook["url"].split("/", 3)[3]
            if "http_config" in hook:
                hook["http_config"]["basic_auth"]["password_file"] = str(folder / "password")
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_an_incident_is_one_message_in_each_channel_that_it_concerns(sink: Sink, tmp_path: Path) -> None:
    """By team and severity; with the relay's credentials; the watchdog and the relay's failure leave past the relay."""
    prod = daily("account", **ONE, team="platform", subject="prod")
    dev = daily("account", **TWO, team="data", subject="dev")
    everyone = daily("organization", subject="all accounts")
    month = daily("organization", subject="all accounts") | {"period": "month", "severity": "critical"}
    failing = {"alertname": "AwsAccountCollectionFailing", "component": "collection", "severity": "warning"}
    regions = [failing | {"collector": "ec2", "account_id": f"{number:012}"} for number in range(3)]
    down = {"alertname": "AwsSpendRelayDown", "component": "delivery", "severity": "critical"}
    watchdog = {"alertname": "AwsSpendWatchdog", "component": "watchdog", "severity": "none"}

    with running(_local(TEAMS, sink, tmp_path), tmp_path) as alertmanager:
        alertmanager.send(prod, dev, everyone, month, *regions, down, watchdog)
        expected = {
            "/alerts/platform": [("firing", ["prod"])],
            "/alerts/data": [("firing", ["dev"])],
            "/alerts/critical": [("firing", ["AwsSpendRelayDown"]), ("firing", ["all accounts"])],
            "/alerts": [
                ("firing", ["AwsAccountCollectionFailing"] * 3),
                ("firing", ["all accounts", "dev", "prod"]),
            ],
            "/ping/your-secret-id": [("firing", ["AwsSpendWatchdog"])],
            "/your-secret-id": [("firing", ["AwsSpendRelayDown"])],
        }
        wait_for(
            "each has its receiver", lambda: {path: sorted(sink.at(path)) for path in expected} == expected
        )
        for path, authorization, _ in sink.received:
            assert authorization == (PRESENTED if path.startswith("/alerts") else "")

        # The end of a day or month gets no message, that of a failure does.
        sink.received.clear()
        alertmanager.send(prod, dev, everyone, month, *regions, down, resolved=True)
        expected = {
            "/alerts": [("resolved", ["AwsAccountCollectionFailing"] * 3)],
            "/alerts/critical": [("resolved", ["AwsSpendRelayDown"])],
            "/your-secret-id": [("resolved", ["AwsSpendRelayDown"])],
        }
        wait_for("each has its receiver", lambda: {path: sink.at(path) for path in expected} == expected)
        time.sleep(1.2)  # two group intervals, in which a message too many would come
        assert {path for path, _, _ in sink.received} == set(expected)


def test_the_shipped_file_sends_all_of_a_days_spend_as_one_message(sink: Sink, tmp_path: Path) -> None:
    with running(_local(SHIPPED, sink, tmp_path), tmp_path) as alertmanager:
        alertmanager.send(
            daily("account", **ONE, subject="prod", team="platform"),
            daily("account_service", **ONE, **EC2, subject="EC2 of prod"),
            daily("ou", ou="/Workloads", subject="OU /Workloads"),
            daily("organization", subject="all accounts"),
        )
        wait_for("it has arrived", lambda: bool(sink.received))
        time.sleep(1.2)
        assert sink.at("/alerts") == [("firing", ["OU /Workloads", "all accounts", "prod"])]
        assert [authorization for _, authorization, _ in sink.received] == [PRESENTED]
        assert len(sink.received) == 1

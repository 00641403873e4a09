"""Telex installs the integration, sets it and ticks, over its interface only; the answer is what AWS says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from running_exporter import Exporter, MakeAws, MakeExporter, collectors, organization
from waiting import wait_for

from demo.processes import choose_ports
from demo.telex_sink import TelexSink
from exporter.core.moments import month_start
from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack


class Relay:
    """`aws-spend-exporter relay` beside an exporter, with the exporter's configuration."""

    def __init__(self, exporter: Exporter, config: dict[str, Any], telex_url: str) -> None:
        path = exporter.folder / "relay.yaml"
        path.write_text(json.dumps(config))
        self.log = exporter.folder / "relay.log"
        self.url = f"http://127.0.0.1:{config['relay']['port']}"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "exporter", "relay", "-c", str(path)],
                env={**exporter.environment, "TELEX_URL": telex_url},
                cwd=exporter.folder,
                stdout=log,
                stderr=log,
            )
        wait_for("the relay is ready", self._is_ready)

    def _is_ready(self) -> bool:
        assert self.popen.poll() is None, self.log.read_text()
        try:
            return requests.get(f"{self.url}/-/ready", timeout=60).ok
        except requests.RequestException:
            return False

    def stop(self) -> int:
        self.popen.terminate()
        return self.popen.wait(10)


@pytest.fixture
def sink() -> Iterator[TelexSink]:
    with TelexSink() as channel:
        yield channel


def truth(aws: SimulatedAws, start: date, end: date, *, account: str | None = None) -> Decimal:
    """Amortized cost to the cent from `start` to `end`, both included, as AWS itself says now."""
    asked = {
        "start": start.isoformat(),
        "end": (end + timedelta(days=1)).isoformat(),
        "by": "account",
        "metric": "AmortizedCost",
    }
    rows = requests.get(f"{aws.url}/_simulator/truth", params=asked, timeout=60).json()["totals"]
    total = sum((Decimal(row["amount"]) for row in rows if account in (None, *row["keys"])), Decimal(0))
    return total.quantize(Decimal("0.01"), ROUND_HALF_UP)


def lines(message: str) -> dict[str, str]:
    """The named lines of a message."""
    return dict(line.split(": ", 1) for line in message.splitlines() if ": " in line)


def test_install_set_tick(make_aws: MakeAws, make_exporter: MakeExporter, sink: TelexSink) -> None:
    aws = make_aws(days=120)
    port = choose_ports({"exporter": 0, "relay": 0})
    config = organization(collectors=collectors(cost={"history_months": 2}))
    config["server"] = {"port": port["exporter"]}
    exporter = make_exporter(aws, config)
    whole = {
        **config,
        "relay": {
            "port": port["relay"],
            "state_dir": str(exporter.folder / "relay"),
            "channels": {"default": {"url_env": "TELEX_URL"}},
            "exporter": {"url": f"http://127.0.0.1:{port['exporter']}"},
            "integration": {"enabled": True, "return_hosts": [urlsplit(sink.url).netloc]},
        },
    }
    relay = Relay(exporter, whole, sink.webhook_url)
    try:
        telex = sink.url

        def say(what: str, body: Any) -> requests.Response:
            return requests.post(f"{telex}/_sink/{what}", json=body, timeout=60)

        def ticked(**settings: Any) -> Any:
            after = len(sink.messages)
            assert say("settings", settings).status_code == 200
            began = time.monotonic()
            assert say("tick", {}).json()["data"] == {"status": "accepted"}
            assert time.monotonic() - began < 30  # at once, and not when the answer is found
            message = sink.wait_for(after=after, timeout=120)
            assert message is not None, relay.log.read_text()
            return message

        installed = say("install", {"url": f"{relay.url}/integration"})
        assert installed.json()["data"] == {"name": "AWS Spend Monitor"}

        # The exporter is not running yet: that is said, and not guessed around.
        message = ticked(threshold=50)
        assert (message.status, lines(message.message)["Problem"]) == (
            "error",
            "the exporter does not answer; the relay's log says more",
        )
        exporter.start()
        wait_for("the exporter is ready", exporter.is_ready)
        today = aws.clock.now().date()
        yesterday = today - timedelta(days=1)
        last_month = (month_start(today, 1), month_start(today) - timedelta(days=1))

        usd = truth(aws, yesterday, yesterday)
        message = ticked(threshold=str(usd - Decimal("0.01")), frequency="Daily")
        found = lines(message.message)
        assert (message.status, message.event_name, found["Status"]) == (
            "error",
            "AWS Spend Monitor",
            "above threshold",
        )
        assert found["Spend"] == f"${usd:,.2f} (amortized)"
        assert found["Period"] == f"{yesterday} (Daily)"
        message = ticked(threshold=str(usd))
        assert (message.status, lines(message.message)["Status"]) == ("success", "within budget")

        usd = truth(aws, *last_month)
        message = ticked(threshold=100.5, frequency="Monthly")
        assert lines(message.message)["Spend"] == f"${usd:,.2f} (amortized)"
        assert lines(message.message)["Period"] == f"{last_month[0]} to {last_month[1]} (Monthly)"

        # With keys: STS and one request of Cost Explorer, on the account of the keys alone.
        aws.requests.clear()
        keys = aws.environment()
        usd = truth(aws, *last_month, account=aws.payer_id)
        assert 0 < usd < truth(aws, *last_month)
        message = ticked(
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"], aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"]
        )
        assert (lines(message.message)["Account"], lines(message.message)["Spend"]) == (
            aws.payer_id,
            f"${usd:,.2f} (amortized)",
        )
        assert [entry.operation for entry in aws.requests.entries()] == [
            "GetCallerIdentity",
            "GetCostAndUsage",
        ]
        metrics = requests.get(f"{relay.url}/metrics", timeout=60).text
        assert 'api_charges_usd_total{operation="GetCostAndUsage",service="ce"} 0.01' in metrics
        assert 'relay_integration_ceiling_remaining_usd{period="month"} 9.99' in metrics

        # Each cause by its name.
        said = "AWS does not accept the keys: one of them is wrong, or the access key is not active"
        for settings, problem in (
            ({"aws_access_key_id": "AKIANOTKNOWN00000000"}, said),
            ({"aws_secret_access_key": "wrong-but-of-the-right-form-000000000000"}, said),
            ({"aws_access_key_id": ""}, "aws_access_key_id: is missing, while aws_secret_access_key is set"),
            (
                {"aws_secret_access_key": "", "threshold": "many"},
                "threshold: expected an amount in US dollars",
            ),
        ):
            message = ticked(**settings)
            assert message.status == "error"
            assert lines(message.message)["Problem"].startswith(problem)
        assert relay.stop() == 0
        relay = Relay(exporter, whole, sink.webhook_url)  # charges survive a restart
        assert (
            'ceiling_remaining_usd{period="month"} 9.99'
            in requests.get(f"{relay.url}/metrics", timeout=9).text
        )
    finally:
        relay.stop()
    for path in (relay.log, exporter.log_path, *Path(exporter.folder / "relay").iterdir()):
        content = path.read_bytes().decode("latin-1")
        assert keys["AWS_SECRET_ACCESS_KEY"] not in content
        assert sink.channel_id not in content
    assert os.environ["AWS_ACCESS_KEY_ID"] == keys["AWS_ACCESS_KEY_ID"]

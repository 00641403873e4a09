"""Beside a running demo: one figure by command, by PromQL and in the simulated AWS; and a doctor without complaints."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests
from running_demo import RunningDemo

pytestmark = pytest.mark.stack


def type_in(demo: RunningDemo, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exporter", *arguments, "--json"],
        env=demo.environment,
        cwd=demo.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def run(demo: RunningDemo, *arguments: str) -> Any:
    done = type_in(demo, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def cents(usd: object) -> Decimal:
    return Decimal(str(usd)).quantize(Decimal("0.01"))


def test_costs_promql_and_the_simulator_agree_to_the_cent(demo: RunningDemo) -> None:
    """The last settled week; the demo reads anew every few seconds, and AWS moves: again where it just has."""
    deadline = time.monotonic() + 60
    while True:
        answer = run(demo, "costs", "--days", "10")
        truth = requests.get(
            f"{demo.environment['AWS_ENDPOINT_URL']}/_simulator/truth",
            params={"start": answer["start"], "end": _after(answer["end"]), "by": "account,service"},
            timeout=30,
        ).json()
        simulated = {tuple(row["keys"]): cents(row["amount"]) for row in truth["totals"]}
        typed = {(row["account_id"], row["service"]): cents(row["usd"]) for row in answer["rows"]}
        asked = {
            (row["metric"]["account_id"], row["metric"]["service"]): cents(row["value"][1])
            for row in demo.query(
                "sum by (account_id, service)"
                " (sum_over_time(last_over_time(aws_cost_daily_usd[1d])[10d:1d] offset -1ms))"
            )
        }
        sides = [{key: usd for key, usd in side.items() if usd} for side in (typed, simulated, asked)]
        if sides[0] == sides[1] == sides[2] or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert sides[0]
    assert sides[0] == sides[1]
    assert sides[0] == sides[2]


def _after(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


def test_the_doctor_finds_nothing_to_mend_in_a_demo(demo: RunningDemo) -> None:
    deadline = time.monotonic() + 90
    while True:  # the first inventory of the demo takes a while
        done = type_in(demo, "doctor", "--send-test-message")
        findings = json.loads(done.stdout)
        if done.returncode == 0 or time.monotonic() > deadline:
            break
        time.sleep(2)
    assert [finding for finding in findings if finding["error"]] == []
    assert {finding["subject"] for finding in findings} >= {
        "configuration",
        "credentials",
        "role",
        "region",
        "Cost Explorer",
        "plan",
        "exporter",
        "Prometheus",
        "Alertmanager",
        "relay",
        "Telex default",
    }
    page = requests.get(demo.urls["telex"], timeout=60).text
    assert "can post to this channel" in page

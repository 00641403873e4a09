"""The first message of a spike names its cause, through the whole chain of real servers."""

import io
from threading import Event

import pytest
from rich.console import Console
from waiting import wait_for

from demo import http
from demo.cli import possible_spikes
from demo.display import Progress
from demo.options import Options
from demo.processes import Processes, choose_ports
from demo.stack import Stack
from demo.telex_channel import Message
from demo.telex_sink import TelexSink

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

_OPTIONS = Options(grafana=False, days=60, regions=("us-east-1",), scrape_seconds=2, patience=150)
TITLE = "FIRING: AWS cost spike"


def test_the_first_and_only_message_of_a_spike_has_its_cause() -> None:
    """Cost Explorer takes ten seconds for the cause, in which Prometheus evaluates several times."""
    with TelexSink(choose_ports({"telex": 0})["telex"]) as sink, Processes(Event()) as processes:
        with Progress(Console(file=io.StringIO())) as progress:
            stack = Stack(_OPTIONS, processes, progress, sink).start()
        http.post(
            f"{stack.urls['simulator']}/_simulator/faults",
            # Only the question for a cause groups by operation.
            {"kind": "latency", "service": "ce", "operation": "GetCostAndUsage", "resource": "OPERATION",
             "seconds": 10},
        )  # fmt: skip
        spike = possible_spikes(stack)[0]
        stack.simulator.spike(spike.account_id, spike.service, spike.factor * 3)

        def about_the_spike() -> list[Message]:
            return [m for m in sink.messages if m.message.startswith(TITLE) and spike.account_id in m.message]

        wait_for("the message has come", about_the_spike)
        # The alert is still the same one after further evaluations.
        wait_for(
            "it fires for some evaluations more",
            lambda: stack.query(
                'count_over_time(ALERTS{alertname="AwsCostSpike", alertstate="firing"}[1m]) > 3'
            ),
        )
        (message,) = about_the_spike()
        assert spike.service in message.message
        assert "Top contributors: " in message.message
        # It has waited: the exporter has served until when it would.
        assert stack.query("max_over_time(aws_cost_anomaly_cause_due_timestamp_seconds[5m]) > 0")
        assert not stack.query("aws_cost_anomaly_cause_due_timestamp_seconds > time()")

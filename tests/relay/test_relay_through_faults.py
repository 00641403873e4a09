"""Real Prometheus and Alertmanager: whatever fails on the way, each alert reaches the channel."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
import yaml
from waiting import wait_for

from demo.processes import choose_ports
from demo.stack import clean_environment, find_program
from demo.telex_channel import Failure, Message
from demo.telex_sink import TelexSink

pytestmark = pytest.mark.stack

HANGS = 30.0
# Before acceptance; REFUSED stands for a port that nobody listens on.
THROTTLED, ERROR, SILENT = Failure(429), Failure(500), Failure(None, hang=HANGS)
REFUSED = "refused"
# After it: Telex has the message, and the relay does not know.
ANSWER_LOST = Failure(None, accepts=True)


class Metrics:
    """What Prometheus scrapes: one series for each account that spends too much."""

    def __init__(self) -> None:
        self.firing: list[str] = []
        metrics = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = "".join(f'spend_usd{{account_id="{name}"}} 5\n' for name in metrics.firing)
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Channel:
    """A Telex channel that can also be gone; what it accepted outlives that."""

    def __init__(self) -> None:
        self._sink: TelexSink | None = TelexSink().start()
        self._port = int(self._sink.url.rpartition(":")[2])
        self._id = self._sink.channel_id
        self.url = self._sink.webhook_url
        self._earlier: list[Message] = []

    @property
    def messages(self) -> list[Message]:
        return self._earlier + (self._sink.messages if self._sink else [])

    def fail(self, fault: Failure | str | None) -> None:
        if fault == REFUSED:
            self.close()
            return
        if self._sink is None or self._hangs:
            self.close()  # lets go what hangs
            self._sink = TelexSink(self._port, channel_id=self._id).start()
        self._hangs = fault is SILENT
        assert fault is None or isinstance(fault, Failure)
        self._sink.fail_all(fault)

    _hangs = False

    def close(self) -> None:
        if self._sink is not None:
            sink, self._sink = self._sink, None
            sink.stop()
            self._earlier += sink.messages


class Process:
    """A server that is killed with the test and can be started again as it was."""

    def __init__(self, argv: Sequence[object], log: Path, ready: str, **environ: str) -> None:
        self._argv = [str(part) for part in argv]
        self._environ = clean_environment() | environ
        self.log = log
        self._ready = ready
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(self._argv, stdout=log, stderr=log, env=self._environ)

    def await_ready(self) -> None:
        def is_ready() -> bool:
            assert self.popen is not None
            assert self.popen.poll() is None, self.log.read_text()[-2000:]
            try:
                return requests.get(self._ready, timeout=5).ok
            except requests.RequestException:
                return False

        wait_for(self._argv[0], is_ready, 40)

    def end(self, sig: signal.Signals) -> None:
        assert self.popen is not None
        self.popen.send_signal(sig)
        self.popen.wait(20)

    def kill(self) -> None:
        if self.popen is not None and self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()


@dataclass
class Chain:
    metrics: Metrics
    channel: Channel
    prometheus: Process
    alertmanager: Process
    relay: Process


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    """Everything up; each account is a group of its own, so that none rides along with another."""
    prometheus, alertmanager = (
        find_program("prometheus"),
        find_program("alertmanager", "prometheus-alertmanager"),
    )
    assert prometheus, "`make setup` fetches prometheus"
    assert alertmanager, "`make setup` fetches alertmanager"
    port = choose_ports({"prometheus": 0, "alertmanager": 0, "relay": 0})
    url = {name: f"http://127.0.0.1:{number}" for name, number in port.items()}
    metrics, channel = Metrics(), Channel()
    files = {
        "rules": {
            "groups": [
                {
                    "name": "spend",
                    "rules": [
                        {
                            "alert": "Spend",
                            "expr": "spend_usd > 1",
                            "keep_firing_for": "10m",
                            "annotations": {"title": "Too much", "spend": "5", "threshold": "1"},
                        }
                    ],
                }
            ]
        },
        "prometheus": {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(tmp_path / "rules.yml")],
            "scrape_configs": [
                {"job_name": "x", "static_configs": [{"targets": [f"127.0.0.1:{metrics.port}"]}]}
            ],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{port['alertmanager']}"]}]}]
            },
        },
        "alertmanager": {
            "route": {
                "receiver": "telex",
                "group_by": ["account_id"],
                "group_wait": "0s",
                "group_interval": "2s",
                "repeat_interval": "24h",
            },
            "receivers": [{"name": "telex", "webhook_configs": [{"url": f"{url['relay']}/alerts"}]}],
        },
        "relay": {
            "relay": {
                "port": port["relay"],
                "state_dir": str(tmp_path / "relay"),
                "channels": {"default": {"url_env": "TELEX_URL"}},
                "read_timeout": "1s",
            }
        },
    }
    for name, content in files.items():
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(content))
    made = Chain(
        metrics,
        channel,
        Process(
            [prometheus, f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
             f"--web.listen-address=127.0.0.1:{port['prometheus']}", "--rules.alert.resend-delay=1s"],
            tmp_path / "prometheus.log", f"{url['prometheus']}/-/ready",
        ),
        Process(
            [alertmanager, f"--config.file={tmp_path / 'alertmanager.yml'}", f"--storage.path={tmp_path / 'am'}",
             f"--web.listen-address=127.0.0.1:{port['alertmanager']}", "--cluster.listen-address="],
            tmp_path / "alertmanager.log", f"{url['alertmanager']}/-/ready",
        ),
        Process(
            [sys.executable, "-m", "exporter", "relay", "-c", tmp_path / "relay.yml"],
            tmp_path / "relay.log", f"{url['relay']}/-/ready",
            TELEX_URL=channel.url, PYTHONPATH=str(Path(__file__).parents[2]),
        ),
    )  # fmt: skip
    with ExitStack() as stack:
        stack.callback(metrics.close)
        stack.callback(channel.close)
        servers = (made.prometheus, made.alertmanager, made.relay)
        for server in servers:
            stack.callback(server.kill)
            server.start()
        for server in servers:
            server.await_ready()
        yield made


def through_faults(
    chain: Chain, alerts: int, seconds: float, faults: Sequence[Failure | str]
) -> dict[str, float]:
    """Let alerts begin one after the other while one fault follows the other, with a breath between; the figures."""
    names = [f"{number:012}" for number in range(1, alerts + 1)]
    began = time.monotonic()
    unsure: list[tuple[int, int]] = []  # of these messages the relay may not know that Telex has them

    def sleep_until(step: float) -> None:
        time.sleep(max(0.0, began + step * seconds / len(faults) - time.monotonic()))

    for step, fault in enumerate(faults):
        # Half of them at the start, so that the worst is in the way at once.
        chain.metrics.firing = names[: max(alerts // 2, alerts * (step + 1) // len(faults))]
        first = len(chain.channel.messages)
        chain.channel.fail(fault)
        sleep_until(step + 0.4)
        if step == 1:
            chain.alertmanager.end(signal.SIGTERM)
            chain.alertmanager.start()
        sleep_until(step + 0.8)
        if fault is ANSWER_LOST:
            unsure.append((first, len(chain.channel.messages)))
        first = len(chain.channel.messages)
        chain.channel.fail(None)
        if step == len(faults) // 2:
            sleep_until(step + 0.85)  # in the midst of what is catching up
            chain.relay.end(signal.SIGKILL)
            unsure.append((first, len(chain.channel.messages)))
            chain.relay.start()
        sleep_until(step + 1)
    chain.relay.await_ready()
    chain.alertmanager.await_ready()
    ended = time.monotonic()

    def told() -> dict[str, list[int]]:
        """The numbers of the messages on each account."""
        found: dict[str, list[int]] = {}
        for number, message in enumerate(chain.channel.messages):
            for name in re.findall(r"Account: (\d{12})", message.message):
                found.setdefault(name, []).append(number)
        return found

    wait_for("every alert is in the channel", lambda: set(told()) == set(names), 90)
    recovered = time.monotonic() - ended
    time.sleep(3)  # what is still on its way may be there twice
    again = [earlier for numbers in told().values() for earlier in numbers[:-1]]
    excused = [number for number in again if any(start <= number < end for start, end in unsure)]
    return {
        "alerts": alerts,
        "lost": alerts - len(told()),
        "duplicates_though_telex_had_answered": len(again) - len(excused),
        "duplicates_of_unanswered": len(excused),
        "seconds_to_recover": round(recovered, 1),
    }


BEFORE_ACCEPTANCE = (THROTTLED, SILENT, ERROR, REFUSED)


def check(figures: dict[str, float]) -> None:
    print(json.dumps(figures))
    assert figures["lost"] == 0
    assert figures["duplicates_though_telex_had_answered"] < 0.02 * figures["alerts"]


@pytest.mark.fault(
    "Telex throttles, hangs, fails and is gone, the relay is killed, Alertmanager restarts",
    "no alert is lost or repeated",
)
def test_none_is_lost(chain: Chain) -> None:
    check(through_faults(chain, 40, 10, BEFORE_ACCEPTANCE))
    # That there were faults is seen from the relay's side; it may have been down for some of them.
    text = chain.relay.log.read_text()
    lines = [line for line in text.splitlines() if "message not delivered" in line]
    kinds = ("throttled", "server_error", "timeout", "unreachable")
    assert any(f"status={kind} " in line for kind in kinds for line in lines)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.fault(
    "a minute of faults between Alertmanager, relay and Telex", "none of 200 alerts is lost or repeated"
)
def test_none_of_200_is_lost_through_a_minute_of_faults(chain: Chain) -> None:
    check(through_faults(chain, 200, 60, BEFORE_ACCEPTANCE * 3))


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.fault("Telex takes a message and its answer is lost", "it comes again, none is lost")
def test_none_is_lost_where_answers_are(chain: Chain) -> None:
    """Telex has the message and its answer is lost: it comes again, which cannot be helped and is counted."""
    figures = through_faults(chain, 40, 12, (THROTTLED, ANSWER_LOST, ERROR))
    check(figures)
    assert figures["duplicates_of_unanswered"] > 0

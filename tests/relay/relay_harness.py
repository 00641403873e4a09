"""A Telex channel on 127.0.0.1 with scripted answers, a relay in a process of its own, and notifications."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from waiting import wait_for

from exporter.aws.settings import AwsSettings
from exporter.relay.gate import BODY_SECONDS
from exporter.relay.main import assemble, open_deliveries, read_templates
from exporter.relay.metrics import RelayMetrics
from exporter.relay.settings import RelaySecrets, RelaySettings
from exporter.web.connections import ConnectionLimits
from exporter.web.server import Server

WEBHOOK_ID = "planted-webhook-id-0123456789"
TOKEN = "planted-bearer-token-0123456789"
NOWHERE = "http://127.0.0.1:9"  # so that no test can ask the real AWS
HANG = -1  # a scripted answer: none for as long as the test lasts


class Telex:
    """The sink: `script` holds the coming answers, 200 when empty; `accepted` what it answered 2xx.

    An answer of 2xx has `body`, by default in the documented form.
    """

    def __init__(self) -> None:
        self.script: list[int] = []
        self.body = b'{"status": "success", "status_code": 200, "message": "event received", "data": null}'
        self.accepted: list[dict[str, Any]] = []
        self.attempts = 0
        self.before_answer: Callable[[int], None] = lambda attempt: None
        self.ending = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1/webhooks/{WEBHOOK_ID}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.ending.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def messages(self) -> list[str]:
        return [post["message"] for post in self.accepted]

    def wait_for(self, number: int) -> str:
        """The message after `number` others, once it is there."""
        wait_for(f"message {number + 1}", lambda: len(self.accepted) > number)
        return self.messages[number]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with sink._lock:
                    sink.attempts += 1
                    attempt = sink.attempts
                    status = sink.script.pop(0) if sink.script else 200
                sink.before_answer(attempt)
                if status == HANG:
                    sink.ending.wait(60)
                    return
                answer = b""
                if 200 <= status < 300:
                    sink.accepted.append(body)
                    answer = sink.body
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", f"http://127.0.0.1:{sink.port}/elsewhere")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *args: object) -> None:
                pass

        return Handler


class ExporterWire:
    """An exporter's JSON API on the wire: `answers` by name of the endpoint, `asked` what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.status = 200
        self.busy = 0
        """How many questions are answered 503 first, with `Retry-After`."""
        self.asked: list[tuple[str, dict[str, str], str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        wire = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                name = parts.path.removeprefix("/api/v1/")
                asked = {key: values[0] for key, values in parse_qs(parts.query).items()}
                wire.asked.append((name, asked, self.headers.get("Authorization", "")))
                busy = wire.busy > 0
                wire.busy -= busy
                body = json.dumps(wire.answers.get(name)).encode()
                self.send_response(503 if busy else wire.status)
                if busy:
                    self.send_header("Retry-After", "1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        return Handler


class Relay:
    """A relay in a process of its own, logging everything."""

    def __init__(self, folder: Path, url: str, *, aws_url: str = NOWHERE, **settings: Any) -> None:
        self.folder = folder
        self.aws_url = aws_url
        self.settings = {
            "port": 0,
            "state_dir": str(folder / "state"),
            "channels": {"default": {"url_env": "TELEX_URL"}},
            "read_timeout": "10s",
            **settings,
        }
        self.environ = {"TELEX_URL": url, "RELAY_TOKEN": TOKEN}
        self.log = folder / "relay.log"
        self.prefix: list[str] = []
        """What the process is started under."""
        self.process: subprocess.Popen[bytes] | None = None
        self.base = ""

    def start(self) -> "Relay":
        program = (
            "import json, logging, sys\n"
            "from exporter.aws.settings import AwsSettings\n"
            "from exporter.core.logs import LogSettings, configure_logging\n"
            "from exporter.relay.main import serve\n"
            "from exporter.relay.settings import RelaySettings\n"
            "configure_logging(LogSettings(level='debug'))\n"
            "for name in ('urllib3', 'uvicorn', 'httpx', 'apscheduler'):\n"
            "    logging.getLogger(name).setLevel('DEBUG')\n"
            "aws = AwsSettings(endpoint_url=sys.argv[2], region='us-east-1')\n"
            "sys.exit(serve(RelaySettings(**json.loads(sys.argv[1])), aws))\n"
        )
        size = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-c", program, json.dumps(self.settings), self.aws_url],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environ},
            )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self.log.read_text()[size:].splitlines():
                if found := re.search(r"relay listens address=\S+ port=(\d+)", line):
                    self.base = f"http://127.0.0.1:{found[1]}"
                    return self
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def post(self, notification: Any, path: str = "/alerts", **arguments: Any) -> requests.Response:
        return requests.post(self.base + path, json=notification, timeout=60, **arguments)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.base + path, timeout=60)

    def end(self, sig: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(sig)
        return self.process.wait(timeout=60)


def spend_alert(account: str = "prod", account_id: str = "111111111111", **changes: Any) -> dict[str, Any]:
    """One alert as Alertmanager posts it."""
    return {
        "status": "firing",
        "labels": {
            "alertname": "AccountDailySpendAboveThreshold",
            "account": account,
            "account_id": account_id,
            "severity": "warning",
            "scope": "account",
            "period": "day",
        },
        "annotations": {
            "title": "AWS daily spend above threshold",
            "summary": f"{account} spent too much",
            "description": "Today so far $1532.20. Yesterday $900.00.",
            "account": account,
            "period": "day",
            "spend": "1532.20",
            "threshold": "1000.00",
            "runbook_url": "docs/runbook.md#accountdailyspendabovethreshold",
        },
        "startsAt": "2026-01-05T14:02:31.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
        "fingerprint": f"{account_id}f",
        **changes,
    }


def notification(*alerts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A notification of Alertmanager 0.25 on the given alerts."""
    listed = list(alerts) or [spend_alert()]

    def common(key: str) -> dict[str, str]:
        first = listed[0][key]
        return {name: text for name, text in first.items() if all(a[key].get(name) == text for a in listed)}

    return {
        "version": "4",
        "groupKey": '{}:{period="day"}',
        "truncatedAlerts": 0,
        "status": "firing" if any(alert["status"] == "firing" for alert in listed) else "resolved",
        "receiver": "telex",
        "groupLabels": {"period": "day"},
        "commonLabels": common("labels"),
        "commonAnnotations": common("annotations"),
        "externalURL": "http://alertmanager:9093",
        "alerts": listed,
        **changes,
    }


@contextmanager
def running_app(
    folder: Path,
    telex: Telex,
    *,
    break_memory: bool = False,
    aws_url: str = NOWHERE,
    body_seconds: float = BODY_SECONDS,
    limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 # frozen
    **settings: Any,
) -> Iterator[str]:
    """The relay's web application on a thread of this process; the address to call."""
    configured = RelaySettings(
        **{"channels": {"default": {"url_env": "TELEX_URL"}}, "state_dir": folder, **settings}
    )
    secrets = RelaySecrets(configured, {"TELEX_URL": telex.url, "RELAY_TOKEN": TOKEN})
    metrics, stopping = RelayMetrics(configured.channels), threading.Event()
    templates = read_templates(configured, metrics)
    deliveries = open_deliveries(configured, metrics)
    aws = AwsSettings(endpoint_url=aws_url, region="us-east-1")
    app, integration = assemble(
        configured, secrets, deliveries, metrics, templates, stopping, aws, body_seconds=body_seconds
    )
    if break_memory:
        deliveries.close()
    server = Server(app, "127.0.0.1", 0, limits=limits)
    yield f"http://127.0.0.1:{server.start()}"
    stopping.set()
    server.stop()
    integration.close(2)
    deliveries.close()

"""No secret in any log: planted ones, with everything logged and everything failing."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from served import configuration, environment, serving

from exporter.core import redaction
from exporter.core.logs import LogSettings, configure_logging
from exporter.core.redaction import keep_secret

PLANTED = "planted-secret-0123456789"


@pytest.fixture
def echo() -> Iterator[str]:
    """A server that refuses everything and repeats the path and the credentials that it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = f"{self.headers['Authorization']} {self.path}".encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.stack
@pytest.mark.parametrize(("form", "scheme"), [("text", "basic"), ("json", "bearer")])
def test_nothing_planted_is_in_the_exporters_log(form: str, scheme: str, echo: str, tmp_path: Path) -> None:
    """AWS keys from the environment, and credentials of remote write that the endpoint repeats in its error."""
    (tmp_path / "secret").write_text(f"{PLANTED}-password\n")
    auth = {
        "basic": {"basic_auth": {"username": "exporter", "password_file": str(tmp_path / "secret")}},
        "bearer": {"bearer": {"token_file": str(tmp_path / "secret")}},
    }[scheme]
    config = configuration(
        tmp_path,
        log={"level": "debug", "format": form},
        live_write={"url": f"{echo}/write", "interval": "1s", **auth},
    )
    env = environment(
        tmp_path, AWS_SECRET_ACCESS_KEY=f"{PLANTED}-key", AWS_SESSION_TOKEN=f"{PLANTED}-session"
    )
    with serving("run", config, env) as served:
        deadline = time.monotonic() + 90
        while "answered 403" not in served.log.read_text():
            assert time.monotonic() < deadline, served.log.read_text()
            time.sleep(0.1)
        requests.get(f"http://127.0.0.1:{served.port}/metrics?token={PLANTED}", timeout=60)
    log = served.log.read_text()
    assert f"answered 403: {scheme.capitalize()} *** /write" in log, "the endpoint repeated nothing"
    assert "planted" not in log
    assert base64.b64encode(f"exporter:{PLANTED}-password".encode()).decode() not in log


@pytest.mark.stack
def test_nothing_planted_is_in_the_relays_log(echo: str, tmp_path: Path) -> None:
    """The webhook URL that Telex refuses and repeats, and the token that callers present."""
    (tmp_path / "url").write_text(f"{echo}/v1/webhooks/{PLANTED}-webhook")
    config = configuration(
        tmp_path,
        log={"level": "debug"},
        relay={
            "channels": {"default": {"url_file": str(tmp_path / "url")}},
            "auth": {"bearer": {"token_env": "RELAY_TOKEN"}},
        },
    )
    alert = {
        "status": "firing",
        "labels": {"alertname": "Planned"},
        "annotations": {},
        "startsAt": "2026-01-01T00:00:00Z",
        "fingerprint": "1",
    }
    body = {"version": "4", "groupKey": "g", "status": "firing", "receiver": "r", "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "alerts": [alert]}  # fmt: skip
    with serving("relay", config, environment(tmp_path, RELAY_TOKEN=f"{PLANTED}-token")) as served:
        url = f"http://127.0.0.1:{served.port}/alerts"
        right, wrong = f"Bearer {PLANTED}-token", f"Bearer {PLANTED}-wrong"
        answers = [requests.post(url, json=body, headers={"Authorization": token}, timeout=60) for token in (right, wrong)]  # fmt: skip
        assert [answer.status_code for answer in answers] == [502, 401]
        assert not any(PLANTED in answer.text for answer in answers)
    assert "planted" not in served.log.read_text()


@pytest.mark.parametrize("form", ["text", "json"])
def test_messages_fields_tracebacks_and_uncaught_exceptions_are_redacted(
    form: str, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logging(LogSettings(level="debug", format=form))
    keep_secret([PLANTED, "abc"])
    log = logging.getLogger("somewhere")
    log.info("a url %s and abc", f"http://host/{PLANTED}")
    log.info("it failed", extra={"error": ValueError(PLANTED), "urls": [f"http://host/{PLANTED}"]})
    try:
        raise ValueError(f"cannot use {PLANTED}")
    except ValueError:
        log.exception("it failed with %r", {"token": PLANTED}, stack_info=True)

    def fail() -> None:
        raise RuntimeError(f"nobody catches {PLANTED}")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    written = capfd.readouterr().err
    assert PLANTED not in written
    assert written.count("***") >= 6
    assert "and abc" in written, "too short to be a secret"
    assert "uncaught exception" in written
    if form == "json":
        lines = [json.loads(line) for line in written.splitlines()]
        assert (lines[1]["error"], lines[1]["urls"]) == ("***", ["http://host/***"])
        assert "cannot use ***" in lines[2]["exception"]


def test_of_secrets_within_each_other_the_longest_goes_as_a_whole() -> None:
    keep_secret([PLANTED, f"https://host/{PLANTED}/path"])
    assert redaction.redacted(f"at https://host/{PLANTED}/path: {PLANTED}") == "at ***: ***"


def test_the_source_lines_of_a_stack_are_redacted() -> None:
    keep_secret([PLANTED])
    record = logging.makeLogRecord({"msg": "here", "stack_info": f"  File x\n    use({PLANTED!r})"})
    assert redaction.RedactSecrets().filter(record)
    assert record.stack_info == "  File x\n    use('***')"

"""A stand-in for a Telex channel: takes webhook posts as Telex does, and shows the channel as a web page."""

import json
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from demo.errors import DemoError
from demo.telex_channel import Channel, Failure, Message, RejectedError
from demo.telex_integration import Installation
from demo.telex_page import render_page

WEBHOOK_PATH = "/v1/webhooks/"
MAX_BODY_BYTES = 1 << 20
MAX_WAIT_SECONDS = 30.0


class TelexSink(Channel):
    """A channel on 127.0.0.1, served from a separate thread between `start` and `stop`."""

    def __init__(
        self,
        port: int = 0,
        *,
        channel_id: str | None = None,
        on_message: Callable[[Message], None] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(channel_id, on_message, now)
        self._installed: Installation | None = None
        self._server = _Server(port, self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="telex-sink", daemon=True
        )

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends the server; hanging answers are let go."""
        self.close()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def webhook_url(self) -> str:
        """The channel's secret address."""
        return f"{self.url}{WEBHOOK_PATH}{self.channel_id}"

    def install(self, url: str) -> Installation:
        """Installs the integration that `url` describes into the channel, instead of what was there."""
        installed = Installation(url, self.channel_id, self.webhook_url)
        self._installed = installed
        return installed

    def installed(self) -> Installation:
        """The integration of the channel; raises DemoError."""
        if self._installed is None:
            raise DemoError("no integration is installed in the channel")
        return self._installed


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, sink: TelexSink) -> None:
        self.sink = sink
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is not an event of the demo."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "telex-sink"
    sys_version = ""
    timeout = 60
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/":
            self._page()
        elif url.path == "/messages.json":
            self._messages(parse_qs(url.query))
        elif url.path == "/-/ready":
            self._answer(HTTPStatus.OK, b"ready\n", "text/plain; charset=utf-8")
        else:
            self._json(HTTPStatus.NOT_FOUND, {"status": "error", "message": "not found"})

    def _page(self) -> None:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
            "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        page = render_page(self.server.sink.messages, nonce=nonce).encode()
        self._answer(HTTPStatus.OK, page, "text/html; charset=utf-8", {"Content-Security-Policy": policy})

    def _messages(self, query: dict[str, list[str]]) -> None:
        try:
            after = max(0, int(query.get("after", ["0"])[0]))
            wait = min(float(query.get("wait", ["0"])[0]), MAX_WAIT_SECONDS)
        except ValueError:
            self._json(HTTPStatus.BAD_REQUEST, {"status": "error", "message": "after, wait: not a number"})
            return
        if wait > 0:
            self.server.sink.wait_for(after=after, timeout=wait)
        self._json(HTTPStatus.OK, [message.as_json() for message in self.server.sink.messages[after:]])

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        try:
            body = self._body()
            if path == "/_sink/fail":
                self._fail(body)
            elif path in ("/_sink/install", "/_sink/settings", "/_sink/tick"):
                self._integrate(path, body)
            elif path.startswith(WEBHOOK_PATH):
                self._receive(path.removeprefix(WEBHOOK_PATH), body)
            else:
                raise RejectedError(HTTPStatus.NOT_FOUND, "not found")
        except RejectedError as error:
            self._telex_answer(error.status, str(error))

    def _receive(self, channel_id: str, body: bytes) -> None:
        failure = self.server.sink.next_failure()
        if failure is None:
            message = self.server.sink.receive(channel_id, body)
            self._telex_answer(HTTPStatus.OK, "event received", {"id": message.id})
            return
        if failure.accepts:
            self.server.sink.receive(channel_id, body)
        self._play(failure)

    def _fail(self, body: bytes) -> None:
        """Tests: {"count": 2, "status": 503, "hang": 0.5}; a null status drops the connection."""
        try:
            order = json.loads(body)
            count, status, hang = int(order["count"]), order.get("status"), float(order.get("hang", 0))
            if status is not None:
                status = int(status)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RejectedError(HTTPStatus.BAD_REQUEST, "expected count, and status or hang") from error
        self.server.sink.fail_next(count, status=status, hang=hang)
        self._json(HTTPStatus.OK, {"status": "success"})

    def _integrate(self, path: str, body: bytes) -> None:
        """What a user does in Telex: {"url": ...} installs, {"threshold": 5} sets, and a tick at any time."""
        try:
            order = json.loads(body)
            if path.endswith("install"):
                result: Any = {"name": self.server.sink.install(str(order["url"])).name}
            elif path.endswith("settings"):
                self.server.sink.installed().set(dict(order))
                result = {}
            else:
                result = self.server.sink.installed().tick()
        except (ValueError, TypeError, KeyError) as error:
            raise RejectedError(HTTPStatus.BAD_REQUEST, f"not understood: {error!r}") from error
        except DemoError as error:
            raise RejectedError(HTTPStatus.BAD_GATEWAY, str(error)) from error
        self._json(HTTPStatus.OK, {"status": "success", "data": result})

    def _play(self, failure: Failure) -> None:
        self.server.sink.hang(failure.hang)
        if failure.status is None:
            self.close_connection = True
            return
        self._telex_answer(failure.status, "scripted failure")

    def _body(self) -> bytes:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError as error:
            self.close_connection = True
            raise RejectedError(HTTPStatus.BAD_REQUEST, "Content-Length is missing") from error
        if not 0 <= length <= MAX_BODY_BYTES:
            self.close_connection = True
            raise RejectedError(HTTPStatus.BAD_REQUEST, f"the body is larger than {MAX_BODY_BYTES} bytes")
        return self.rfile.read(length)

    def _telex_answer(self, status: int, message: str, data: Any = None) -> None:
        word = "success" if status < HTTPStatus.BAD_REQUEST else "error"
        self._json(status, {"status": word, "status_code": int(status), "message": message, "data": data})

    def _json(self, status: int, value: Any) -> None:
        self._answer(status, json.dumps(value).encode(), "application/json")

    def _answer(
        self, status: int, body: bytes, content_type: str, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

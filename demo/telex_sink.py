"""A stand-in for a Telex channel: takes webhook posts as Telex does, and shows the channel as a web page."""

import html
import json
import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from demo.errors import DemoError
from demo.telex_integration import Installation

WEBHOOK_PATH = "/v1/webhooks/"
FIELDS = ("event_name", "message", "status", "username")
STATUSES = ("success", "error")
MAX_BODY_BYTES = 1 << 20
MAX_WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the channel; `id` counts from 1."""

    id: int
    received_at: datetime
    event_name: str
    message: str
    status: str
    username: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"received_at": self.received_at.isoformat()}


@dataclass(frozen=True, slots=True)
class Failure:
    """One scripted answer: after `hang` seconds answer `status`, or drop the connection when it is None.

    With `accepts` the message is in the channel all the same: only its answer is lost.
    """

    status: int | None
    hang: float = 0.0
    accepts: bool = False


class RejectedError(Exception):
    """A post that Telex would refuse."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def parse_post(body: bytes) -> dict[str, str]:
    """The four fields of a webhook post.

    Raises RejectedError: 400 when the body is not a JSON object, 422 when a field is missing, empty or wrong.
    """
    try:
        post = json.loads(body)
    except ValueError as error:
        raise RejectedError(HTTPStatus.BAD_REQUEST, "the body is not JSON") from error
    if not isinstance(post, dict):
        raise RejectedError(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
    for field in FIELDS:
        value = post.get(field)
        if not isinstance(value, str) or not value.strip():
            raise RejectedError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{field} must be a non-empty string")
    if post["status"] not in STATUSES:
        raise RejectedError(HTTPStatus.UNPROCESSABLE_ENTITY, f"status must be one of {', '.join(STATUSES)}")
    return {field: post[field] for field in FIELDS}


class TelexSink:
    """A channel on 127.0.0.1, served from a thread of its own between `start` and `stop`."""

    def __init__(
        self,
        port: int = 0,
        *,
        channel_id: str | None = None,
        on_message: Callable[[Message], None] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.channel_id = channel_id or secrets.token_hex(16)
        self._on_message = on_message
        self._now = now
        self._messages: list[Message] = []
        self._failures: deque[Failure] = deque()
        self._outage: Failure | None = None
        self._installed: Installation | None = None
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._server = _Server(("127.0.0.1", port), _handler_of(self))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="telex-sink", daemon=True
        )

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends the server; hanging answers are let go."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
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

    @property
    def messages(self) -> list[Message]:
        with self._changed:
            return list(self._messages)

    def fail_next(self, count: int, *, status: int | None, hang: float = 0.0) -> None:
        """Lets the next `count` posts fail; a status of None drops the connection without an answer."""
        with self._changed:
            self._failures.extend([Failure(status, hang)] * count)

    def wait_for(
        self,
        matches: Callable[[Message], bool] = lambda message: True,
        *,
        after: int = 0,
        timeout: float = 10.0,
    ) -> Message | None:
        """The first message past id `after` that matches; None when `timeout` seconds pass without one."""

        def found() -> Message | None:
            return next((message for message in self._messages[after:] if matches(message)), None)

        deadline = monotonic() + timeout
        with self._changed:
            while (message := found()) is None and not self._stopping.is_set():
                remaining = deadline - monotonic()
                if remaining <= 0:
                    return None
                self._changed.wait(remaining)
            return message

    def fail_all(self, failure: Failure | None) -> None:
        """Lets every post fail in this way, until None ends it."""
        with self._changed:
            self._outage = failure

    def next_failure(self) -> Failure | None:
        with self._changed:
            return self._failures.popleft() if self._failures else self._outage

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

    def hang(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def receive(self, channel_id: str, body: bytes) -> Message:
        """Adds a post to the channel; raises RejectedError."""
        if not secrets.compare_digest(channel_id.encode(), self.channel_id.encode()):
            raise RejectedError(HTTPStatus.FORBIDDEN, "no such webhook")
        post = parse_post(body)
        with self._changed:
            message = Message(id=len(self._messages) + 1, received_at=self._now(), **post)
            self._messages.append(message)
            self._changed.notify_all()
        if self._on_message is not None:
            self._on_message(message)
        return message


def render_page(messages: list[Message], *, nonce: str) -> str:
    """The channel as a page, newest message first; it reloads itself when a message arrives."""
    if messages:
        items = "\n".join(_render_message(message) for message in reversed(messages))
    else:
        items = '<p class="empty">No message yet: spend is below its thresholds.</p>'
    last = messages[-1].id if messages else 0
    count = f"{len(messages)} message{'' if len(messages) == 1 else 's'}"
    return _PAGE.format(
        nonce=nonce, style=_STYLE, script=_SCRIPT.replace("LAST", str(last)), items=items, count=count
    )


def _render_message(message: Message) -> str:
    text = {field: html.escape(getattr(message, field)) for field in FIELDS}
    at = message.received_at
    return (
        f'<article class="{text["status"]}"><header><strong>{text["username"]}</strong>'
        f"<span>{text['event_name']}</span>"
        f'<time datetime="{at.isoformat()}">{at:%Y-%m-%d %H:%M:%S} UTC</time></header>'
        f"<p>{text['message']}</p></article>"
    )


_STYLE = """
:root { color-scheme: light dark; --line: #d9dce1; --soft: #667;
  --card: #fff; --page: #f4f5f7; --ink: #1c1e21 }
@media (prefers-color-scheme: dark) {
  :root { --line: #363a42; --soft: #9aa0aa; --card: #1f2228; --page: #16181c; --ink: #e6e8eb }
}
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem }
h1 { font-size: 1.15rem; margin: 0 } h1 small { color: var(--soft); font-weight: normal; margin-left: .5rem }
article { background: var(--card); border: 1px solid var(--line); border-left: 4px solid #2e9e5b;
  border-radius: 6px; margin: .8rem 0; padding: .7rem 1rem }
article.error { border-left-color: #d64545 }
article header { display: flex; flex-wrap: wrap; gap: .2rem .8rem; color: var(--soft); font-size: .85rem }
article header strong { color: var(--ink) } article header time { margin-left: auto }
article p { margin: .3rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere }
.empty { color: var(--soft) }
"""

_SCRIPT = """
(async function () {
  for (;;) {
    try {
      const answer = await fetch("/messages.json?after=LAST&wait=25");
      if (answer.ok && (await answer.json()).length) { location.reload(); return; }
    } catch (gone) {
      await new Promise(resolve => setTimeout(resolve, 2000));
    }
  }
})();
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Telex channel (demo), {count}</title>
<noscript><meta http-equiv="refresh" content="3"></noscript>
<style nonce="{nonce}">{style}</style>
</head>
<body>
<main>
<h1>Telex channel <small>demo, {count}</small></h1>
{items}
</main>
<script nonce="{nonce}">{script}</script>
</body>
</html>
"""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is not an event of the demo."""


def _handler_of(sink: TelexSink) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "telex-sink"
        sys_version = ""
        timeout = 60

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/":
                nonce = secrets.token_urlsafe(16)
                policy = (
                    f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
                    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
                )
                page = render_page(sink.messages, nonce=nonce).encode()
                self._answer(
                    HTTPStatus.OK, page, "text/html; charset=utf-8", {"Content-Security-Policy": policy}
                )
            elif url.path == "/messages.json":
                self._messages(parse_qs(url.query))
            elif url.path == "/-/ready":
                self._answer(HTTPStatus.OK, b"ready\n", "text/plain; charset=utf-8")
            else:
                self._json(HTTPStatus.NOT_FOUND, {"status": "error", "message": "not found"})

        def _messages(self, query: dict[str, list[str]]) -> None:
            try:
                after = max(0, int(query.get("after", ["0"])[0]))
                wait = min(float(query.get("wait", ["0"])[0]), MAX_WAIT_SECONDS)
            except ValueError:
                self._json(
                    HTTPStatus.BAD_REQUEST, {"status": "error", "message": "after, wait: not a number"}
                )
                return
            if wait > 0:
                sink.wait_for(after=after, timeout=wait)
            self._json(HTTPStatus.OK, [message.as_json() for message in sink.messages[after:]])

        def do_POST(self) -> None:
            path = urlsplit(self.path).path
            try:
                body = self._body()
                if path == "/_sink/fail":
                    self._fail(body)
                    return
                if path in ("/_sink/install", "/_sink/settings", "/_sink/tick"):
                    self._integrate(path, body)
                    return
                if not path.startswith(WEBHOOK_PATH):
                    raise RejectedError(HTTPStatus.NOT_FOUND, "not found")
                failure = sink.next_failure()
                if failure is None or failure.accepts:
                    message = sink.receive(path.removeprefix(WEBHOOK_PATH), body)
                if failure is not None:
                    self._play(failure)
                    return
            except RejectedError as error:
                self._telex_answer(error.status, str(error))
                return
            self._telex_answer(HTTPStatus.OK, "event received", {"id": message.id})

        def _fail(self, body: bytes) -> None:
            """Tests: {"count": 2, "status": 503, "hang": 0.5}; a null status drops the connection."""
            try:
                order = json.loads(body)
                count, status, hang = int(order["count"]), order.get("status"), float(order.get("hang", 0))
                if status is not None:
                    status = int(status)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise RejectedError(HTTPStatus.BAD_REQUEST, "expected count, and status or hang") from error
            sink.fail_next(count, status=status, hang=hang)
            self._json(HTTPStatus.OK, {"status": "success"})

        def _integrate(self, path: str, body: bytes) -> None:
            """What a user does in Telex: {"url": ...} installs, {"threshold": 5} sets, and a tick at any time."""
            try:
                order = json.loads(body)
                if path.endswith("install"):
                    result: Any = {"name": sink.install(str(order["url"])).name}
                elif path.endswith("settings"):
                    sink.installed().set(dict(order))
                    result = {}
                else:
                    result = sink.installed().tick()
            except (ValueError, TypeError, KeyError) as error:
                raise RejectedError(HTTPStatus.BAD_REQUEST, f"not understood: {error!r}") from error
            except DemoError as error:
                raise RejectedError(HTTPStatus.BAD_GATEWAY, str(error)) from error
            self._json(HTTPStatus.OK, {"status": "success", "data": result})

        def _play(self, failure: Failure) -> None:
            sink.hang(failure.hang)
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

    return Handler

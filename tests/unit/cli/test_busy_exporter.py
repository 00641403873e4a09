"""Commands beside an exporter that many ask at once, or something that is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from exporter.cli.ask import AskError, ask
from exporter.cli.live import refresh
from exporter.config.model import Config

REFUSED = {"detail": "too many questions at once"}
ANSWER = b'{"read_at": null, "rows": []}'


class Busy:
    """An exporter that answers 503 so often before it has a place."""

    def __init__(self, refusals: int, retry_after: str = "1", answer: bytes = ANSWER) -> None:
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # http.server's name
                outer.asked += 1
                busy = outer.asked <= refusals
                body = json.dumps(REFUSED).encode() if busy else answer
                self.send_response(503 if busy else 200)
                if busy:
                    self.send_header("Retry-After", retry_after)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def make_busy() -> Iterator[type[Busy]]:
    made: list[Busy] = []

    class Kept(Busy):
        def __init__(self, refusals: int, retry_after: str = "1", answer: bytes = ANSWER) -> None:
            super().__init__(refusals, retry_after, answer)
            made.append(self)

    yield Kept
    for each in made:
        each.server.shutdown()
        each.server.server_close()


@pytest.mark.fault("the exporter is too busy for a command", "the command asks again as it says")
def test_a_command_asks_again_as_the_exporter_says(make_busy: type[Busy]) -> None:
    busy = make_busy(1)
    assert ask(Config(), "services", {}, url=busy.url).data["rows"] == []
    assert busy.asked == 2


def test_a_long_wait_is_a_message(make_busy: type[Busy]) -> None:
    busy = make_busy(99, "10")
    with pytest.raises(AskError, match=r"^too many questions at once$"):
        ask(Config(), "services", {}, url=busy.url)
    assert busy.asked == 1


@pytest.mark.fault(
    "what answers a command sends is no JSON object", "one line that asks whether it is an exporter"
)
@pytest.mark.parametrize(
    "answer", [b"{", b"[1]", b"[" * 100_000, b"\xff"], ids=["cut off", "a list", "deep", "no text"]
)
def test_what_is_no_answer_of_an_exporter_is_one_line(make_busy: type[Busy], answer: bytes) -> None:
    other = make_busy(0, answer=answer)
    with pytest.raises(AskError, match="is it an exporter of this version") as read:
        ask(Config(), "services", {}, url=other.url)
    with pytest.raises(AskError, match="is it an exporter of this version") as refreshed:
        refresh(Config(), "cost", other.url)
    assert max(len(str(read.value)), len(str(refreshed.value))) < 200

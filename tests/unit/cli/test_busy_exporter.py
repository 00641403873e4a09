"""Commands beside an exporter that many ask at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from exporter.cli.ask import AskError, ask
from exporter.config.model import Config

REFUSED = {"detail": "too many questions at once"}


class Busy:
    """An exporter that answers 503 so often before it has a place."""

    def __init__(self, refusals: int, retry_after: str = "1") -> None:
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # http.server's name
                outer.asked += 1
                busy = outer.asked <= refusals
                body = json.dumps(REFUSED if busy else {"read_at": None, "rows": []}).encode()
                self.send_response(503 if busy else 200)
                if busy:
                    self.send_header("Retry-After", retry_after)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def make_busy() -> Iterator[type[Busy]]:
    made: list[Busy] = []

    class Kept(Busy):
        def __init__(self, refusals: int, retry_after: str = "1") -> None:
            super().__init__(refusals, retry_after)
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

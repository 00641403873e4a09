"""Connections that AWS has closed while they were idle are closed here, too."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from hostile_server import Caller, HostileServer
from waiting import wait_for

from exporter.aws.connections import Connections

_COUNT = 8
_CLOSE_WAIT = "08"  # in /proc/net/tcp


def _in_close_wait(port: int) -> int:
    """Sockets of this process that the server at `port` has closed, and that are still open here."""
    mine = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            mine.add(str(entry.readlink()))
        except OSError:
            continue
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        is_to_server = fields[2].endswith(f":{port:04X}")
        count += is_to_server and fields[3] == _CLOSE_WAIT and f"socket:[{fields[9]}]" in mine
    return count


@pytest.fixture
def connections() -> Iterator[Connections]:
    made = Connections(
        Config(connect_timeout=5, read_timeout=30, max_pool_connections=_COUNT),
        verify=True,
        idle_check_seconds=0.1,
    )
    yield made
    made.close()


@pytest.mark.fault("AWS closes idle connections", "they are closed here without another request")
def test_what_the_other_side_has_closed_is_closed(connections: Connections) -> None:
    together = threading.Barrier(_COUNT)

    def answer(caller: Caller) -> None:
        together.wait(30)  # so that each request has a connection
        caller.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def ask(url: str) -> bytes:
        return bytes(connections.send(AWSRequest("GET", url).prepare()).content)

    with HostileServer(answer) as server, ThreadPoolExecutor(_COUNT) as pool:
        answers = list(pool.map(ask, [server.url + "/"] * _COUNT))
        assert answers == [b"ok"] * _COUNT
        wait_for("none is left half closed", lambda: _in_close_wait(server.port) == 0, 30)
        # They are taken again, and connect again.
        assert list(pool.map(ask, [server.url + "/"] * _COUNT)) == [b"ok"] * _COUNT
        assert server.calls == 2 * _COUNT


def test_an_open_connection_stays_open(connections: Connections) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with listener, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(connections.send, AWSRequest("GET", url).prepare())
        wire, _ = listener.accept()
        with wire:
            for turn in range(2):
                assert b"GET / HTTP/1.1" in wire.recv(65536)
                wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                assert waiting.result(30).status_code == 200
                assert connections.close_dropped() == 0
                if turn == 0:
                    waiting = pool.submit(connections.send, AWSRequest("GET", url).prepare())

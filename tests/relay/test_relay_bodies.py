"""Bodies that come slowly, not at all, or from where they should not: they take nothing from others."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from relay_harness import TOKEN, Telex, notification, running_app
from waiting import wait_for

BEARER = {"Authorization": f"Bearer {TOKEN}"}
AUTH = {"bearer": {"token_env": "RELAY_TOKEN"}}


def connected(base: str) -> socket.socket:
    parts = urlsplit(base)
    return socket.create_connection((parts.hostname, parts.port), timeout=60)


def head(path: str, length: int, **headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: relay", f"Content-Length: {length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def body(number: int = 0) -> bytes:
    return json.dumps(notification(groupKey=f"group {number}")).encode()


def post(base: str, number: int, path: str = "/alerts", **headers: str) -> int:
    return requests.post(base + path, data=body(number), headers=headers, timeout=60).status_code


def answer(wire: socket.socket) -> str:
    """The status line, once it is there."""
    return wire.makefile("rb").readline().decode().strip()


@contextmanager
def dripping(base: str, clients: int, path: str = "/alerts", **headers: str) -> Iterator[None]:
    """So many clients that send a body a byte at a time, and come again when they are answered."""
    ending = threading.Event()
    sending = threading.Semaphore(0)

    def drip() -> None:
        told = False
        while not ending.is_set():
            with suppress(OSError), connected(base) as wire:
                wire.sendall(head(path, 1000, **headers))
                while not ending.wait(0.05):
                    wire.sendall(b" ")
                    if not told:
                        sending.release()
                        told = True

    threads = [threading.Thread(target=drip, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert sending.acquire(timeout=60)
    try:
        yield
    finally:
        ending.set()
        for thread in threads:
            thread.join(60)


@pytest.mark.fault(
    "20 clients that send a notification a byte at a time", "every other one is delivered meanwhile"
)
def test_twenty_slow_clients_keep_no_notification_from_delivery(tmp_path: Path, telex: Telex) -> None:
    with running_app(tmp_path, telex) as base, dripping(base, 20):
        assert [post(base, number) for number in range(85)] == [200] * 85
    assert len(telex.accepted) == 85


@pytest.mark.fault(
    "300 clients that never end their bodies", "they displace each other, a whole body gets in"
)
def test_slow_bodies_take_places_of_each_other_only(tmp_path: Path, telex: Telex) -> None:
    """More than there are connections, and no credentials."""
    with running_app(tmp_path, telex, body_seconds=600) as base, ExitStack() as held:
        for _ in range(300):
            wire = held.enter_context(connected(base))
            with suppress(OSError):  # a busy server cuts the oldest off before it has read of it
                wire.sendall(head("/alerts", 1000) + b"{")
        assert [post(base, number) for number in range(5)] == [200] * 5
        text = requests.get(f"{base}/metrics", timeout=60).text
        (line,) = [line for line in text.splitlines() if 'refused_requests_total{reason="too_slow"}' in line]
        assert float(line.split()[-1]) > 0


@pytest.mark.fault(
    "large bodies that stop short of their end", "they make room for others, the memory is bounded"
)
def test_bodies_are_bounded_by_their_bytes(tmp_path: Path, telex: Telex) -> None:
    with running_app(tmp_path, telex, body_seconds=600, max_body_bytes=1 << 20) as base, ExitStack() as held:
        size = 900_000
        slow = []
        for _ in range(12):  # four of the largest size are kept
            slow.append(held.enter_context(connected(base)))
            slow[-1].sendall(head("/alerts", size + 1) + b" " * size)
        assert [answer(wire) for wire in slow[:8]] == ["HTTP/1.1 503 Service Unavailable"] * 8
        padded = body() + b" " * size
        assert requests.post(f"{base}/alerts", data=padded, timeout=60).status_code == 200


@pytest.mark.fault(
    "strangers that send bodies slowly where credentials are asked for", "refused before a byte is read"
)
def test_a_stranger_is_refused_at_the_header(tmp_path: Path, telex: Telex) -> None:
    with running_app(tmp_path, telex, body_seconds=600, auth=AUTH) as base, ExitStack() as held:
        slow = []
        for number in range(300):
            wire = held.enter_context(connected(base))
            wire.sendall(head("/alerts", 1000, Authorization=f"Bearer {number}") + b"{")
            slow.append(wire)
        assert answer(slow[-1]) == "HTTP/1.1 401 Unauthorized"
        assert [post(base, number, **BEARER) for number in range(5)] == [200] * 5
        assert 'reason="too_slow"} 0.0' in requests.get(f"{base}/metrics", timeout=60).text


@pytest.mark.fault("strangers that send ticks slowly", "who has presented credentials keeps its place")
def test_strangers_displace_no_one_with_credentials(tmp_path: Path, telex: Telex) -> None:
    with (
        running_app(tmp_path, telex, body_seconds=600, auth=AUTH, integration={"enabled": True, "max_ticks_per_minute": 10_000}) as base,
        ExitStack() as held,
    ):  # fmt: skip
        whole = body()
        known = held.enter_context(connected(base))
        known.sendall(head("/alerts", len(whole), **BEARER) + whole[:-1])
        slow = []
        for _ in range(100):
            slow.append(held.enter_context(connected(base)))
            slow[-1].sendall(head("/tick", 1000) + b"{")
        assert answer(slow[0]) == "HTTP/1.1 503 Service Unavailable"
        known.sendall(whole[-1:])
        assert answer(known) == "HTTP/1.1 200 OK"
    assert len(telex.accepted) == 1


@pytest.mark.fault("a client that hangs up in the middle of its body", "its place is free again")
def test_who_hangs_up_leaves_nothing_behind(tmp_path: Path, telex: Telex) -> None:
    with running_app(tmp_path, telex, body_seconds=600, max_body_bytes=1 << 20) as base:
        for number in range(12):
            with connected(base) as wire:
                wire.sendall(head("/alerts", 900_001) + b" " * 900_000)
            assert post(base, number) == 200

        def refused() -> float:
            text = requests.get(f"{base}/metrics", timeout=60).text
            return sum(
                float(line.split()[-1]) for line in text.splitlines() if "refused_requests_total{" in line
            )

        # What is cut short is no JSON.
        wait_for("each is seen to have gone", lambda: refused() == 12)
        assert 'reason="malformed"} 12.0' in requests.get(f"{base}/metrics", timeout=60).text


@pytest.mark.parametrize(
    ("page", "headers"),
    [
        ("of another site", {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}),
        ("of an old browser", {"Origin": "null"}),
        ("under our own name", {"Sec-Fetch-Site": "same-origin"}),
        ("without an origin", {"Sec-Fetch-Site": "cross-site"}),
    ],
)
@pytest.mark.fault("a page {page} posts an alert", "403, nothing reaches the channel")
def test_a_page_posts_no_alert(page: str, headers: dict[str, str], tmp_path: Path, telex: Telex) -> None:
    with running_app(tmp_path, telex) as base:
        assert post(base, 0, **headers) == 403
        assert post(base, 0, "/alerts/default", **headers) == 403
        assert telex.attempts == 0
        assert 'reason="from_a_page"} 2.0' in requests.get(f"{base}/metrics", timeout=60).text
        assert post(base, 0, **{"Sec-Fetch-Site": "none"}) == 200  # typed by a person


def test_the_body_has_its_time_though_bytes_come(tmp_path: Path, telex: Telex) -> None:
    """The limit is of the whole body, however often a byte of it comes."""
    with running_app(tmp_path, telex, body_seconds=0.5) as base, connected(base) as wire:
        wire.sendall(head("/alerts", 100_000))
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - began < 60:
                wire.sendall(b" ")
                wire.settimeout(0.02)
                with suppress(TimeoutError):
                    if wire.recv(12) == b"HTTP/1.1 503":
                        return
        raise AssertionError("no 503")

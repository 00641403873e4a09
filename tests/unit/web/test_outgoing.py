"""Outgoing requests against servers that drip, stall and never end, over real sockets."""

from __future__ import annotations

import gzip
import resource
import ssl
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
import trustme
from hostile_server import Answer, Caller, HostileServer, drip, endless, stall, whole

from exporter.web.outgoing import OutgoingSession, TooLargeError

pytestmark = pytest.mark.clockless

_SECONDS = 0.5
_PATIENCE = 20.0
"""A fault that is not stopped would last for ever; a busy machine may take long to stop one."""
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def _ask(url: str, session: OutgoingSession | None = None, **given: object) -> requests.Response:
    with session or OutgoingSession(1 << 20) as asking:
        asking.trust_env = False
        return asking.post(url, data=b"x", timeout=(_SECONDS, _SECONDS), **given)  # type: ignore[arg-type]


_TOO_SLOW = {
    "drips its status line": drip(b"HTTP/1.1 200 OK"),
    "drips its headers": drip(b"X-More: 1\r\n", head=_HEAD),
    "drips its body": drip(b"x", head=_HEAD + b"Content-Length: 1000000\r\n\r\n"),
    "drips its chunks": drip(b"1\r\nx\r\n", head=_CHUNKED),
    "drips a body without a length": drip(b"x", head=_HEAD + b"\r\n"),
    "stalls in its headers": stall(_HEAD),
    "stalls in its body": stall(_HEAD + b"Content-Length: 10\r\n\r\nabc"),
    "says nothing": stall(b""),
    "promises to continue for ever": drip(b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.fault(
    "a peer of an outgoing request {what}", "it ends when the time of the whole answer is over"
)
@pytest.mark.parametrize("what", _TOO_SLOW)
def test_a_slow_answer_ends_in_time(what: str) -> None:
    with HostileServer(_TOO_SLOW[what]) as server:
        began = time.monotonic()
        with pytest.raises(requests.Timeout):
            _ask(server.url)
        assert time.monotonic() - began < _PATIENCE
        assert server.calls == 1


@pytest.mark.fault(
    "a peer of an outgoing request drips inside TLS", "it ends when the time of the answer is over"
)
def test_a_slow_answer_inside_tls_ends_in_time(
    secure: Callable[[Answer], HostileServer], ca_file: Path
) -> None:
    with secure(_TOO_SLOW["drips its headers"]) as server:
        began = time.monotonic()
        with pytest.raises(requests.Timeout):
            _ask(server.url, verify=str(ca_file))
        assert time.monotonic() - began < _PATIENCE


@pytest.mark.fault("a proxy drips its answer to CONNECT", "the request ends when its time is over")
def test_a_slow_proxy_ends_in_time() -> None:
    with HostileServer(drip(b"X-More: 1\r\n", head=b"HTTP/1.1 200 Connection established\r\n")) as proxy:
        began = time.monotonic()
        with pytest.raises(requests.RequestException):
            _ask("https://history.invalid/", proxies={"https": proxy.url})
        assert time.monotonic() - began < _PATIENCE
        assert proxy.calls == 1


def _gzipped(body: bytes, times: int = 1) -> bytes:
    for _ in range(times):
        body = gzip.compress(body, 1)  # of zeros, in a third of the time
    names = ", ".join(["gzip"] * times).encode()
    return _HEAD + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (names, len(body)) + body


_TOO_LARGE = {
    "never ends its body": endless(b"x" * 65536, head=_HEAD + b"\r\n"),
    "never ends its chunks": endless(b"10000\r\n" + b"x" * 65536 + b"\r\n", head=_CHUNKED),
    "announces 100 GB": endless(b"x" * 65536, head=_HEAD + b"Content-Length: 100000000000\r\n\r\n"),
    "packs 100 MB of zeros": whole(_gzipped(bytes(100_000_000))),
    "packs its body twice": whole(_gzipped(bytes(10_000_000), times=2)),
}


@pytest.mark.fault(
    "a peer of an outgoing request {what}", "a bound on the answer's size ends it, memory is flat"
)
@pytest.mark.parametrize("what", _TOO_LARGE)
def test_a_large_answer_is_not_read(what: str) -> None:
    with HostileServer(_TOO_LARGE[what]) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with OutgoingSession(1 << 20) as session:
            session.trust_env = False
            with pytest.raises(TooLargeError) as refused:
                session.get(server.url, timeout=_PATIENCE)
        assert (
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        ) < 64_000  # KiB; the bound is 1 MiB
        assert refused.value.response is None or refused.value.response.status_code == 200


def test_the_status_of_an_answer_whose_body_is_not_read_is_known() -> None:
    with HostileServer(drip(b"x", head=_HEAD + b"Content-Length: 1000000\r\n\r\n")) as server:
        with pytest.raises(requests.ReadTimeout) as late:
            _ask(server.url)
        assert late.value.response is not None
        assert late.value.response.status_code == 200


def test_answers_below_the_limits_are_read_whole_and_their_connections_used_again() -> None:
    body = bytes(range(256)) * 4000
    peers: set[object] = set()

    def answer(caller: Caller) -> None:
        while True:
            peers.add(caller.wire.getpeername())
            caller.send(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            if not caller.wire.recv(65536):
                return

    with HostileServer(answer) as server, OutgoingSession(1 << 20) as session:
        session.trust_env = False
        for _ in range(5):
            # Each has separate limits: what one has used is not taken from the next.
            assert session.get(server.url, timeout=_PATIENCE).content == body
        assert len(peers) == 1


def test_an_answer_inside_tls_is_read_whole(secure: Callable[[Answer], HostileServer], ca_file: Path) -> None:
    with secure(whole(_HEAD + b"Content-Length: 5\r\n\r\nhello")) as server:
        assert _ask(server.url, verify=str(ca_file)).text == "hello"


def test_a_packed_answer_is_unpacked() -> None:
    with HostileServer(whole(_gzipped(b"hello"))) as server:
        assert _ask(server.url).text == "hello"
    with HostileServer(
        whole(_HEAD + b"Content-Encoding: deflate\r\nConnection: close\r\n\r\n" + zlib.compress(b"hello"))
    ) as server:
        assert _ask(server.url).text == "hello"


@pytest.mark.fault("a peer redirects an outgoing request elsewhere", "the request does not follow")
def test_no_redirect_is_followed() -> None:
    with HostileServer(whole(_HEAD + b"Content-Length: 0\r\n\r\n")) as target:
        moved = b"HTTP/1.1 307 Elsewhere\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % target.url.encode()
        with HostileServer(whole(moved)) as server:
            assert _ask(server.url).status_code == 307
            assert _ask(server.url, allow_redirects=True).status_code == 307
        assert target.calls == 0


def test_a_request_without_a_time_out_is_refused() -> None:
    with OutgoingSession() as session, pytest.raises(ValueError, match="time-out"):
        session.get("http://127.0.0.1:9/")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def secure(authority: trustme.CA) -> Callable[[Answer], HostileServer]:
    """A server with a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return lambda answer: HostileServer(answer, context)

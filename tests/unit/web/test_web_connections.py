"""What broken and hostile peers can do to the server of exporter and relay, over sockets."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import bcrypt
import pytest
import requests
import trustme
import yaml
from fastapi import FastAPI, Response

from exporter.web.connections import ConnectionLimits
from exporter.web.guard import WebConfig
from exporter.web.passwords import PasswordLimits, Passwords, matches
from exporter.web.server import Server

pytestmark = pytest.mark.stack

LARGE = b"x" * (32 << 20)  # more than the kernel takes for a peer that does not read
HEADER = b"GET /small HTTP/1.1\r\nHost: exporter\r\n"
GENEROUS = 60.0


@pytest.fixture(scope="module")
def web_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A web configuration with TLS; beside it ca.pem."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "server.pem")
    issued.private_key_pem.write_to_path(folder / "server.key")
    path = folder / "web.yml"
    path.write_text(
        yaml.safe_dump({"tls_server_config": {"cert_file": "server.pem", "key_file": "server.key"}})
    )
    return path


class Site:
    """A listening server, and how to reach it."""

    def __init__(self, port: int, ca: Path | None) -> None:
        self.port = port
        self.url = f"{'http' if ca is None else 'https'}://127.0.0.1:{port}"
        self.ca = ca
        self.at_work = threading.Event()
        """Set by /slow."""
        self.release = threading.Event()
        """Set: /slow answers."""

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, verify=str(self.ca) if self.ca else True, timeout=GENEROUS)

    def connect(self) -> socket.socket:
        """A connection, its handshake done."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=GENEROUS)
        if self.ca is None:
            return plain
        return ssl.create_default_context(cafile=str(self.ca)).wrap_socket(plain, server_hostname="127.0.0.1")


SHORT = ConnectionLimits(header_seconds=0.5, answer_seconds=1.0)
Start = Callable[..., Site]


@contextmanager
def serving(
    web_file: Path | None = None,
    limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 # frozen
    passwords: Passwords | None = None,
) -> Iterator[Site]:
    app = FastAPI()
    sites: list[Site] = []

    @app.get("/small")
    async def small() -> Response:
        return Response(b"small")

    @app.get("/large")
    async def large() -> Response:
        return Response(LARGE)

    @app.post("/ignored")
    async def ignored() -> Response:
        return Response(b"ignored")

    @app.get("/slow")
    def slow() -> Response:
        sites[0].at_work.set()
        sites[0].release.wait(GENEROUS)
        return Response(b"slow")

    web = WebConfig(web_file, passwords=passwords) if web_file else None
    server = Server(app, "127.0.0.1", 0, web, limits=limits)
    sites.append(Site(server.start(), web_file.parent / "ca.pem" if web_file else None))
    try:
        yield sites[0]
    finally:
        sites[0].release.set()
        server.stop()


@pytest.fixture(params=["plain", "tls"])
def start(request: pytest.FixtureRequest, web_file: Path) -> Iterator[Start]:
    """Starts a server with limits, without and with TLS."""
    with ExitStack() as stack:
        file = web_file if request.param == "tls" else None
        yield lambda **limits: stack.enter_context(serving(file, ConnectionLimits(**limits)))


@pytest.fixture
def site(start: Start) -> Site:
    """A server with the limits of an exporter."""
    return start()


@pytest.fixture
def hasty(start: Start) -> Site:
    """A server whose limits pass soon."""
    return start(header_seconds=0.5, answer_seconds=1.0)


def drip(connection: socket.socket, octet: bytes = b"x") -> bytes:
    """Send an octet every now and then until the server hangs up; what it answered."""
    connection.settimeout(0.05)
    answer = b""
    deadline = time.monotonic() + GENEROUS
    while time.monotonic() < deadline:
        try:
            connection.sendall(octet)
            if not (got := connection.recv(65536)):
                return answer
            answer += got
        except TimeoutError:
            continue
        except OSError:  # also ssl.SSLError: cut off without the end of TLS
            return answer
    raise AssertionError("the server has not hung up")


def read_to_end(connection: socket.socket) -> bytes:
    answer = bytearray()
    try:
        while got := connection.recv(1 << 20):
            answer += got
    except (ConnectionError, ssl.SSLError):
        pass
    return bytes(answer)


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET /small HTTP/1.1\r\nHost: exporter\r\nX-Slow: "],
    ids=["nothing", "half a header"],
)
@pytest.mark.fault("a client sends half a header", "the connection ends")
def test_a_header_that_does_not_come_ends_the_connection(begun: bytes, hasty: Site) -> None:
    with hasty.connect() as silent:
        silent.sendall(begun) if begun else None
        assert read_to_end(silent) == b""


@pytest.mark.fault("a client sends its header byte by byte", "the connection ends")
def test_a_header_that_comes_drop_by_drop_ends_the_connection(hasty: Site) -> None:
    with hasty.connect() as slow:
        slow.sendall(HEADER + b"X-Slow: ")
        assert drip(slow) == b""


def test_the_next_header_of_a_connection_has_the_same_limit(hasty: Site) -> None:
    with hasty.connect() as slow:
        slow.sendall(HEADER + b"\r\n" + HEADER + b"X-Slow: ")
        assert drip(slow).endswith(b"small")


@pytest.mark.fault("a client begins TLS and falls silent", "the connection ends")
def test_a_handshake_has_the_same_limit(web_file: Path) -> None:
    with (
        serving(web_file, SHORT) as site,
        socket.create_connection(("127.0.0.1", site.port), timeout=GENEROUS) as one,
    ):
        one.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert drip(one, b"\x00") == b""
        assert site.get("/small").text == "small"


def test_a_body_that_nobody_asked_for_cannot_keep_the_connection(hasty: Site) -> None:
    with hasty.connect() as slow:
        slow.sendall(b"POST /ignored HTTP/1.1\r\nHost: exporter\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert drip(slow, b"1\r\nx\r\n").endswith(b"ignored")


@pytest.mark.parametrize(
    ("requests_sent", "sips"), [(1, False), (3, False), (1, True)], ids=["deaf", "deaf and greedy", "sipping"]
)
@pytest.mark.fault("a scraper does not read its answer", "the connection ends")
def test_who_does_not_read_its_answer_in_time_is_cut_off(requests_sent: int, sips: bool, hasty: Site) -> None:
    for patience in (2, 8, 32):  # the longer ones are for a busy machine
        with hasty.connect() as slow:
            slow.sendall(b"GET /large HTTP/1.1\r\nHost: exporter\r\n\r\n" * requests_sent)
            end, got = time.monotonic() + patience, 0
            while time.monotonic() < end:
                got += len(slow.recv(1 << 14)) if sips else 0
                time.sleep(0.1)
            if 0 < got + len(read_to_end(slow)) < len(LARGE):
                return
    raise AssertionError("the whole answer was kept for who did not read it")


def test_who_reads_slowly_but_in_time_has_the_whole_answer(
    start: Start,
) -> None:
    """The limit of headers does not end what is still being read."""
    site = start(header_seconds=0.3)
    with site.connect() as patient:
        patient.sendall(b"GET /large HTTP/1.1\r\nHost: exporter\r\nConnection: close\r\n\r\n")
        head = patient.recv(1000)
        time.sleep(1)
        assert len((head + read_to_end(patient)).partition(b"\r\n\r\n")[2]) == len(LARGE)


def test_work_that_takes_longer_than_a_header_may_is_finished(hasty: Site) -> None:
    answers: list[str] = []
    caller = threading.Thread(target=lambda: answers.append(hasty.get("/slow").text))
    caller.start()
    assert hasty.at_work.wait(GENEROUS)
    time.sleep(1.5)
    hasty.release.set()
    caller.join(GENEROUS)
    assert answers == ["slow"]


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /ignored HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno hex\r\n",
        b"GET /large HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n|1\r\nx\r\nno hex\r\n",
        b"POST /ignored HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n|1\r\nx\r\nno hex\r\n",
        HEADER + b"\r\n\x00garbage\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /small HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 300_000 + b"\r\n\r\n",
        HEADER + b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n",
    ],
    ids=[
        "bad chunk", "bad chunk within the answer", "bad chunk after the answer",
        "garbage after a request", "http 2", "huge header", "websocket",
    ],
)  # fmt: skip
@pytest.mark.fault("a client sends what is no HTTP", "it is refused in a line of the log")
def test_what_is_no_http_is_refused_in_a_line_of_the_log(
    sent: bytes, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a traceback for each of them, nor advice on what to install. `|` waits for the answer to begin."""
    with site.connect() as peer, caplog.at_level("WARNING"):
        first, _, later = sent.partition(b"|")
        with suppress(OSError):  # it may be refused before it is all sent
            peer.sendall(first)
        if later:
            assert peer.recv(1).startswith(b"H")
            peer.sendall(later)
        read_to_end(peer)
        assert site.get("/small").text == "small"
    seen = {(record.getMessage(), record.exc_info) for record in caplog.records}
    assert seen <= {("Invalid HTTP request received.", None)}


@pytest.mark.fault("more slow clients than connections", "scrapes are answered")
def test_slow_connections_take_the_places_of_each_other_only(
    start: Start,
) -> None:
    """None of the limits has passed: who has waited longest makes room, and what is at work stays."""
    site = start(connections=8)
    answers: list[str] = []
    caller = threading.Thread(target=lambda: answers.append(site.get("/slow").text))
    caller.start()
    assert site.at_work.wait(GENEROUS)
    with ExitStack() as held:
        for _ in range(40):
            slow = held.enter_context(site.connect())
            slow.sendall(HEADER)
        for _ in range(3):
            assert site.get("/small").text == "small"
        site.release.set()
        caller.join(GENEROUS)
    assert answers == ["slow"]


def test_connections_that_have_not_begun_tls_are_counted(
    web_file: Path,
) -> None:
    with serving(web_file, ConnectionLimits(connections=8)) as site, ExitStack() as held:
        raw = [
            held.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=GENEROUS))
            for _ in range(40)
        ]
        assert site.get("/small").text == "small"
        for one in raw[:30]:
            assert read_to_end(one) == b""


def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(web_file: Path) -> None:
    """TLS 1.3 lets a client send both at once."""
    with serving(web_file) as site, socket.create_connection(("127.0.0.1", site.port)) as wire:
        context = ssl.create_default_context(cafile=str(site.ca))
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                wire.sendall(outgoing.read())
                incoming.write(wire.recv(65536))
        client.write(HEADER + b"Connection: close\r\n\r\n")
        wire.sendall(outgoing.read())
        answer = b""
        while not answer.endswith(b"small"):
            try:
                answer += client.read(65536)
            except ssl.SSLWantReadError:
                incoming.write(wire.recv(65536))


@pytest.mark.fault("a flood of wrong passwords", "known clients are admitted")
def test_guesses_that_wait_are_few_and_keep_out_nobody_who_is_known(tmp_path: Path) -> None:
    web_file = tmp_path / "web.yml"
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    web_file.write_text(yaml.safe_dump({"basic_auth_users": {"prometheus": hashed}}))
    checked, release = threading.Event(), threading.Event()

    def slow(password: bytes, known: str) -> bool:
        if password == b"slow":
            checked.set()
            release.wait(GENEROUS)
        return matches(password, known)

    with serving(web_file, passwords=Passwords(PasswordLimits(guesses=1), slow)) as site:
        url = f"http://127.0.0.1:{site.port}/small"

        def status(password: str) -> int:
            return requests.get(url, auth=("prometheus", password), timeout=GENEROUS).status_code

        assert (status("right"), status("wrong")) == (200, 401)
        answers: list[int] = []
        guesser = threading.Thread(target=lambda: answers.append(status("slow")))
        guesser.start()
        assert checked.wait(GENEROUS)
        assert (status("right"), status("wrong"), status("another")) == (200, 401, 503)
        release.set()
        guesser.join(GENEROUS)
        assert answers == [401]

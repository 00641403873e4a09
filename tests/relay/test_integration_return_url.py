"""Results go to allowed hosts only, at the address that was checked, with a certificate of that host's."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.relay.channel import DeliveryStatus
from exporter.relay.integration.return_url import (
    Destination,
    RefusedUrlError,
    ReturnHost,
    check_url,
    lookup_within,
    post,
    resolve,
)
from exporter.web.addresses import is_public

ALLOWED = tuple(map(ReturnHost.parse, ("telex.im", "127.0.0.1:8080", "[::1]:8081", "sink.internal:443")))
PUBLIC = "93.184.215.14"


def public(host: str, port: int) -> Sequence[str]:
    return [PUBLIC]


@pytest.mark.parametrize(
    ("url", "destination"),
    [
        ("https://telex.im/x", ("https", "telex.im", 443, "/x")),
        ("https://ping.telex.im/v1/webhooks/a?b=c", ("https", "ping.telex.im", 443, "/v1/webhooks/a?b=c")),
        ("https://PING.Telex.im:443", ("https", "ping.telex.im", 443, "/")),
        ("https://ping.telex.im./x", ("https", "ping.telex.im", 443, "/x")),
        ("http://127.0.0.1:8080/x#f", ("http", "127.0.0.1", 8080, "/x")),
        ("http://[::1]:8081/x", ("http", "::1", 8081, "/x")),
        ("https://sink.internal/x", ("https", "sink.internal", 443, "/x")),
    ],
)
def test_allowed(url: str, destination: tuple[str, str, int, str]) -> None:
    assert resolve(url, ALLOWED, public) == Destination(*destination, PUBLIC)


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "https://", "https:///x", "ftp://telex.im/x", "//telex.im/x", "file:///etc/passwd", "javascript:alert(1)",
        "http://telex.im/x", "http://ping.telex.im:443/x", "https://telex.im:8443/x", "https://telex.im:0/x",
        "https://evil.example/telex.im", "https://telex.im.evil.example/x", "https://nottelex.im/x", "https://telex.im@evil.example/",
        "https://user:pw@telex.im/x", "https://user@telex.im/x", "https://evil.example#telex.im", "https://evil.example?.telex.im",
        "https://evil.example\\.telex.im/x", "https://evil.example\\@telex.im/x", "https://telex.im\n.evil.example/", "https://telex.im\t/x",
        "https://telex.im/ x", "https://tеlex.im/x", "https://𐀀.telex.im/x", "https://telex.im:99999/x", "https://telex.im:x/", "https://[telex.im]/x",
        "http://127.0.0.1:8081/x", "http://127.0.0.1/x", "https://127.0.0.1/x", "http://127.1:8080/x", "http://2130706433:8080/x",
        "http://localhost:8080/x", "https://169.254.169.254/latest/meta-data", "https://sink.internal:8443/x", "http://sink.internal/x",
        "https://a.sink.internal/x", "https://[::ffff:127.0.0.1]:8080/x", "https://telex.im/" + "x" * 2048,
    ],
)  # fmt: skip
def test_refused(url: str) -> None:
    with pytest.raises(RefusedUrlError) as error:
        resolve(url, ALLOWED, public)
    # The URL is the channel's secret: the refusal does not repeat it.
    assert url == "" or len(url) < 3 or url not in str(error.value)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "255.255.255.255",
        "224.0.0.1", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "198.18.0.1", "192.0.2.1", "not an address",
    ],
)  # fmt: skip
def test_a_host_with_a_private_address_is_refused(address: str) -> None:
    assert not is_public(address)
    for addresses in ([address], [PUBLIC, address]):
        with pytest.raises(RefusedUrlError, match="private address"):
            resolve("https://ping.telex.im/x", ALLOWED, lambda host, port, found=addresses: found)
    # Listed with its port, it may be private.
    assert resolve("https://sink.internal/x", ALLOWED, lambda host, port: [address]).address == address


@pytest.mark.parametrize(
    "address", [PUBLIC, "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::808:808"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "text",
    ["", "*", "*.telex.im", "https://telex.im", "telex.im/x", "127.0.0.1", "::1", "[::1]", "telex.im:0", "telex.im:65536",
     "telex.im:x", "a b", "telex..im", "-telex.im", "user@telex.im", ":80"],
)  # fmt: skip
def test_entries_that_allow_nothing_sensible_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as"):
        ReturnHost.parse(text)


@given(st.text(max_size=60) | st.text(max_size=40).map(lambda text: f"https://{text}telex.im/x") | st.text(max_size=40).map(lambda text: f"https://telex.im{text}"))  # fmt: skip
@settings(max_examples=1000, deadline=None)
def test_whatever_is_allowed_is_what_the_client_connects_to(url: str) -> None:
    try:
        parts, private = check_url(url, ALLOWED)
    except RefusedUrlError:
        return
    host = (parts.hostname or "").removesuffix(".")
    assert not private
    assert host == "telex.im" or host.endswith(".telex.im")
    assert host.isascii()


class Server:
    """Answers POSTs with `status` and keeps what it was asked."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.status = 200
        self.asked: list[tuple[str, str, bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.asked.append((self.path, self.headers["Host"], body))
                self.send_response(server.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        if context is not None:
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.mark.fault(
    "a name that means another address after it was checked", "the checked address is connected to"
)
def test_it_connects_to_the_checked_address_whatever_the_name_means(server: Server) -> None:
    """No name service knows this host: only the address that was checked can have been used."""
    destination = Destination("http", "rebinding.invalid", server.port, "/hook?a=b", "127.0.0.1")
    assert post(destination, b"{}", (1, 1))[:2] == (DeliveryStatus.DELIVERED, "HTTP 200")
    assert server.asked == [("/hook?a=b", f"rebinding.invalid:{server.port}", b"{}")]


@pytest.mark.fault("a return_url that redirects", "it is not followed")
def test_redirects_are_not_followed(server: Server) -> None:
    server.status = 307
    destination = Destination("http", "a.invalid", server.port, "/hook", "127.0.0.1")
    assert post(destination, b"{}", (1, 1))[:2] == (DeliveryStatus.REDIRECTED, "HTTP 307")
    assert [path for path, _, _ in server.asked] == ["/hook"]


@pytest.mark.fault("a return_url that is silent, or refuses connections", "timeout and unreachable")
def test_silence_and_refusal_are_told_apart() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        assert (
            post(Destination("http", "a", port, "/", "127.0.0.1"), b"", (1, 0.1))[0] is DeliveryStatus.TIMEOUT
        )
    assert (
        post(Destination("http", "a", port, "/", "127.0.0.1"), b"", (1, 0.1))[0] is DeliveryStatus.UNREACHABLE
    )


@pytest.mark.fault("a return_url with a certificate of another host", "nothing is posted")
def test_certificates_are_those_of_the_host_and_not_of_the_address(
    tmp_path: Path,
) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-keyout", tmp_path / "key", "-out", tmp_path / "cert", "-subj", "/CN=x", "-addext", "subjectAltName=DNS:hook.invalid"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    named: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: named.append(name)
    server = Server(context)
    try:
        right = Destination("https", "hook.invalid", server.port, "/", "127.0.0.1")
        wrong = Destination("https", "other.invalid", server.port, "/", "127.0.0.1")
        assert post(right, b"{}", (2, 2))[0] is DeliveryStatus.UNREACHABLE  # no authority vouches for it
        trusted = str(tmp_path / "cert")
        assert post(right, b"{}", (2, 2), trusted)[:2] == (DeliveryStatus.DELIVERED, "HTTP 200")
        assert named[-1] == "hook.invalid"  # by which a shared server finds its certificate
        assert post(wrong, b"{}", (2, 2), trusted)[0] is DeliveryStatus.UNREACHABLE
    finally:
        server.close()


@pytest.mark.fault("a name server that fails or hangs", "the lookup ends in time")
def test_a_lookup_that_fails_or_hangs_ends() -> None:
    with pytest.raises(OSError, match=r"\S"):
        lookup_within(5)("no-such-host.invalid", 443)
    with pytest.raises(OSError, match=r"\S"):
        lookup_within(5)("a" * 64 + ".invalid", 443)
    assert lookup_within(5)("127.0.0.1", 443) == ["127.0.0.1"]

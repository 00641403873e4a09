"""Whom the commands ask and what they show to whom: addresses, passwords and certificates of the configuration."""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trustme
import yaml

from exporter.cli.clients import exporter_client, relay_client
from exporter.config.model import Config
from exporter.web.client import Client, NoAnswerError, RefusedError
from exporter.web.client_settings import Tls

PASSWORD = "planted-password"
AUTH = {"username": "prometheus", "password_env": "EXPORTER_PASSWORD"}
PRESENTED = "Basic " + base64.b64encode(f"prometheus:{PASSWORD}".encode()).decode()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def web(authority: trustme.CA, tmp_path: Path) -> Path:
    """A web configuration with a certificate that is for another name."""
    issued = authority.issue_cert("exporter.example")
    (tmp_path / "server.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(tmp_path / "server.key")
    path = tmp_path / "web.yml"
    path.write_text(
        yaml.safe_dump({"tls_server_config": {"cert_file": "server.pem", "key_file": "server.key"}})
    )
    return path


class Answering:
    """A server that keeps what it was asked with, and answers as told."""

    def __init__(self, folder: Path | None = None) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        self.status, self.headers = 200, dict[str, str]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # http.server's name
                outer.asked.append((self.command, self.path, self.headers["Authorization"]))
                self.send_response(outer.status)
                for name, value in {**outer.headers, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if folder is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "server.pem", folder / "server.key")
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def server() -> Iterator[Answering]:
    server = Answering()
    yield server
    server.close()


@pytest.fixture
def secure(web: Path) -> Iterator[Answering]:
    server = Answering(web.parent)
    yield server
    server.close()


def config(**given: Any) -> Config:
    return Config.model_validate(given)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000"),
        ("0.0.0.0", "http://127.0.0.1:9000"),  # noqa: S104 # nothing listens
        ("::", "http://[::1]:9000"),
        ("::1", "http://[::1]:9000"),
        ("exporter.example", "http://exporter.example:9000"),
    ],
)
def test_a_server_of_the_configuration_is_asked_where_it_listens(host: str, url: str) -> None:
    """Everywhere is also here."""
    listening = {"host": host, "port": 9000}
    assert exporter_client(config(server=listening)).url == url
    assert relay_client(config(relay=listening)).url == url


def test_the_exporters_password_is_for_the_exporter_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given = config(client={"basic_auth": AUTH})
    with pytest.raises(RefusedError, match="EXPORTER_PASSWORD is empty or not set"):
        exporter_client(given)
    monkeypatch.setenv("EXPORTER_PASSWORD", PASSWORD)
    auth = exporter_client(given).auth
    assert auth is not None
    assert auth.header() == PRESENTED
    assert relay_client(given).auth is None


def test_an_address_by_hand_wins_and_signs_in_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORTER_PASSWORD", PASSWORD)
    given = config(client={"url": "http://there.example:1/prefix/", "basic_auth": AUTH})
    there = exporter_client(given)
    assert there.auth is not None
    assert (there.url, there.auth.header(), there.setting) == (
        "http://there.example:1/prefix", PRESENTED, "client.basic_auth",
    )  # fmt: skip
    by_hand = exporter_client(given, f"http://x:{PASSWORD}@here.example:2/")
    assert (by_hand.url, by_hand.auth) == (f"http://x:{PASSWORD}@here.example:2", None)
    assert by_hand.shown == "http://here.example:2"


def test_the_password_goes_along_but_not_to_another_place(
    server: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORTER_PASSWORD", PASSWORD)
    client = exporter_client(config(server={"port": server.port}, client={"basic_auth": AUTH}))
    assert client.get("api/v1/costs", {"days": 3}, seconds=9).status_code == 200
    assert client.post("-/refresh", {"collector": "cost"}, seconds=9).status_code == 200
    server.status, server.headers = 307, {"Location": "/elsewhere"}
    assert client.get("metrics", seconds=9).status_code == 307
    assert server.asked == [
        ("GET", "/api/v1/costs?days=3", PRESENTED),
        ("POST", "/-/refresh?collector=cost", PRESENTED),
        ("GET", "/metrics", PRESENTED),
    ]


@pytest.mark.parametrize(
    ("auth", "user", "why"),
    [
        (None, "", "asks for a password: set client.basic_auth"),
        (AUTH, "", "refuses what client.basic_auth presents"),
        (None, "x:wrong@", "refuses what the URL presents"),
    ],
)
def test_who_is_not_let_in_is_told_what_to_set(
    server: Answering, auth: Any, user: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORTER_PASSWORD", PASSWORD)
    server.status = 401
    url = f"http://{user}127.0.0.1:{server.port}"
    with pytest.raises(RefusedError) as caught:
        exporter_client(config(client={"basic_auth": auth}), url).get("metrics", seconds=9)
    assert str(caught.value) == f"http://127.0.0.1:{server.port} {why}"


def test_a_proxy_is_not_asked_for_what_is_on_this_machine(
    server: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert exporter_client(config(server={"port": server.port})).get("", seconds=9).status_code == 200
    elsewhere = Client("http://exporter.example", None, Tls())
    with pytest.raises(NoAnswerError, match=r"exporter\.example"):
        elsewhere.get("", seconds=9)


@pytest.mark.fault("another server shows another certificate", "no command gives it the password")
def test_the_certificate_of_the_servers_own_file_is_trusted_and_no_other(
    web: Path, secure: Answering, authority: trustme.CA
) -> None:
    """Also where it is for another name; it is the first one of the file, which goes on with those that issued it."""
    (web.parent / "server.pem").write_bytes(
        (web.parent / "server.pem").read_bytes() + authority.cert_pem.bytes()
    )
    given = config(server={"port": secure.port, "web_config_file": web})
    client = exporter_client(given)
    assert client.url == f"https://127.0.0.1:{secure.port}"
    assert client.get("", seconds=9).status_code == 200

    other = authority.issue_cert("exporter.example")
    other.cert_chain_pems[0].write_to_path(web.parent / "server.pem")
    with pytest.raises(RefusedError, match="its certificate is not the one that"):
        exporter_client(given).get("", seconds=9)


def test_an_authority_that_is_named_has_to_vouch_for_the_name_as_well(
    web: Path, secure: Answering, authority: trustme.CA
) -> None:
    authority.cert_pem.write_to_path(web.parent / "ca.pem")
    tls = {"tls": {"ca_file": web.parent / "ca.pem"}}
    client = exporter_client(config(server={"port": secure.port, "web_config_file": web}, client=tls))
    assert client.fingerprint is None
    with pytest.raises(RefusedError, match="its certificate is not trusted"):
        client.get("", seconds=9)


def test_an_own_certificate_file_that_holds_none_is_said(web: Path) -> None:
    (web.parent / "server.pem").write_text("nothing")
    with pytest.raises(RefusedError, match=r"set client\.url and client\.tls\.ca_file"):
        exporter_client(config(server={"web_config_file": web}))


def test_a_certificate_is_told_by_its_sha256(web: Path) -> None:
    der = ssl.PEM_cert_to_DER_cert((web.parent / "server.pem").read_text())
    client = exporter_client(config(server={"web_config_file": web}))
    assert client.fingerprint == hashlib.sha256(der).hexdigest()

"""The web configuration file: what is accepted, what is refused and how, and who is admitted."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import trustme

from exporter.web.config import WebConfigError
from exporter.web.guard import WebConfig
from exporter.web.passwords import Passwords, matches

PASSWORD = "correct horse battery staple"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, server.pem, server.key and other.key."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("server", "other"):
        issued = authority.issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    return folder


def write(folder: Path, text: str) -> Path:
    path = folder / "web.yml"
    path.write_text(text)
    return path


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def admits(web: WebConfig, *headers: str) -> list[bool]:
    async def ask() -> list[bool]:
        return [await web.admits(header) for header in headers]

    return asyncio.run(ask())


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    web = WebConfig(write(tmp_path, ""))
    assert (web.ssl_context(), dict(web.users), dict(web.headers)) == (None, {}, {})
    assert admits(web, "") == [True]


def test_every_supported_key_of_tls_is_applied(certificates: Path, tmp_path: Path) -> None:
    """Relative paths are meant from the file's own folder."""
    path = write(
        certificates,
        """
tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  min_version: TLS12
  max_version: TLS12
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: true
  curve_preferences: [CurveP256]
http_server_config:
  http2: false
  headers: {X-Frame-Options: DENY}
""",
    )
    web = WebConfig(path)
    context = web.ssl_context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert (context.minimum_version, context.maximum_version) == (
        ssl.TLSVersion.TLSv1_2,
        ssl.TLSVersion.TLSv1_2,
    )
    old = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]
    assert old == ["ECDHE-RSA-AES256-GCM-SHA384"]
    assert dict(web.headers) == {"X-Frame-Options": "DENY"}


TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("basic_auth_users: [", "is not usable YAML, line 1"),
        ("basic_auth_user: {}", "basic_auth_user: found an unknown key"),
        ("[]", "the file: expected a valid dictionary or instance of WebFile"),
        (
            "basic_auth_users: {alice: planted-plain-password}",
            "basic_auth_users: expected a bcrypt hash for alice",
        ),
        ("basic_auth_users: {'a:b': x}", "basic_auth_users: expected user names without a colon"),
        ("tls_server_config: {cert_file: server.pem}", "tls_server_config.key_file: expected Field required"),
        (TLS + ", min_version: SSL3}", "tls_server_config.min_version: expected 'TLS10'"),
        (
            TLS + ", min_version: TLS13, max_version: TLS12}",
            "expected a min_version that is not above max_version",
        ),
        (
            TLS + ", cipher_suites: [RC4]}",
            "tls_server_config.cipher_suites: expected the name of a cipher suite",
        ),
        (TLS + ", client_ca_file: ca.pem}", "expected client_ca_file exactly if client_auth_type"),
        (TLS + ", client_auth_type: RequireAndVerifyClientCert}", "expected client_ca_file exactly if"),
        (
            TLS + ", client_auth_type: RequireAnyClientCert}",
            "tls_server_config.client_auth_type: expected 'NoClient",
        ),
        (TLS + ", client_allowed_sans: [a]}", "tls_server_config.client_allowed_sans: found an unknown key"),
        ("tls_server_config: {cert_file: server.pem, key_file: other.key}", "cannot use "),
        ("tls_server_config: {cert_file: none.pem, key_file: server.key}", "No such file"),
        (
            "http_server_config: {headers: {Server: x}}",
            "http_server_config.headers: expected headers among Strict",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: x}}",
            "expected deny or sameorigin for X-Frame-Options",
        ),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_key_and_no_secret(
    certificates: Path, text: str, message: str
) -> None:
    with pytest.raises(WebConfigError) as raised:
        WebConfig(write(certificates, text))
    assert message in str(raised.value)
    assert str(raised.value).startswith(str(certificates / "web.yml"))
    assert "\n" not in str(raised.value)
    assert "planted-plain-password" not in str(raised.value)


def test_only_the_right_password_of_a_known_user_is_admitted(tmp_path: Path) -> None:
    """`htpasswd` writes $2y$ where other tools write $2a$ or $2b$: all are the same hash."""
    users = {f"user{kind}": HASH.replace("$2b$", f"$2{kind}$") for kind in "aby"}
    web = WebConfig(write(tmp_path, f"basic_auth_users: {users!r}"))
    for user in users:
        assert admits(web, basic(user, PASSWORD), basic(user, "wrong"), basic(user, "")) == [
            True,
            False,
            False,
        ]
    refused = [
        "",
        "Basic",
        "Basic !",
        "Bearer x",
        basic("nobody", PASSWORD),
        "Basic " + base64.b64encode(b"x").decode(),
    ]
    assert admits(web, *refused) == [False] * len(refused)


def test_a_password_is_hashed_once(tmp_path: Path) -> None:
    """Also a wrong one; and what is remembered is bounded and is not the password."""
    hashed: list[bytes] = []

    def counted(password: bytes, known: str) -> bool:
        hashed.append(password)
        return matches(password, known)

    web = WebConfig(
        write(tmp_path, f"basic_auth_users: {{alice: '{HASH}'}}"), passwords=Passwords(matches=counted)
    )
    assert admits(web, *[basic("alice", PASSWORD)] * 5) == [True] * 5
    assert admits(web, *[basic("alice", "wrong")] * 5) == [False] * 5
    assert hashed == [PASSWORD.encode(), b"wrong"]
    admits(web, *[basic("alice", f"guess {number}") for number in range(120)], basic("alice", PASSWORD))
    assert len(hashed) == 122, "guesses have pushed out the one that is right"
    remembered: dict[bool, Any] = web._passwords._known
    assert {answer: len(known) for answer, known in remembered.items()} == {True: 1, False: 100}
    assert not any(PASSWORD.encode() in key for key in remembered[True])


@pytest.mark.fault("the web configuration file breaks while it is in force", "the old one stays")
def test_a_changed_file_counts_and_a_broken_one_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, f"basic_auth_users: {{alice: '{HASH}'}}")
    web = WebConfig(path, look_seconds=0.0)
    path.write_text("basic_auth_users: {")
    web.refresh()
    web.refresh()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert admits(web, "", basic("alice", PASSWORD)) == [False, True]
    path.write_text(f"basic_auth_users: {{robert: '{HASH}'}}")
    os.utime(path, ns=(1, 1))
    web.refresh()
    assert admits(web, basic("alice", PASSWORD), basic("robert", PASSWORD)) == [False, True]

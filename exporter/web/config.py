"""TLS, client certificates, basic authentication and headers, from the web configuration file that
Prometheus' own servers and exporters read.

The file is YAML: `tls_server_config`, `http_server_config` and `basic_auth_users` (bcrypt). It applies
to every path. Users, headers and certificates are read anew when their files change, so that they can
be rotated; everything else about TLS is fixed at the start.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import os
import re
import secrets
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import bcrypt
import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from exporter.core.fields import StrictModel

log = logging.getLogger(__name__)

_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
Version = Literal["TLS10", "TLS11", "TLS12", "TLS13"]

_CIPHERS = {
    # The names of Go, which the file's format uses, and those of OpenSSL.
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
_FIXED_CIPHERS = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}

_HEADERS: Mapping[str, tuple[str, ...] | None] = {
    "Strict-Transport-Security": None,
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": None,
    "Content-Security-Policy": None,
}
_HASH = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}")
_BCRYPT_READS_BYTES = 72
_REMEMBERED = 100
_MOST_GUESSES = 32
_LOOK_SECONDS = 1.0


class TooManyGuessesError(Exception):
    """So many passwords wait to be checked that this one is not."""


class WebConfigError(Exception):
    """The web configuration file cannot be used; the text names file and key, and never a secret."""


class TlsServer(StrictModel):
    """`tls_server_config`."""

    cert_file: Path
    key_file: Path
    client_auth_type: Literal[
        "NoClientCert", "RequestClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"
    ] = "NoClientCert"
    client_ca_file: Path | None = None
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[Literal["CurveP256", "CurveP384", "CurveP521", "X25519"], ...] = Field(
        default=(), max_length=1
    )

    @field_validator("cipher_suites")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in _CIPHERS and name not in _FIXED_CIPHERS:
                raise ValueError(f"the name of a cipher suite such as {next(reversed(_CIPHERS))}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        verifies = self.client_auth_type in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
        if verifies != (self.client_ca_file is not None):
            raise ValueError(
                "client_ca_file exactly if client_auth_type is VerifyClientCertIfGiven or RequireAndVerifyClientCert"
            )
        if _VERSIONS[self.min_version] > _VERSIONS[self.max_version]:
            raise ValueError("a min_version that is not above max_version")
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read for it."""
        return (self.cert_file, self.key_file, *([self.client_ca_file] if self.client_ca_file else []))


class HttpServer(StrictModel):
    """`http_server_config`; HTTP/2 is accepted in the file and not spoken."""

    http2: bool = True
    headers: dict[str, str] = Field(default_factory=dict)

    @field_validator("headers")
    @classmethod
    def _allowed(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if name not in _HEADERS:
                raise ValueError(f"headers among {', '.join(_HEADERS)}")
            allowed = _HEADERS[name]
            if allowed is not None and text.lower() not in allowed:
                raise ValueError(f"{' or '.join(allowed)} for {name}")
            if not text.isascii() or not text.isprintable():
                raise ValueError(f"printable ASCII for {name}")
        return value


class WebFile(StrictModel):
    """The whole file."""

    tls_server_config: TlsServer | None = None
    http_server_config: HttpServer = HttpServer()
    basic_auth_users: dict[str, str] = Field(default_factory=dict)

    @field_validator("basic_auth_users")
    @classmethod
    def _hashed(cls, value: dict[str, str]) -> dict[str, str]:
        for user, hashed in value.items():
            if not user or ":" in user:
                raise ValueError("user names without a colon")
            if not _HASH.fullmatch(hashed):
                raise ValueError(f"a bcrypt hash for {user}, e.g. of `htpasswd -nBC 10 {user}`")
        return value


def read_web_file(path: Path) -> WebFile:
    """The file, its paths resolved; WebConfigError if it is bad. What they name is not looked at."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise WebConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # The text of the error shows the line, and with it perhaps a hash.
        raise WebConfigError(f"{path}: is not YAML{f', line {mark.line + 1}' if mark else ''}") from None
    try:
        found = WebFile.model_validate({} if data is None else data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in problem["loc"]) or "the file"
        if problem["type"] == "extra_forbidden":
            raise WebConfigError(f"{path}: {key}: found an unknown key") from None
        message = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
        raise WebConfigError(f"{path}: {key}: expected {message}") from None
    if found.tls_server_config is None:
        return found
    # Relative paths are meant from the file, as in Prometheus' servers.
    tls = found.tls_server_config
    places = {
        name: path.parent / getattr(tls, name)
        for name in ("cert_file", "key_file", "client_ca_file")
        if getattr(tls, name) is not None
    }
    return found.model_copy(update={"tls_server_config": tls.model_copy(update=places)})


def _make_context(path: Path, tls: TlsServer) -> ssl.SSLContext:
    where = f"{path}: tls_server_config"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    _load_certificate(path, tls, context)
    if tls.client_ca_file is not None:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise WebConfigError(
                f"{where}.client_ca_file: cannot use {tls.client_ca_file}: {error}"
            ) from None
        required = tls.client_auth_type == "RequireAndVerifyClientCert"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    # Those of TLS 1.3 cannot be chosen, neither here nor in Go.
    ciphers = [_CIPHERS[name] for name in tls.cipher_suites if name in _CIPHERS]
    if ciphers:
        try:
            context.set_ciphers(":".join(ciphers))
        except ssl.SSLError as error:
            raise WebConfigError(f"{where}.cipher_suites: OpenSSL knows none of them: {error}") from None
    if not tls.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    for curve in tls.curve_preferences:
        context.set_ecdh_curve(_CURVES[curve])
    return context


def _load_certificate(path: Path, tls: TlsServer, context: ssl.SSLContext) -> None:
    def no_password() -> str:
        raise ValueError("the key is encrypted")  # OpenSSL would ask the terminal

    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, no_password)
    except (OSError, ValueError) as error:
        raise WebConfigError(
            f"{path}: tls_server_config: cannot use {tls.cert_file} with {tls.key_file}: {error}"
        ) from None


class WebConfig:
    """A web configuration file in force; `guard` an application with it. WebConfigError if it is bad."""

    def __init__(self, path: Path) -> None:
        """Reads the file and everything that it names."""
        self.path = path
        self._file = read_web_file(path)
        tls = self._file.tls_server_config
        self._context = _make_context(path, tls) if tls is not None else None
        if self._context is not None:
            self._context.sni_callback = self._before_handshake
        self._lock = threading.Lock()
        self._seen = self._fingerprint()
        self._looked = time.monotonic()
        self._passwords = _Passwords()

    @property
    def users(self) -> Mapping[str, str]:
        """Hashes by user; empty: no authentication."""
        return self._file.basic_auth_users

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of every answer."""
        return self._file.http_server_config.headers

    def ssl_context(self) -> ssl.SSLContext | None:
        """For the listener; None: no TLS."""
        return self._context

    def guard(self, app: Any) -> Any:
        """`app` behind basic authentication, with the file's headers."""
        return _Guard(app, self)

    async def admits(self, authorization: str) -> bool:
        """Whether a request with this Authorization header may pass; TooManyGuessesError."""
        users = self.users
        return not users or await self._passwords.fit(users, authorization)

    # Rotation

    def _fingerprint(self) -> tuple[tuple[int, int, int], ...]:
        tls = self._file.tls_server_config
        found = []
        for path in (self.path, *(tls.files if tls is not None else ())):
            try:
                state = path.stat()
                found.append((state.st_mtime_ns, state.st_size, state.st_ino))
            except OSError:
                found.append((0, 0, 0))
        return tuple(found)

    def _before_handshake(self, *_: Any) -> None:
        # The context is this one's: what is loaded into it counts for this handshake's successors.
        self.refresh()

    def refresh(self) -> None:
        """Read what has changed, looking once a second at most; a bad file leaves the old one in force."""
        if time.monotonic() - self._looked < _LOOK_SECONDS or not self._lock.acquire(blocking=False):
            return
        try:
            self._looked = time.monotonic()
            now = self._fingerprint()
            if now == self._seen:
                return
            self._seen = now
            try:
                new = read_web_file(self.path)
                if (new.tls_server_config is None) != (self._context is None):
                    raise WebConfigError(
                        f"{self.path}: tls_server_config: came or went, expected a restart for that"
                    )
                if new.tls_server_config is not None and self._context is not None:
                    _make_context(self.path, new.tls_server_config)  # whole or not at all
                    _load_certificate(self.path, new.tls_server_config, self._context)
            except WebConfigError as error:
                log.error("the new web configuration is refused, the old one stays: %s", error)
                return
            self._file = new
            self._seen = self._fingerprint()
            log.info("the web configuration is read anew")
        finally:
            self._lock.release()


class _Passwords:
    """Checks passwords against bcrypt hashes, one at a time, and remembers the answers: it is slow by design."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._known: dict[bool, OrderedDict[bytes, None]] = {True: OrderedDict(), False: OrderedDict()}
        self._turn = asyncio.Lock()
        self._guesses = 0
        # Unknown users take as long as known ones. It is the hash of nothing that anyone knows.
        self._nobody = bcrypt.hashpw(secrets.token_bytes(32), bcrypt.gensalt(10)).decode()

    async def fit(self, users: Mapping[str, str], authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, colon, password = base64.b64decode(given.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        if not colon:
            return False
        name = user.decode("utf-8", "replace")
        hashed = users.get(name, self._nobody)
        key = hmac.digest(
            self._key, hashlib.sha256(user + b"\0" + hashed.encode() + b"\0" + password).digest(), "sha256"
        )
        # Who is known does not queue behind those who guess.
        if (answer := self._remembered(key)) is not None:
            return answer
        # Who waits here holds one of the server's connections.
        if self._guesses >= _MOST_GUESSES:
            raise TooManyGuessesError
        self._guesses += 1
        try:
            async with self._turn:
                if (answer := self._remembered(key)) is not None:
                    return answer
                answer = await asyncio.to_thread(_matches, password, hashed) and name in users
                known = self._known[answer]
                known[key] = None
                if len(known) > _REMEMBERED:
                    known.popitem(last=False)
                return answer
        finally:
            self._guesses -= 1

    def _remembered(self, key: bytes) -> bool | None:
        for answer, known in self._known.items():
            if key in known:
                known.move_to_end(key)
                return answer
        return None


def _matches(password: bytes, hashed: str) -> bool:
    return bcrypt.checkpw(password[:_BCRYPT_READS_BYTES], hashed.encode())


class _Guard:
    """ASGI: nothing of the application is reached by who is not admitted."""

    def __init__(self, app: Any, web: WebConfig) -> None:
        self._app = app
        self._web = web

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served")
        self._web.refresh()
        extra = [(name.lower().encode(), text.encode()) for name, text in self._web.headers.items()]

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start" and extra:
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        given = [value for name, value in scope["headers"] if name == b"authorization"]
        authorization = given[0].decode("latin-1") if len(given) == 1 else ""
        try:
            if await self._web.admits(authorization):
                await self._app(scope, receive, send_with_headers)
                return
            status, body, header = 401, b"Unauthorized\n", (b"www-authenticate", b"Basic")
        except TooManyGuessesError:
            status, body, header = 503, b"Too many passwords to check\n", (b"retry-after", b"10")
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            header,
        ]
        await send_with_headers({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def open_web_config(path: Path | None) -> WebConfig | None:
    """The web configuration of a setting, None where there is none; WebConfigError if it is bad."""
    return WebConfig(Path(os.fspath(path))) if path is not None else None

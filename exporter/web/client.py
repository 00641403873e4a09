"""How commands and the relay reach a running server: by the address, certificates and password of the configuration."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from urllib3.exceptions import NewConnectionError

from exporter.web.addresses import is_loopback
from exporter.web.client_settings import Tls
from exporter.web.credentials import CallerAuth
from exporter.web.outgoing import LimitedAdapter, OutgoingSession

_CONNECT_SECONDS = 1.0
_ATTEMPTS = 5
_SHORT_WAITS = ("1", "2", "3")  # seconds; who asks decides on what takes longer
_SECTION = "client"


class NoAnswerError(Exception):
    """There is no answer of a server; the text says why and what to do, and holds no secret."""


class RefusedError(NoAnswerError):
    """Something listens there, and does not let us in."""


@dataclass(frozen=True, slots=True)
class Client:
    """One server, and what it wants to see."""

    url: str
    auth: CallerAuth | None
    tls: Tls
    fingerprint: str | None = None
    """Of the server's certificate, known from its file; None: an authority vouches for it."""
    wants_certificate: bool = False
    """Whether it is known to refuse who shows none."""
    setting: str = ""
    """The setting of `auth`, to name it in a message."""
    section: str = _SECTION
    """The section of the configuration that `tls` is of, to name it in a message."""
    connect_seconds: float = _CONNECT_SECONDS

    @property
    def shown(self) -> str:
        """The address without a password."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def get(
        self, path: str, parameters: dict[str, Any] | None = None, *, seconds: float
    ) -> requests.Response:
        """The answer of any status but 401; NoAnswerError if there is none."""
        return self._send("GET", path, parameters, seconds)

    def get_when_free(
        self, path: str, parameters: dict[str, Any] | None = None, *, seconds: float
    ) -> requests.Response:
        """The same; where too many ask at once, the answer of a later attempt, as the server asks for."""
        for _ in range(_ATTEMPTS - 1):
            reply = self.get(path, parameters, seconds=seconds)
            wait = reply.headers.get("retry-after", "")
            if reply.status_code != requests.codes.unavailable or wait not in _SHORT_WAITS:
                return reply
            time.sleep(int(wait))
        return self.get(path, parameters, seconds=seconds)

    def post(self, path: str, parameters: dict[str, Any], *, seconds: float) -> requests.Response:
        """The same for a POST."""
        return self._send("POST", path, parameters, seconds)

    def _send(
        self, method: str, path: str, parameters: dict[str, Any] | None, seconds: float
    ) -> requests.Response:
        files = [str(file) for file in (self.tls.cert_file, self.tls.key_file) if file is not None]
        try:
            with OutgoingSession() as session:
                # A proxy from the environment is not meant for this machine's own ports.
                session.trust_env = not is_loopback(urlsplit(self.url).hostname or "")
                if self.fingerprint is not None:
                    session.mount("https://", _Pinned(self.fingerprint))
                reply = session.request(
                    method,
                    f"{self.url}/{path}",
                    params=parameters,
                    # Bytes: a token may hold what latin-1 has no byte for.
                    headers={"Authorization": self.auth.header().encode()} if self.auth else None,
                    timeout=(self.connect_seconds, seconds),
                    verify=str(self.tls.ca_file) if self.tls.ca_file else self.fingerprint is None,
                    cert=(files[0], files[-1]) if files else None,
                )
        except requests.exceptions.SSLError as error:
            raise RefusedError(f"{self.shown}: {self._tls_reason(error)}") from None
        except requests.Timeout:
            raise NoAnswerError(f"{self.shown} does not answer in time") from None
        except requests.ConnectionError as error:
            refused = isinstance(getattr(error.args[0], "reason", None), NewConnectionError)
            if not files and not refused and self.url.startswith("https:"):
                # Who wants a certificate may hang up in silence.
                if self.wants_certificate:
                    raise RefusedError(f"{self.shown}: {self._wants_certificate}") from None
                may = f"if it wants a client certificate, set {self.section}.tls.cert_file"
                raise NoAnswerError(f"{self.shown} hangs up: {may}") from None
            raise NoAnswerError(f"nothing answers at {self.shown}") from None
        except requests.RequestException as error:
            raise NoAnswerError(f"{self.shown} does not answer ({type(error).__name__})") from None
        except OSError as error:
            raise RefusedError(f"{self.shown} cannot be asked: {self.section}.tls: {error}") from None
        if reply.status_code == requests.codes.unauthorized:
            presented = self.auth is not None or self.shown != self.url
            fix = f": set {self.setting}" if self.setting else ""
            wrong = f"refuses what {self.setting} presents" if presented else f"asks for a password{fix}"
            raise RefusedError(f"{self.shown} {wrong}")
        return reply

    @property
    def _wants_certificate(self) -> str:
        return f"it wants a client certificate: set {self.section}.tls.cert_file"

    def _tls_reason(self, error: Exception) -> str:
        text = str(error)
        if "alert certificate required" in text or "handshake failure" in text:
            return self._wants_certificate
        if "ngerprint" in text:
            return "its certificate is not the one that server.web_config_file names"
        if "CERTIFICATE_VERIFY_FAILED" in text:
            return f"its certificate is not trusted: set {self.section}.tls.ca_file"
        return f"no TLS with it ({text.rpartition('(')[2].strip(')') or 'unknown'})"


class _Pinned(LimitedAdapter):
    """Trusts one certificate, for any name."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, assert_fingerprint=self._fingerprint)

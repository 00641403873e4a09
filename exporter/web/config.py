"""The web configuration file that Prometheus' own servers and exporters read: its keys, and reading it.

The file is YAML: `tls_server_config`, `http_server_config` and `basic_auth_users` (bcrypt).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from exporter.core.fields import StrictModel
from exporter.core.yaml_text import YamlTextError, cut, read_yaml
from exporter.web.ciphers import CIPHERS, FIXED_CIPHERS

Version = Literal["TLS10", "TLS11", "TLS12", "TLS13"]
Curve = Literal["CurveP256", "CurveP384", "CurveP521", "X25519"]

_HEADERS: Mapping[str, tuple[str, ...] | None] = {
    "Strict-Transport-Security": None,
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": None,
    "Content-Security-Policy": None,
}
_HASH = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}")


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
    curve_preferences: tuple[Curve, ...] = Field(default=(), max_length=1)

    @field_validator("cipher_suites")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in CIPHERS and name not in FIXED_CIPHERS:
                raise ValueError(f"the name of a cipher suite such as {next(reversed(CIPHERS))}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        verifies = self.client_auth_type in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
        if verifies != (self.client_ca_file is not None):
            raise ValueError(
                "client_ca_file exactly if client_auth_type is VerifyClientCertIfGiven or RequireAndVerifyClientCert"
            )
        if self.min_version > self.max_version:
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
                raise ValueError(f"a bcrypt hash for {cut(user)}, e.g. of `htpasswd -nBC 10 {cut(user)}`")
        return value


def read_web_file(path: Path) -> WebFile:
    """The file, its paths resolved; WebConfigError if it is bad. What they name is not looked at."""
    try:
        data = read_yaml(path)
    except OSError as error:
        raise WebConfigError(f"{path}: cannot be read: {error}") from None
    except UnicodeDecodeError:
        raise WebConfigError(f"{path}: cannot be read: it is not UTF-8") from None
    except YamlTextError as error:
        # The text of the error shows what it is about, and with it perhaps a hash.
        raise WebConfigError(
            f"{path}: is not usable YAML{f', line {error.line}' if error.line else ''}"
        ) from None
    try:
        found = WebFile.model_validate({} if data is None else data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(cut(str(part)) for part in problem["loc"]) or "the file"
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

"""Credentials: where each is found, what callers must present, and what never shows itself."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from exporter.core.fields import EnvName, StrictModel


class CredentialsError(Exception):
    """A setting that cannot be used; the text names the setting and never a secret's value."""


class Secret:
    """A value that shows itself only when asked, so that neither a log line nor a traceback carries it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"


class CallerAuthSettings(StrictModel):
    """What a caller presents: a bearer token, or a user name and password."""

    bearer_token_file: Path | None = Field(None, description="File that holds the bearer token.")
    bearer_token_env: EnvName | None = Field(
        None, description="Environment variable that holds the bearer token."
    )
    username: str | None = Field(None, min_length=1, description="User name for basic authentication.")
    password_file: Path | None = Field(
        None, description="File that holds the password for basic authentication."
    )
    password_env: EnvName | None = Field(
        None, description="Environment variable that holds the password for basic authentication."
    )

    @model_validator(mode="after")
    def _one_scheme(self) -> Self:
        bearer = [source for source in (self.bearer_token_file, self.bearer_token_env) if source is not None]
        password = [source for source in (self.password_file, self.password_env) if source is not None]
        basic = bool(password) or self.username is not None
        if bool(bearer) == basic:
            raise ValueError("give either a bearer token, or username and password")
        if len(bearer) > 1 or len(password) > 1:
            raise ValueError("give exactly one of the _file and _env forms")
        if basic and (self.username is None or not password):
            raise ValueError("basic authentication needs username and one of password_file, password_env")
        if self.username is not None and ":" in self.username:
            raise ValueError("username cannot hold a colon")
        return self


class BearerToken:
    """`Authorization: Bearer <token>`."""

    scheme = "Bearer"

    def __init__(self, token: Secret) -> None:
        self.secret = token

    def header(self) -> str:
        """The header's value, a secret."""
        return f"Bearer {self.secret.reveal()}"


class BasicCredentials:
    """`Authorization: Basic <base64 of user:password>`."""

    scheme = "Basic"

    def __init__(self, username: str, password: Secret) -> None:
        self.username = username
        self.secret = password

    def header(self) -> str:
        """The header's value, a secret."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.secret.reveal()}".encode()).decode()


CallerAuth = BearerToken | BasicCredentials


def authorized(auth: CallerAuth, header: str) -> bool:
    """Whether an Authorization header holds the configured credentials; compared in constant time."""
    scheme, _, given = header.partition(" ")
    if scheme.lower() != auth.scheme.lower():
        return False
    if isinstance(auth, BearerToken):
        wanted = auth.secret.reveal().encode()  # the header's bytes came as latin-1
        return hmac.compare_digest(given.strip().encode("latin-1"), wanted)
    try:
        presented = base64.b64decode(given.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(presented, f"{auth.username}:{auth.secret.reveal()}".encode())


def read_auth(where: str, auth: CallerAuthSettings | None, environ: Mapping[str, str]) -> CallerAuth | None:
    """The credentials that the settings at `where` point at; CredentialsError if they cannot be read."""
    if auth is None:
        return None
    if auth.username is None:
        return BearerToken(
            read_secret(where, "bearer_token", auth.bearer_token_file, auth.bearer_token_env, environ)
        )
    return BasicCredentials(
        auth.username, read_secret(where, "password", auth.password_file, auth.password_env, environ)
    )


def read_secret(
    where: str, name: str, file: Path | None, env: str | None, environ: Mapping[str, str]
) -> Secret:
    """One secret from its file or variable; CredentialsError if it is missing, empty or not text."""
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise CredentialsError(f"{where}.{name}_file: cannot read {file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise CredentialsError(f"{where}.{name}_file: {file} is not UTF-8 text") from None
        source = f"{where}.{name}_file: {file}"
    else:
        source = f"{where}.{name}_env: environment variable {env}"
        text = environ.get(env or "", "")
    text = text.strip()
    if not text:
        raise CredentialsError(f"{source} is empty or not set")
    return Secret(text)

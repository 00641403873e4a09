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


class BasicAuth(StrictModel):
    """Basic authentication; the password comes from a file or the environment."""

    username: str = Field(min_length=1, pattern="^[^:]*$", description="User name, without a colon.")
    password_file: Path | None = Field(default=None, description="File that holds the password.")
    password_env: EnvName | None = Field(default=None, description="Variable that holds the password.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.password_file is None) == (self.password_env is None):
            raise ValueError("exactly one of password_file and password_env")
        return self


class Bearer(StrictModel):
    """A bearer token from a file or the environment."""

    token_file: Path | None = Field(default=None, description="File that holds the token.")
    token_env: EnvName | None = Field(default=None, description="Variable that holds the token.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.token_file is None) == (self.token_env is None):
            raise ValueError("exactly one of token_file and token_env")
        return self


class Presented(StrictModel):
    """What a request presents: a user name and password, a bearer token, or nothing."""

    basic_auth: BasicAuth | None = Field(default=None, description="Basic authentication.")
    bearer: Bearer | None = Field(default=None, description="Bearer token.")

    @model_validator(mode="after")
    def _one_scheme(self) -> Self:
        if self.basic_auth is not None and self.bearer is not None:
            raise ValueError("at most one of basic_auth and bearer")
        return self

    @property
    def scheme(self) -> str:
        """The key of what is presented, or of a password where nothing is: what to name in a message."""
        return "basic_auth" if self.bearer is None else "bearer"


class Demanded(Presented):
    """What callers must present: a user name and password, or a bearer token."""

    @model_validator(mode="after")
    def _a_scheme(self) -> Self:
        if self.basic_auth is None and self.bearer is None:
            raise ValueError("basic_auth or bearer")
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


def read_auth(where: str, settings: Presented | None, environ: Mapping[str, str]) -> CallerAuth | None:
    """The credentials that the settings at `where` point at; CredentialsError if they cannot be read."""
    if settings is None:
        return None
    if (bearer := settings.bearer) is not None:
        return BearerToken(
            read_secret(f"{where}.bearer", "token", bearer.token_file, bearer.token_env, environ)
        )
    if (basic := settings.basic_auth) is not None:
        password = read_secret(
            f"{where}.basic_auth", "password", basic.password_file, basic.password_env, environ
        )
        return BasicCredentials(basic.username, password)
    return None


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

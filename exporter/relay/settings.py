"""Settings of the relay, mounted at `relay:` of config.yaml, and the secrets that they point at."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from exporter.fields import Timeout

ChannelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class RelayConfigError(Exception):
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


class ChannelSettings(BaseModel):
    """Where a channel's webhook URL is found; the URL itself is a secret and never stands in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url_file: Path | None = Field(None, description="File that holds the channel's Telex webhook URL.")
    url_env: EnvName | None = Field(
        None, description="Environment variable that holds the channel's Telex webhook URL."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.url_file is None) == (self.url_env is None):
            raise ValueError("give exactly one of url_file and url_env")
        return self


class CallerAuthSettings(BaseModel):
    """What callers of POST /alerts must present: a bearer token, or a user name and password."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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


class RelaySettings(BaseModel):
    """Settings of `aws-spend-exporter relay`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; loopback unless changed.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    web_config_file: Path | None = Field(
        None, description="TLS, basic authentication and headers, as Prometheus' own servers read them."
    )
    state_dir: Path = Field(
        Path("data/relay"), description="Directory for the memory of delivered message parts."
    )
    channels: dict[ChannelName, ChannelSettings] = Field(
        default_factory=dict,
        description="Telex channels by name; Alertmanager addresses one as /alerts/<name>.",
    )
    default_channel: ChannelName | None = Field(
        None,
        description="Channel of POST /alerts; unset: the channel named `default`, or the only one.",
    )
    username: str = Field(
        "AWS Spend Exporter", min_length=1, max_length=64, description="Sender's name shown in Telex."
    )
    auth: CallerAuthSettings | None = Field(
        None, description="What callers of POST /alerts must present; unset: nothing."
    )
    dashboard_url: str | None = Field(
        None, description="Dashboard that messages link to, for example https://grafana.example/d/aws-spend."
    )
    runbook_url: str | None = Field(
        None,
        description="Where docs/runbook.md is published; replaces that path in an alert's runbook_url.",
    )
    connect_timeout: Timeout = Field(timedelta(seconds=3), description="Time to connect to Telex.")
    read_timeout: Timeout = Field(timedelta(seconds=10), description="Time to wait for Telex's answer.")
    notification_timeout: Timeout = Field(
        timedelta(seconds=30),
        description="Time for all parts of one notification; what is left goes out on Alertmanager's retry.",
    )
    retry_window: Timeout = Field(
        timedelta(minutes=5),
        description="For this long after complete delivery the same notification counts as a retry and is "
        "not sent again; must be shorter than every repeat_interval of Alertmanager.",
    )
    pending_expiry: Timeout = Field(
        timedelta(hours=1),
        description="After this long without an attempt, a partly delivered notification starts over.",
    )
    max_message_bytes: int = Field(
        4096,
        ge=256,
        le=4096,
        description="Longest message in UTF-8 bytes; longer ones are split on line ends.",
    )
    max_parts: int = Field(
        10, ge=1, le=100, description="Most parts of one notification; alerts beyond are counted in the last."
    )
    max_body_bytes: int = Field(
        8 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024, description="Largest accepted request body."
    )
    max_concurrent_notifications: int = Field(
        16,
        ge=1,
        le=256,
        description="Notifications in delivery at once; more are answered 503 to be retried.",
    )

    @field_validator("dashboard_url", "runbook_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s<>\"'`]+", value):
            raise ValueError("must be an http or https URL")
        return value

    @model_validator(mode="after")
    def _default_exists(self) -> Self:
        if self.default_channel is not None and self.default_channel not in self.channels:
            raise ValueError(f"default_channel {self.default_channel!r} is not among channels")
        return self

    def default_channel_name(self) -> str | None:
        """The channel of POST /alerts, or None when several are configured and none is the default."""
        if self.default_channel is not None:
            return self.default_channel
        if "default" in self.channels:
            return "default"
        return next(iter(self.channels)) if len(self.channels) == 1 else None


class BearerToken:
    """A caller presents `Authorization: Bearer <token>`."""

    def __init__(self, token: Secret) -> None:
        self.token = token


class BasicCredentials:
    """A caller presents `Authorization: Basic <base64 of user:password>`."""

    def __init__(self, username: str, password: Secret) -> None:
        self.username = username
        self.password = password


CallerAuth = BearerToken | BasicCredentials


class RelaySecrets:
    """Every secret of the relay, read once at the start. Raises RelayConfigError."""

    def __init__(self, settings: RelaySettings, environ: Mapping[str, str] = os.environ) -> None:
        if not settings.channels:
            raise RelayConfigError("relay.channels: no Telex channel is configured")
        self.channel_urls: dict[str, Secret] = {}
        for name, channel in settings.channels.items():
            where = f"relay.channels.{name}"
            secret = _read(where, "url", channel.url_file, channel.url_env, environ)
            _check_webhook_url(where, secret)
            self.channel_urls[name] = secret
        self.auth = _read_auth(settings.auth, environ)

    def values(self) -> tuple[str, ...]:
        """Texts that must never be written out: URLs, their paths, tokens and passwords."""
        found: list[str] = []
        for secret in self.channel_urls.values():
            url = secret.reveal()
            parts = urlsplit(url)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            found += [url, path, path.rsplit("/", 1)[-1]]
        if isinstance(self.auth, BearerToken):
            found.append(self.auth.token.reveal())
        elif isinstance(self.auth, BasicCredentials):
            found.append(self.auth.password.reveal())
        # The longest first, so that a URL goes as a whole; very short ones would blank out ordinary words.
        return tuple(sorted({text for text in found if len(text) >= 6}, key=len, reverse=True))


def _read_auth(auth: CallerAuthSettings | None, environ: Mapping[str, str]) -> CallerAuth | None:
    if auth is None:
        return None
    if auth.username is None:
        return BearerToken(
            _read("relay.auth", "bearer_token", auth.bearer_token_file, auth.bearer_token_env, environ)
        )
    return BasicCredentials(
        auth.username, _read("relay.auth", "password", auth.password_file, auth.password_env, environ)
    )


def _read(where: str, name: str, file: Path | None, env: str | None, environ: Mapping[str, str]) -> Secret:
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise RelayConfigError(f"{where}.{name}_file: cannot read {file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise RelayConfigError(f"{where}.{name}_file: {file} is not UTF-8 text") from None
        source = f"{where}.{name}_file: {file}"
    else:
        source = f"{where}.{name}_env: environment variable {env}"
        text = environ.get(env or "", "")
    text = text.strip()
    if not text:
        raise RelayConfigError(f"{source} is empty or not set")
    return Secret(text)


def _check_webhook_url(where: str, secret: Secret) -> None:
    problem = "is not a usable URL"
    try:
        parts = urlsplit(secret.reveal())
        host = parts.hostname
        _ = parts.port  # raises on a port that is no number
    except ValueError:
        # No `from`: urllib's message quotes the URL.
        raise RelayConfigError(f"{where}: the Telex webhook URL {problem}") from None
    if re.search(r"[\s\x00-\x1f\x7f]", secret.reveal()) or not host:
        raise RelayConfigError(f"{where}: the Telex webhook URL {problem}")
    if parts.username is not None or parts.password is not None:
        raise RelayConfigError(f"{where}: the Telex webhook URL must not hold a user name or password")
    if parts.scheme == "http" and not is_loopback(host):
        raise RelayConfigError(f"{where}: the Telex webhook URL must be https; http is for loopback only")
    if parts.scheme not in {"http", "https"}:
        raise RelayConfigError(f"{where}: the Telex webhook URL must be https")


def is_loopback(host: str) -> bool:
    """Whether a host of a URL or a listening address is this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

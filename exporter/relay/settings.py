"""Settings of the relay, mounted at `relay:` of config.yaml, and the secrets that they point at."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, timedelta
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from apscheduler.triggers.cron import CronTrigger
from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from exporter.core.fields import Duration, EnvName, StrictModel, Timeout
from exporter.relay.channel import Channel
from exporter.relay.channels import all_kinds, default_kind
from exporter.relay.integration_settings import IntegrationSettings
from exporter.relay.webhook import check_webhook_url
from exporter.web.client_settings import ExporterSettings
from exporter.web.credentials import CredentialsError, Demanded, read_auth, read_secret

ChannelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class RelayConfigError(Exception):
    """A setting of the relay that cannot be used; the text names the setting and never a secret's value."""


def _known_kind(value: str) -> str:
    if value not in all_kinds():
        raise ValueError(f"one of {', '.join(all_kinds())}")
    return value


def _crontab(value: str) -> str:
    try:
        CronTrigger.from_crontab(value, timezone=UTC)
    except ValueError:
        raise ValueError("five fields of a crontab such as 0 8 * * mon-fri") from None
    return value


class ChannelSettings(StrictModel):
    """Where a channel's webhook URL is found; the URL itself is a secret and never stands in the file."""

    kind: Annotated[str, AfterValidator(_known_kind)] = Field(
        default_kind().name,
        description="Where its messages are shown.",
        json_schema_extra={"enum": list(all_kinds())},
    )
    url_file: Path | None = Field(None, description="File that holds the channel's webhook URL.")
    url_env: EnvName | None = Field(
        None, description="Environment variable that holds the channel's webhook URL."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.url_file is None) == (self.url_env is None):
            raise ValueError("give exactly one of url_file and url_env")
        return self


class DigestSettings(StrictModel):
    """A message on the state of spend at fixed times; off while `schedule` is unset."""

    schedule: Annotated[str, AfterValidator(_crontab)] | None = Field(
        None, description="When, as a crontab in UTC: `0 8 * * mon-fri`; unset: never."
    )
    channel: ChannelName | None = Field(None, description="Its channel; unset: that of POST /alerts.")
    movers: int = Field(5, ge=0, le=50, description="How many of the biggest movers it lists.")
    retry_for: Duration = Field(
        timedelta(minutes=30),
        description="How long to try to read the exporter; after that the digest says what is unknown.",
    )
    catch_up: Duration = Field(
        timedelta(hours=6),
        description="How late it may be, because the relay or the channel was down: up to 1d; later it is skipped.",
    )

    @field_validator("catch_up")
    @classmethod
    def _at_most_a_day(cls, value: timedelta) -> timedelta:
        if value > timedelta(days=1):
            raise ValueError("a duration of at most 1d")
        return value


class TemplateSettings(StrictModel):
    """Jinja2 templates of messages; unset: the built-in ones. docs/relay.md lists what they can use."""

    alert: Path | None = Field(None, description="File for notifications of Alertmanager.")
    digest: Path | None = Field(None, description="File for the digest.")
    spend: Path | None = Field(None, description="File for the answers to ticks of the integration.")


class RelaySettings(StrictModel):
    """Settings of `aws-spend-exporter relay`."""

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
        description="Channels by name; Alertmanager addresses one as /alerts/<name>.",
    )
    default_channel: ChannelName | None = Field(
        None,
        description="Channel of POST /alerts; unset: the channel named `default`, or the only one.",
    )
    username: str = Field(
        "AWS Spend Exporter", min_length=1, max_length=64, description="Sender's name shown in channels."
    )
    auth: Demanded | None = Field(
        None, description="What callers of POST /alerts must present; unset: nothing."
    )
    dashboard_url: str | None = Field(
        None, description="Dashboard that messages link to, for example https://grafana.example/d/aws-spend."
    )
    runbook_url: str | None = Field(
        None,
        description="Where docs/runbook.md is published; replaces that path in an alert's runbook_url.",
    )
    exporter: ExporterSettings = Field(
        ExporterSettings(), description="The exporter, whose JSON API answers digest and ticks."
    )
    digest: DigestSettings = Field(DigestSettings(), description="A scheduled message on spend.")
    integration: IntegrationSettings = Field(
        IntegrationSettings(), description="What a chat platform can install."
    )
    templates: TemplateSettings = Field(TemplateSettings(), description="Texts of messages.")
    connect_timeout: Timeout = Field(timedelta(seconds=3), description="Time to connect to a channel.")
    read_timeout: Timeout = Field(timedelta(seconds=10), description="Time to wait for a channel's answer.")
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
        description="Notifications to one channel at once; more are answered 503 to be retried.",
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
            raise ValueError("default_channel: one of channels")
        if self.digest.schedule is not None:
            if self.digest.channel is None and self.default_channel_name() is None:
                raise ValueError("digest.channel: one of channels, because no channel is the default")
            if self.digest.channel is not None and self.digest.channel not in self.channels:
                raise ValueError("digest.channel: one of channels")
        return self

    def default_channel_name(self) -> str | None:
        """The channel of POST /alerts, or None when several are configured and none is the default."""
        if self.default_channel is not None:
            return self.default_channel
        if "default" in self.channels:
            return "default"
        return next(iter(self.channels)) if len(self.channels) == 1 else None


class RelaySecrets:
    """Every secret of the relay, read once at the start. Raises RelayConfigError."""

    def __init__(self, settings: RelaySettings, environ: Mapping[str, str] = os.environ) -> None:
        if not settings.channels:
            raise RelayConfigError("relay.channels: no channel is configured")
        try:
            self.channels = {
                name: _channel(f"relay.channels.{name}", channel, environ)
                for name, channel in settings.channels.items()
            }
            self.auth = read_auth("relay.auth", settings.auth, environ)
            self.integration_auth = read_auth("relay.integration.auth", settings.integration.auth, environ)
            self.exporter_auth = read_auth("relay.exporter", settings.exporter, environ)
        except CredentialsError as error:
            raise RelayConfigError(str(error)) from None

    def values(self) -> tuple[str, ...]:
        """Texts that must never be written out: URLs, their paths, tokens and passwords."""
        found: list[str] = []
        for channel in self.channels.values():
            url = channel.url.reveal()
            parts = urlsplit(url)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            found += [url, path, parts.path.rstrip("/").rsplit("/", 1)[-1], parts.query]
        for auth in (self.auth, self.integration_auth, self.exporter_auth):
            if auth is not None:
                found += [auth.secret.reveal(), auth.header().partition(" ")[2]]
        # The longest first, so that a URL goes as a whole; very short ones would blank out ordinary words.
        return tuple(sorted({text for text in found if len(text) >= 6}, key=len, reverse=True))


def _channel(where: str, settings: ChannelSettings, environ: Mapping[str, str]) -> Channel:
    kind = all_kinds()[settings.kind]
    url = read_secret(where, "url", settings.url_file, settings.url_env, environ)
    try:
        check_webhook_url(url)
    except ValueError as error:
        raise RelayConfigError(f"{where}: the {kind.title} webhook URL {error}") from None
    return Channel(kind, url)

"""Settings of those who ask a running exporter: the commands."""

from __future__ import annotations

from pydantic import Field

from exporter.fields import StrictModel
from exporter.history_settings import HttpUrl, Tls
from exporter.relay.credentials import CallerAuthSettings


class ClientSettings(StrictModel):
    """How `costs`, `doctor` and the other commands ask the running exporter."""

    url: HttpUrl | None = Field(
        default=None, description="The exporter to ask; unset: the one that `server` describes."
    )
    auth: CallerAuthSettings | None = Field(
        default=None, description="What to present to it, where its web configuration has basic_auth_users."
    )
    tls: Tls = Field(
        default=Tls(),
        description="Certificates; without ca_file that of `server` is known by its own file, and others by the system.",
    )

"""Settings of those who ask a running exporter: the commands and the relay."""

from __future__ import annotations

from pydantic import Field

from exporter.core.fields import StrictModel
from exporter.history.settings import HttpUrl, Tls
from exporter.web.credentials import CallerAuthSettings


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


class ExporterSettings(ClientSettings):
    """How the relay asks the exporter, whose JSON API answers digest and ticks."""

    url: HttpUrl = Field(default="http://127.0.0.1:9998", description="The exporter to ask.")
    tls: Tls = Field(
        default=Tls(), description="Certificates; without ca_file the usual ones vouch for the exporter."
    )

"""Settings of those who ask a running exporter: the commands and the relay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from exporter.core.fields import (
    Region,
    RoleArn,
    StrictModel,
)
from exporter.web.credentials import Presented


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a URL such as http://prometheus:9090/api/v1/write")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL without user name and password; basic_auth holds them")
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]


class SigV4(StrictModel):
    """AWS Signature Version 4 with the ambient credentials, or those of a role."""

    region: Region = Field(description="Region of the endpoint.")
    service: str = Field(default="aps", min_length=1, description="Service name in the signature.")
    profile: str | None = Field(default=None, min_length=1, description="Profile of ~/.aws/config.")
    role_arn: RoleArn | None = Field(default=None, description="Role to assume first.")


class Tls(StrictModel):
    """Certificates, where the system's trust store is not enough; verification cannot be turned off."""

    ca_file: Path | None = Field(default=None, description="Certificates of the authorities to trust.")
    cert_file: Path | None = Field(default=None, description="Our certificate.")
    key_file: Path | None = Field(default=None, description="Its key, where not in the same file.")

    @model_validator(mode="after")
    def _a_key_needs_a_certificate(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("cert_file as well, because key_file is set")
        return self


class ClientSettings(Presented):
    """How `costs`, `doctor` and the other commands ask the running exporter, and what they present to it."""

    url: HttpUrl | None = Field(
        default=None, description="The exporter to ask; unset: the one that `server` describes."
    )
    tls: Tls = Field(
        default=Tls(),
        description="Certificates; without ca_file that of `server` is known by its own file, and others by the system.",
    )


class ExporterSettings(ClientSettings):
    """How the relay asks the exporter, whose JSON API answers digest and ticks, and what it presents."""

    url: HttpUrl = Field(default="http://127.0.0.1:9998", description="The exporter to ask.")
    tls: Tls = Field(
        default=Tls(), description="Certificates; without ca_file the usual ones vouch for the exporter."
    )

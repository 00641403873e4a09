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
    EnvName,
    Region,
    RoleArn,
    StrictModel,
)
from exporter.web.credentials import CallerAuthSettings


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a URL such as http://prometheus:9090/api/v1/write")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL without user name and password; basic_auth holds them")
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]


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

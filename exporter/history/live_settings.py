"""Settings of the live samples by remote write."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from exporter.core.fields import Duration, LabelName, StrictModel
from exporter.history.settings import HistorySettings
from exporter.web.client_settings import HttpUrl, SigV4, Tls
from exporter.web.credentials import BasicAuth, Bearer


def _short(value: timedelta) -> timedelta:
    # Prometheus looks back for five minutes: two pushes may fail before a series is gone.
    if not timedelta(seconds=1) <= value <= timedelta(minutes=2):
        raise ValueError("a duration between 1s and 2m")
    return value


class LiveWriteSettings(StrictModel):
    """Current samples by remote write, for where nothing scrapes the exporter; off while `url` is unset."""

    url: HttpUrl | None = Field(
        default=None,
        description="Remote write endpoint, e.g. of an Amazon Managed Service for Prometheus workspace.",
    )
    interval: Annotated[Duration, AfterValidator(_short)] = Field(
        default=timedelta(minutes=1), description="Time between two pushes."
    )
    labels: dict[LabelName, str] = Field(
        default_factory=lambda: {"job": "aws-spend-exporter"},
        description="Labels that a scrape would have added.",
    )
    headers: dict[str, str] = Field(
        default_factory=dict, description="Headers of each request, e.g. X-Scope-OrgID; no secrets."
    )
    basic_auth: BasicAuth | None = Field(default=None, description="Basic authentication.")
    bearer: Bearer | None = Field(default=None, description="Bearer token.")
    sigv4: SigV4 | None = Field(default=None, description="AWS Signature Version 4.")
    tls: Tls = Field(default=Tls(), description="Certificates.")
    timeout: Duration = Field(default=timedelta(seconds=30), description="Time for one request.")

    @model_validator(mode="after")
    def _one_scheme(self) -> Self:
        if sum(scheme is not None for scheme in (self.basic_auth, self.bearer, self.sigv4)) > 1:
            raise ValueError("at most one of basic_auth, bearer and sigv4")
        return self

    def endpoint(self) -> HistorySettings:
        """The same endpoint in the words of the history."""
        return HistorySettings(
            write_url=self.url,
            headers=self.headers,
            basic_auth=self.basic_auth,
            bearer=self.bearer,
            sigv4=self.sigv4,
            tls=self.tls,
            timeout=self.timeout,
        )

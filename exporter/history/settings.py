"""Settings of the dated history: where it is written, and what the endpoint wants to see."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    model_validator,
)

from exporter.core.fields import (
    Duration,
    StrictModel,
    format_duration,
    parse_duration,
)
from exporter.web.client_settings import HttpUrl, SigV4, Tls
from exporter.web.credentials import BasicAuth, Bearer

_PROMETHEUS_WRITE_PATH = "/api/v1/write"


def _window(value: timedelta) -> timedelta:
    # A minute since a day's start is a millisecond of its stamp: within ten years stamps stay before 13:00.
    if not timedelta(days=1) <= value <= timedelta(days=3650):
        raise ValueError("a duration between 1d and 3650d")
    return value


Window = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    AfterValidator(_window),
    PlainSerializer(format_duration, return_type=str),
]


class HistorySettings(StrictModel):
    """Cost at its true date, by Prometheus' remote write; off while `write_url` is unset."""

    write_url: HttpUrl | None = Field(
        default=None, description="Remote write endpoint, e.g. http://prometheus:9090/api/v1/write."
    )
    query_url: HttpUrl | None = Field(
        default=None,
        description="Base of the query API for the read-back; found by itself if write_url ends in /api/v1/write.",
    )
    headers: dict[str, str] = Field(
        default_factory=dict, description="Headers of each request, e.g. X-Scope-OrgID; no secrets."
    )
    basic_auth: BasicAuth | None = Field(default=None, description="Basic authentication.")
    bearer: Bearer | None = Field(default=None, description="Bearer token.")
    sigv4: SigV4 | None = Field(default=None, description="AWS Signature Version 4.")
    tls: Tls = Field(default=Tls(), description="Certificates.")
    window: Window = Field(
        default=timedelta(days=450),
        description="Older days are not written; at most the endpoint's out-of-order window and retention.",
    )
    dimension_series: int = Field(
        default=20_000,
        ge=1000,
        le=200_000,
        strict=True,
        description="Most series of cost by one dimension (aws_cost_daily_by_region_usd and others) over thirteen months;"
        " where there would be more, fewer keys an account have a name and `other` has the rest.",
    )
    batch_size: int = Field(default=2000, ge=1, le=100_000, strict=True, description="Samples a request.")
    timeout: Duration = Field(default=timedelta(seconds=30), description="Time for one request.")
    read_back: Duration | None = Field(
        default=timedelta(days=1),
        description="How often the history is compared with the ledger and fixed; null: never.",
    )

    @model_validator(mode="after")
    def _one_scheme(self) -> Self:
        if sum(scheme is not None for scheme in (self.basic_auth, self.bearer, self.sigv4)) > 1:
            raise ValueError("at most one of basic_auth, bearer and sigv4")
        return self

    @property
    def query_base(self) -> str | None:
        """Where queries go, without the API's path; None if that is not known."""
        if self.query_url is not None:
            return self.query_url.rstrip("/")
        if self.write_url is not None and urlsplit(self.write_url).path.endswith(_PROMETHEUS_WRITE_PATH):
            return self.write_url.split("?", 1)[0].removesuffix(_PROMETHEUS_WRITE_PATH)
        return None

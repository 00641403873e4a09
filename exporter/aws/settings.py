"""How AWS is reached, and what may be spent on its requests."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlsplit

import botocore.session
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.exceptions import BotoCoreError
from pydantic import Field, field_validator

from exporter.aws.clients import Aws
from exporter.aws.meter import Meter
from exporter.core.fields import DayMonth, Duration, ExternalId, Region, RoleArn, StrictModel, Usd

_PAID_SERVICES = ("ce", "cloudwatch")


class AwsSettings(StrictModel):
    """How AWS is reached; the payer's credentials are the ambient ones of any AWS tool."""

    profile: str | None = Field(
        default=None,
        min_length=1,
        description="Profile of ~/.aws/config: credentials, region, endpoints, CA bundle, FIPS and dual stack, as with AWS_PROFILE.",
    )
    region: Region | None = Field(
        default=None,
        description="Region of STS and Organizations calls; if unset, AWS_REGION, the profile's, or the global region of role_arn.",
    )
    role_arn: RoleArn | None = Field(
        default=None,
        description="The payer's role to assume, where the ambient credentials are not the payer's.",
    )
    external_id: ExternalId | None = Field(default=None, description="External id for `role_arn`.")
    endpoint_url: str | None = Field(
        default=None,
        description="Send every AWS request there, e.g. to a simulated AWS; http://127.0.0.1:4566.",
    )
    threads: int = Field(default=16, ge=1, le=128, strict=True, description="Units collected at a time.")
    run_deadline: Duration = Field(
        default=timedelta(minutes=10),
        description="Longest that a unit (one account and region) is read; cost ends after the slice that is being read.",
    )
    read_timeout: Duration = Field(
        default=timedelta(seconds=15),
        description="Time to wait for one answer of AWS; all of it has to come within twice as long.",
    )

    @field_validator("endpoint_url")
    @classmethod
    def _a_url(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("a URL such as http://127.0.0.1:4566")
        return value

    @property
    def simulated(self) -> bool:
        """Whether paid requests stay on this machine, where they cost nothing."""
        if self.endpoint_url:
            return _is_local(self.endpoint_url)
        return all(_is_local(_configured_endpoint(self.profile, service)) for service in _PAID_SERVICES)


def _configured_endpoint(profile: str | None, service: str) -> str | None:
    """The endpoint of a service that the environment or the profile has, as botocore finds it; None for AWS itself."""
    session = botocore.session.Session(profile=profile)
    try:
        if session.get_config_variable("ignore_configured_endpoint_urls"):
            return None
        scoped = session.get_scoped_config()
        found: str | None = ConfiguredEndpointProvider(session.full_config, scoped, service).provide()
    except BotoCoreError:
        return None  # what is wrong with the profile is reported where AWS is asked
    return found


def _is_local(url: str | None) -> bool:
    host = urlsplit(url).hostname if url else None
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # A bare name is a neighbour on a container network, never AWS.
        return host == "localhost" or "." not in host


class Ceiling(DayMonth):
    """Dollars for AWS requests a day and a month."""

    day: Usd | None = Field(default=Decimal(1), description="US dollars a UTC day; null: unlimited.")
    month: Usd | None = Field(default=Decimal(10), description="US dollars a month; null: unlimited.")


class CeilingSettings(StrictModel):
    """What the exporter itself may spend on AWS requests; a request that would pass a ceiling is never sent."""

    cost: Ceiling = Field(default=Ceiling(), description="Cost Explorer.")
    usage: Ceiling = Field(default=Ceiling(), description="CloudWatch.")
    athena: Ceiling = Field(
        default=Ceiling(),
        description="Amazon Athena; each query is held against it with all that its workgroup lets it scan.",
    )
    first_fill: Usd | None = Field(
        default=Decimal(10), description="The first read of the past months, once; null: unlimited."
    )

    def limits(self, budget: str) -> Mapping[str, Decimal | None]:
        """Limits by period for `cost`, `usage`, `athena` or `first_fill`."""
        if budget == "first_fill":
            return {"total": self.first_fill}
        ceiling: Ceiling = getattr(self, budget)
        return {"day": ceiling.day, "month": ceiling.month}


def make_aws(settings: AwsSettings, meter: Meter, stop: threading.Event | None = None) -> Aws:
    """Access to AWS as configured; AwsError if the profile does not exist."""
    return Aws(
        meter,
        profile=settings.profile,
        region=settings.region,
        endpoint_url=settings.endpoint_url,
        simulated=settings.simulated,
        role_arn=settings.role_arn,
        external_id=settings.external_id,
        threads=settings.threads,
        read_timeout=settings.read_timeout.total_seconds(),
        stop=stop,
    )

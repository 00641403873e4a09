"""What the relay asks of the exporter's JSON API."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ConfigDict, ValidationError

from exporter.api.summary import Summary
from exporter.relay.addresses import is_loopback
from exporter.relay.credentials import CallerAuth
from exporter.relay.settings import RelaySettings

A = TypeVar("A", bound=BaseModel)

_READ_SECONDS = 15.0  # a summary of a thousand accounts takes a second


class ExporterError(Exception):
    """The exporter has no answer; the text says why and holds no address."""


class Costs(BaseModel):
    """Cost of a span of UTC days, of which `missing_days` have not been read and are not in the sum."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    total_usd: Decimal | None
    missing_days: tuple[date, ...]
    read_at: datetime | None


class ExporterApi:
    """Asks a running exporter; thread-safe. Raises ExporterError only."""

    def __init__(self, settings: RelaySettings, auth: CallerAuth | None) -> None:
        self._base = settings.exporter_url.rstrip("/")
        self._auth = auth
        self._verify: str | bool = str(settings.exporter_ca_file) if settings.exporter_ca_file else True
        self._connect_seconds = settings.connect_timeout.total_seconds()

    def summary(self, movers: int) -> Summary:
        """The state of spend now."""
        return self._get(Summary, "summary", {"movers": str(movers)})

    def costs(self, start: date, end: date, cost_type: str) -> Costs:
        """What the organization cost from `start` to `end`, both included."""
        return self._get(
            Costs,
            "costs",
            {"start": start.isoformat(), "end": end.isoformat(), "cost_type": cost_type, "by": "account"},
        )

    def _get(self, model: type[A], name: str, params: dict[str, str]) -> A:
        # Bytes: a token may hold what latin-1 has no byte for.
        headers = {"Authorization": self._auth.header().encode()} if self._auth else {}
        try:
            with requests.Session() as session:
                # A proxy from the environment is not meant for this machine's own ports.
                session.trust_env = not is_loopback(urlsplit(self._base).hostname or "")
                answer = session.get(
                    f"{self._base}/api/v1/{name}",
                    params=params,
                    headers=headers,
                    timeout=(self._connect_seconds, _READ_SECONDS),
                    verify=self._verify,
                    allow_redirects=False,
                )
        except requests.Timeout:
            raise ExporterError("the exporter does not answer in time") from None
        except (requests.RequestException, OSError) as error:
            raise ExporterError(f"the exporter cannot be reached ({type(error).__name__})") from None
        if answer.status_code != 200:
            raise ExporterError(f"the exporter answers HTTP {answer.status_code}")
        try:
            return model.model_validate_json(answer.content)
        except ValidationError:
            raise ExporterError(
                "the exporter's answer is not understood; is it of the same version?"
            ) from None

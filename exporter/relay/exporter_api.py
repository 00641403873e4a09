"""What the relay asks of the exporter's JSON API."""

from __future__ import annotations

import logging
from datetime import date, datetime
from decimal import Decimal
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from exporter.core.summary import Summary
from exporter.relay.settings import RelaySettings
from exporter.web.client import Client, NoAnswerError, RefusedError
from exporter.web.credentials import CallerAuth

log = logging.getLogger(__name__)

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

    def __init__(
        self, settings: RelaySettings, auth: CallerAuth | None, *, read_seconds: float = _READ_SECONDS
    ) -> None:
        self._read_seconds = read_seconds
        self._client = Client(
            settings.exporter.url.rstrip("/"),
            auth,
            settings.exporter.tls,
            section="relay.exporter",
            setting=f"relay.exporter.{settings.exporter.scheme}",
            connect_seconds=settings.connect_timeout.total_seconds(),
        )

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
        try:
            answer = self._client.get_when_free(f"api/v1/{name}", params, seconds=self._read_seconds)
        except NoAnswerError as error:
            # Settings and files are for the log, as channels are read by others; the address is for neither.
            reason = str(error).replace(self._client.shown, "the exporter")
            log.error("exporter not read", extra={"reason": reason})
            short = "does not let the relay in" if isinstance(error, RefusedError) else "does not answer"
            raise ExporterError(f"the exporter {short}; the relay's log says more") from None
        if answer.status_code != 200:
            raise ExporterError(f"the exporter answers HTTP {answer.status_code}")
        try:
            return model.model_validate_json(answer.content)
        except ValidationError:
            raise ExporterError(
                "the exporter's answer is not understood; is it of the same version?"
            ) from None

"""What counts as an anomaly: the section `anomalies` of the configuration."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Literal

from pydantic import Field, field_validator

from exporter.core.fields import CollectorSettings, Duration, StrictModel, Usd
from exporter.expectation.limits import Limits

THRESHOLD_VARIABLE = "COST_ANOMALY_THRESHOLD"
"""The environment variable that says `anomalies.percentage` where the file does not."""
MOST_PERCENTAGE = 10_000

Kind = Literal["spike", "drop", "dip", "new_service", "stopped_service"]
Sensitivity = Literal["low", "medium", "high"]

SCORES: dict[Sensitivity, float] = {"low": 6.5, "medium": 5.0, "high": 3.5}
"""The robust deviations that a finding takes."""


_LONGEST_WAIT = timedelta(minutes=14)  # less than keep_firing_for of prometheus/rules/anomalies.yml


class AnomalyKinds(StrictModel):
    """Which kinds of findings there are."""

    spike: bool = Field(default=True, description="More than expected.")
    drop: bool = Field(default=True, description="Less than expected, for the second day at least.")
    dip: bool = Field(
        default=True, description="A single low day between two usual ones: listed, never a message."
    )
    new_service: bool = Field(default=True, description="A service that an account has not used before.")
    stopped_service: bool = Field(default=True, description="A service that has ended.")


class UsageAnomalySettings(StrictModel):
    """Daily usage totals, where usage is collected."""

    enabled: bool = Field(default=True, description="Whether daily usage totals are assessed.")
    percentage: float = Field(
        default=50,
        ge=0,
        le=MOST_PERCENTAGE,
        description="Least difference from the expected total, in percent.",
    )


class AnomalySettings(StrictModel):
    """What counts as an anomaly of an account and service; all limits must be passed."""

    enabled: bool = Field(default=True, description="Whether days are assessed. It costs no request.")
    sensitivity: Sensitivity = Field(
        default="medium", description="How far beyond what is usual: 6.5, 5 or 3.5 robust deviations."
    )
    percentage: float = Field(
        default=20,
        ge=0,
        le=MOST_PERCENTAGE,
        description="Least difference from the expected cost, in percent; COST_ANOMALY_THRESHOLD works too.",
    )
    usd_per_day: Usd = Field(
        default=Decimal(25), description="Least difference from the expected cost, in US dollars a day."
    )
    new_service_usd_per_day: Usd = Field(
        default=Decimal(10), description="Least cost a day of a service that is new."
    )
    kinds: AnomalyKinds = Field(default=AnomalyKinds(), description="Which kinds of findings there are.")

    messages_per_week: int = Field(
        default=10,
        ge=0,
        le=1000,
        description="Most findings that are sent as messages in seven days, the largest first; the digest lists the others."
        " Usage has a fifth of them.",
    )
    usage: UsageAnomalySettings = Field(
        default=UsageAnomalySettings(), description="Daily usage totals, by the same baseline."
    )

    @property
    def usage_messages_per_week(self) -> int:
        """Those of usage."""
        return self.messages_per_week // 5 if self.usage.enabled else 0

    @property
    def cost_messages_per_week(self) -> int:
        """Those of cost."""
        return self.messages_per_week - self.usage_messages_per_week

    def limits(self, sensitivity: Sensitivity | None = None) -> Limits:
        """For the baseline; with another sensitivity than the configured one if given."""
        return Limits(
            score=SCORES[sensitivity or self.sensitivity],
            ratio=self.percentage / 100,
            amount=float(self.usd_per_day),
            new_amount=float(self.new_service_usd_per_day),
        )


class AnomalyCausesSettings(CollectorSettings):
    """The usage types and operations behind a spike; $0.01 a spike, once for each."""

    interval: Duration = Field(
        default=timedelta(hours=1),
        description="Time between two looks for spikes, beside one after each read of cost; looking costs nothing.",
    )
    requests_per_day: int = Field(
        default=5, ge=1, le=100, description="Most spikes a UTC day that are asked about, the largest first."
    )
    alert_waits: Duration = Field(
        default=timedelta(minutes=10),
        description="How long the alert of a spike waits for its cause at most; up to 14m.",
    )

    @field_validator("alert_waits")
    @classmethod
    def _shorter_than_alerts_go_on(cls, value: timedelta) -> timedelta:
        if value > _LONGEST_WAIT:
            raise ValueError("at most 14m: an alert that fires goes on for 15m without its spike")
        return value

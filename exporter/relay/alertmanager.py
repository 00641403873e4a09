"""Alertmanager's webhook, version 4. Unknown fields are ignored: newer releases add some."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Status = Literal["firing", "resolved"]


class Alert(BaseModel):
    """One alert of a notification."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    status: Status
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    # Strict: a number is no moment of this webhook.
    startsAt: AwareDatetime = Field(strict=True)  # noqa: N815 - the webhook's own field names
    endsAt: AwareDatetime | None = Field(None, strict=True)  # noqa: N815
    generatorURL: str = ""  # noqa: N815
    fingerprint: str = ""


class Notification(BaseModel):
    """What Alertmanager posts for one group of alerts."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal["4"]
    groupKey: str = Field(min_length=1)  # noqa: N815
    truncatedAlerts: int = Field(default=0, strict=True, ge=0, le=1_000_000_000)  # noqa: N815
    status: Status
    receiver: str = ""
    groupLabels: dict[str, str] = Field(default_factory=dict)  # noqa: N815
    commonLabels: dict[str, str] = Field(default_factory=dict)  # noqa: N815
    commonAnnotations: dict[str, str] = Field(default_factory=dict)  # noqa: N815
    externalURL: str = ""  # noqa: N815
    alerts: list[Alert] = Field(min_length=1)

    def identity(self, channel: str) -> str:
        """
        Key under which deliveries are remembered: channel, group, and which alerts are in which state.

        Annotations stay out of it: their numbers move between Alertmanager's attempts at one notification.
        """
        alerts = sorted(
            [alert.fingerprint or json.dumps(alert.labels, sort_keys=True), alert.status, str(alert.startsAt)]
            for alert in self.alerts
        )
        content = json.dumps([channel, self.groupKey, self.status, self.truncatedAlerts, alerts])
        return hashlib.sha256(content.encode("utf-8")).hexdigest()

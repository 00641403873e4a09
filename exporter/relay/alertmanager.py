"""Alertmanager's webhook, version 4. Unknown fields are ignored: newer releases add some."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

Status = Literal["firing", "resolved"]

# Go writes years from 0 on and offsets of up to a day, which datetime has not: such a moment stays text.
# Strict: a number is no moment of this webhook.
Moment = Annotated[
    Annotated[AwareDatetime, Field(strict=True)]
    | Annotated[
        str,
        StringConstraints(
            strict=True,
            max_length=64,
            pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$",
        ),
    ],
    Field(union_mode="left_to_right"),
]


def _or_empty(value: Any) -> Any:
    return {} if value is None else value


# A map of Go that holds nothing may be null.
Texts = Annotated[dict[str, str], BeforeValidator(_or_empty)]
Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]


class Alert(BaseModel):
    """One alert of a notification."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    status: Status
    labels: Texts = Field(default_factory=dict)
    annotations: Texts = Field(default_factory=dict)
    startsAt: Moment  # noqa: N815 - the webhook's own field names
    endsAt: Moment | None = None  # noqa: N815
    generatorURL: Text = ""  # noqa: N815
    fingerprint: Text = ""


class Notification(BaseModel):
    """What Alertmanager posts for one group of alerts."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal["4"]
    groupKey: str = Field(min_length=1)  # noqa: N815
    truncatedAlerts: int = Field(default=0, strict=True, ge=0, le=1_000_000_000)  # noqa: N815
    status: Status
    receiver: Text = ""
    groupLabels: Texts = Field(default_factory=dict)  # noqa: N815
    commonLabels: Texts = Field(default_factory=dict)  # noqa: N815
    commonAnnotations: Texts = Field(default_factory=dict)  # noqa: N815
    externalURL: Text = ""  # noqa: N815
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

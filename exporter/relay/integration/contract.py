"""Telex's contract: what it reads to install the integration, what it posts at each tick, and what it takes back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import Any, Literal

from apscheduler.triggers.cron import CronTrigger
from pydantic import BaseModel, ConfigDict, Field

from exporter.core.moments import month_start
from exporter.relay.channel import ChannelMessage, Status
from exporter.relay.channels.telex import encode
from exporter.web.credentials import Secret

NAME = "AWS Spend Monitor"
LOGO_PATH = "/integration/logo.svg"
LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
    '<rect width="64" height="64" rx="12" fill="#232f3e"/>'
    '<path d="M12 46h40M18 46V34m9 12V26m9 20v-9m9 9V18" stroke="#ff9900" stroke-width="5"/></svg>'
)
_RELEASED, _UPDATED = "2026-01-01", "2026-01-01"
_KEY_ID = re.compile(r"[A-Za-z0-9_]{16,128}")
_SECRET_KEY = re.compile(r"[\x21-\x7e]{16,256}")
_AMOUNT = re.compile(r"\$?\s?(\d{1,3}(?:,\d{3})+|\d+)(\.\d*)?|\$?\s?(\.\d+)", re.ASCII)
_LARGEST = Decimal(10) ** 12

Frequency = Literal["Daily", "Monthly"]


_SETTINGS: list[dict[str, Any]] = [
    {
        "label": "aws_access_key_id",
        "type": "text",
        "required": False,
        "default": "",
        "description": "Of a user who may call ce:GetCostAndUsage; empty: the organization.",
    },
    {
        "label": "aws_secret_access_key",
        "type": "text",
        "required": False,
        "default": "",
        "description": "The secret of that key.",
    },
    {
        "label": "threshold",
        "type": "number",
        "required": True,
        "default": 100,
        "description": "US dollars; more than that is an alert.",
    },
    {
        "label": "frequency",
        "type": "dropdown",
        "options": ["Daily", "Monthly"],
        "required": True,
        "default": "Daily",
        "description": "Yesterday, or the last calendar month.",
    },
    {
        "label": "interval",
        "type": "text",
        "required": True,
        "default": "0 9 * * *",
        "description": "When to check, as a crontab.",
    },
]


def integration(base_url: str) -> dict[str, Any]:
    """The description under which Telex lists the integration; `base_url` is where it reaches us."""
    return {
        "data": {
            "date": {"created_at": _RELEASED, "updated_at": _UPDATED},
            "descriptions": {
                "app_name": NAME,
                "app_description": "Compares what AWS cost yesterday or last month with a threshold.",
                "app_logo": base_url + LOGO_PATH,
                "app_url": base_url,
                "background_color": "#232f3e",
            },
            "is_active": True,
            "integration_type": "interval",
            "integration_category": "Finance & Payments",
            "key_features": [
                "Daily: the amortized cost of yesterday. Monthly: of the last calendar month.",
                "With an AWS access key of yours: that account. Without: the monitored organization.",
                "Says what is wrong when there is no answer.",
            ],
            "author": "aws-spend-exporter",
            "website": base_url,
            "settings": _SETTINGS,
            "target_url": "",
            "tick_url": base_url + "/tick",
        }
    }


class TickSetting(BaseModel):
    """One setting with the user's value in `default`; what else Telex says of it is not needed."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    label: str = Field(max_length=200)
    default: Any = None


class Tick(BaseModel):
    """What Telex posts at each tick."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    channel_id: str | None = None
    return_url: str = Field(min_length=1, max_length=2048)
    settings: list[TickSetting] = Field(max_length=100)


def result_body(text: str, status: Status, sender: str) -> bytes:
    """One message with the result of a tick, as the return_url takes it: like a channel's webhook."""
    return encode(ChannelMessage(title=NAME, text=text, status=status, sender=sender))


class SettingError(Exception):
    """A setting that cannot be used; names it and what is expected, never what was found, which may be a key."""


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """An access key that came with a tick; held for as long as that tick is answered."""

    key_id: Secret
    secret: Secret


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a tick asks for."""

    keys: AwsKeys | None
    threshold: Decimal
    frequency: Frequency
    interval_is_usable: bool
    """Telex keeps the time; a crontab that it may not understand is worth a word."""

    def period(self, today: date) -> tuple[date, date]:
        """The first and the last UTC day: yesterday, or the last calendar month."""
        if self.frequency == "Daily":
            return today - timedelta(days=1), today - timedelta(days=1)
        return month_start(today, 1), month_start(today) - timedelta(days=1)


def read_settings(settings: Sequence[TickSetting]) -> Wanted:
    """Read the settings of a tick, of any JSON type; SettingError names the first that is wrong."""
    values = {_label(setting.label): _single(setting.default) for setting in settings}
    return Wanted(
        keys=_keys(values.get("aws_access_key_id"), values.get("aws_secret_access_key")),
        threshold=_threshold(values.get("threshold")),
        frequency=_frequency(values.get("frequency")),
        interval_is_usable=_is_crontab(values.get("interval")),
    )


def _label(text: str) -> str:
    return re.sub(r"[\s_-]+", "_", text.strip().lower())


def _single(value: Any) -> Any:
    # A multi-select has a list even where one is chosen.
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _keys(key_id: Any, secret: Any) -> AwsKeys | None:
    given = []
    for label, value in (("aws_access_key_id", key_id), ("aws_secret_access_key", secret)):
        if value is None or value is False:
            value = ""
        if not isinstance(value, str):
            raise SettingError(f"{label}: expected text")
        given.append(value.strip())
    if not any(given):
        return None
    if not given[0]:
        raise SettingError("aws_access_key_id: is missing, while aws_secret_access_key is set")
    if not given[1]:
        raise SettingError("aws_secret_access_key: is missing, while aws_access_key_id is set")
    if not _KEY_ID.fullmatch(given[0]):
        raise SettingError("aws_access_key_id: expected 16 to 128 letters and digits, as AWS shows them")
    if not _SECRET_KEY.fullmatch(given[1]):
        raise SettingError("aws_secret_access_key: expected the secret as AWS shows it, without spaces")
    return AwsKeys(Secret(given[0]), Secret(given[1]))


def _threshold(value: Any) -> Decimal:
    error = SettingError("threshold: expected an amount in US dollars such as 100 or 100.50")
    if value is None or value == "":
        raise SettingError("threshold: is missing; expected an amount in US dollars such as 100.50")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise error
    if isinstance(value, str):
        match = _AMOUNT.fullmatch(value.strip())
        if match is None or len(value) > 40:
            raise error
        amount = Decimal((match[1] or "0").replace(",", "") + (match[2] or match[3] or ""))
    elif isinstance(value, int):
        amount = Decimal(value)
    else:
        amount = Decimal(repr(value))  # a float must not bring its binary tail along
    if not amount.is_finite() or not 0 <= amount < _LARGEST:
        raise error
    return amount


def _frequency(value: Any) -> Frequency:
    text = value.strip().lower() if isinstance(value, str) else value
    if text in (None, "", "daily"):
        return "Daily"
    if text == "monthly":
        return "Monthly"
    raise SettingError("frequency: expected Daily or Monthly")


def _is_crontab(value: Any) -> bool:
    if value in (None, ""):
        return True
    if not isinstance(value, str) or len(value) > 200:
        return False
    try:
        CronTrigger.from_crontab(value.strip(), timezone=UTC)
    except (ValueError, OverflowError):
        return False
    return True

"""Pydantic field types shared by the configuration and the collectors' settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    model_validator,
)

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")


class StrictModel(BaseModel):
    """A frozen settings model in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=False)


def parse_duration(text: object) -> timedelta:
    """Read Prometheus' duration form, e.g. `6h`, `1h30m`, `45s`; ValueError otherwise."""
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(text) if isinstance(text, str) and text else None
    if match is None:
        raise ValueError("a duration such as 30s, 5m, 6h or 1d")
    days, hours, minutes, seconds, milliseconds = (int(part or 0) for part in match.groups())
    try:
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    except OverflowError:
        raise ValueError("a duration of at most 366d") from None


def format_duration(value: timedelta) -> str:
    """The inverse of `parse_duration`, e.g. `6h`."""
    rest = value // timedelta(milliseconds=1)
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _between(least: timedelta, most: timedelta) -> Callable[[timedelta], timedelta]:
    def check(value: timedelta) -> timedelta:
        if not least <= value <= most:
            raise ValueError(f"a duration between {format_duration(least)} and {format_duration(most)}")
        return value

    return check


def matching(pattern: str, expected: str) -> Callable[[str], str]:
    """A validator of texts that match as a whole; of others it says what is expected."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(expected)
        return value

    return check


def _money(value: Any) -> Any:
    # bool is an int to pydantic, and a float must not bring its binary tail along.
    if isinstance(value, bool):
        raise ValueError("an amount in US dollars")
    return Decimal(repr(value)) if isinstance(value, float) else value


def _reasonable(value: Decimal) -> Decimal:
    if not value.is_finite() or not 0 <= value <= Decimal("1e12"):
        raise ValueError("an amount in US dollars between 0 and 1e12")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    AfterValidator(_between(timedelta(seconds=1), timedelta(days=366))),
    PlainSerializer(format_duration, return_type=str),
]
Timeout = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    AfterValidator(_between(timedelta(milliseconds=1), timedelta(days=7))),
    PlainSerializer(format_duration, return_type=str),
]
Usd = Annotated[Decimal, BeforeValidator(_money), AfterValidator(_reasonable)]
AccountId = Annotated[str, AfterValidator(matching(r"\d{12}", "a 12-digit account id in quotes"))]
Region = Annotated[
    str,
    AfterValidator(matching(r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}", "an AWS region such as eu-west-1")),
]
RoleArn = Annotated[
    str,
    AfterValidator(
        matching(
            r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}",
            "a role ARN such as arn:aws:iam::111122223333:role/name",
        )
    ),
]
RoleName = Annotated[
    str, AfterValidator(matching(r"[\w+=,.@/-]{1,512}", "an IAM role name, with its path if it has one"))
]
ExternalId = Annotated[
    str, AfterValidator(matching(r"[\w+=,.@:/-]{2,1224}", "an external id of 2 to 1,224 characters"))
]
LabelName = Annotated[
    str, AfterValidator(matching(r"[a-zA-Z][a-zA-Z0-9_]*", "a Prometheus label name such as team"))
]


EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable."""


class CollectorSettings(StrictModel):
    """What every collector can be told; a collector's own `Settings` adds to it."""

    longest_interval: ClassVar[timedelta | None] = None
    """The longest interval at which the collector works; None: any."""
    longest_because: ClassVar[str] = ""

    enabled: bool = Field(default=False, description="Whether the collector runs.")
    interval: Duration = Field(default=timedelta(hours=1), description="Time between two runs.")

    @model_validator(mode="after")
    def _often_enough(self) -> Self:
        # The limits of a collector that is off stop no one.
        if self.enabled and self.longest_interval is not None and self.interval > self.longest_interval:
            raise ValueError(
                f"interval: at most {format_duration(self.longest_interval)}, because {self.longest_because}"
            )
        return self


class DayMonth(StrictModel):
    """Dollars a UTC day and a calendar month."""

    day: Usd | None = Field(default=None, description="US dollars a day.")
    month: Usd | None = Field(
        default=None,
        description="US dollars a month; what the month is expected to end at is held to it, too.",
    )

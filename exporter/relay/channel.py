"""What a kind of channel declares, and how one attempt to post a message ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from exporter.web.credentials import Secret

Status = Literal["error", "success"]
Timeout = tuple[float, float]
"""Seconds to connect, and to wait for the answer."""


class DeliveryStatus(StrEnum):
    """How a delivery ended; the value is the metric's label."""

    DELIVERED = "delivered"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    REJECTED = "rejected"
    REDIRECTED = "redirected"
    INTERRUPTED = "interrupted"
    """The relay stopped before or between two attempts: it ends, or the time is over. No attempt ends so."""


ATTEMPT_STATUSES = tuple(status for status in DeliveryStatus if status is not DeliveryStatus.INTERRUPTED)
_TEMPORARY = {
    DeliveryStatus.THROTTLED,
    DeliveryStatus.SERVER_ERROR,
    DeliveryStatus.TIMEOUT,
    DeliveryStatus.UNREACHABLE,
    DeliveryStatus.INTERRUPTED,
}


class DeliveryResult(NamedTuple):
    """How the delivery of a message ended, and why in a few words, without a secret."""

    status: DeliveryStatus
    reason: str
    understood: bool = True
    """False where the channel took the message, by its HTTP status, in words that are not documented."""

    @property
    def delivered(self) -> bool:
        """Whether the channel has the whole message."""
        return self.status is DeliveryStatus.DELIVERED

    @property
    def temporary(self) -> bool:
        """Whether the channel may take the same message later, although no one changes the configuration."""
        return self.status in _TEMPORARY

    @property
    def http_status(self) -> int:
        """What Alertmanager is answered.

        200: delivered. 503: a retry may succeed. 502: someone has to act; Alertmanager retries that too, so
        nothing is lost meanwhile.
        """
        if self.delivered:
            return 200
        return 503 if self.temporary else 502


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMessage:
    """One message as a channel takes it; `sender` is the name that it is shown under."""

    title: str
    text: str
    status: Status
    sender: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelKind:
    """One kind of channel, reached by a webhook whose URL is a secret.

    `post` makes one attempt and raises nothing. Who calls it retries, counts and logs, for every kind alike.
    """

    name: str
    """The value of a channel's `kind` in the configuration."""
    title: str
    """Its name for people."""
    max_message_bytes: int
    """The longest text that it takes, in UTF-8 bytes."""
    post: Callable[[Secret, ChannelMessage, Timeout], DeliveryResult]
    where_to_find_the_url: str
    """What to do where a channel's URL is missing."""
    return_hosts: tuple[str, ...] = ()
    """Where its service takes the results of ticks, for a kind that has an integration."""
    is_default: bool = False
    """Whether channels that name no kind are of this one; true of exactly one kind."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of the configuration."""

    kind: ChannelKind
    url: Secret

    def post(self, message: ChannelMessage, timeout: Timeout) -> DeliveryResult:
        """Make one attempt to post a message."""
        return self.kind.post(self.url, message, timeout)

    def prove(self, sender: str, timeout: Timeout) -> DeliveryResult:
        """Post a test message, to see whether the channel takes one."""
        message = ChannelMessage(
            title="Test message",
            text="aws-spend-exporter can post to this channel.",
            status="success",
            sender=sender,
        )
        return self.post(message, timeout)

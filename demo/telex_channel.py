"""What a Telex channel holds: its messages, and the answers that a test scripts for it."""

import json
import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from time import monotonic
from typing import Any

FIELDS = ("event_name", "message", "status", "username")
STATUSES = ("success", "error")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the channel; `id` counts from 1."""

    id: int
    received_at: datetime
    event_name: str
    message: str
    status: str
    username: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"received_at": self.received_at.isoformat()}


@dataclass(frozen=True, slots=True)
class Failure:
    """One scripted answer: after `hang` seconds answer `status`, or drop the connection when it is None.

    With `accepts` the message is in the channel all the same: only its answer is lost.
    """

    status: int | None
    hang: float = 0.0
    accepts: bool = False


class RejectedError(Exception):
    """A post that Telex would refuse."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def parse_post(body: bytes) -> dict[str, str]:
    """The four fields of a webhook post.

    Raises RejectedError: 400 when the body is not a JSON object, 422 when a field is missing, empty or wrong.
    """
    try:
        post = json.loads(body)
    except ValueError as error:
        raise RejectedError(HTTPStatus.BAD_REQUEST, "the body is not JSON") from error
    if not isinstance(post, dict):
        raise RejectedError(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
    for field in FIELDS:
        value = post.get(field)
        if not isinstance(value, str) or not value.strip():
            raise RejectedError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{field} must be a non-empty string")
    if post["status"] not in STATUSES:
        raise RejectedError(HTTPStatus.UNPROCESSABLE_ENTITY, f"status must be one of {', '.join(STATUSES)}")
    return {field: post[field] for field in FIELDS}


class Channel:
    """A channel, for any number of threads."""

    def __init__(
        self,
        channel_id: str | None = None,
        on_message: Callable[[Message], None] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.channel_id = channel_id or secrets.token_hex(16)
        self._on_message = on_message
        self._now = now
        self._messages: list[Message] = []
        self._failures: deque[Failure] = deque()
        self._outage: Failure | None = None
        self._changed = threading.Condition()
        self._stopping = threading.Event()

    def close(self) -> None:
        """End every wait."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()

    @property
    def messages(self) -> list[Message]:
        with self._changed:
            return list(self._messages)

    def fail_next(self, count: int, *, status: int | None, hang: float = 0.0) -> None:
        """Lets the next `count` posts fail; a status of None drops the connection without an answer."""
        with self._changed:
            self._failures.extend([Failure(status, hang)] * count)

    def wait_for(
        self,
        matches: Callable[[Message], bool] = lambda message: True,
        *,
        after: int = 0,
        timeout: float = 10.0,
    ) -> Message | None:
        """The first message past id `after` that matches; None when `timeout` seconds pass without one."""

        def found() -> Message | None:
            return next((message for message in self._messages[after:] if matches(message)), None)

        deadline = monotonic() + timeout
        with self._changed:
            while (message := found()) is None and not self._stopping.is_set():
                remaining = deadline - monotonic()
                if remaining <= 0:
                    return None
                self._changed.wait(remaining)
            return message

    def fail_all(self, failure: Failure | None) -> None:
        """Lets every post fail in this way, until None ends it."""
        with self._changed:
            self._outage = failure

    def next_failure(self) -> Failure | None:
        with self._changed:
            return self._failures.popleft() if self._failures else self._outage

    def hang(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def receive(self, channel_id: str, body: bytes) -> Message:
        """Adds a post to the channel; raises RejectedError."""
        if not secrets.compare_digest(channel_id.encode(), self.channel_id.encode()):
            raise RejectedError(HTTPStatus.FORBIDDEN, "no such webhook")
        post = parse_post(body)
        with self._changed:
            message = Message(id=len(self._messages) + 1, received_at=self._now(), **post)
            self._messages.append(message)
            self._changed.notify_all()
        if self._on_message is not None:
            self._on_message(message)
        return message

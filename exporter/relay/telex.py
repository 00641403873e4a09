"""Delivery of one message to a Telex webhook, and what Telex's answer means."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Literal
from urllib.parse import urlsplit

import requests

from exporter.web.addresses import is_loopback
from exporter.web.credentials import Secret


class Result(StrEnum):
    """How one attempt at one message ended; the value is the metric's label."""

    DELIVERED = "delivered"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    REJECTED = "rejected"
    REDIRECTED = "redirected"

    @property
    def temporary(self) -> bool:
        """Whether Telex may take the same message later without anyone changing the configuration."""
        return self in {Result.THROTTLED, Result.SERVER_ERROR, Result.TIMEOUT, Result.UNREACHABLE}


def classify(status: int) -> Result:
    """The result that an HTTP status stands for."""
    if 200 <= status < 300:
        return Result.DELIVERED
    if status == 429:
        return Result.THROTTLED
    if status >= 500:
        return Result.SERVER_ERROR
    if 300 <= status < 400:
        return Result.REDIRECTED
    return Result.REJECTED


def encode(*, event_name: str, message: str, status: Literal["error", "success"], username: str) -> bytes:
    """The body of one message."""
    return json.dumps(
        {"event_name": event_name, "message": message, "status": status, "username": username},
        ensure_ascii=False,
    ).encode("utf-8")


def post(
    url: Secret,
    *,
    event_name: str,
    message: str,
    status: Literal["error", "success"],
    username: str,
    timeout: tuple[float, float],
) -> tuple[Result, str]:
    """
    Post one message; `timeout` is (connect, read) in seconds.

    Answers the result and a few words on it for the log. Raises nothing of requests: their texts hold
    the URL.
    """
    body = encode(event_name=event_name, message=message, status=status, username=username)
    address = url.reveal()
    with requests.Session() as session:
        # A proxy from the environment is not meant for this machine's own ports.
        session.trust_env = not is_loopback(urlsplit(address).hostname or "")
        try:
            with session.post(
                address,
                data=body,
                headers={"Content-Type": "application/json; charset=utf-8"},
                timeout=timeout,
                # A redirect would carry the message to a host that nobody configured.
                allow_redirects=False,
                # The answer's body is of no use; an endless one must not hold the thread.
                stream=True,
            ) as response:
                return classify(response.status_code), f"HTTP {response.status_code}"
        except requests.Timeout as error:
            return Result.TIMEOUT, type(error).__name__
        except requests.RequestException as error:
            return Result.UNREACHABLE, type(error).__name__

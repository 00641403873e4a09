"""Webhooks, for every kind of channel: which URLs are usable, one POST, and what its answer means."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from exporter.relay.channel import DeliveryResult, DeliveryStatus, Timeout
from exporter.web.addresses import is_loopback
from exporter.web.credentials import Secret

_MAX_ANSWER_BYTES = 64 << 10


def classify(status: int) -> DeliveryResult:
    """The result that an HTTP status stands for."""
    return DeliveryResult(_status(status), f"HTTP {status}")


def _status(status: int) -> DeliveryStatus:
    if 200 <= status < 300:
        return DeliveryStatus.DELIVERED
    if status == 429:
        return DeliveryStatus.THROTTLED
    if status >= 500:
        return DeliveryStatus.SERVER_ERROR
    if 300 <= status < 400:
        return DeliveryStatus.REDIRECTED
    return DeliveryStatus.REJECTED


def post_json(
    url: Secret, body: bytes, timeout: Timeout, judge: Callable[[bytes], DeliveryResult]
) -> DeliveryResult:
    """Post JSON once; `judge` has the last word on the body of an answer that says by its status that it took it.

    Raise nothing of requests: its texts hold the URL.
    """
    # Here, because the configuration of a command has no need of it.
    import requests

    from exporter.web.outgoing import OutgoingSession, TooLargeError

    address = url.reveal()
    with OutgoingSession(_MAX_ANSWER_BYTES) as session:
        # A proxy from the environment is not meant for this machine's own ports.
        session.trust_env = not is_loopback(urlsplit(address).hostname or "")
        try:
            response = session.post(
                address,
                data=body,
                headers={"Content-Type": "application/json; charset=utf-8"},
                timeout=timeout,
            )
            status, answer = response.status_code, response.content
        except requests.Timeout as error:
            return DeliveryResult(DeliveryStatus.TIMEOUT, type(error).__name__)
        except TooLargeError as error:
            if error.response is None:  # headers without end
                return DeliveryResult(DeliveryStatus.TIMEOUT, type(error).__name__)
            # A page, which no documented answer is: only its status counts.
            status, answer = error.response.status_code, b""
        except requests.RequestException as error:
            return DeliveryResult(DeliveryStatus.UNREACHABLE, type(error).__name__)
    result = classify(status)
    return judge(answer) if result.delivered else result


def check_webhook_url(url: Secret) -> None:
    """Raise ValueError, which does not repeat the URL, unless messages may be posted to it."""
    text = url.reveal()
    try:
        parts = urlsplit(text)
        host = parts.hostname
        _ = parts.port  # raises on a port that is no number
    except ValueError:
        # No `from`: urllib's message quotes the URL.
        raise ValueError("is not a usable URL") from None
    if re.search(r"[\s\x00-\x1f\x7f]", text) or not host:
        raise ValueError("is not a usable URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must be https; http is for loopback only")
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must be https")

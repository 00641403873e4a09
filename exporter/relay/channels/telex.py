"""Telex: the webhook of an app that is installed in a channel."""

from __future__ import annotations

import json
from http import HTTPStatus

from exporter.relay.channel import ChannelKind, ChannelMessage, DeliveryResult, DeliveryStatus, Timeout
from exporter.relay.webhook import classify, post_json
from exporter.web.credentials import Secret


def encode(message: ChannelMessage) -> bytes:
    """The JSON body that a webhook takes."""
    return json.dumps(
        {
            "event_name": message.title,
            "message": message.text,
            "status": message.status,
            "username": message.sender,
        },
        ensure_ascii=False,
    ).encode("utf-8")


def post(url: Secret, message: ChannelMessage, timeout: Timeout) -> DeliveryResult:
    """Post one message to the webhook at `url`."""
    return post_json(url, encode(message), timeout, judge)


def judge(body: bytes) -> DeliveryResult:
    """What the body of an answer with HTTP 200 says: it may be that of an error.

    Documented is `{status, status_code, message, data}` with a status of `success` or `error`. Any other body leaves
    it with the HTTP status.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    status = answer.get("status") if isinstance(answer, dict) else None
    if status == "success":
        return DeliveryResult(DeliveryStatus.DELIVERED, "HTTP 200")
    if status == "error":
        code = answer.get("status_code")
        named = classify(code) if isinstance(code, int) and code >= HTTPStatus.BAD_REQUEST else None
        found = named.status if named is not None else DeliveryStatus.REJECTED
        return DeliveryResult(found, f"HTTP 200 with status error{f', {code}' if named is not None else ''}")
    return DeliveryResult(DeliveryStatus.DELIVERED, "HTTP 200 in an unknown form", understood=False)


kind = ChannelKind(
    name="telex",
    title="Telex",
    is_default=True,
    return_hosts=("telex.im",),
    max_message_bytes=4096,
    post=post,
    where_to_find_the_url="copy the webhook URL of the channel's app into that file or variable",
)

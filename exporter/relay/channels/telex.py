"""Telex: the webhook of an app that is installed in a channel."""

from __future__ import annotations

import json

from exporter.relay.channel import ChannelKind, ChannelMessage, DeliveryResult, Timeout
from exporter.relay.webhook import post_json
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
    return post_json(url, encode(message), timeout)


kind = ChannelKind(
    name="telex",
    title="Telex",
    is_default=True,
    return_hosts=("telex.im",),
    max_message_bytes=4096,
    post=post,
    where_to_find_the_url="copy the webhook URL of the channel's app into that file or variable",
)

"""Requests that a page in a browser makes."""

from __future__ import annotations

from collections.abc import Mapping


def comes_from_a_page(headers: Mapping[str, str]) -> bool:
    """Whether a page asks: one that is open may post to any address that the browser reaches, also to loopback.

    A page of our own site counts as well: a foreign one may give its name our address, and none of ours posts.
    `headers` are looked up by lowercase names.
    """
    return "origin" in headers or headers.get("sec-fetch-site", "none") != "none"

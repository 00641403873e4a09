"""Which encoding of an answer a client accepts."""

from __future__ import annotations

import re

_ELEMENT = re.compile(
    r"\s*([!#$%&'*+.^_`|~0-9a-z-]+)\s*(?:;\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*)?", re.I
)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip is accepted and not liked less than plain text, by RFC 9110, 12.5.3.

    What cannot be read of the header counts for nothing, and without any of it plain text is meant.
    """
    weights = {
        found[1].lower(): float(found[2] or 1)
        for element in accept_encoding.split(",")
        if (found := _ELEMENT.fullmatch(element))
    }
    others = weights.get("*", 0.0)
    gzip = weights.get("gzip", weights.get("x-gzip", others))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)

"""A gzip file that is one member and nothing else."""

from __future__ import annotations

import zlib


def unpacked(packed: bytes) -> bytes:
    """Its text; nothing may follow the first member."""
    reader = zlib.decompressobj(31)
    text = reader.decompress(packed)
    assert reader.eof
    assert reader.unused_data == b""
    return text

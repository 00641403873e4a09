"""The part of CBOR (RFC 8949) that the Smithy RPC v2 protocol uses."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def encode_cbor(value: Any) -> bytes:
    """Encode None, bool, int, float, str, bytes, aware datetime, mappings and sequences; else TypeError."""
    out = bytearray()
    _encode(value, out)
    return bytes(out)


def _head(major: int, number: int, out: bytearray) -> None:
    if number < 24:
        out.append(major << 5 | number)
        return
    for extra, code, limit in ((24, "B", 1 << 8), (25, "H", 1 << 16), (26, "I", 1 << 32), (27, "Q", 1 << 64)):
        if number < limit:
            out.append(major << 5 | extra)
            out += struct.pack(">" + code, number)
            return
    raise ValueError(f"{number} does not fit into 64 bits")


def _encode(value: Any, out: bytearray) -> None:
    if value is None or isinstance(value, bool):
        out.append(0xF6 if value is None else 0xF5 if value else 0xF4)
    elif isinstance(value, int):
        _head(0 if value >= 0 else 1, value if value >= 0 else -1 - value, out)
    elif isinstance(value, float):
        out.append(0xFB)
        out += struct.pack(">d", value)
    elif isinstance(value, str | bytes):
        raw = value.encode() if isinstance(value, str) else value
        _head(3 if isinstance(value, str) else 2, len(raw), out)
        out += raw
    elif isinstance(value, datetime):
        out.append(0xC1)  # tag 1: seconds since the epoch
        _encode(value.timestamp(), out)
    else:
        _encode_items(value, out)


def _encode_items(value: Any, out: bytearray) -> None:
    if isinstance(value, Mapping):
        _head(5, len(value), out)
        for key, item in value.items():
            _encode(str(key), out)
            _encode(item, out)
    elif isinstance(value, Sequence):
        _head(4, len(value), out)
        for item in value:
            _encode(item, out)
    else:
        raise TypeError(f"cannot encode {type(value).__name__}")


_BREAK = object()


def decode_cbor(data: bytes) -> Any:
    """Decode one item; ValueError when the input is cut short or malformed."""
    try:
        value, end = _decode(data, 0)
    except (LookupError, TypeError, OverflowError, OSError, struct.error, UnicodeDecodeError) as error:
        raise ValueError("malformed CBOR") from error
    if end != len(data) or value is _BREAK:
        raise ValueError("malformed CBOR")
    return value


def _decode(data: bytes, at: int) -> tuple[Any, int]:
    major, extra = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        return _decode_simple(data, at, extra)
    number = extra
    if 24 <= extra <= 27:
        size = 1 << (extra - 24)
        number = int.from_bytes(_take(data, at, size), "big")
        at += size
    if major < 2:
        return (number if major == 0 else -1 - number), at
    if major == 6:
        value, at = _decode(data, at)
        return (datetime.fromtimestamp(value, UTC) if number == 1 else value), at
    if extra == 31:
        parts, at = _items(data, at)
        return _joined(major, parts), at
    if major < 4:
        raw = _take(data, at, number)
        return (raw if major == 2 else raw.decode()), at + number
    flat = []
    for _ in range(number if major == 4 else 2 * number):
        item, at = _decode(data, at)
        flat.append(item)
    return _joined(major, flat), at


def _joined(major: int, parts: list[Any]) -> Any:
    """Bytes, text, a list or a map out of its decoded parts."""
    if major < 4:
        return (b"" if major == 2 else "").join(parts)
    return parts if major == 4 else dict(zip(parts[::2], parts[1::2], strict=True))


def _take(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise ValueError("malformed CBOR")
    return data[at : at + size]


def _items(data: bytes, at: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    while True:
        item, at = _decode(data, at)
        if item is _BREAK:
            return items, at
        items.append(item)


def _decode_simple(data: bytes, at: int, extra: int) -> tuple[Any, int]:
    if extra in (20, 21):
        return extra == 21, at
    if extra in (22, 23):
        return None, at
    if extra == 31:
        return _BREAK, at
    size, code = {25: (2, "e"), 26: (4, "f"), 27: (8, "d")}[extra]
    return struct.unpack(">" + code, _take(data, at, size))[0], at + size

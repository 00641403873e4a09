"""Prometheus' remote write request (version 1) as bytes: three protobuf messages, then Snappy's block format.

By hand, because a generated encoder brings the protobuf and gRPC compilers into a production image.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

import cramjam

HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}

Point = tuple[bytes, int, float]
"""The labels as `encode_labels` makes them, milliseconds since 1970, the value."""

# Tags: field number << 3 | wire type (0 varint, 1 eight bytes, 2 length-delimited).
_SERIES = b"\x0a"  # WriteRequest.timeseries = 1
_LABEL = b"\x0a"  # TimeSeries.labels = 1
_SAMPLE = b"\x12"  # TimeSeries.samples = 2
_NAME, _VALUE = b"\x0a", b"\x12"  # Label.name = 1, Label.value = 2
_DOUBLE = struct.Struct("<Bd")  # Sample.value = 1
_VALUE_OF_SAMPLE = 0x09
_TIMESTAMP = b"\x10"  # Sample.timestamp = 2


@lru_cache(maxsize=4096)  # a request repeats lengths and, for each day, stamps
def _varint(number: int) -> bytes:
    number &= 0xFFFF_FFFF_FFFF_FFFF  # negative numbers as two's complement
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _prefixed(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def encode_labels(name: str, labels: Mapping[str, str]) -> bytes:
    """The labels of one series, `__name__` among them, in the order of their names; empty ones are absent."""
    pairs = sorted((*((key, value) for key, value in labels.items() if value), ("__name__", name)))
    return b"".join(
        _prefixed(_LABEL, _prefixed(_NAME, key.encode()) + _prefixed(_VALUE, value.encode()))
        for key, value in pairs
    )


def encode_points(points: Sequence[Point]) -> bytes:
    """A WriteRequest; neighbours of one series share its labels, so sort by series and time."""
    return b"".join(
        _prefixed(_SERIES, labels + b"".join(_samples(group)))
        for labels, group in groupby(points, key=itemgetter(0))
    )


def _samples(points: Iterable[Point]) -> Iterable[bytes]:
    pack = _DOUBLE.pack
    for _, milliseconds, value in points:
        sample = pack(_VALUE_OF_SAMPLE, value) + _TIMESTAMP + _varint(milliseconds)
        yield _SAMPLE + _varint(len(sample)) + sample


def compress(request: bytes) -> bytes:
    """Snappy's block format, without the framing of its stream format."""
    return bytes(cramjam.snappy.compress_raw(request))

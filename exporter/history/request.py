"""Prometheus' remote write request (1.0 and 2.0) as bytes: three protobuf messages, then Snappy's block format.

By hand, because a generated encoder brings the protobuf and gRPC compilers into a production image.
"""

from __future__ import annotations

import json
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

HEADERS_2 = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "X-Prometheus-Remote-Write-Version": "2.0.0",
}
WRITTEN_HEADER = "X-Prometheus-Remote-Write-Samples-Written"
"""How many samples a receiver of 2.0 took, refused requests included."""

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
# 2.0 moves the request's fields, so that a receiver of 1.0 finds an empty request; samples are the same.
_SYMBOL = b"\x22"  # Request.symbols = 4
_SERIES_2 = b"\x2a"  # Request.timeseries = 5
_REFERENCES = b"\x0a"  # TimeSeries.labels_refs = 1, packed


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


@lru_cache(maxsize=4096)
def decode_labels(labels: bytes) -> tuple[tuple[str, str], ...]:
    """The names and values that `encode_labels` was given, in the order of the names."""
    pairs = []
    at = 0
    while at < len(labels):
        _, at = _read_length(labels, at)
        name_length, at = _read_length(labels, at)
        name, at = labels[at : at + name_length].decode(), at + name_length
        value_length, at = _read_length(labels, at)
        value, at = labels[at : at + value_length].decode(), at + value_length
        pairs.append((name, value))
    return tuple(pairs)


def _read_length(data: bytes, at: int) -> tuple[int, int]:
    """The length behind the tag at `at`, and the position after it."""
    number = shift = 0
    while True:
        at += 1
        number |= (data[at] & 0x7F) << shift
        if data[at] < 0x80:
            return number, at + 1
        shift += 7


def series_text(labels: bytes) -> str:
    """The series as Prometheus writes it in its answers; characters that it would escape excepted."""
    pairs = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in decode_labels(labels)
    )
    return f"{{{pairs}}}"


def encode_points_2(points: Sequence[Point]) -> bytes:
    """A Request of remote write 2.0, in which each text stands once; sort by series and time as for 1.0."""
    symbols = {"": 0}  # the first one is the empty text
    series = []
    for labels, group in groupby(points, key=itemgetter(0)):
        references = b"".join(
            _varint(symbols.setdefault(text, len(symbols))) for pair in decode_labels(labels) for text in pair
        )
        series.append(_prefixed(_SERIES_2, _prefixed(_REFERENCES, references) + b"".join(_samples(group))))
    return b"".join([*(_prefixed(_SYMBOL, text.encode()) for text in symbols), *series])


def encode_points(points: Sequence[Point]) -> bytes:
    """A WriteRequest of 1.0; neighbours of one series share its labels, so sort by series and time."""
    return b"".join(
        encode_series(labels, encode_samples(group)) for labels, group in groupby(points, key=itemgetter(0))
    )


def encode_series(labels: bytes, samples: bytes) -> bytes:
    """One series of a WriteRequest of 1.0, with its samples as `encode_samples` makes them."""
    return _prefixed(_SERIES, labels + samples)


def encode_samples(points: Iterable[Point]) -> bytes:
    """The samples of one series."""
    return b"".join(_samples(points))


def _samples(points: Iterable[Point]) -> Iterable[bytes]:
    pack = _DOUBLE.pack
    for _, milliseconds, value in points:
        sample = pack(_VALUE_OF_SAMPLE, value) + _TIMESTAMP + _varint(milliseconds)
        yield _SAMPLE + _varint(len(sample)) + sample


def compress(request: bytes) -> bytes:
    """Snappy's block format, without the framing of its stream format."""
    return bytes(cramjam.snappy.compress_raw(request))

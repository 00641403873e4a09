"""One gzip member made of parts that were compressed one by one, each of which can be kept.

A part is raw deflate that ends at a byte and refers to nothing before it, so that parts may follow each other in
any order. The checksum of the whole is computed from theirs, as zlib's `crc32_combine` does it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31  # the polynomial 1; bits are reflected
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"  # deflate, no name, no time, quickest compression, unknown system
_LAST_BLOCK = b"\x03\0"  # empty


@dataclass(frozen=True, slots=True)
class Part:
    """Compressed text, with what the checksum of a whole needs of it."""

    packed: tuple[bytes, ...]
    crc: int
    size: int
    """Bytes of the text itself."""
    shift: int
    """What moves a checksum past this text."""


def compress(text: bytes) -> Part:
    """Text as a part."""
    # Level 1: nearly as small for this text, and several times quicker.
    compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = compressor.compress(text) + compressor.flush(zlib.Z_FULL_FLUSH)
    return Part((packed,), zlib.crc32(text), len(text), _shift(len(text)))


def join(parts: Iterable[Part]) -> Part:
    """Parts as one, in their order."""
    packed: list[bytes] = []
    crc = size = 0
    for part in parts:
        packed += part.packed
        crc = _times(part.shift, crc) ^ part.crc
        size += part.size
    return Part(tuple(packed), crc, size, _shift(size))


def member(part: Part) -> bytes:
    """The gzip file that unpacks to the text of a part."""
    checksum, size = part.crc.to_bytes(4, "little"), (part.size & 0xFFFFFFFF).to_bytes(4, "little")
    return b"".join((_HEADER, *part.packed, _LAST_BLOCK, checksum, size))


def _times(a: int, b: int) -> int:
    """The product of two polynomials over GF(2), modulo that of CRC-32."""
    product = 0
    bit = _ONE
    while a:
        if a & bit:
            product ^= b
            a ^= bit
        bit >>= 1
        b = b >> 1 ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


@lru_cache(maxsize=64)
def _power(exponent: int) -> int:
    """x to the power of 2 to the power of `exponent`."""
    return _ONE >> 1 if exponent == 0 else _times(_power(exponent - 1), _power(exponent - 1))


@lru_cache(maxsize=1024)
def _shift(size: int) -> int:
    """x to the power of the number of bits in `size` bytes."""
    product, exponent = _ONE, 3
    while size:
        if size & 1:
            product = _times(_power(exponent), product)
        size >>= 1
        exponent += 1
    return product

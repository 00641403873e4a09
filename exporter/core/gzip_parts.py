"""One gzip member made of parts that were compressed one by one, each of which can be kept.

A part is raw deflate that ends at a byte and refers to nothing before it, so that parts may follow each other in
any order. The checksum of the whole is computed from theirs, as zlib's `crc32_combine` does it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, reduce

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31  # the polynomial 1; bits are reflected
_NIBBLES = range(0, 32, 4)
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"  # deflate, no name, no time, quickest compression, unknown system
_LAST_BLOCK = b"\x03\0"  # empty


@dataclass(frozen=True, slots=True)
class Part:
    """Compressed text, with what the checksum of a whole needs of it."""

    packed: tuple[bytes, ...]
    crc: int
    size: int
    """Bytes of the text itself."""
    shift: tuple[int, ...]
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


def _table(b: int) -> tuple[int, ...]:
    """`b` times each polynomial of four bits, modulo that of CRC-32; bits are reflected: 8 stands for 1."""
    products = [0] * 16
    for bit in (8, 4, 2, 1):
        products[bit] = b
        for other in range(2 * bit, 16, 2 * bit):
            products[other | bit] = products[other] ^ b
        b = b >> 1 ^ _POLYNOMIAL if b & 1 else b >> 1
    return tuple(products)


_REDUCED = tuple(
    reduce(lambda b, _: b >> 1 ^ _POLYNOMIAL if b & 1 else b >> 1, range(4), low) for low in range(16)
)
"""What four bits that are shifted out leave."""


def _times(table: tuple[int, ...], a: int) -> int:
    """`a` times what the table is of, four bits at a time: the cost of a join."""
    product = 0
    for place in _NIBBLES:
        product = product >> 4 ^ _REDUCED[product & 15] ^ table[a >> place & 15]
    return product


@lru_cache(maxsize=256)
def _digit(place: int, digit: int) -> tuple[int, ...]:
    """The shift by `digit` times 16 to the power of `place` bytes."""
    if digit == 0:
        return _table(_ONE)
    if place == 0:
        byte = _ONE >> 8
        return _table(reduce(lambda shift, _: _times(_table(byte), shift), range(digit), _ONE))
    sixteen = reduce(lambda shift, _: _times(_digit(place - 1, digit), shift), range(16), _ONE)
    return _table(sixteen)


@lru_cache(maxsize=1024)
def _shift(size: int) -> tuple[int, ...]:
    """What moves a checksum past so many bytes."""
    product, place = _ONE, 0
    while size:
        if size & 15:
            product = _times(_digit(place, size & 15), product)
        size >>= 4
        place += 1
    return _table(product)

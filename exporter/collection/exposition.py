"""The text of a scrape in blocks: a publish changes the text of its blocks, and only these are compressed again.

`Exposition` is guarded by the lock of the store. A `Snapshot` of it does not change: whoever needs it joined or
compressed first does that without a lock, and what comes out is kept for the next scrape.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Hashable, Iterator

from exporter.core.exposition import header
from exporter.core.gzip_parts import Part, compress, join, member
from exporter.core.metric import Family

BLOCK_BYTES = 32 << 10
"""Most text of a block, unless one slot has more. Eight times as much saves 6% of the body, and a change costs eight times as much."""

_FILLED_BYTES = BLOCK_BYTES * 3 // 4  # values grow by a few digits, and that must not split every block
_PROBE_BYTES = 256
_DRIFT_BYTES = 2 * BLOCK_BYTES

Slot = Hashable
"""Whose lines they are; all lines of a slot and family are published together."""

_Piece = tuple[int, int, Part]
"""Compressed text, and where it begins and ends."""


class _Lines:
    """The text of a block at one moment."""

    __slots__ = ("_before", "_part", "_pieces", "texts")

    def __init__(self, texts: tuple[bytes, ...], before: _Lines | None = None) -> None:
        """`before` is what the block was before it changed, so that a long text need not be compressed as a whole."""
        self.texts = texts
        self._part: Part | None = None
        self._pieces: tuple[bytes, tuple[_Piece, ...]] | None = None
        self._before = before
        if before is not None and before._part is None:
            self._before = before._before  # it was never scraped

    def part(self) -> Part:
        """The text, compressed."""
        if self._part is None:
            text = b"".join(self.texts)
            if len(text) <= 2 * BLOCK_BYTES:
                self._part = compress(text)
            else:
                before = self._before  # another thread may be here, too
                known = before._pieces if before else None
                pieces = tuple(_pieces(text, *known) if known else _cut(text, 0, len(text)))
                self._pieces = text, pieces
                self._part = join(part for _, _, part in pieces)
            self._before = None
        return self._part


def _cut(text: bytes, start: int, end: int) -> Iterator[_Piece]:
    """A range of a text in pieces of equal size."""
    count = math.ceil((end - start) / BLOCK_BYTES)
    for number in range(count):
        begin, until = (start + (end - start) * n // count for n in (number, number + 1))
        yield begin, until, compress(text[begin:until])


def _pieces(text: bytes, before: bytes, known: tuple[_Piece, ...]) -> Iterator[_Piece]:
    """A text in pieces, those taken over that it had before and still has at about the same place."""
    if len(known) > 2 * len(text) / BLOCK_BYTES + 8:  # many changes have left it in shreds
        yield from _cut(text, 0, len(text))
        return
    old, new = memoryview(before), memoryview(text)
    done = 0
    for start, end, part in known:
        probe = before[start : min(start + _PROBE_BYTES, end)]
        at = text.find(probe, done, done + _DRIFT_BYTES)
        if at >= 0 and new[at : at + end - start] == old[start:end]:
            yield from _cut(text, done, at)
            done = at + end - start
            yield at, done, part
    yield from _cut(text, done, len(text))


class _Joined:
    """All blocks of a family at one moment."""

    __slots__ = ("_part", "blocks")

    def __init__(self, blocks: tuple[_Lines, ...]) -> None:
        self.blocks = blocks
        self._part: Part | None = None

    def part(self) -> Part:
        if self._part is None:
            self._part = join(block.part() for block in self.blocks)
        return self._part


class Snapshot:
    """All that is served at one moment; it does not change any more."""

    __slots__ = ("_families", "_part")

    def __init__(self, families: tuple[_Joined, ...]) -> None:
        self._families = families
        self._part: Part | None = None

    def plain(self, more: bytes = b"") -> bytes:
        """The text, and after it what another registry has."""
        texts = [text for family in self._families for block in family.blocks for text in block.texts]
        return b"".join((*texts, more))

    def gzipped(self, more: bytes = b"") -> bytes:
        """`plain` as one gzip member: Go reads several of them as one, curl and browsers only the first."""
        if self._part is None:
            joined = join(family.part() for family in self._families)
            # In one piece, so that a scrape without a change copies it once.
            self._part = Part((b"".join(joined.packed),), joined.crc, joined.size, joined.shift)
        return member(join((self._part, compress(more))) if more else self._part)


class _Block:
    __slots__ = ("before", "lines", "size", "texts")

    def __init__(self) -> None:
        self.texts: dict[Slot, bytes] = {}
        self.size = 0
        self.lines: _Lines | None = None
        self.before: _Lines | None = None

    def put(self, slot: Slot, text: bytes) -> None:
        self.size += len(text) - len(self.texts.get(slot, b""))
        self.texts[slot] = text
        self.change()

    def drop(self, slot: Slot) -> None:
        self.size -= len(self.texts.pop(slot))
        self.change()

    def change(self) -> None:
        if self.lines is not None:
            self.before, self.lines = self.lines, None

    def freeze(self) -> _Lines:
        """The lines as they are now."""
        if self.lines is None:
            self.lines = _Lines(tuple(self.texts.values()), self.before)
            self.before = None
        return self.lines


class _FamilyBlocks:
    """The blocks of a family: none is empty, and small ones do not stay beside each other."""

    def __init__(self, family: Family) -> None:
        self._header = _Lines((header(family).encode(),))
        self._blocks: list[_Block] = []
        self._block_of: dict[Slot, _Block] = {}
        self._joined: _Joined | None = None

    def put(self, slot: Slot, text: bytes) -> bool:
        """Replace the lines of a slot, where they stand; returns whether that changes anything."""
        block = self._block_of.get(slot)
        if block is None:
            if not self._blocks or self._blocks[-1].size + len(text) > _FILLED_BYTES:
                self._blocks.append(_Block())
            block = self._block_of[slot] = self._blocks[-1]
        elif block.texts[slot] == text:
            return False
        block.put(slot, text)
        self._settle(block)
        return True

    def drop(self, slot: Slot) -> bool:
        """Drop the lines of a slot; returns whether any are left."""
        block = self._block_of.pop(slot)
        block.drop(slot)
        self._settle(block)
        return bool(self._blocks)

    def freeze(self) -> _Joined:
        """The lines as they are now."""
        if self._joined is None:
            self._joined = _Joined((self._header, *(block.freeze() for block in self._blocks)))
        return self._joined

    def _settle(self, block: _Block) -> None:
        """Split a block that has grown, and join one that has shrunk with a neighbour."""
        self._joined = None
        if block.size > BLOCK_BYTES:
            self._split(block)
        elif not block.texts:
            self._blocks.remove(block)
        elif block.size < BLOCK_BYTES // 4 and len(self._blocks) > 1:
            place = max(self._blocks.index(block), 1)
            first, second = self._blocks[place - 1 : place + 1]
            if first.size + second.size <= BLOCK_BYTES // 2:
                for slot, text in second.texts.items():
                    first.put(slot, text)
                    self._block_of[slot] = first
                del self._blocks[place]

    def _split(self, block: _Block) -> None:
        """Move the later half of a block into a new one after it, until none is too long but those of one slot."""
        if block.size <= BLOCK_BYTES or len(block.texts) == 1:
            return
        later, half = _Block(), block.size // 2
        for slot, text in reversed(list(block.texts.items())):
            if later.texts and (later.size + len(text) > half or len(block.texts) == 1):
                break
            block.drop(slot)
            later.put(slot, text)
            self._block_of[slot] = later
        later.texts = dict(reversed(later.texts.items()))
        self._blocks.insert(self._blocks.index(block) + 1, later)
        self._split(block)
        self._split(later)


class Exposition:
    """The lines that are served, by family and slot; not thread-safe."""

    def __init__(self) -> None:
        """Serve nothing."""
        self._families: dict[str, _FamilyBlocks] = {}
        self._names: list[str] = []
        self._snapshot: Snapshot | None = None

    def put(self, slot: Slot, family: Family, text: bytes) -> None:
        """Replace the lines that a slot has in a family."""
        blocks = self._families.get(family.name)
        if blocks is None:
            blocks = self._families[family.name] = _FamilyBlocks(family)
            bisect.insort(self._names, family.name)
        if blocks.put(slot, text):
            self._snapshot = None

    def drop(self, slot: Slot, family: Family) -> None:
        """Drop the lines that a slot has in a family."""
        if not self._families[family.name].drop(slot):
            del self._families[family.name]
            self._names.remove(family.name)
        self._snapshot = None

    def snapshot(self) -> Snapshot:
        """What is served now; costs the blocks that have changed, and a look at each family."""
        if self._snapshot is None:
            self._snapshot = Snapshot(tuple(self._families[name].freeze() for name in self._names))
        return self._snapshot

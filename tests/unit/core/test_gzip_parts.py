"""Parts that were compressed one by one are one gzip member, with the checksum of the whole."""

import gzip
import zlib

from gzip_member import unpacked
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.gzip_parts import Part, compress, join, member

TEXTS = st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 5000).map(bytes)), max_size=8)


@given(TEXTS)
def test_the_member_is_the_text_of_all_parts(texts: list[bytes]) -> None:
    joined = join(compress(text) for text in texts)
    whole = b"".join(texts)
    assert (joined.crc, joined.size) == (zlib.crc32(whole), len(whole))
    assert unpacked(member(joined)) == gzip.decompress(member(joined)) == whole


@given(TEXTS, TEXTS)
def test_what_was_joined_can_be_joined_again_in_any_order(first: list[bytes], second: list[bytes]) -> None:
    one, two = (join(compress(text) for text in texts) for texts in (first, second))
    assert unpacked(member(join((two, one)))) == b"".join(second + first)
    assert join((join((one, two)), one)) == join((one, join((two, one))))


@given(st.integers(0, 2**32), st.integers(0, 2**32 - 1), st.binary(max_size=100))
def test_the_checksum_of_a_long_text_is_that_of_its_parts(size: int, crc: int, text: bytes) -> None:
    """A text of which only length and checksum are known; zlib goes on from its checksum."""
    before = Part((), crc, size, compress(b"").shift)
    joined = join((before, compress(text)))
    assert joined.crc == zlib.crc32(text, crc)
    assert joined.size == size + len(text)


def test_four_gibibytes_do_not_overflow_the_size() -> None:
    assert member(Part((), 0, 2**32 + 5, ()))[-4:] == (5).to_bytes(4, "little")

"""CBOR that SDKs send is read, in both of its forms; anything else is a ValueError."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from simulated_aws.cbor import decode_cbor, encode_cbor


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, 23, 24, 255, 256, 65_535, 65_536, 2**32, -1, -500, 1.5, "", "x" * 300, b"y" * 70_000,
        [1, [2, {"a": None}]], {"k": {"z": [1.5, "t"]}}, datetime(2026, 1, 1, tzinfo=UTC),
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_what_is_written_is_read(value: Any) -> None:
    assert decode_cbor(encode_cbor(value)) == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("9f0102ff", [1, 2]),
        ("bf616101616202ff", {"a": 1, "b": 2}),
        ("5f42010243030405ff", b"\x01\x02\x03\x04\x05"),
        ("7f657374726561646d696e67ff", "streaming"),
        ("f93c00", 1.0),
        ("fa47c35000", 100_000.0),
        ("f7", None),
    ],
)
def test_lengths_may_come_last_and_numbers_may_be_short(written: str, value: Any) -> None:
    assert decode_cbor(bytes.fromhex(written)) == value


@pytest.mark.parametrize(
    "written",
    [
        "",
        "1901",
        "6261",
        "62c328",
        "ff",
        "0101",
        "a18001",
        "7f01ff",
        "fc",
        "c161",
        "c11bffffffffffffffff",
        "bf6161ff",
    ],
)
def test_malformed_input_is_an_error_of_value(written: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - Python's own for text and dates count as well
        decode_cbor(bytes.fromhex(written))

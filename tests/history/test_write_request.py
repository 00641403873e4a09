"""The remote write request means what was put in, to a decoder that shares nothing with the encoder."""

import math
from typing import Any

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_endpoint import decode, decode_2, message

from exporter.history.request import (
    compress,
    decode_labels,
    encode_labels,
    encode_points,
    encode_points_2,
    series_text,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=140)
names = st.from_regex(r"[a-z_][a-z0-9_]{0,30}", fullmatch=True)
points = st.tuples(
    st.dictionaries(names.filter(lambda name: name != "__name__"), texts, max_size=4),
    st.integers(-(2**63), 2**63 - 1) | st.integers(1_600_000_000_000, 1_900_000_000_000),
    st.floats(allow_nan=False),
)


@pytest.mark.parametrize(
    ("encode", "read"), [(encode_points, decode), (encode_points_2, decode_2)], ids=["1.0", "2.0"]
)
@settings(max_examples=60)
@given(written=st.lists(points, max_size=20))
def test_what_is_encoded_is_what_is_decoded(
    encode: Any, read: Any, written: list[tuple[dict[str, str], int, float]]
) -> None:
    request = encode([(encode_labels("x", labels), at, value) for labels, at, value in written])

    expected = [
        (tuple(sorted({"__name__": "x", **{k: v for k, v in labels.items() if v}}.items())), at, value)
        for labels, at, value in written
    ]
    assert read(bytes(cramjam.snappy.decompress_raw(compress(request)))) == expected


@given(st.dictionaries(names.filter(lambda name: name != "__name__"), texts, max_size=4))
def test_labels_are_read_again_as_they_were(labels: dict[str, str]) -> None:
    given_labels = {"__name__": "x", **{name: value for name, value in labels.items() if value}}
    assert decode_labels(encode_labels("x", labels)) == tuple(sorted(given_labels.items()))


def test_a_receiver_of_1_0_finds_an_empty_request_in_one_of_2_0() -> None:
    fields = [number for number, _ in message(encode_points_2([(encode_labels("x", {"a": "b"}), 1, 2.0)]))]
    assert set(fields) == {4, 5}


def test_a_series_is_named_as_prometheus_names_it() -> None:
    labels = {"account": 'a "b" \\ c', "service": "Ünïcode, 日本\n"}
    assert series_text(encode_labels("m", labels)) == (
        '{__name__="m", account="a \\"b\\" \\\\ c", service="Ünïcode, 日本\\n"}'
    )


def test_neighbours_of_one_series_share_its_labels() -> None:
    labels = encode_labels("x", {"a": "1" * 100})
    assert len(encode_points([(labels, at, 1.0) for at in range(10)])) < 2 * len(labels) + 10 * 20


def test_the_labels_stand_in_the_order_of_their_names() -> None:
    ((labels, _, value),) = decode(encode_points([(encode_labels("m", {"z": "1", "A": "2"}), 0, -0.0)]))
    assert labels == (("A", "2"), ("__name__", "m"), ("z", "1"))
    assert math.copysign(1, value) == -1

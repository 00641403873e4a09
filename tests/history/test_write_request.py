"""The remote write request means what was put in, to a decoder that shares nothing with the encoder."""

import math

import cramjam
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_endpoint import decode

from exporter.history.request import compress, encode_labels, encode_points

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=140)
names = st.from_regex(r"[a-z_][a-z0-9_]{0,30}", fullmatch=True)
points = st.tuples(
    st.dictionaries(names.filter(lambda name: name != "__name__"), texts, max_size=4),
    st.integers(-(2**63), 2**63 - 1) | st.integers(1_600_000_000_000, 1_900_000_000_000),
    st.floats(allow_nan=False),
)


@settings(max_examples=60)
@given(st.lists(points, max_size=20))
def test_what_is_encoded_is_what_is_decoded(written: list[tuple[dict[str, str], int, float]]) -> None:
    request = encode_points([(encode_labels("x", labels), at, value) for labels, at, value in written])

    expected = [
        (tuple(sorted({"__name__": "x", **{k: v for k, v in labels.items() if v}}.items())), at, value)
        for labels, at, value in written
    ]
    assert decode(bytes(cramjam.snappy.decompress_raw(compress(request)))) == expected


def test_neighbours_of_one_series_share_its_labels() -> None:
    labels = encode_labels("x", {"a": "1" * 100})
    assert len(encode_points([(labels, at, 1.0) for at in range(10)])) < 2 * len(labels) + 10 * 20


def test_the_labels_stand_in_the_order_of_their_names() -> None:
    ((labels, _, value),) = decode(encode_points([(encode_labels("m", {"z": "1", "A": "2"}), 0, -0.0)]))
    assert labels == (("A", "2"), ("__name__", "m"), ("z", "1"))
    assert math.copysign(1, value) == -1

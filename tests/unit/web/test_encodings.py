"""Accept-Encoding is read as RFC 9110 describes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.encodings import accepts_gzip


@pytest.mark.parametrize(
    "header",
    [
        "gzip",  # Prometheus
        "gzip, deflate, br, zstd",  # browsers
        "deflate, gzip",  # curl --compressed
        "GZIP",
        "x-gzip",
        "*",
        "gzip;q=0.001",
        "gzip ; Q=1.000",
        "br;q=1.0, gzip;q=0.8, *;q=0.1",
        "gzip;q=0.5, identity;q=0.5",
        "identity;q=0, gzip;q=0.5",
        "br;q=2, gzip",
        ",, gzip ,",
    ],
)
def test_gzip_is_accepted(header: str) -> None:
    assert accepts_gzip(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "identity",
        "gzip;q=0",
        "gzip;q=0, identity",
        "gzip;q=0.000, *",
        "*;q=0",
        "deflate, br",
        "notgzip",
        "gzip2",
        "gzip;q=0.4, identity;q=0.5",
        "gzip;q=none",
        "gzip;q=1.5",
        "gzip;level=9",
        "gzip deflate",
    ],
)
def test_plain_text_is_meant(header: str) -> None:
    assert not accepts_gzip(header)


@given(st.text(max_size=60))
def test_no_header_is_an_error(header: str) -> None:
    assert accepts_gzip(header) in (True, False)

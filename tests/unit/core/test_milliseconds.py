"""A moment is the same milliseconds wherever it is kept or sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from exporter.core.moments import to_milliseconds, to_moment

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 # `timezones` adds it


@given(MOMENTS)
@example(
    datetime(2026, 3, 17, 14, 20, 0, 29_000, tzinfo=UTC)
)  # a float of it times 1,000 is a millisecond less
def test_what_the_ledger_keeps_of_a_moment_is_the_moment_to_the_millisecond(moment: datetime) -> None:
    kept = to_moment(to_milliseconds(moment))
    assert kept == moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert to_milliseconds(kept) == to_milliseconds(moment)


def test_a_moment_before_midnight_is_never_of_the_next_day() -> None:
    midnight = datetime(2026, 3, 18, tzinfo=UTC)
    assert to_milliseconds(midnight - timedelta(microseconds=1)) == to_milliseconds(midnight) - 1

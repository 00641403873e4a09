"""What an answer of AWS lacks, or holds that is odd, is one kind of failure wherever it is read."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from exporter.aws.errors import AwsError, Kind, reading


@pytest.mark.parametrize(
    "read",
    [
        lambda: {}["Total"],
        lambda: [][0],
        lambda: Decimal("much"),
        lambda: int("much"),
        lambda: date.fromisoformat(3),  # type: ignore[arg-type]
        lambda: "text".items(),  # type: ignore[attr-defined]
    ],
)
def test_a_malformed_answer_is_named(read: object) -> None:
    with pytest.raises(AwsError, match=r"^a budget is malformed: ") as raised, reading("a budget"):
        read()  # type: ignore[operator]
    assert raised.value.kind is Kind.MALFORMED_RESPONSE
    assert raised.value.__cause__ is not None


def test_other_failures_pass() -> None:
    refused = AwsError(Kind.ACCESS_DENIED, "no")
    with pytest.raises(AwsError) as raised, reading("a budget"):
        raise refused
    assert raised.value is refused

"""Each kind of failure has advice, the documentation has the same, and codes that need another have it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.aws.advice import BY_KIND, advice
from exporter.aws.errors import AwsError, Kind

DOCUMENT = Path(__file__).parents[3] / "docs" / "troubleshooting.md"


def test_every_kind_has_advice_and_the_document_has_the_same() -> None:
    section = DOCUMENT.read_text(encoding="utf-8").partition("## Kinds of failure")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)
    assert rows == [(kind.value, BY_KIND[kind]) for kind in Kind]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AwsError(Kind.NOT_ENROLLED, "", request="ce GetCostAndUsage for payer"), "Cost Explorer once"),
        (AwsError(Kind.NOT_ENROLLED, "", request="ec2 DescribeRegions for payer"), "registration"),
        (
            AwsError(Kind.NOT_ENROLLED, "", code="AWSOrganizationsNotInUseException"),
            "accounts.discovery to `payer`",
        ),
        (AwsError(Kind.CLOCK_SKEW, ""), "clock"),
        (AwsError(Kind.NO_CREDENTIALS, ""), "AWS_PROFILE"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_advice_fits_the_failure(error: AwsError, words: str) -> None:
    assert words in advice(error)

"""An export that takes months over from Cost Explorer is compared with it on the way, by service and at no charge."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from export_reader import DAY, Reader, create, reading
from organizations import MakeAws

from exporter.cost.settings import CostSettings
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.exports.sums import comparison

pytestmark = pytest.mark.stack

FEBRUARY, MARCH = date(2026, 2, 1), date(2026, 3, 1)
NOON = datetime(2026, 3, 17, 12, tzinfo=UTC)
BOOKED = date(2026, 3, 15)
"""The newest day that has been over for 36 hours."""
RDS, S3 = "Amazon Relational Database Service", "Amazon Simple Storage Service"


def differences(reader: Reader) -> dict[tuple[str, str], float]:
    view = ViewContext(
        ledger=reader.ledger,
        now=reader.aws.clock.now(),
        settings=reader.settings,
        names={},
        sections=Sections(reader.cost_settings),
    )
    return {
        (sample.values[0], sample.values[1] if len(sample.values) > 1 else sample.family.name): sample.value
        for sample in comparison.render(view)
    }


def test_a_switch_shows_what_differs_of_each_month_at_no_price(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOON, days=60)
    with reading(aws, tmp_path) as reader:
        reader.cost_settings = CostSettings.model_validate({"history_months": 1})
        reader.read_cost_explorer()
        read_at = aws.clock.now()
        assert differences(reader) == {}
        # Between both reads AWS changes two closed days: one in its cost, one in what it is of.
        aws.clock.set(NOON + timedelta(minutes=10))
        account = aws.accounts[1].name
        aws.restate(account, RDS, date(2026, 3, 5), factor=3)
        aws.restate(account, S3, date(2026, 2, 5), factor=0.5, to_service=RDS)
        create(aws, months=1)
        aws.clock.set(NOON + timedelta(hours=10))
        asked = aws.requests.count("ce")
        reader.cost_settings = CostSettings.model_validate({"source": "data_export", "history_months": 1})
        reader.read()
        delivered_at = aws.exports.refreshed("cost")
        assert delivered_at is not None
        found = differences(reader)
        for month, end in ((FEBRUARY, MARCH), (MARCH, BOOKED + DAY)):
            label = f"{month:%Y-%m}"
            before = aws.truth.totals(month, end, read_at, ("service",), "UnblendedCost")
            after = aws.truth.totals(month, end, delivered_at, ("service",), "UnblendedCost")
            changed = {
                service: float(after.get((service,), 0) - before.get((service,), 0))
                for (service,) in before.keys() | after.keys()
            }
            expected = {service: usd for service, usd in changed.items() if abs(usd) >= 0.01}
            assert expected.keys() == ({S3, RDS} if month == FEBRUARY else {RDS})
            shown = {
                service: usd
                for (of, service), usd in found.items()
                if of == label and not service.startswith("aws_")
            }
            assert shown.pop("other") == pytest.approx(0, abs=1e-6)
            assert shown == pytest.approx(expected)
            assert found[label, comparison.COMPARED.name] == pytest.approx(float(sum(before.values())))
            assert found[label, comparison.COMPARED_DATES.name] == (end - month).days
            assert found[label, comparison.COMPARED_AT.name] == aws.clock.now().timestamp()
        assert aws.requests.count("ce") == asked
    with reading(aws, tmp_path) as restarted:
        restarted.cost_settings = CostSettings.model_validate({"source": "data_export"})
        assert differences(restarted) == found

"""Realised by list: the bill of the assessed day beside the list price of what exists now."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from inventory_harness import world_of

from simulated_aws import ExplicitCost, OrganizationSpec, SimulatedAws

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
RDS, VPC = "Amazon Relational Database Service", "Amazon Virtual Private Cloud"
RATIO = "aws_cost_realised_to_list_ratio"


def test_the_ratio_is_usage_cost_over_list_price_where_both_are_known_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = OrganizationSpec(seed=21, accounts=2, services=2, days=60, now=NOW, regions=("us-east-1",))
    with SimulatedAws(spec) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        payer, prod = (account.id for account in aws.accounts)
        assessed = (NOW - timedelta(days=2)).date()
        assert NOW - datetime.combine(assessed + timedelta(days=1), time(), UTC) == timedelta(hours=36)
        rows = [
            ExplicitCost(
                assessed - timedelta(days=back), account, service, {"UnblendedCost": Decimal(usd)}, kind
            )
            for back in range(40)
            for account, service, usd, kind in (
                (prod, RDS, "12.00", "Usage"),
                (prod, RDS, "99.00", "Tax"),  # no usage: it is not compared
                (prod, VPC, "0.36", "Usage"),
                (prod, "Amazon Athena", "5.00", "Usage"),  # nothing here has its list price
                (payer, RDS, "6.00", "Usage"),
            )
        ]
        aws.set_costs(rows)
        more = {"collectors": {"cost": {"enabled": True, "history_months": 1}}}
        with world_of(tmp_path, aws, {"services": ["rds", "vpc"]}, **more) as world:
            assert world.collect("cost") == 0
            assert world.samples().get(RATIO) is None
            assert world.collect() == 0

            listed = {
                account: sum(
                    each.monthly_usd or Decimal(0)
                    for each in aws.inventory.truth(account, "rds", "us-east-1")
                )
                * 24
                / 730
                for account in (payer, prod)
            }
            found = {
                (labels["account_id"], labels["service"]): value
                for labels, value in ((dict(key), value) for key, value in world.samples()[RATIO].items())
            }
            # An address in use, a spare one and an endpoint in two zones, by the day.
            vpc = (2 * Decimal("0.005") + 2 * Decimal("0.01")) * 24
            assert found == {
                (payer, RDS): pytest.approx(float(6 / listed[payer])),
                (prod, RDS): pytest.approx(float(12 / listed[prod])),
                (prod, VPC): pytest.approx(float(Decimal("0.36") / vpc)),
            }

            aws.faults.add("access_denied", account="prod", service="rds")
            world.now += timedelta(hours=1)
            assert world.collect() == 1
            left = {dict(key)["account_id"] for key in world.samples()[RATIO] if ("service", RDS) in key}
            # What was not read in full is not compared.
            assert left == {payer}

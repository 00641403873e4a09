"""Resources, namespaces, list prices and commitments are those of the bill: read over the wire, compared with the truth."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
from export_reader import DAY, Reader, reading

from exporter.aws.cost_explorer import USAGE_RECORD_TYPES
from exporter.core.metric import Sample
from exporter.declarations.view import ViewContext
from exporter.exports.settings import CostExportSettings
from exporter.exports.sums.commitments import render_commitments
from exporter.exports.sums.families import periods, render
from simulated_aws import OrganizationSpec, SimulatedAws

pytestmark = pytest.mark.stack

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
FEBRUARY, MARCH = date(2026, 2, 1), date(2026, 3, 1)
SERVICES = ("ec2", "vpc", "rds", "s3", "lambda", "dynamodb", "elbv2", "elasticache", "redshift", "eks")
Key = tuple[str, ...]


class Served(NamedTuple):
    aws: SimulatedAws
    reader: Reader

    def view(self, now: datetime = NOW, **settings: Any) -> ViewContext[CostExportSettings]:
        return ViewContext(
            ledger=self.reader.ledger, now=now, settings=CostExportSettings(**settings), names={}
        )

    def truth(self, start: date, end: date, metric: str, *by: str) -> dict[Key, Decimal]:
        found = self.aws.truth.totals(start, end, self.aws.exports.refreshed("cost"), by, metric)
        return {key: usd for key, usd in found.items() if usd}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two months of an export with resources of the inventory, split cost and charges of every kind."""
    spec = OrganizationSpec(
        seed=11, accounts=3, services=17, now=NOW, days=60, varied_charges=True, inventory_resources=True
    )
    with pytest.MonkeyPatch.context() as patched, SimulatedAws(spec) as aws:
        for name, value in aws.environment().items():
            patched.setenv(name, value)
        aws.exports.create(manual_discounts=True, split_costs=True, hourly=False, months=1)
        with reading(aws, tmp_path_factory.mktemp("data"), cost_settings={"history_months": 1}) as reader:
            reader.read()
            yield Served(aws, reader)


def values(samples: list[Sample], name: str, period: str, *labels: str) -> dict[Key, float]:
    """The sums of a family in a period by some labels, without zeros."""
    found: dict[Key, float] = {}
    for sample in samples:
        told = dict(zip(sample.family.labels, sample.values, strict=True))
        if sample.family.name == name and told.get("period") == period:
            key = tuple(told[label] for label in labels)
            found[key] = found.get(key, 0.0) + sample.value
    return {key: value for key, value in found.items() if value}


def test_resources_have_the_cost_of_the_bill_and_the_labels_of_the_inventory(served: Served) -> None:
    known = periods(served.view())
    assert known.day is not None
    assert (known.month, known.month_to_date) == (FEBRUARY, MARCH)
    samples = list(render(served.view()))
    listed = {
        (account.id, name): (resource.region, resource.type, resource.id)
        for account in served.aws.accounts
        for service in SERVICES
        for region in served.aws.spec.regions
        for resource in served.aws.inventory.truth(account.id, service, region)
        for name in (resource.arn, resource.id)
    }
    for period, start, end in (("day", known.day, known.day + DAY), ("month", FEBRUARY, MARCH)):
        bill = served.truth(start, end, "AmortizedCost", "account", "resource")
        found = values(
            samples, "aws_resource_cost_usd", period, "account_id", "region", "resource_type", "resource_id"
        )
        compared = {(*listed[key], key[0]): usd for key, usd in bill.items() if key in listed}
        assert {which: found[which[3], *which[:3]] for which in compared} == {
            which: float(usd) for which, usd in compared.items()
        }
        assert len({kind for _, kind, *_ in compared}) >= 8
        without = {key: value for key, value in found.items() if key[1:] == ("", "", "")}
        assert without == {
            (account, "", "", ""): float(usd) for (account, resource), usd in bill.items() if not resource
        }
        accounts = values(samples, "aws_resource_cost_usd", period, "account_id")
        total = served.truth(start, end, "AmortizedCost", "account")
        assert accounts == pytest.approx({key: float(usd) for key, usd in total.items()})


def test_at_most_the_limit_of_resources_have_series(served: Served) -> None:
    named, everything = (
        values(
            list(render(served.view(**more))), "aws_resource_cost_usd", "month", "account_id", "resource_id"
        )
        for more in ({"series_limit": 4}, {})
    )
    kept = {key for key in named if key[1] not in ("", "other")}
    assert len(kept) == 4
    smallest = min(abs(named[key]) for key in kept)
    assert all(
        abs(usd) <= smallest
        for key, usd in everything.items()
        if key not in kept and key[1] not in ("", "other")
    )
    for account in served.aws.accounts:
        sums = [sum(usd for key, usd in of.items() if key[0] == account.id) for of in (named, everything)]
        assert sums[0] == pytest.approx(sums[1])


def test_split_cost_is_what_pods_and_tasks_have(served: Served) -> None:
    samples = list(render(served.view()))
    day = periods(served.view()).day
    refreshed = served.aws.exports.refreshed("cost")
    assert day is not None
    assert refreshed is not None
    by = ("account", "cluster", "namespace", "kind")
    for period, start, end in (("day", day, day + DAY), ("month_to_date", MARCH, NOW.date() + DAY)):
        for name, column in (("split", "split_cost"), ("split_unused", "unused_cost")):
            expected = served.aws.exports.split_totals(start, end, refreshed, by, column)
            found = values(samples, f"aws_{name}_cost_usd", period, "account_id", *by[1:])
            assert found == {key: float(usd) for key, usd in expected.items() if usd}
            assert {kind for *_, kind in found} == {"eks", "ecs"}


def test_savings_are_the_list_prices_of_usage_minus_its_amortized_cost(served: Served) -> None:
    samples = list(render(served.view()))
    for period, start, end in (("month", FEBRUARY, MARCH), ("month_to_date", MARCH, NOW.date() + DAY)):
        sums: dict[str, dict[Key, Decimal]] = {}
        for metric in ("ListCost", "AmortizedCost"):
            of_metric = sums.setdefault(metric, {})
            for (account, charge, entity), usd in served.truth(
                start, end, metric, "account", "record_type", "billing_entity"
            ).items():
                if charge in USAGE_RECORD_TYPES and entity == "AWS":
                    of_metric[account,] = of_metric.get((account,), Decimal(0)) + usd
        listed, paid = sums["ListCost"], sums["AmortizedCost"]
        saved = {key: listed[key] - paid[key] for key in listed}
        for family, expected in (
            ("aws_cost_list_price_usd", listed),
            ("aws_effective_savings_usd", saved),
            ("aws_effective_savings_ratio", {key: saved[key] / listed[key] for key in listed}),
        ):
            found = values(samples, family, period, "account_id")
            assert found == pytest.approx({key: float(usd) for key, usd in expected.items() if usd})
            assert found
    charges = served.truth(MARCH, NOW.date() + DAY, "AmortizedCost", "billing_entity")
    assert set(charges) == {("AWS",), ("AWS Marketplace",)}, "there is something to leave out"


def bill_of_commitments(served: Served, month: date) -> dict[str, tuple[Decimal, Decimal]]:
    """Used and unused by ARN, from the lines as AWS has written them."""
    export = served.aws.exports.find("cost")
    stored = served.aws.exports.buckets.list(export.bucket, export.folder("data", month))
    rows = duckdb.execute(
        """SELECT coalesce(nullif(savings_plan_savings_plan_a_r_n, ''), reservation_reservation_a_r_n) AS arn,
        sum(CASE line_item_line_item_type
            WHEN 'SavingsPlanCoveredUsage' THEN savings_plan_savings_plan_effective_cost::DECIMAL(28, 10)
            WHEN 'DiscountedUsage' THEN reservation_effective_cost::DECIMAL(28, 10) END),
        sum(CASE line_item_line_item_type
            WHEN 'SavingsPlanRecurringFee' THEN savings_plan_total_commitment_to_date::DECIMAL(28, 10)
                - savings_plan_used_commitment::DECIMAL(28, 10)
            WHEN 'RIFee' THEN reservation_unused_amortized_upfront_fee_for_billing_period::DECIMAL(28, 10)
                + reservation_unused_recurring_fee::DECIMAL(28, 10) END)
        FROM read_parquet(?) WHERE line_item_line_item_type IN ('SavingsPlanCoveredUsage', 'DiscountedUsage', 'SavingsPlanRecurringFee', 'RIFee')
        GROUP BY 1""",
        [[str(file.path) for _, file in stored]],
    ).fetchall()
    return {arn: (used or Decimal(0), unused or Decimal(0)) for arn, used, unused in rows}


def test_each_commitment_is_used_as_the_lines_say(served: Served) -> None:
    """Of a whole month, of which what reservations leave unused is known to the cent."""
    second = datetime(2026, 3, 2, 12, tzinfo=UTC)  # 28 days up to two days ago are February
    samples = list(render_commitments(served.view(second), 28, 200))
    bill = bill_of_commitments(served, FEBRUARY)
    assert {arn.split(":")[2] for arn in bill} >= {"savingsplans", "rds"}
    ids = {arn.rpartition("/")[2]: (float(used), float(unused)) for arn, (used, unused) in bill.items()}
    found: dict[str, dict[str, float]] = {}
    for sample in samples:
        labels = dict(zip(sample.family.labels, sample.values, strict=True))
        if "commitment_id" in labels:
            found.setdefault(sample.family.name, {})[labels["commitment_id"]] = sample.value
            assert labels["account_id"] == served.aws.payer_id
    assert found["aws_commitment_used_by_id_usd"] == {each: used for each, (used, _) in ids.items()}
    assert found["aws_commitment_unused_by_id_usd"] == {each: unused for each, (_, unused) in ids.items()}
    assert found["aws_commitment_utilization_by_id_ratio"] == pytest.approx(
        {each: used / (used + unused) for each, (used, unused) in ids.items() if used + unused}
    )
    assert any(unused for _, unused in ids.values())
    ends = set(found["aws_commitment_expiry_timestamp_seconds"])
    assert ends == set(found["aws_commitment_info"]) == set(ids)


def test_use_of_commitments_is_absent_before_the_export_begins(served: Served) -> None:
    names = {sample.family.name for sample in render_commitments(served.view(), 60, 200)}
    assert names == {
        "aws_commitment_expiry_timestamp_seconds", "aws_commitment_info", "aws_commitments_left_out",
    }  # fmt: skip


@pytest.mark.parametrize("table", ["FOCUS_1_2_AWS"])
def test_focus_has_net_cost_and_no_split_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    spec = OrganizationSpec(seed=11, accounts=3, services=4, now=NOW, days=60, varied_charges=True)
    with SimulatedAws(spec) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        aws.exports.create(table=table, hourly=False)
        with reading(
            aws, tmp_path, cost_settings={"cost_type": "net_amortized", "history_months": 1}
        ) as reader:
            reader.read()
            found = Served(aws, reader)
            samples = list(render(found.view()))
            assert {(each.family.name, each.values[-1]) for each in samples} == {
                ("aws_resource_cost_usd", "day"),
                ("aws_cost_list_price_usd", "month_to_date"),
                ("aws_effective_savings_usd", "month_to_date"),
                ("aws_effective_savings_ratio", "month_to_date"),
            }
            day = periods(found.view()).day
            assert day is not None
            total = found.truth(day, day + DAY, "NetAmortizedCost", "account")
            accounts = values(samples, "aws_resource_cost_usd", "day", "account_id")
            assert accounts == pytest.approx({key: float(usd) for key, usd in total.items()})
            # No end of a term is on its lines.
            names = {each.family.name for each in render_commitments(found.view(), 10, 200)}
            assert "aws_commitment_used_by_id_usd" in names
            assert "aws_commitment_expiry_timestamp_seconds" not in names

"""Every partition that botocore has is entered by its own names; what is not supported there is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from prometheus_client import CollectorRegistry

from exporter.accounts.discovery import discover, regions_of
from exporter.accounts.settings import AccountsSettings
from exporter.accounts.sharding import ShardSettings
from exporter.aws import partitions
from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import Aws, Backoff
from exporter.aws.cost_explorer import daily_costs
from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import Meter
from exporter.aws.settings import CeilingSettings
from exporter.collectors import all_collectors
from exporter.config.model import Config
from exporter.core.moments import utc_now
from exporter.core.places import Scope
from exporter.declarations.context import Context
from exporter.inventory.prices import shipped
from exporter.ledger.file import Ledger
from simulated_aws import OrganizationSpec, SimulatedAws

REGION = {
    "aws": "us-east-1",
    "aws-cn": "cn-northwest-1",
    "aws-us-gov": "us-gov-west-1",
    "aws-iso": "us-iso-east-1",
    "aws-iso-b": "us-isob-east-1",
    "aws-eusc": "eusc-de-east-1",
}
WITHOUT_COST_EXPLORER = sorted(REGION.keys() - {"aws", "aws-cn"})
ROLE = "aws-spend-exporter-member"


@pytest.mark.parametrize(("partition", "region"), REGION.items())
def test_a_partition_has_its_global_region_and_is_found_by_its_regions(partition: str, region: str) -> None:
    assert partitions.global_region(partition, "none") == region
    for each in botocore.session.Session().get_available_regions("ec2", partition):
        assert partitions.of_region(each) == partition
    assert partitions.of_arn(f"arn:{partition}:iam::111122223333:role/x") == partition
    assert partition in partitions.names()


def test_what_botocore_lacks_is_not_guessed() -> None:
    assert partitions.of_region("zz-future-1") is None
    assert partitions.global_region("aws-next", "zz-future-1") == "zz-future-1"


def test_each_billing_service_is_known_here() -> None:
    """A collector that asks the payer for something else needs a line in `partitions`."""
    asked = {
        action.partition(":")[0]
        for collector in all_collectors()
        if collector.scope is Scope.PAYER
        for action in collector.iam_actions
    }
    assert asked == {"bcm-data-exports", "budgets", "ce", "cost-optimization-hub", "pricing"}
    for prefix in asked:
        assert partitions.not_offered([f"{prefix}:Get"], "aws") is None
        assert partitions.not_offered([f"{prefix}:Get"], "aws-iso") is not None


@pytest.fixture(scope="module", params=sorted(REGION))
def simulated(request: pytest.FixtureRequest) -> Iterator[SimulatedAws]:
    spec = OrganizationSpec(
        seed=41, accounts=3, services=3, days=30, partition=request.param, regions=(REGION[request.param],)
    )
    with SimulatedAws(spec) as aws:
        yield aws


@pytest.fixture
def aws(simulated: SimulatedAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name, value in simulated.environment().items():
        monkeypatch.setenv(name, value)
    simulated.requests.clear()
    meter = Meter(MemoryCharges(), CeilingSettings(), utc_now, CollectorRegistry())
    aws = Aws(meter, endpoint_url=simulated.url, simulated=True, backoff=Backoff(0.01))
    yield aws
    aws.close()


def test_accounts_are_discovered_and_entered_by_the_roles_of_the_partition(
    simulated: SimulatedAws, aws: Aws
) -> None:
    partition = simulated.spec.partition
    settings = AccountsSettings.model_validate({"discovery": "organizations", "role_name": ROLE})
    found = discover(aws, settings, ShardSettings())
    assert found.partition == partition
    members = [account for account in found.accounts.values() if account.id != found.payer_id]
    assert {account.role_arn for account in members} == {
        f"arn:{partition}:iam::{account.id}:role/{ROLE}" for account in members
    }
    target = found.target(members[0])
    assert (target.region, target.partition) == (REGION[partition], partition)
    identity = aws.call(members[0], "sts", "GetCallerIdentity", aws.region)
    assert identity["Arn"].startswith(f"arn:{partition}:sts::{members[0].id}:assumed-role/{ROLE}/")
    assert REGION[partition] in regions_of(aws, members[0], "discover")


@pytest.mark.fault(
    "partition without Cost Explorer and other billing services",
    "each is refused by name before a request is sent or billed",
)
def test_a_billing_service_that_is_not_supported_is_refused_before_it_is_asked(
    simulated: SimulatedAws, aws: Aws, tmp_path: Path
) -> None:
    partition = simulated.spec.partition
    found = discover(aws, AccountsSettings(discovery="payer"), ShardSettings())
    ledger = Ledger(tmp_path / "ledger.sqlite")
    refused = {}
    for collector in all_collectors():
        if collector.scope is not Scope.PAYER or collector.collect is None:
            continue
        ctx: Context[Any] = Context(
            aws=aws,
            ledger=ledger,
            clock=utc_now,
            accounts=found.accounts,
            settings=collector.settings.model_validate({}),
            names=found.names,
            regions=lambda: [REGION[partition]],
            needed_usd=lambda: None,
        )
        if partitions.not_offered(collector.iam_actions, partition) is None:
            continue
        before = simulated.requests.count()
        try:
            list(collector.collect(ctx, found.payer_target(REGION[partition])))
        except AwsError as error:
            refused[collector.name] = (error.kind, partition in str(error))
        assert simulated.requests.count() == before, collector.name
    ledger.close()
    if partition in WITHOUT_COST_EXPLORER:
        # What waits for findings of the cost collector has none to ask about.
        assert set(refused) >= {
            "cost",
            "forecast",
            "commitments",
            "budgets",
            "prices",
            "savings_opportunities",
        }
    assert set(refused.values()) <= {(Kind.NOT_OFFERED, True)}


@pytest.mark.parametrize("partition", WITHOUT_COST_EXPLORER)
def test_a_query_of_cost_names_the_service_and_the_partition(partition: str) -> None:
    with pytest.raises(
        AwsError, match=f"^Cost Explorer is not supported in the partition {partition}$"
    ) as caught:
        daily_costs(None, None, date(2026, 3, 1), date(2026, 3, 2), ("SERVICE",), partition=partition)  # type: ignore[arg-type]
    assert caught.value.kind is Kind.NOT_OFFERED


@pytest.mark.parametrize("partition", WITHOUT_COST_EXPLORER)
@pytest.mark.parametrize(
    ("named", "key"),
    [
        (lambda p: {"aws": {"role_arn": f"arn:{p}:iam::111122223333:role/x"}}, "aws.role_arn"),
        (lambda p: {"aws": {"region": REGION[p]}}, "aws.region"),
        (lambda p: {"regions": [REGION[p]]}, "regions"),
    ],
    ids=["role_arn", "region", "regions"],
)
def test_a_configuration_that_names_the_partition_is_refused(
    partition: str, named: Callable[[str], dict[str, Any]], key: str
) -> None:
    expected = (
        rf"collectors\.cost\.enabled: false \(also forecast\), because Cost Explorer is not supported in {partition},"
        rf" the partition of {key}"
    )
    with pytest.raises(ValueError, match=expected):
        Config.model_validate(named(partition))
    off = {"cost": {"enabled": False}, "forecast": {"enabled": False}}
    assert Config.model_validate({**named(partition), "collectors": off})


@pytest.mark.parametrize("partition", ["aws", "aws-cn"])
def test_where_cost_explorer_is_a_configuration_may_name_the_partition(partition: str) -> None:
    assert Config.model_validate({"aws": {"region": REGION[partition]}})


@pytest.mark.parametrize("partition", ["aws-iso", "aws-iso-b", "aws-eusc", "aws-cn"])
def test_a_list_price_is_unknown_where_none_is_published(partition: str) -> None:
    table = shipped()
    for key in ("ec2.m5.large", "ebs.gp3", "rds.mysql.db.m5.large"):
        assert table.usd(key, "us-east-1") is not None
        assert table.usd(key, REGION[partition]) is None


def test_a_role_of_a_partition_is_entered_through_its_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    meter = Meter(MemoryCharges(), CeilingSettings(), utc_now, CollectorRegistry())
    aws = Aws(meter, role_arn="arn:aws-eusc:iam::111122223333:role/x")
    assert aws.region == "eusc-de-east-1"
    aws.close()

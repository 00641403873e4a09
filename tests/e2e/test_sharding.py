"""Two exporters over one organisation: together they see what one would, and only the first pays."""

from __future__ import annotations

import hashlib

import pytest
from running_exporter import MakeAws, MakeExporter, collectors, organization
from waiting import wait_for

from exporter.accounts.sharding import ShardSettings

pytestmark = pytest.mark.stack


def test_two_shards_share_the_accounts_and_the_first_alone_asks_cost_explorer(
    make_aws: MakeAws, make_exporter: MakeExporter
) -> None:
    aws = make_aws(accounts=9)
    config = organization(collectors=collectors(cost={"history_months": 1}, ec2_instances={}))
    counted = []
    for shard in ({"index": 0, "count": 1}, {"index": 0, "count": 2}, {"index": 1, "count": 2}):
        exporter = make_exporter(
            aws, config | {"shard": shard}, name=f"exporter-{shard['index']}-of-{shard['count']}"
        ).start()
        wait_for("it is ready", exporter.is_ready)
        samples = exporter.samples()
        counted.append(
            {
                (labels["account_id"], labels["region"], labels["instance_type"], labels["state"]): value
                for labels, value in samples["aws_ec2_instances"]
            }
        )
        # Cost is the organisation's, whoever collects the instances.
        assert ("aws_cost_yesterday_usd" in samples) is (shard["index"] == 0)
        assert {labels["account_id"] for labels, _ in samples["aws_account_info"]} >= {
            account for account, *_ in counted[-1]
        }
    whole, first, second = counted
    assert first
    assert second
    assert first | second == whole
    assert not {account for account, *_ in first} & {account for account, *_ in second}


def test_the_share_is_that_of_prometheus_hashmod() -> None:
    """The last eight bytes of the id's MD5, as a big-endian number, modulo the count."""
    for account_id in ("111122223333", "444455556666", "000000000001"):
        number = int(hashlib.md5(account_id.encode(), usedforsecurity=False).hexdigest()[16:], 16)
        held = [index for index in range(5) if ShardSettings(index=index, count=5).holds(account_id)]
        assert held == [number % 5]

"""Fills OpenSearch."""

from __future__ import annotations

from typing import Any

from simulated_aws.filler import Fill, Filler, listed


def opensearch(fill: Filler) -> None:
    """A domain with masters and fast volumes, a small one, and one whose nodes have no known price."""
    client = fill.client("opensearch")
    fast = {"EBSEnabled": True, "VolumeType": "gp3", "VolumeSize": 200, "Iops": 4000, "Throughput": 250}
    small = {"EBSEnabled": True, "VolumeType": "gp2", "VolumeSize": 10}
    masters = {
        "DedicatedMasterEnabled": True,
        "DedicatedMasterType": "m6g.large.search",
        "DedicatedMasterCount": 3,
    }
    sizes: tuple[tuple[str, str, int, dict[str, Any], dict[str, Any], dict[str, str], str | None], ...] = (
        # 3 x 0.167 x 730 + 3 x 0.128 x 730 + 3 x (200 x 0.122 + 1,000 x 0.008 + 125 x 0.064)
        ("logs", "r6g.large.search", 3, masters, fast, fill.tags, "767.25"),
        # 0.036 x 730 + 10 x 0.135
        ("shop", "t3.small.search", 1, {}, small, {}, "27.63"),
        ("archive", "i3.large.search", 2, {}, {"EBSEnabled": False}, fill.tags, None),
    )  # fmt: skip
    for name, kind, count, more, volume, tags, price in sizes:
        domain = f"{fill.prefix}-{name}"[:28]
        made = client.create_domain(
            DomainName=domain,
            EngineVersion="OpenSearch_2.11",
            ClusterConfig={"InstanceType": kind, "InstanceCount": count, **more},
            EBSOptions=volume,
            **({"TagList": listed(tags)} if tags else {}),
        )["DomainStatus"]
        fill.add("es:domain", domain, made["ARN"], None, tags=tags, price=price)


FILLS = {"opensearch": Fill(opensearch)}

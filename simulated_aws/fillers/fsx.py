"""Fills FSx."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from simulated_aws.filler import Fill, Filler, listed


def fsx(fill: Filler) -> None:
    """A share for Windows, two file systems for Lustre, and one for ONTAP, which has no known price."""
    client, backend = fill.client("fsx"), fill.backend("fsx")
    subnet = fill.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    windows = {"DeploymentType": "SINGLE_AZ_2", "ThroughputCapacity": 32}
    fast = {"DeploymentType": "PERSISTENT_2", "PerUnitStorageThroughput": 250}
    ontap = {"DeploymentType": "SINGLE_AZ_1", "ThroughputCapacity": 128}
    for name, kind, size, config, days, tagged, price in (
        # 300 x 0.13 + 32 x 2.20
        ("shares", "WINDOWS", 300, {"WindowsConfiguration": windows}, 520, True, "109.40"),
        # 1,200 x 0.14
        ("scratch", "LUSTRE", 1200, {"LustreConfiguration": {"DeploymentType": "SCRATCH_2"}}, 4, False, "168.00"),
        # 2,400 x 0.21
        ("models", "LUSTRE", 2400, {"LustreConfiguration": fast}, 88, True, "504.00"),
        ("volumes", "ONTAP", 1024, {"OntapConfiguration": ontap}, 200, True, None),
    ):  # fmt: skip
        tags = {"Name": f"{fill.prefix}-{name}", **(fill.tags if tagged else {})}
        made = client.create_file_system(
            FileSystemType=kind,
            StorageCapacity=size,
            StorageType="SSD",
            SubnetIds=[subnet],
            Tags=listed(tags),
            **config,
        )["FileSystem"]
        system = backend.file_systems[made["FileSystemId"]]
        # moto's file systems have no state and no age.
        system.to_dict = partial(_with_age, system.to_dict, fill.ago(days).timestamp())
        fill.add("fsx:file-system", made["FileSystemId"], made["ResourceARN"], fill.ago(days), name=tags["Name"],
                 state="available", tags=tags, price=price)  # fmt: skip


def _with_age(to_dict: Callable[[], dict[str, Any]], created: float) -> dict[str, Any]:
    return {**to_dict(), "Lifecycle": "AVAILABLE", "CreationTime": created}


FILLS = {"fsx": Fill(fsx)}

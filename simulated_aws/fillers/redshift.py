"""Fills Redshift."""

from __future__ import annotations

from simulated_aws.filler import Fill, Filler, listed


def redshift(fill: Filler) -> None:
    """A warehouse of two nodes, one of the older generation, and one that is paused."""
    client, backend = fill.client("redshift"), fill.backend("redshift")
    for name, kind, nodes, days, tags, state, price in (
        # 2 x 1.086 x 730
        ("warehouse", "ra3.xlplus", 2, 410, fill.tags, "available", "1585.56"),
        # 4 x 0.25 x 730
        ("marts", "dc2.large", 4, 1300, {}, "available", "730.00"),
        ("trial", "ra3.xlplus", 1, 75, fill.tags, "paused", None),
    ):
        cluster = f"{fill.prefix}-{name}"
        client.create_cluster(
            ClusterIdentifier=cluster,
            NodeType=kind,
            ClusterType="multi-node" if nodes > 1 else "single-node",
            NumberOfNodes=nodes,
            MasterUsername="simulated",
            MasterUserPassword="Simulated-passw0rd",
            **({"Tags": listed(tags)} if tags else {}),
        )
        if state == "paused":
            client.pause_cluster(ClusterIdentifier=cluster)
        backend.clusters[cluster].create_time = fill.ago(days)
        fill.add("redshift:cluster", cluster, fill.arn("redshift", f"cluster:{cluster}"), fill.ago(days),
                 state=state, tags=tags, price=price, unused="paused" if state == "paused" else None)  # fmt: skip


FILLS = {"redshift": Fill(redshift)}

"""Fills classic load balancers."""

from __future__ import annotations

from simulated_aws.filler import Fill, Filler, listed


def elb(fill: Filler) -> None:
    """A load balancer that serves, one whose instance is stopped and one without any."""
    client, backend = fill.client("elb"), fill.backend("elb")
    ec2 = fill.backend("ec2")
    by_state: dict[bool, list[str]] = {True: [], False: []}
    for instance in fill.instances():
        by_state[ec2.get_instance(instance).state == "running"].append(instance)
    for name, instances, healthy, days, tags in (
        ("intranet", by_state[True][:1], True, 1100, fill.tags),
        ("legacy", by_state[False][:1], False, 1900, {}),
        ("unused", [], False, 1500, fill.tags),
    ):
        balancer = f"{fill.prefix}-{name}"[:32].strip("-")
        client.create_load_balancer(
            LoadBalancerName=balancer,
            Listeners=[{"Protocol": "HTTP", "LoadBalancerPort": 80, "InstancePort": 80}],
            AvailabilityZones=[f"{fill.region}a"],
            **({"Tags": listed(tags)} if tags else {}),
        )
        backend.load_balancers[balancer].created_time = fill.ago(days)
        if instances:
            client.register_instances_with_load_balancer(
                LoadBalancerName=balancer, Instances=[{"InstanceId": each} for each in instances]
            )
        reason = "no_targets" if not instances else None if healthy else "no_healthy_targets"
        fill.add("elasticloadbalancing:classic-loadbalancer", balancer,
                 fill.arn("elasticloadbalancing", f"loadbalancer/{balancer}"), fill.ago(days), tags=tags,
                 price="18.25", unused=reason)  # fmt: skip


FILLS = {"elb": Fill(elb)}

"""Fills Amazon MQ."""

from __future__ import annotations

from simulated_aws.filler import Fill, Filler


def mq(fill: Filler) -> None:
    """A cluster of three, a broker with a standby, and one of a size that has no known price."""
    client, backend = fill.client("mq"), fill.backend("mq")
    for name, engine, version, mode, size, days, tags, price in (
        # 3 x 0.288 x 730
        ("orders", "RABBITMQ", "3.13", "CLUSTER_MULTI_AZ", "mq.m5.large", 240, fill.tags, "630.72"),
        # 2 x 0.576 x 730
        ("erp", "ACTIVEMQ", "5.18", "ACTIVE_STANDBY_MULTI_AZ", "mq.m5.xlarge", 800, {}, "840.96"),
        ("trial", "ACTIVEMQ", "5.18", "SINGLE_INSTANCE", "mq.t3.micro", 9, fill.tags, None),
    ):
        broker = client.create_broker(
            BrokerName=f"{fill.prefix}-{name}",
            EngineType=engine,
            EngineVersion=version,
            DeploymentMode=mode,
            HostInstanceType=size,
            AutoMinorVersionUpgrade=True,
            PubliclyAccessible=False,
            Users=[{"Username": "simulated", "Password": "simulated-password"}],
        )["BrokerId"]
        made = backend.brokers[broker]
        made.created = fill.ago(days)
        # moto leaves the name out.
        made.arn = fill.arn("mq", f"broker:{fill.prefix}-{name}:{broker}")
        fill.add("mq:broker", broker, made.arn, fill.ago(days), name=f"{fill.prefix}-{name}", state="running",
                 tags=tags, price=price)  # fmt: skip


FILLS = {"mq": Fill(mq)}

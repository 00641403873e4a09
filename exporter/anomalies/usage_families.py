"""Families of what stands out in usage; without numpy, for declarations that every command reads."""

from __future__ import annotations

from exporter.core.metric import Family


def anomaly_family(group_labels: tuple[str, ...]) -> Family:
    """`aws_usage_anomaly_ratio` with the labels of the accounts' groups, by which alerts are routed."""
    return Family(
        "aws_usage_anomaly_ratio",
        "Difference of a daily usage total from the expected one, as a share of it, while a finding stands.",
        ("account_id", "account", "region", "metric", "change", *group_labels),
    )


ANOMALY = anomaly_family(())
DAY_TIMESTAMP = Family(
    "aws_usage_anomaly_day_timestamp_seconds",
    "Start of the newest UTC day that any metric was assessed on; one that CloudWatch has later is"
    " assessed on its own newest day, up to two days before.",
)
UNSENT = Family(
    "aws_usage_anomaly_unsent_info",
    "1 for a finding that no message is sent of, because it is beyond those of a week.",
    ("account_id", "account", "region", "metric", "change"),
    is_summable=False,
)
FAMILIES = (ANOMALY, UNSENT, DAY_TIMESTAMP)

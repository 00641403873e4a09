"""Families of what stands out in cost; without numpy, for declarations that every command reads."""

from __future__ import annotations

from exporter.core.metric import Family

_SERIES = ("account_id", "account", "service")
EXPECTED = Family(
    "aws_cost_expected_usd",
    "Expected usage of the assessed day at amortized cost, from the days before it.",
    _SERIES,
)
USAGE = Family(
    "aws_cost_assessed_usage_usd",
    "Usage of the assessed day at amortized cost: what is compared with the expected cost.",
    _SERIES,
)
SCORE = Family(
    "aws_cost_deviation_score",
    "How far the usage of the assessed day is from the expected cost, in robust deviations; negative below it.",
    _SERIES,
    is_summable=False,
)


def anomaly_family(group_labels: tuple[str, ...]) -> Family:
    """`aws_cost_anomaly_usd` with the labels of the accounts' groups, by which alerts are routed."""
    return Family(
        "aws_cost_anomaly_usd",
        "Dollars off the expectation while a finding of the kind stands on the assessed day; negative below it.",
        (*_SERIES, "kind", *group_labels),
    )


ANOMALY = anomaly_family(())
CAUSE = Family(
    "aws_cost_anomaly_cause_usd",
    "Dollars by which a usage type grew on the day of a spike that stands, the five that grew most, with the resource that"
    " grew most of each: from a data export, or from Cost Explorer without the resource, where it is asked.",
    (*_SERIES, "usage_type", "operation", "region", "resource"),
)
CAUSE_DUE = Family(
    "aws_cost_anomaly_cause_due_timestamp_seconds",
    "Until when the alert of a spike waits for its cause, while Cost Explorer is to be asked for it; absent otherwise.",
    _SERIES,
    is_summable=False,
)
UNSENT = Family(
    "aws_cost_anomaly_unsent_info",
    "1 for a finding that no message is sent of: a single low day, or one beyond the messages of a week; the digest"
    " lists it.",
    (*_SERIES, "kind"),
    is_summable=False,
)
DAY_TIMESTAMP = Family(
    "aws_cost_anomaly_day_timestamp_seconds", "Start of the UTC day that expected cost and anomalies are of."
)
SETTING = Family(
    "aws_cost_anomaly_setting",
    "Limits of findings: score (deviations), percentage, usd_per_day, new_service_usd_per_day.",
    ("setting",),
)
FAMILIES = (EXPECTED, USAGE, SCORE, ANOMALY, CAUSE, CAUSE_DUE, UNSENT, DAY_TIMESTAMP, SETTING)

"""The table of what is read from CloudWatch: one row a metric.

A row with the statistic `Sum` is served as a counter, any other as a gauge in base units. Each row's
daily totals are also written as dated samples, unless a day's total has no meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from exporter.core.metric import Family

DAY = 86_400
LABELS = ("account_id", "account", "region", "resource_id")
"""`resource_id` is empty, and so absent, where a family is served per account and region."""
DAILY_LABELS = ("account_id", "account", "region")

_PER_RESOURCE = " Per account and region; per resource_id where so configured."


@dataclass(frozen=True, slots=True)
class UsageMetric:
    """One metric of CloudWatch and the family that it becomes.

    `dimensions` are the names that a metric's dimensions must be, exactly: CloudWatch also publishes the
    same numbers by other dimensions, and they must not be added up. Where two sets are given, they are of
    different resources. `named_by` are those that name the resource. `scale` turns CloudWatch's unit into
    the base unit. Levels of several resources are added up (`sum`) or averaged (`mean`).
    """

    name: str
    help: str
    namespace: str
    metric: str
    statistic: Literal["Sum", "Average"]
    dimensions: tuple[tuple[str, ...], ...]
    named_by: tuple[str, ...]
    scale: float = 1.0
    across: Literal["sum", "mean"] = "sum"
    variant: tuple[str, str] | None = None
    """A label and the dimension that it shows."""
    only: tuple[tuple[str, str], ...] = ()
    """Dimensions that must have these values."""
    once_a_day: bool = False
    """Published once a day, half a day late and more."""
    region: str | None = None
    """The one region in which a global service reports."""
    dated: bool = True

    @property
    def is_counter(self) -> bool:
        """Whether it is served as a counter."""
        return self.statistic == "Sum"

    @property
    def family(self) -> Family:
        """The live family."""
        labels = (*LABELS, self.variant[0]) if self.variant else LABELS
        return Family(self.name, self.help + _PER_RESOURCE, labels, "counter" if self.is_counter else "gauge")

    @property
    def daily_family(self) -> Family:
        """The family of its daily totals at their true dates."""
        return daily_family(self.name, self.help)

    def resource_id(self, dimensions: dict[str, str]) -> str | None:
        """The id of the resource that a metric with these dimensions is of; None if it is not one of this row."""
        if not any(dimensions.keys() == set(names) for names in self.dimensions):
            return None
        if any(dimensions[name] != value for name, value in self.only):
            return None
        return "/".join(dimensions[name] for name in self.named_by if name in dimensions)


def daily_family(name: str, text: str) -> Family:
    """The dated family of the daily totals of a live one."""
    return Family(
        f"{name.removesuffix('_total')}_daily",
        f"{text.rstrip('.')} on a complete UTC day, written at that day, and again when late data arrives;"
        " see docs/usage.md.",
        DAILY_LABELS,
    )


def _sums(name: str, text: str, namespace: str, metric: str, *named_by: str) -> UsageMetric:
    return UsageMetric(name, text, namespace, metric, "Sum", (named_by,), named_by)


def _levels(
    name: str,
    text: str,
    namespace: str,
    metric: str,
    *named_by: str,
    scale: float = 1.0,
    across: Literal["sum", "mean"] = "sum",
) -> UsageMetric:
    return UsageMetric(
        name, text, namespace, metric, "Average", (named_by,), named_by, scale, across, dated=False
    )


_PERCENT = 0.01
_MILLISECONDS = 0.001

USAGE_METRICS = (
    _sums("aws_lambda_invocations_total", "Invocations of Lambda functions.",
          "AWS/Lambda", "Invocations", "FunctionName"),
    _sums("aws_lambda_errors_total", "Invocations of Lambda functions that ended in an error.",
          "AWS/Lambda", "Errors", "FunctionName"),
    _sums("aws_lambda_throttles_total", "Invocations of Lambda functions that were throttled.",
          "AWS/Lambda", "Throttles", "FunctionName"),
    _levels("aws_lambda_duration_seconds", "Average duration of an invocation in the newest period, averaged"
            " over the functions.",
            "AWS/Lambda", "Duration", "FunctionName", scale=_MILLISECONDS, across="mean"),
    UsageMetric("aws_s3_bucket_size_bytes", "Bytes stored in S3 by storage class, as AWS measures it once a day.",
                "AWS/S3", "BucketSizeBytes", "Average", (("BucketName", "StorageType"),), ("BucketName",),
                variant=("storage_type", "StorageType"), once_a_day=True),
    UsageMetric("aws_s3_objects", "Objects stored in S3, as AWS counts them once a day.",
                "AWS/S3", "NumberOfObjects", "Average", (("BucketName", "StorageType"),), ("BucketName",),
                only=(("StorageType", "AllStorageTypes"),), once_a_day=True),
    _levels("aws_rds_cpu_utilization_ratio", "CPU utilization of RDS instances, averaged over them.",
            "AWS/RDS", "CPUUtilization", "DBInstanceIdentifier", scale=_PERCENT, across="mean"),
    _levels("aws_rds_database_connections", "Database connections to RDS instances.",
            "AWS/RDS", "DatabaseConnections", "DBInstanceIdentifier"),
    _levels("aws_rds_free_storage_bytes", "Free storage of RDS instances.",
            "AWS/RDS", "FreeStorageSpace", "DBInstanceIdentifier"),
    _levels("aws_ec2_cpu_utilization_ratio", "CPU utilization of EC2 instances, averaged over them.",
            "AWS/EC2", "CPUUtilization", "InstanceId", scale=_PERCENT, across="mean"),
    _sums("aws_ec2_network_in_bytes_total", "Bytes received by EC2 instances.",
          "AWS/EC2", "NetworkIn", "InstanceId"),
    _sums("aws_ec2_network_out_bytes_total", "Bytes sent by EC2 instances.",
          "AWS/EC2", "NetworkOut", "InstanceId"),
    UsageMetric("aws_dynamodb_consumed_read_capacity_units_total",
                "Read capacity units consumed of DynamoDB tables and their global secondary indexes.",
                "AWS/DynamoDB", "ConsumedReadCapacityUnits", "Sum",
                (("TableName",), ("TableName", "GlobalSecondaryIndexName")),
                ("TableName", "GlobalSecondaryIndexName")),
    UsageMetric("aws_dynamodb_consumed_write_capacity_units_total",
                "Write capacity units consumed of DynamoDB tables and their global secondary indexes.",
                "AWS/DynamoDB", "ConsumedWriteCapacityUnits", "Sum",
                (("TableName",), ("TableName", "GlobalSecondaryIndexName")),
                ("TableName", "GlobalSecondaryIndexName")),
    _sums("aws_nat_gateway_out_bytes_total", "Bytes sent out through NAT gateways to their destinations.",
          "AWS/NATGateway", "BytesOutToDestination", "NatGatewayId"),
    _sums("aws_alb_requests_total", "Requests to Application Load Balancers.",
          "AWS/ApplicationELB", "RequestCount", "LoadBalancer"),
    _sums("aws_nlb_processed_bytes_total", "Bytes processed by Network Load Balancers.",
          "AWS/NetworkELB", "ProcessedBytes", "LoadBalancer"),
    _sums("aws_sqs_messages_sent_total", "Messages sent to SQS queues.",
          "AWS/SQS", "NumberOfMessagesSent", "QueueName"),
    _sums("aws_sns_messages_published_total", "Messages published to SNS topics.",
          "AWS/SNS", "NumberOfMessagesPublished", "TopicName"),
    _sums("aws_kinesis_incoming_bytes_total", "Bytes put into Kinesis data streams.",
          "AWS/Kinesis", "IncomingBytes", "StreamName"),
    # REST and WebSocket APIs report under their name, HTTP APIs under their id.
    UsageMetric("aws_apigateway_requests_total", "Requests to API Gateway APIs.",
                "AWS/ApiGateway", "Count", "Sum", (("ApiName",), ("ApiId",)), ("ApiName", "ApiId")),
    UsageMetric("aws_cloudfront_requests_total", "Requests to CloudFront distributions, worldwide.",
                "AWS/CloudFront", "Requests", "Sum", (("DistributionId", "Region"),), ("DistributionId",),
                only=(("Region", "Global"),), region="us-east-1"),
    _levels("aws_ecs_cpu_utilization_ratio", "CPU utilization of ECS services, averaged over them.",
            "AWS/ECS", "CPUUtilization", "ClusterName", "ServiceName", scale=_PERCENT, across="mean"),
    _levels("aws_ecs_memory_utilization_ratio", "Memory utilization of ECS services, averaged over them.",
            "AWS/ECS", "MemoryUtilization", "ClusterName", "ServiceName", scale=_PERCENT, across="mean"),
    _sums("aws_ebs_read_bytes_total", "Bytes read from EBS volumes.",
          "AWS/EBS", "VolumeReadBytes", "VolumeId"),
    _sums("aws_ebs_write_bytes_total", "Bytes written to EBS volumes.",
          "AWS/EBS", "VolumeWriteBytes", "VolumeId"),
)  # fmt: skip


def matching(patterns: Iterable[str]) -> tuple[UsageMetric, ...]:
    """The rows whose family matches any of the globs."""
    globs = tuple(patterns)
    return tuple(row for row in USAGE_METRICS if any(fnmatchcase(row.name, glob) for glob in globs))


RUNNING = "aws_ec2_instance_running_seconds_total"
RUNNING_HELP = "Seconds that EC2 instances have run."

USAGE_FAMILIES = (
    *(row.daily_family for row in USAGE_METRICS if row.dated),
    daily_family(RUNNING, RUNNING_HELP),
)
"""Daily usage totals."""

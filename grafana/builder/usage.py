"""Panels of usage that several dashboards show: units of a day with the dollars of the service beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.builders import table, timeseries

from grafana.builder.collected import EC2_RUNNING, EXPORTER, USAGE, USAGE_OR_RUNNING, Collected, Source
from grafana.builder.promql import ACCOUNT, PLACE, Choice, daily_cost, drawn
from grafana.builder.style import (
    SERIES,
    account_column,
    account_id_column,
    columns,
    fixed,
    hidden,
    legend_below,
    money_column,
    properties,
    ranged,
    rows,
    table_panel,
    units_and_dollars,
)

LAMBDA, S3, COMPUTE = "AWS Lambda", "Amazon Simple Storage Service", "Amazon Elastic Compute Cloud - Compute"
_ROWS = 20


@dataclass(frozen=True, slots=True)
class Daily:
    """What is counted in a day: a dated family without its ending, what it is called, and how it is scaled."""

    family: str
    name: str
    scale: str = ""

    def expr(self, matchers: str = PLACE) -> str:
        """Its total of the UTC day that begins at each step."""
        return f"sum(last_over_time({self.family}_daily{{{matchers}}}[1d] offset -1d)){self.scale}"


@dataclass(frozen=True, slots=True)
class Level(Daily):
    """A gauge, as its mean over the day."""

    def expr(self, matchers: str = PLACE) -> str:
        """Its mean over the UTC day that begins at each step, summed up over regions."""
        # One value a place, or a day on which the exporter moved would count twice.
        means = f"avg_over_time({self.family}{{{matchers}}}[1d] offset -1d)"
        return f"sum(max by (account_id, region) ({means})){self.scale}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts that Cost Explorer's services are charged for."""

    title: str
    unit: str
    counts: tuple[Daily, ...]
    services: tuple[str, ...]
    calc: str = "sum"
    """What the legend says of the range."""
    source: Collected = USAGE


USAGES = (
    Usage(
        "EC2 instance hours",
        "suffix: h",
        (Daily("aws_ec2_instance_running_seconds", "Instance hours", " / 3600"),),
        (COMPUTE,),
        source=EC2_RUNNING,
    ),
    Usage("Lambda invocations", "short", (Daily("aws_lambda_invocations", "Invocations"),), (LAMBDA,)),
    Usage("S3 storage", "bytes", (Daily("aws_s3_bucket_size_bytes", "Stored"),), (S3,), "lastNotNull"),
    Usage(
        "RDS connections",
        "short",
        (Level("aws_rds_database_connections", "Connections"),),
        ("Amazon Relational Database Service",),
        "lastNotNull",
    ),
    Usage(
        "DynamoDB capacity units",
        "short",
        (
            Daily("aws_dynamodb_consumed_read_capacity_units", "Read units"),
            Daily("aws_dynamodb_consumed_write_capacity_units", "Write units"),
        ),
        ("Amazon DynamoDB",),
    ),
    Usage(
        "Network and disks",
        "bytes",
        (
            Daily("aws_ec2_network_out_bytes", "Sent by EC2"),
            Daily("aws_ec2_network_in_bytes", "Received by EC2"),
            Daily("aws_nat_gateway_out_bytes", "Through NAT"),
            Daily("aws_ebs_read_bytes", "Read from EBS"),
            Daily("aws_ebs_write_bytes", "Written to EBS"),
        ),
        ("EC2 - Other",),
    ),
    Usage(
        "Load balancer requests",
        "short",
        (Daily("aws_alb_requests", "Requests"),),
        ("Amazon Elastic Load Balancing",),
    ),
    Usage(
        "API and CDN requests",
        "short",
        (Daily("aws_apigateway_requests", "API Gateway"), Daily("aws_cloudfront_requests", "CloudFront")),
        ("Amazon API Gateway", "Amazon CloudFront"),
    ),
    Usage(
        "Messages",
        "short",
        (Daily("aws_sqs_messages_sent", "SQS"), Daily("aws_sns_messages_published", "SNS")),
        ("Amazon Simple Queue Service", "Amazon Simple Notification Service"),
    ),
    Usage(
        "Streams and network load balancers",
        "bytes",
        (
            Daily("aws_kinesis_incoming_bytes", "Into Kinesis"),
            Daily("aws_nlb_processed_bytes", "Through NLB"),
        ),
        ("Amazon Kinesis",),
    ),
)


@dataclass(frozen=True, slots=True)
class _OfChosenService(Source):
    """What is counted of the chosen service, each by its own collector; of others nothing is counted."""

    usages: tuple[Usage, ...]

    def state(self, label: str) -> str:
        services: dict[Collected, list[str]] = {}
        for usage in self.usages:
            services.setdefault(usage.source, []).extend(usage.services)
        states = [only_for("|".join(names), f"({source.state(label)})") for source, names in services.items()]
        # Also where no service is known that could be chosen.
        return " or ".join([*states, EXPORTER.state(label)])


def usage_panel(usage: Usage, width: int, height: int) -> timeseries.Panel:
    """One usage with the cost of its services."""
    services = "|".join(usage.services)
    panel = units_and_dollars(
        usage.title,
        f"Total of each complete UTC day (of levels the mean) in the chosen regions, and on the right what {' and '.join(usage.services)} "
        "cost in all regions. Usage is read hourly and written a day later; it needs dated history.",
        usage.unit,
        width=width,
        height=height,
    )
    panel.legend(legend_below(usage.calc))
    for ref, count, colour in zip("ABCDE", usage.counts, SERIES, strict=False):
        panel.with_target(ranged(ref, drawn(count.expr()), count.name, "1d"))
        panel.override_by_name(count.name, properties(color=fixed(colour)))
    cost = daily_cost("", choice=Choice(service=services))
    return usage.source.in_legend(panel.with_target(ranged("Z", drawn(cost), "Cost", "1d")))


def usage_of_service(width: int, height: int) -> timeseries.Panel:
    """All that the chosen service is charged for."""
    panel = units_and_dollars(
        "Usage",
        "What the service is charged for, as far as it is counted: total of each complete UTC day in the chosen "
        "regions, and on the right what the service cost. Read hourly, written a day later; needs dated history.",
        "short",
        width=width,
        height=height,
    ).no_value("nothing is counted of this service")
    totals: list[tuple[Daily, str]] = []
    others: list[tuple[Daily, str]] = []
    for usage in USAGES:
        for count in usage.counts:
            is_total = type(count) is Daily and not count.scale
            (totals if is_total else others).append((count, "|".join(usage.services)))
    # One selector of all totals: ids of chosen accounts are most of what a query consists of.
    families: dict[str, list[str]] = {}
    for count, services in totals:
        families.setdefault(services, []).append(f"{count.family}_daily")
    names = "|".join(f"{count.family}_daily" for count, _ in totals)
    days = f'sum by (__name__) (last_over_time({{__name__=~"{names}", {PLACE}}}[1d] offset -1d))'
    for count, _ in totals:
        days = f'label_replace({days}, "what", "{count.name}", "__name__", "{count.family}_daily")'
    of_chosen = of_chosen_service(days, "__name__", {of: "|".join(each) for of, each in families.items()})
    counts = " or ".join(
        [
            f"sum by (what) ({of_chosen})",
            *(
                f'label_replace({only_for(services, count.expr())}, "what", "{count.name}", "", "")'
                for count, services in others
            ),
        ]
    )
    for usage in USAGES:
        for count, colour in zip(usage.counts, SERIES, strict=False):
            panel.override_by_name(count.name, properties(color=fixed(colour)))
    panel.with_target(ranged("A", drawn(f"({counts})"), "{{what}}", "1d"))
    return _OfChosenService(USAGES).in_legend(
        panel.with_target(ranged("Z", drawn(daily_cost("")), "Cost", "1d"))
    )


def of_chosen_service(vector: str, label: str, services: Mapping[str, str]) -> str:
    """What of a vector belongs to a chosen service, by a regular expression of the values of `label` for each service.

    Services with the same values stand as one, with `|` between them. The vector has no label `service`.
    """
    placed = f'label_replace({vector}, "service", "-", "", "")'
    for service, values in services.items():
        placed = f'label_replace({placed}, "service", "{service}", "{label}", "{values}")'
    chosen = f'label_replace({placed}, "service", "", "service", "(?:.*[|])?(?:$service)(?:[|].*)?")'
    return f"({chosen} and on (service) vector(1))"


def only_for(service: str, expr: str) -> str:
    """An expression where one of these services is chosen, and nothing where only others are; `|` stands between them."""
    # A name that is chosen is replaced by none. No family is asked, since none covers each range.
    chosen = " or ".join(
        f'label_replace(label_replace(vector(1), "service", "{name}", "", ""), "service", "", "service", "$service")'
        for name in service.split("|")
    )
    return f"({expr} and on () (({chosen}) and on (service) vector(1)))"


def unit_costs(width: int, height: int) -> table.Panel:
    """What a unit costs, by account."""

    def mean(name: str) -> str:
        recorded = f"max by (account_id, account) (account:{name}:mean7d{{{ACCOUNT}}})"
        return f"topk({_ROWS}, {recorded})"

    panel = (
        table_panel(
            "Unit costs",
            "Cost of a service divided by its usage over the last seven complete UTC days: averages of what was paid, "
            "not list prices. Only days of which both are known count; needs dated history of usage.",
            width=width,
            height=height,
        )
        .with_target(rows("A", mean("aws_lambda_million_invocations_usd")))
        .with_target(rows("B", mean("aws_s3_terabyte_month_usd")))
        .with_target(rows("C", mean("aws_ec2_instance_hour_usd")))
        .transformations(
            columns(
                {
                    "account": "Account",
                    "account_id": "Account id",
                    "Value #A": "Million invocations",
                    "Value #B": "TB-month in S3",
                    "Value #C": "Instance hour",
                }
            )
        )
        .override_by_name("Account", account_column())
        .override_by_name("Account id", account_id_column(width))
        .override_by_name("Million invocations", money_column(custom__width=140))
        .override_by_name("TB-month in S3", money_column())
        .override_by_name("Instance hour", money_column(decimals=4))
    )
    return USAGE_OR_RUNNING.in_rows(panel, "account")


_UNIT_COSTS = {
    LAMBDA: ("aws_lambda_million_invocations_usd", "million invocations"),
    S3: ("aws_s3_terabyte_month_usd", "TB-month stored"),
    COMPUTE: ("aws_ec2_instance_hour_usd", "instance hour"),
}


def unit_costs_of_service(width: int, height: int) -> table.Panel:
    """What a unit of the chosen service costs, by account."""
    costs = " or ".join(
        f'label_replace({only_for(service, f"account:{name}:mean7d{{{ACCOUNT}}}")}, "unit", "{unit}", "", "")'
        for service, (name, unit) in _UNIT_COSTS.items()
    )
    panel = (
        table_panel(
            "Unit cost",
            "Cost of the service divided by its usage over the last seven complete UTC days, by account: averages of what "
            "was paid, not list prices. For Lambda, S3 and EC2; needs dated history of usage.",
            width=width,
            height=height,
        )
        .no_value("not known of this service")
        .with_target(rows("A", f"topk({_ROWS}, max by (account_id, account, unit) ({costs}))"))
        .transformations(
            columns({"account": "Account", "account_id": "Account id", "unit": "Unit", "Value #A": "Costs"})
        )
        .override_by_name("Account", account_column())
        .override_by_name("Account id", account_id_column(width))
        .override_by_name("Costs", money_column(decimals=4))
    )
    counted = tuple(usage for usage in USAGES if _UNIT_COSTS.keys() & set(usage.services))
    return _OfChosenService(counted).in_rows(panel, "account")


def levels(width: int, height: int) -> table.Panel:
    """What CloudWatch measures now, by account."""

    def level(family: str, across: str = "avg") -> str:
        return f"topk({_ROWS}, {across} by (account_id, account) ({family}{{{PLACE}}}))"

    shown = (
        ("aws_ec2_cpu_utilization_ratio", "avg", "EC2 CPU", "percentunit"),
        ("aws_rds_cpu_utilization_ratio", "avg", "RDS CPU", "percentunit"),
        ("aws_rds_database_connections", "sum", "RDS connections", "short"),
        ("aws_rds_free_storage_bytes", "sum", "RDS free storage", "bytes"),
        ("aws_ecs_cpu_utilization_ratio", "avg", "ECS CPU", "percentunit"),
        ("aws_ecs_memory_utilization_ratio", "avg", "ECS memory", "percentunit"),
        ("aws_lambda_duration_seconds", "avg", "Lambda duration", "s"),
        ("aws_s3_objects", "sum", "S3 objects", "short"),
    )
    panel = table_panel(
        "Levels",
        "Utilization, connections and the like as last measured by CloudWatch, averaged or summed over the chosen "
        "regions: up to two hours old, of S3 up to two days. Empty where an account has nothing of the kind.",
        width=width,
        height=height,
    )
    names = {"account": "Account", "account_id": "Account id"}
    for ref, (family, across, title, unit) in zip("ABCDEFGH", shown, strict=True):
        panel.with_target(rows(ref, level(family, across)))
        names[f"Value #{ref}"] = title
        panel.override_by_name(
            title,
            properties(unit=unit, decimals=1, noValue="–", custom__minWidth=85, custom__wrapHeaderText=True),
        )
    panel.transformations(columns(names))
    panel.override_by_name("Account", [*account_column(), *properties(custom__wrapText=True)])
    return USAGE.in_rows(panel.override_by_name("Account id", hidden()), "account")

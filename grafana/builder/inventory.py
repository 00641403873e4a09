"""Panels of what exists, at list price."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, common, stat, table

from exporter.resources import all_resource_files
from grafana.builder.collected import INVENTORY
from grafana.builder.promql import PLACE
from grafana.builder.style import (
    MONEY_WIDTH,
    USD,
    account_column,
    account_id_column,
    bars_that_fit,
    columns,
    hidden,
    instant,
    money_bar,
    money_column,
    properties,
    ranking_bars,
    rows,
    stat_panel,
    table_panel,
    without_columns,
)
from grafana.builder.usage import of_chosen_service

_WHERE = "account_id, account, region, resource_type"
_WHICH = f"{_WHERE}, resource_id"
_LISTED = 25

# Where the AWS console shows a resource; $1 is its region, $2 its id. What is not here leads to the console's front page.
_CONSOLE = {
    "ec2:instance": "ec2/home?region=$1#InstanceDetails:instanceId=$2",
    "ec2:volume": "ec2/home?region=$1#VolumeDetails:volumeId=$2",
    "ec2:snapshot": "ec2/home?region=$1#SnapshotDetails:snapshotId=$2",
    "ec2:image": "ec2/home?region=$1#ImageDetails:imageId=$2",
    "ec2:elastic-ip": "ec2/home?region=$1#ElasticIpDetails:AllocationId=$2",
    "ec2:natgateway": "vpcconsole/home?region=$1#NatGatewayDetails:natGatewayId=$2",
    "ec2:vpc-endpoint": "vpcconsole/home?region=$1#EndpointDetails:vpcEndpointId=$2",
    "rds:db": "rds/home?region=$1#database:id=$2;is-cluster=false",
    "rds:cluster": "rds/home?region=$1#database:id=$2;is-cluster=true",
    "dynamodb:table": "dynamodbv2/home?region=$1#table?name=$2",
    "lambda:function": "lambda/home?region=$1#/functions/$2",
    "s3:bucket": "s3/buckets/$2?region=$1",
    "eks:cluster": "eks/home?region=$1#/clusters/$2",
    "secretsmanager:secret": "secretsmanager/secret?region=$1&name=$2",
}


_CONSOLE_DOMAINS = {
    "us-gov-[^ ]+": "amazonaws-us-gov.com",
    "cn-[^ ]+": "amazonaws.cn",
    "eusc-[^ ]+": "amazonaws-eusc.eu",
    "[^ ]+": "aws.amazon.com",
}
"""By region, the first that matches: where a partition has its console."""


def run_rate(width: int) -> stat.Panel:
    """List price by the hour."""
    panel = (
        stat_panel(
            "Run rate",
            "List price of an hour of what exists now, in the chosen regions, where the price is known: an estimate "
            "without discounts, usage and data transfer, not the bill. Up to an hour old.",
            width=width,
            height=5,
        )
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", f"sum(aws_estimated_run_rate_usd_per_hour{{{PLACE}}})", "Per hour"))
    )
    return INVENTORY.in_values(panel, "Per hour")


def waste(width: int) -> stat.Panel:
    """Dollars a month that could be saved."""
    unused = f"sum(aws_resources_unused_estimated_monthly_cost_usd{{{PLACE}}})"
    cheaper = f"sum(aws_resources_saving_estimated_monthly_usd{{{PLACE}}})"
    panel = (
        stat_panel(
            "Could be saved",
            "List price of a month of what is unused, and what cheaper types of the same would save, in the chosen "
            "regions. Up to an hour old.",
            width=width,
            height=5,
            named=True,
        )
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", INVENTORY.or_zero(unused), "Unused"))
        .with_target(instant("B", INVENTORY.or_zero(cheaper), "Cheaper types"))
    )
    return INVENTORY.in_values(panel, "Could be saved")


def by_type(width: int, height: int) -> bargauge.Panel:
    most = bars_that_fit(height)
    panel = (
        ranking_bars(
            "Resources by type",
            f"What exists now in the chosen regions, the {most} types with most of it. Up to an hour old.",
            width=width,
            height=height,
        )
        .unit("short")
        .decimals(0)
        .with_target(
            instant(
                "A",
                f"sort_desc(topk({most}, sum by (resource_type) (aws_resources{{{PLACE}}}) > 0))",
                "{{resource_type}}",
            )
        )
    )
    return INVENTORY.in_values(panel, "inventory")


def of_service(width: int, height: int) -> bargauge.Panel:
    """What is behind the chosen service, by type and state."""
    types: dict[str, set[str]] = {}
    for file in all_resource_files():
        for kind, service in file.cost_services.items():
            types.setdefault(service, set()).add(kind)
    # These are charged by use alone, so that no list price is compared with the bill.
    types |= {
        "AWS Lambda": {"lambda:function"},
        "Amazon Simple Storage Service": {"s3:bucket"},
        "Amazon Simple Queue Service": {"sqs:queue"},
        "Amazon Simple Notification Service": {"sns:topic"},
        "Amazon CloudFront": {"cloudfront:distribution"},
        "AmazonCloudWatch": {"logs:log-group"},
    }
    counts = of_chosen_service(
        f"sum by (resource_type, state) (aws_resources{{{PLACE}}})",
        "resource_type",
        {service: "|".join(sorted(kinds)) for service, kinds in sorted(types.items())},
    )
    most = bars_that_fit(height)
    panel = (
        ranking_bars(
            "Resources of the service",
            f"What exists now in the chosen regions and is charged as this service, by type and state, the {most} largest "
            "groups. Up to an hour old.",
            width=width,
            height=height,
        )
        .no_value("none that are counted")
        .unit("short")
        .decimals(0)
        .with_target(instant("A", f"sort_desc(topk({most}, {counts}))", "{{resource_type}} {{state}}"))
    )
    return INVENTORY.in_values(panel, "inventory")


def most_expensive(width: int, height: int, *, without: tuple[str, ...] = ()) -> table.Panel:
    """The resources with the highest list price, with a link to the AWS console."""
    cost = f"sum by ({_WHICH}) (aws_resource_estimated_monthly_cost_usd{{{PLACE}, resource_id!='other'}})"
    largest = f"topk({_LISTED}, {cost} > 0)"
    age = f"time() - max by ({_WHICH}) (aws_resource_created_timestamp_seconds{{{PLACE}}})"
    here = "${__data.fields.Region}.console.${__data.fields.console}"
    panel = (
        table_panel(
            "Most expensive resources",
            f"The {_LISTED} resources with the highest list price of a month, and since when they exist, or were seen "
            "first. An id leads to the AWS console, in which you must be signed in to the account. Up to an hour old.",
            width=width,
            height=height,
        )
        .with_target(rows("A", _console(largest)))
        .with_target(rows("B", f"{age} and on ({_WHICH}) {largest}"))
        .transformations(
            columns(
                {
                    "resource_type": "Type",
                    "resource_id": "Resource",
                    "account": "Account",
                    "account_id": "Account id",
                    "region": "Region",
                    "Value #A": "A month",
                    "Value #B": "Age",
                    "console": "console",
                }
            )
        )
        .sort_by([common.TableSortByFieldState().display_name("A month").desc(True)])
        .override_by_name("Account", account_column())
        .override_by_name("Account id", hidden())
        .override_by_name("Region", properties(custom__width=120))
        .override_by_name("A month", money_bar())
        .override_by_name("Age", properties(unit="s", decimals=0, noValue="–", custom__width=100))
        .override_by_name(
            "Resource",
            properties(links=[{"title": "AWS console", "url": f"https://{here}", "targetBlank": True}]),
        )
        .override_by_name("console", hidden())
    )
    return without_columns(INVENTORY.in_rows(panel, "resource_type"), without)


def unused(width: int, height: int, *, without: tuple[str, ...] = ()) -> table.Panel:
    """What is unused, by account and reason."""
    panel = _avoidable(
        "Unused",
        f"What seems unused, with the reason to think so and the list price of a month, the {_LISTED} most "
        "expensive. Up to an hour old.",
        "reason",
        "aws_resources_unused",
        ("aws_resources_unused_estimated_monthly_cost_usd", "A month"),
        width=width,
        height=height,
    )
    return without_columns(panel, without)


def savings(width: int, height: int) -> table.Panel:
    """What cheaper types of the same would save, by account and kind."""
    return _avoidable(
        "The same for less",
        "Resources that could be had for less, by kind: gp2 volumes as gp3, previous generations, engine versions "
        "in extended support; and what that saves a month at list price. Up to an hour old.",
        "kind",
        "aws_resources_saving",
        ("aws_resources_saving_estimated_monthly_usd", "Saves a month"),
        width=width,
        height=height,
    )


def _avoidable(
    title: str,
    description: str,
    why: str,
    counted: str,
    dollars: tuple[str, str],
    *,
    width: int,
    height: int,
) -> table.Panel:
    """Counts and dollars by account, type and the label `why`; `dollars` are a family and its column."""
    by = f"account_id, account, resource_type, {why}"
    family, column = dollars
    largest = f"topk({_LISTED}, sum by ({by}) ({family}{{{PLACE}}}))"
    panel = (
        table_panel(title, description, width=width, height=height)
        .no_value("nothing")
        .with_target(rows("A", largest))
        .with_target(rows("B", f"sum by ({by}) ({counted}{{{PLACE}}}) and on ({by}) {largest}"))
        .transformations(
            columns(
                {
                    "account": "Account",
                    "account_id": "Account id",
                    "resource_type": "Type",
                    why: why.capitalize(),
                    "Value #B": "Count",
                    "Value #A": column,
                }
            )
        )
        .sort_by([common.TableSortByFieldState().display_name(column).desc(True)])
        .override_by_name("Account", account_column())
        .override_by_name("Account id", account_id_column(width))
        .override_by_name("Type", properties(custom__wrapText=True))  # it also says a state
        .override_by_name("Count", properties(unit="none", decimals=0, noValue="–", custom__width=65))
        .override_by_name(column, money_column(custom__width=MONEY_WIDTH + 20))
    )
    return INVENTORY.in_rows(panel, "resource_type")


def _console(vector: str) -> str:
    """A label `console` with the domain of the region's partition and the path of each resource in the AWS console."""
    labelled = f'label_join({vector}, "console", " ", "resource_type", "region", "resource_id")'
    for kind, path in _CONSOLE.items():
        labelled = f'label_replace({labelled}, "console", "{path}", "console", "{kind} (.+?) (.+)")'
    labelled = (
        f'label_replace({labelled}, "console", "console/home?region=$1", "console", "[^ ]+ ([^ ]+) .+")'
    )
    labelled = f'label_join({labelled}, "console", " ", "region", "console")'
    for regions, domain in _CONSOLE_DOMAINS.items():
        labelled = f'label_replace({labelled}, "console", "{domain}/$1", "console", "{regions} (.+)")'
    return labelled

"""DynamoDB tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import TAGS_ACTION, TAGS_CALL, UNKNOWN, Call, Listing, ResourceFile, add

TABLE = "dynamodb:table"
_GB = 2**30


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """Provisioned tables have a price by the hour; of on-demand tables only the storage has."""
    tags = ctx.tags(target, "dynamodb:table")
    capacity = [
        ctx.activity(target, f"aws_dynamodb_consumed_{kind}_capacity_units_total")
        for kind in ("read", "write")
    ]
    names = ctx.items(target, "dynamodb", "ListTables", "TableNames")
    for name, answer in ctx.describe_each(
        target, "dynamodb", "DescribeTable", names, lambda name: {"TableName": name}
    ):
        if answer is None:
            arn = f"arn:{target.partition}:dynamodb:{target.region}:{target.account_id}:table/{name}"
            yield Resource(id=name, type=TABLE, name=name, state=UNKNOWN, tags=tags.of(arn))
            continue
        table = answer["Table"]
        # An index is named table/index.
        idle = all(each.none(table["CreationDateTime"], name, below=f"{name}/") for each in capacity)
        on_demand = table.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST"
        yield Resource(
            id=name,
            type=TABLE,
            name=name,
            state=table["TableStatus"].lower(),
            created=table["CreationDateTime"],
            tags=tags.of(table["TableArn"]),
            monthly_usd=None if on_demand else _price(ctx, target, table),
            unused_reason="no_traffic" if idle else None,
            subtype="on-demand" if on_demand else "provisioned",
        )


def _price(ctx: Listing, target: Target, table: Mapping[str, Any]) -> Decimal | None:
    every = [table, *table.get("GlobalSecondaryIndexes", ())]
    throughput = [each.get("ProvisionedThroughput", {}) for each in every]
    stored = table.get("TableSizeBytes", 0) + sum(
        index.get("IndexSizeBytes", 0) for index in table.get("GlobalSecondaryIndexes", ())
    )
    infrequent = table.get("TableClassSummary", {}).get("TableClass") == "STANDARD_INFREQUENT_ACCESS"
    row = "dynamodb.infrequent" if infrequent else "dynamodb"
    return add(
        ctx.hourly(target, f"{row}.rcu", sum(each.get("ReadCapacityUnits", 0) for each in throughput)),
        ctx.hourly(target, f"{row}.wcu", sum(each.get("WriteCapacityUnits", 0) for each in throughput)),
        ctx.usd(target, f"{row}.storage", Decimal(stored) / _GB),
    )


RESOURCES = ResourceFile(
    name="dynamodb",
    help="Tables.",
    scope=Scope.REGION,
    service="dynamodb",
    types=(TABLE,),
    iam_actions=("dynamodb:DescribeTable", "dynamodb:ListTables", TAGS_ACTION),
    calls=(Call("ListTables"), Call("DescribeTable", "one for each table", 10), TAGS_CALL),
    list=list_resources,
    cost_services={TABLE: "Amazon DynamoDB"},
)

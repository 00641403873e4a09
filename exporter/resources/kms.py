"""KMS keys that the account made; AWS's own are free."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import TAGS_ACTION, TAGS_CALL, UNKNOWN, Call, Listing, ResourceFile

KEY = "kms:key"


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """A disabled key costs as much as any other, one that waits to be deleted nothing."""
    tags = ctx.tags(target, "kms")
    names = {
        alias["TargetKeyId"]: alias["AliasName"].removeprefix("alias/")
        for alias in ctx.items(target, "kms", "ListAliases", "Aliases")
        if "TargetKeyId" in alias
    }
    keys = ctx.items(target, "kms", "ListKeys", "Keys")
    for entry, answer in ctx.describe_each(
        target, "kms", "DescribeKey", keys, lambda entry: {"KeyId": entry["KeyId"]}
    ):
        if answer is None:
            # Its policy shuts the account out. AWS's own keys do not, and it cannot be told whether it is paid for.
            name = names.get(entry["KeyId"], "")
            yield Resource(
                id=entry["KeyId"], type=KEY, name=name, state=UNKNOWN, tags=tags.of(entry["KeyArn"])
            )
            continue
        key = answer["KeyMetadata"]
        if key["KeyManager"] != "CUSTOMER":
            continue
        state = key["KeyState"].lower()
        free = state == "pendingdeletion"
        yield Resource(
            id=key["KeyId"],
            type=KEY,
            name=names.get(key["KeyId"]) or key.get("Description", ""),
            state=state,
            created=key["CreationDate"],
            tags=tags.of(key["Arn"]),
            monthly_usd=Decimal(0) if free else ctx.usd(target, "kms.key"),
            unused_reason="disabled" if state == "disabled" else None,
        )


RESOURCES = ResourceFile(
    name="kms",
    help="Customer-managed keys.",
    scope=Scope.REGION,
    service="kms",
    types=(KEY,),
    iam_actions=("kms:DescribeKey", "kms:ListAliases", "kms:ListKeys", TAGS_ACTION),
    calls=(Call("ListKeys"), Call("ListAliases"), Call("DescribeKey", "one for each key", 10), TAGS_CALL),
    list=list_resources,
    cost_services={KEY: "AWS Key Management Service"},
)

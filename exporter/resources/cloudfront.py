"""CloudFront distributions."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import TAGS_ACTION, TAGS_CALL, Call, Listing, ResourceFile

DISTRIBUTION = "cloudfront:distribution"


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """Paid by use; AWS tells only when a distribution was changed last."""
    tags = ctx.tags(target, "cloudfront")
    for page in ctx.pages(target, "cloudfront", "ListDistributions"):
        for each in page["DistributionList"].get("Items", ()):
            aliases = each.get("Aliases", {}).get("Items", ())
            yield Resource(
                id=each["Id"],
                type=DISTRIBUTION,
                name=each.get("Comment") or (aliases[0] if aliases else each["DomainName"]),
                state=each["Status"].lower(),
                tags=tags.of(each["ARN"]),
                unused_reason=None if each["Enabled"] else "disabled",
                region="global",
                existed_by=each["LastModifiedTime"],
            )


RESOURCES = ResourceFile(
    name="cloudfront",
    help="Distributions.",
    scope=Scope.ACCOUNT,
    service="cloudfront",
    types=(DISTRIBUTION,),
    iam_actions=("cloudfront:ListDistributions", TAGS_ACTION),
    calls=(Call("ListDistributions"), TAGS_CALL),
    list=list_resources,
    cost_services={},
)

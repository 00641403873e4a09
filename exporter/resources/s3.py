"""S3 buckets of every region; how much is in them is usage, not inventory."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.model import Resource, Scope, Target
from exporter.resources import TAGS_ACTION, Call, Listing, ResourceFile, in_region

BUCKET = "s3:bucket"


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """One list for the whole account; tags come from each region that has a bucket."""
    # Only a paged list says in which region a bucket is.
    buckets = list(ctx.items(target, "s3", "ListBuckets", "Buckets", {"MaxBuckets": 1000}))
    regions = {}
    for bucket in buckets:
        region = bucket.get("BucketRegion")
        if region is None:
            answer = ctx.call(target, "s3", "GetBucketLocation", {"Bucket": bucket["Name"]})
            # The oldest regions have names from before there were regions.
            region = {"": "us-east-1", "EU": "eu-west-1"}.get(
                answer.get("LocationConstraint") or "", answer.get("LocationConstraint")
            )
        regions[bucket["Name"]] = str(region)
    tags = {region: ctx.tags(in_region(target, region), "s3") for region in set(regions.values())}
    for bucket in buckets:
        name = bucket["Name"]
        yield Resource(
            name,
            BUCKET,
            name,
            "active",
            bucket["CreationDate"],
            tags[regions[name]].of(f"arn:{target.partition}:s3:::{name}"),
            region=regions[name],
        )


RESOURCES = ResourceFile(
    name="s3",
    help="Buckets.",
    scope=Scope.ACCOUNT,
    service="s3",
    types=(BUCKET,),
    iam_actions=("s3:GetBucketLocation", "s3:ListAllMyBuckets", TAGS_ACTION),
    calls=(Call("ListBuckets"), Call("GetResources", "one for each region with a bucket", 4)),
    list=list_resources,
    cost_services={},
)

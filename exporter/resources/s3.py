"""S3 buckets of every region; how much is in them is usage, not inventory."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.aws.errors import AwsError, Kind
from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import TAGS_ACTION, UNKNOWN, Call, Listing, ResourceFile, Tags, in_region

BUCKET = "s3:bucket"


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """One list for the whole account; tags come from each region that has a bucket."""
    # Only a paged list says in which region a bucket is.
    buckets = list(ctx.items(target, "s3", "ListBuckets", "Buckets", {"MaxBuckets": 1000}))
    regions = {bucket["Name"]: bucket["BucketRegion"] for bucket in buckets if "BucketRegion" in bucket}
    unplaced = [bucket["Name"] for bucket in buckets if bucket["Name"] not in regions]
    for name, answer in ctx.describe_each(
        target, "s3", "GetBucketLocation", unplaced, lambda name: {"Bucket": name}
    ):
        regions[name] = UNKNOWN if answer is None else _region(answer.get("LocationConstraint") or "")
    tags = _tags(ctx, target, set(regions.values()) - {UNKNOWN})
    for bucket in buckets:
        name = bucket["Name"]
        if name not in regions:
            continue  # deleted since it was listed
        region = regions[name]
        of_region = tags.get(region)
        yield Resource(
            id=name,
            type=BUCKET,
            name=name,
            state="active",
            created=bucket["CreationDate"],
            tags=None if of_region is None else of_region.of(f"arn:{target.partition}:s3:::{name}"),
            region=region,
        )


def _region(constraint: str) -> str:
    # The oldest regions have names from before there were regions.
    return {"": "us-east-1", "EU": "eu-west-1"}.get(constraint, constraint)


def _tags(ctx: Listing, target: Target, regions: set[str]) -> dict[str, Tags]:
    """The tags of the buckets by region, without the regions in which the account may not ask.

    Many organisations deny the regions that they do not use, and have old buckets there.
    """
    found: dict[str, Tags] = {}
    denied: list[AwsError] = []
    for region in sorted(regions):
        tags = ctx.tags(in_region(target, region), "s3")
        try:
            is_known = tags.read() is not None
        except AwsError as error:
            if error.kind is Kind.REGION_DISABLED:
                continue
            if error.kind is not Kind.ACCESS_DENIED:
                raise
            denied.append(error)
        else:
            if is_known:
                found[region] = tags
    if denied and not found:
        raise denied[0]  # the role may not ask anywhere
    return found


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

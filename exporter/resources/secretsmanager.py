"""Secrets of Secrets Manager: their names and dates, never their values."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import Call, Listing, ResourceFile, tags_of

SECRET = "secretsmanager:secret"  # noqa: S105 - a resource type


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """A secret that was not read for long is unused; AWS reports the day of the last read."""
    for secret in ctx.items(target, "secretsmanager", "ListSecrets", "SecretList"):
        created = secret.get("CreatedDate")
        read = secret.get("LastAccessedDate")
        yield Resource(
            id=secret["ARN"],
            type=SECRET,
            name=secret["Name"],
            state="active",
            created=created,
            tags=tags_of(secret.get("Tags", ())),
            monthly_usd=ctx.usd(target, "secrets.secret"),
            unused_reason="not_accessed"
            if ctx.is_idle(max(filter(None, (read, created)), default=None))
            else None,
        )


RESOURCES = ResourceFile(
    name="secretsmanager",
    help="Secrets, without their values.",
    scope=Scope.REGION,
    service="secretsmanager",
    types=(SECRET,),
    iam_actions=("secretsmanager:ListSecrets",),
    calls=(Call("ListSecrets"),),
    list=list_resources,
    cost_services={SECRET: "AWS Secrets Manager"},
)

"""Every module here declares one `RESOURCES`: an AWS service whose resources are listed; being here is being registered."""

from __future__ import annotations

from functools import cache

from exporter.core.declared import declared_in
from exporter.inventory.listing import ResourceFile


@cache
def all_resource_files() -> tuple[ResourceFile, ...]:
    """Every declared service, by name; ValueError if a type is listed by two of them."""
    files = tuple(sorted(declared_in(__name__, "RESOURCES"), key=lambda file: file.name))
    owner: dict[str, str] = {}
    for file in files:
        for kind in file.types:
            if owner.setdefault(kind, file.name) != file.name:
                raise ValueError(f"{kind} is listed by {owner[kind]} and by {file.name}")
    return files

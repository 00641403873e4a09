"""Under which names an export's maps may hold a tag key or a cost category that the configuration names."""

from __future__ import annotations

import re
from collections.abc import Collection

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_SNAKE = re.compile(r"[^a-z0-9]+")
TAG = "tag:"
COST_CATEGORY = "cost_category:"


def snake(key: str) -> str:
    """A key as AWS normalizes it for column names: `CostCenter` and `cost-center` become `cost_center`."""
    return _NOT_SNAKE.sub("_", _WORD_START.sub("_", key).lower()).strip("_")


def tag_names(key: str) -> tuple[str, ...]:
    """The names of a tag key in `resource_tags`, the likeliest first."""
    if key.startswith("aws:"):
        return _unique((snake(key), key))
    return _unique((f"user_{snake(key)}", f"user_{key.lower()}", f"user_{key}", f"user:{key}", key))


def category_names(name: str) -> tuple[str, ...]:
    """The names of a cost category in `cost_category`, the likeliest first."""
    return _unique((name, snake(name), name.lower()))


def all_tags_names(key: str, *, category: bool) -> tuple[str, ...]:
    """The names of a tag key or cost category in the map `tags`, which holds every kind under a prefix."""
    if category:
        return tuple(f"costCategory/{name}" for name in category_names(key))
    return tuple(f"{prefix}/{name}" for prefix in ("resourceTags", "accountTag") for name in tag_names(key))


def present(names: Collection[str], found: Collection[str]) -> tuple[str, ...]:
    """Those of `names` that a file holds, in their order."""
    return tuple(name for name in names if name in found)


def _unique(names: Collection[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))

"""Names of services as Cost Explorer reports them, from what a line of an export holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import yaml

from exporter.cube.dimensions import MARKETPLACE

TAX = "Tax"


class _Entry(NamedTuple):
    name: str
    by_usage_type: tuple[tuple[re.Pattern[str], str], ...]
    without_usage_type: str


@cache
def _entries() -> Mapping[str, _Entry]:
    """The shipped map, by product code; service_names.yaml says where each name is from."""
    read = yaml.safe_load(
        files("exporter.exports").joinpath("service_names.yaml").read_text(encoding="utf-8")
    )
    return {
        code: _Entry(
            fields["name"],
            tuple((re.compile(pattern), name) for pattern, name in fields.get("usage_types", {}).items()),
            fields.get("without_usage_type", fields["name"]),
        )
        for code, fields in read.items()
    }


@cache
def _known_names() -> frozenset[str]:
    return frozenset(entry.name for entry in _entries().values())


def known_codes() -> frozenset[str]:
    """The product codes of the shipped map; only for others a line's product name matters."""
    return frozenset(_entries())


def split_codes() -> frozenset[str]:
    """The product codes that are several services of Cost Explorer, by usage type."""
    return frozenset(code for code, entry in _entries().items() if entry.by_usage_type)


def service_name(
    code: str, usage_type: str | None, billing_entity: str, product_name: str
) -> tuple[str, bool]:
    """The service of a line that is no tax, and whether the shipped map (or a rule) has it.

    `usage_type` None means that the source has none. Marketplace products have opaque codes, so they go by product name.
    What is unknown is named as it comes: by product name, else by code.
    """
    entry = _entries().get(code)
    if entry is None:
        is_known = product_name in _known_names() or (billing_entity == MARKETPLACE and bool(product_name))
        return product_name or code, is_known
    if usage_type is None:
        return entry.without_usage_type, True
    for pattern, name in entry.by_usage_type:
        if pattern.search(usage_type):
            return name, True
    return entry.name, True

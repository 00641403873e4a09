"""botocore's descriptions of services, without what is only for readers and what changes something.

A description is kept for as long as its client, as dictionaries. Its documentation is more than half of it,
its words repeat, and most of the rest is of operations that an exporter does not use.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from botocore.loaders import ExtrasProcessor, JSONFileLoader, Loader, create_loader

_CHANGES = (
    "Accept",
    "Allocate",
    "Apply",
    "Assign",
    "Associate",
    "Attach",
    "Authorize",
    "Copy",
    "Delete",
    "Deregister",
    "Detach",
    "Disable",
    "Disassociate",
    "Enable",
    "Import",
    "Modify",
    "Move",
    "Provision",
    "Purchase",
    "Reboot",
    "Register",
    "Reject",
    "Release",
    "Remove",
    "Replace",
    "Reset",
    "Restore",
    "Revoke",
    "Run",
    "Tag",
    "Terminate",
    "Unassign",
    "Untag",
    "Update",
)
"""Verbs of operations that no client here has."""


@cache
def _loader(data_path: str | None) -> Loader:
    loader = create_loader(data_path)
    loader.file_loader = SmallModels()
    loader._extras_processor = _Extras()
    return loader


def session_with_small_models(profile: str | None = None) -> botocore.session.Session:
    """A session of botocore with the settings of a profile; all of them have the same descriptions."""
    session = botocore.session.Session(profile=profile)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return session


class _Extras(ExtrasProcessor):  # type: ignore[misc] # botocore ships no types
    """Adds botocore's own members to shapes, but not to those that were left out: half of a shape cannot be read.

    Every shape is read to find out what an error is.
    """

    def process(self, original_model: Any, extra_models: Any) -> None:
        super().process(original_model, extra_models)
        shapes = original_model.get("shapes", {})
        for name in [name for name, shape in shapes.items() if "type" not in shape]:
            del shapes[name]


class SmallModels(JSONFileLoader):  # type: ignore[misc] # botocore ships no types
    """Loads descriptions without documentation and operations that change something, each word of them once."""

    def load_file(self, file_path: str) -> Any:
        """The content of a file of botocore's data; None if there is none."""
        for ending, opened in ((".json", open), (".json.gz", gzip.open)):
            path = Path(f"{file_path}{ending}")
            if path.is_file():
                with opened(path, "rb") as file:
                    # As it is read: to build all of it first would leave holes where it was.
                    return _of_reads(json.loads(file.read(), object_hook=_without_documentation))
        return None


def _without_documentation(node: dict[str, Any]) -> dict[str, Any]:
    for key, value in node.items():
        if isinstance(value, str):
            # Empty, not absent: botocore reads it of some shapes.
            node[key] = "" if key == "documentation" else sys.intern(value)
    return node


def _of_reads(model: Any) -> Any:
    """A service's description without the operations that change something, and their shapes."""
    if not isinstance(model, dict) or not {"operations", "shapes"} <= model.keys():
        return model
    operations = {
        name: operation for name, operation in model["operations"].items() if not name.startswith(_CHANGES)
    }
    shapes: dict[str, Any] = {}
    wanted = list(_shapes_in(operations))
    while wanted:
        name = wanted.pop()
        if name not in shapes:
            shapes[name] = model["shapes"][name]
            wanted += _shapes_in(shapes[name])
    return {**model, "operations": operations, "shapes": shapes}


def _shapes_in(node: Any) -> Iterator[str]:
    """The names of shapes that a part of a description refers to."""
    if isinstance(node, dict):
        if isinstance(name := node.get("shape"), str):
            yield name
        for value in node.values():
            yield from _shapes_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from _shapes_in(value)

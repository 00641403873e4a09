"""botocore's descriptions of services, without what is only for readers.

A description is kept for as long as its client, as dictionaries. Its documentation is more than half of it,
and its words repeat: EC2's takes 16 MiB as it comes and a third of that so.
"""

from __future__ import annotations

import sys
from typing import Any

from botocore.loaders import JSONFileLoader


class SmallModels(JSONFileLoader):  # type: ignore[misc] # botocore ships no types
    """Loads descriptions without documentation, each word of them once."""

    def load_file(self, file_path: str) -> Any:
        """The content of a file of botocore's data; None if there is none."""
        return _slim(super().load_file(file_path))


def _slim(node: Any) -> Any:
    if isinstance(node, dict):
        # Empty, not absent: botocore reads it of some shapes. A member of a structure may have that name, too.
        return {
            sys.intern(key): "" if key == "documentation" and isinstance(value, str) else _slim(value)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_slim(value) for value in node]
    return sys.intern(node) if type(node) is str else node

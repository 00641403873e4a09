"""botocore's descriptions of services, without what is only for readers.

A description is kept for as long as its client, as dictionaries. Its documentation is more than half of it,
and its words repeat: EC2's takes 16 MiB as it comes and a third of that so.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from botocore.loaders import JSONFileLoader


class SmallModels(JSONFileLoader):  # type: ignore[misc] # botocore ships no types
    """Loads descriptions without documentation, each word of them once."""

    def load_file(self, file_path: str) -> Any:
        """The content of a file of botocore's data; None if there is none."""
        for ending, opened in ((".json", open), (".json.gz", gzip.open)):
            path = Path(f"{file_path}{ending}")
            if path.is_file():
                with opened(path, "rb") as file:
                    # As it is read: to build all of it first would leave holes where it was.
                    return json.loads(file.read(), object_hook=_without_documentation)
        return None


def _without_documentation(node: dict[str, Any]) -> dict[str, Any]:
    for key, value in node.items():
        if isinstance(value, str):
            # Empty, not absent: botocore reads it of some shapes.
            node[key] = "" if key == "documentation" else sys.intern(value)
    return node

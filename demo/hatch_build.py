"""What the demo's wheel holds: the modules of two folders of the checkout.

An editable install gets none of them: copies in site-packages would hide the checkout that they came from.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Folders(BuildHookInterface[Any]):
    """Adds the modules to a wheel that is installed away from the checkout."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version` is "standard" or "editable"."""
        if version != "standard":
            return
        checkout = Path(self.root).parent
        for folder in ("demo", "simulated_aws"):
            for path in (checkout / folder).rglob("*.py"):
                if path.name != "hatch_build.py":
                    build_data["force_include"][str(path)] = str(path.relative_to(checkout))

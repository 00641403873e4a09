"""What keeps DuckDB from fetching or loading code."""

from __future__ import annotations

NO_EXTENSIONS = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
}
"""Settings of every connection: a file of a customer could ask for an extension otherwise."""

"""Answers as JSON for commands, the relay and scripts: every module here declares one `ENDPOINT`.

The running exporter mounts each at /api/v1/<name>; a command that finds no exporter running asks the
same function of the ledger at rest. An answer never calls AWS.
"""

from __future__ import annotations

from functools import cache

from exporter.api.source import AnyEndpoint
from exporter.core.declared import declared_in


@cache
def all_endpoints() -> tuple[AnyEndpoint, ...]:
    """Every declared endpoint, by name."""
    return tuple(sorted(declared_in(__name__, "ENDPOINT"), key=lambda endpoint: endpoint.name))

"""The controls of Athena over HTTP: everything below /_simulator/athena, in JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from simulated_aws.athena.api import Athena, WorkGroup

Handler = Callable[[dict[str, str], dict[str, Any]], Any]


def athena_routes(athena: Athena) -> dict[tuple[str, str], Handler]:
    """The handlers by method and path; each takes the query and the members of the body."""

    def listed(_: dict[str, str], __: dict[str, Any]) -> Any:
        return [asdict(workgroup) for workgroup in athena.workgroups.values()]

    def put(_: dict[str, str], members: dict[str, Any]) -> Any:
        workgroup = WorkGroup(**members)
        athena.workgroups[workgroup.name] = workgroup
        return asdict(workgroup)

    return {("GET", "athena/workgroups"): listed, ("POST", "athena/workgroups"): put}

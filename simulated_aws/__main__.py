"""`python -m simulated_aws`: the simulated AWS as a process."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from types import FrameType
from typing import Any

from simulated_aws.server import SimulatedAws
from simulated_aws.spec import OrganizationSpec

_HOURS_KEPT = timedelta(days=14)
"""As Cost Explorer has them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; prints one JSON line with `url` and `environment` when ready."""
    default = OrganizationSpec()
    parser = argparse.ArgumentParser(prog="python -m simulated_aws", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--accounts", type=int, default=default.accounts)
    parser.add_argument("--services", type=int, default=default.services)
    parser.add_argument("--regions", default=",".join(default.regions), help="comma-separated")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--days", type=int, default=default.days, help="how far back cost reaches")
    parser.add_argument("--groups-per-page", type=int, default=default.groups_per_page)
    parser.add_argument("--instances", type=int, default=default.instances, help="per account and region")
    parser.add_argument("--external-id", default=None, help="what AssumeRole must present")
    parser.add_argument("--varied-charges", action="store_true", help="charges of every line type")
    parser.add_argument("--inventory-resources", action="store_true", help="cost bears the inventory's ids")
    parser.add_argument(
        "--export",
        metavar="NAME",
        help="a data export of CUR 2.0, of all of its past; its last two weeks and more are hourly",
    )
    parser.add_argument(
        "--now", type=datetime.fromisoformat, default=None, help="ISO 8601; the clock stands still"
    )
    options = parser.parse_args(arguments)
    now: datetime | None = options.now
    if now is not None and now.tzinfo is None:
        now = now.replace(tzinfo=UTC)
    try:
        spec = OrganizationSpec(
            seed=options.seed,
            accounts=options.accounts,
            services=options.services,
            regions=tuple(filter(None, options.regions.split(","))),
            days=options.days,
            groups_per_page=options.groups_per_page,
            instances=options.instances,
            external_id=options.external_id,
            varied_charges=options.varied_charges,
            inventory_resources=options.inventory_resources,
            now=now,
        )
    except ValueError as error:
        parser.error(str(error))
    stopped = threading.Event()

    def stop(signum: int, frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with SimulatedAws(spec, port=options.port) as aws:
        if options.export:
            aws.exports.create(options.export, **_export_of(spec, aws.clock.now().date()))
        ready = {"url": aws.url, "payer": aws.payer_id, "pid": os.getpid(), "environment": aws.environment()}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        stopped.wait()
    return 0


def _export_of(spec: OrganizationSpec, today: date) -> dict[str, Any]:
    """The definition of an export that goes back as far as cost; hours take twenty times as long to write as days."""
    first = today - timedelta(days=spec.days)
    return {
        "months": (today.year - first.year) * 12 + today.month - first.month,
        "hourly_from": (today - _HOURS_KEPT).replace(day=1),
        "manual_discounts": spec.varied_charges,
    }


if __name__ == "__main__":
    sys.exit(main())

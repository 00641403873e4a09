"""Seconds from a full ledger to thirteen months visible in Prometheus, at three sizes; `-s` shows them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from history_harness import Writer, fill
from waiting import wait_for

from exporter.history import periods
from exporter.history.read_back import ReadBack
from exporter.ledger.file import Ledger

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.mark.parametrize("accounts", [10, 50, 100])
def test_thirteen_months_are_visible_within_seconds(
    make_server: Any, make_writer: Callable[..., Writer], ledger: Ledger, accounts: int
) -> None:
    server = make_server()
    totals = fill(ledger, 396, accounts, 20)
    writer = make_writer(server.write_url, timeout="30s")
    began, cpu_began = time.monotonic(), time.process_time()
    samples = writer.write()
    cpu = time.process_time() - cpu_began
    # 2.42 may overlook samples while it compacts them (prometheus/prometheus#13115).
    wait_for("it is visible", lambda: server.days() == totals)
    visible = time.monotonic() - began
    began = time.monotonic()
    back = ReadBack(writer.endpoint, writer.stamps)
    assert back.differing(*periods.DAY.complete(datetime.now(UTC), timedelta(days=450))) == {}
    compared = time.monotonic() - began
    print(
        f"\n{accounts} accounts x 20 services x 396 days: {samples} samples visible in {visible:.1f} s"
        f" ({cpu:.1f} s of our CPU), compared in {compared:.1f} s, ledger {ledger.size_bytes() / 1e6:.0f} MB"
    )
    assert samples == accounts * 20 * 396
    assert cpu < 0.0001 * samples

"""What a delivery's thread does when the server that started it is gone."""

from __future__ import annotations

import asyncio
import threading

import pytest

from exporter.relay.app import in_thread
from exporter.relay.channel import DeliveryResult, DeliveryStatus


@pytest.mark.fault("a delivery that outlasts the server", "its end raises nothing")
def test_a_delivery_that_outlasts_its_server_ends_quietly() -> None:
    """The loop may close at any moment, also just after it was found open."""
    release, done = threading.Event(), threading.Event()

    def work() -> DeliveryResult:
        release.wait(60)
        return DeliveryResult(DeliveryStatus.DELIVERED, "delivered")

    async def start() -> None:
        waiting = asyncio.create_task(in_thread(work, done.set))
        await asyncio.sleep(0)
        waiting.cancel()

    before = set(threading.enumerate())
    loop = asyncio.new_event_loop()
    loop.run_until_complete(start())
    (delivery,) = set(threading.enumerate()) - before
    loop.close()
    loop.is_closed = lambda: False  # type: ignore[method-assign]
    release.set()
    delivery.join(60)
    del loop.is_closed
    assert not delivery.is_alive()
    assert done.is_set()

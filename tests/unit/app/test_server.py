"""Who waits for a reload or a refresh holds up no one else."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from prometheus_client import CollectorRegistry
from waiting import wait_for

from exporter.app.answers import AnswerSource
from exporter.app.endpoints import Probes, create_app
from exporter.collection.refreshed import Refreshed
from exporter.collection.store import Store
from exporter.core.moments import utc_now
from exporter.web.server import Server


@pytest.mark.fault("sixty reloads and refreshes wait for AWS", "scrapes and readiness do not wait")
def test_requests_that_wait_for_aws_leave_threads_for_the_others() -> None:
    release, waiting = threading.Event(), threading.Semaphore(0)

    def hangs(*_: str) -> None:
        waiting.release()
        release.wait(120)

    def refreshes(name: str, _: object) -> Refreshed:
        hangs()
        return Refreshed(collector=name)

    def no_source(*_: object) -> Any:
        raise NotImplementedError

    probes = Probes(
        unready=list,
        problems=list,
        denied_regions=list,
        reload=hangs,
        refresh=refreshes,
        status=dict,
        answers=AnswerSource(no_source, no_source),
    )  # type: ignore[arg-type]
    server = Server(create_app(Store(utc_now), CollectorRegistry(), probes), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.start()}"
    paths = ["/-/refresh?collector=cost", "/-/reload"] * 30
    with ThreadPoolExecutor(len(paths)) as pool:
        try:
            asked = [pool.submit(requests.post, url + path, timeout=120) for path in paths]
            wait_for("the others are refused", lambda: sum(one.done() for one in asked) == len(paths) - 4)
            for path in ("/metrics", "/-/healthy", "/-/ready", "/api/v1/status"):
                assert requests.get(url + path, timeout=60).status_code == 200
        finally:
            release.set()
        answers = Counter(one.result().status_code == 200 for one in asked)
        server.stop()
    assert answers == {True: 4, False: len(paths) - 4}

"""The thread of the dated history ends when it is told to, whatever it does at that moment."""

from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry
from recording_endpoint import RecordingEndpoint

from exporter.history import History, HistoryMetrics
from exporter.history_settings import HistorySettings
from exporter.ledger import Ledger
from exporter.model import utc_now
from exporter.stamps import Stamps


def test_a_stop_that_comes_as_a_round_begins_is_not_slept_over(
    ledger: Ledger, endpoint: RecordingEndpoint
) -> None:
    """It would wait for an hour, and the exporter for it."""
    settings = HistorySettings.model_validate({"write_url": endpoint.write_url, "read_back": None})
    history = History(settings, "unblended", Stamps(ledger), utc_now, HistoryMetrics(CollectorRegistry()), ())

    class ToldToStopJustBefore(threading.Event):
        def clear(self) -> None:
            history._stop.set()
            self.set()
            super().clear()

    history._wake = ToldToStopJustBefore()
    history.start()
    history._thread.join(60)
    assert not history._thread.is_alive()

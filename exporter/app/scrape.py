"""What a scrape of this moment reads, as samples instead of text."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry

from exporter.collection.store import Store
from exporter.history.live import LiveSample


def scraped_samples(store: Store, registry: CollectorRegistry) -> Iterator[LiveSample]:
    """Every sample of `/metrics`: those of the store, then those of the process; it counts as a scrape."""
    for sample in store.scraped_samples():
        yield sample.family.name, dict(zip(sample.family.labels, sample.values, strict=True)), sample.value
    for family in registry.collect():
        for own in family.samples:
            yield own.name, own.labels, own.value

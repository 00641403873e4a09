"""The samples of a scrape are those of its text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.parser import text_string_to_metric_families

from exporter.app.scrape import scraped_samples
from exporter.collection.result import CollectionResult
from exporter.collection.store import Key, Store
from exporter.core.metric import Family

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)
COST = Family("aws_test_cost_usd", "A cost.", ("account_id", "service"))
CALLS = Family("aws_test_calls_total", "Calls.", ("account_id",), "counter")
READABLE = st.text(st.characters(min_codepoint=32, max_codepoint=0x2027), max_size=6).filter(
    lambda text: not set(text) & {"\x7f", "\x85"}  # ends of lines to the parser, not to Prometheus
) | st.sampled_from(["\n", '"', "\\", ""])

# Values as text, so that NaN equals itself; -0 is 0, as in the text of a scrape.
Series = dict[tuple[str, frozenset[tuple[str, str]]], str]


@pytest.fixture(autouse=True, scope="module")
def _without_created() -> None:
    disable_created_metrics()


def present(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """An empty label is none."""
    return frozenset((label, value) for label, value in labels.items() if value)


def text(store: Store, registry: CollectorRegistry) -> Series:
    exposition = (store.exposition()[0] + generate_latest(registry)).decode()
    return {
        (sample.name, present(sample.labels)): repr(float(sample.value) + 0.0)
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def samples(store: Store, registry: CollectorRegistry) -> Series:
    found = list(scraped_samples(store, registry))
    series = {(name, present(labels)): repr(float(value) + 0.0) for name, labels, value in found}
    assert len(series) == len(found)
    return series


def self_metrics() -> CollectorRegistry:
    registry = CollectorRegistry()
    counter = Counter("runs_total", "Runs.", ("collector",), registry=registry)
    counter.labels("cost").inc(3)
    counter.labels("")
    Gauge("accounts", "Accounts.", registry=registry).set(float("nan"))
    histogram = Histogram("seconds", "Seconds.", ("collector",), buckets=(0.1, 2), registry=registry)
    histogram.labels("cost").observe(1.5)
    return registry


@given(
    st.dictionaries(
        st.tuples(READABLE, READABLE), st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=5
    )
)
def test_the_samples_are_those_of_the_text(values: dict[tuple[str, str], float]) -> None:
    store = Store(lambda: NOW)
    rows = [COST(value, account_id=id_, service=service) for (id_, service), value in values.items()]
    store.publish(
        Key("cost", "1", "x"),
        CollectionResult(samples=tuple(rows), attempted_at=NOW, succeeded_at=NOW, folded=2),
        interval=HOUR,
    )
    store.publish(
        Key("calls", "1"),
        CollectionResult(samples=(CALLS(5, account_id="1"),), attempted_at=NOW, succeeded_at=NOW),
        interval=None,
    )
    # One that fails and is still served, and one that has expired.
    store.publish(
        Key("calls", "1"),
        CollectionResult(samples=(), attempted_at=NOW, succeeded_at=None, error="throttled"),
        account="a",
        interval=None,
    )
    old = NOW - 4 * HOUR
    store.publish(
        Key("old", "2"),
        CollectionResult(samples=(Family("old", "Old.")(1),), attempted_at=old, succeeded_at=old),
        interval=HOUR,
    )
    registry = self_metrics()

    found = samples(store, registry)
    assert found == text(store, registry)
    assert {"aws_test_cost_usd", "aws_test_calls_total", "runs_total", "seconds_bucket"} <= {
        name for name, _ in found
    }


def test_reading_samples_is_a_scrape() -> None:
    """Where nothing scrapes, a new counter is seen at 0 by the pushes."""
    store = Store(lambda: NOW)
    seen: list[str] = []
    store.publish(
        Key("calls"), CollectionResult(samples=(), attempted_at=NOW, succeeded_at=NOW), interval=None
    )
    store.after_scrapes(Key("calls"), 2, lambda: seen.append("calls"))
    store.scraped_samples()
    assert seen == []
    store.scraped_samples()
    assert seen == ["calls"]

"""The CPU of one push of the current samples, and what it was when the text of a scrape was parsed again.

python -m bench.live_write --accounts 200 --services 50
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import click
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from exporter.app.scrape import scraped_samples
from exporter.collection.metrics import RunnerMetrics
from exporter.collection.result import CollectionResult
from exporter.collection.store import Key, Store
from exporter.core.metric import Family
from exporter.history.request import encode_labels

COST = Family("aws_cost_today_usd", "Cost.", ("account_id", "account", "service"))
LABELS = {"job": "aws-spend-exporter"}


def filled(accounts: int, services: int) -> Store:
    """A store that serves one family of each account and service."""
    now = datetime.now(UTC)
    store = Store(lambda: now)
    for number in range(accounts):
        account_id = f"{number:012}"
        samples = tuple(
            COST(
                1.25 * service,
                account_id=account_id,
                account=f"account {number}",
                service=f"Service {service}",
            )
            for service in range(services)
        )
        store.publish(
            Key("cost", account_id),
            CollectionResult(samples=samples, attempted_at=now, succeeded_at=now),
            interval=timedelta(hours=6),
        )
    return store


def seconds(work: Callable[[], object], rounds: int) -> float:
    """CPU of one call, the least of some rounds."""
    work()
    least = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work()
        least = min(least, time.process_time() - began)
    return least


@click.command()
@click.option("--accounts", default=200, show_default=True)
@click.option("--services", default=50, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(accounts: int, services: int, rounds: int) -> None:
    """Encode every series from samples, and from text."""
    store, registry = filled(accounts, services), CollectorRegistry()
    RunnerMetrics(registry)

    def from_samples() -> list[bytes]:
        return [
            encode_labels(name, {**LABELS, **labels}) for name, labels, _ in scraped_samples(store, registry)
        ]

    def from_text() -> list[bytes]:
        text = (store.exposition()[0] + generate_latest(registry)).decode()
        return [
            encode_labels(sample.name, {**LABELS, **sample.labels})
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    assert sorted(from_samples()) == sorted(from_text())
    quick, slow = seconds(from_samples, rounds), seconds(from_text, rounds)
    click.echo(
        f"{accounts * services} series: {quick:.3f} s from samples, {slow:.3f} s from text: {slow / quick:.1f} times"
    )


if __name__ == "__main__":
    main()

"""The recording rules say what the ledger says, and the documented queries of the history, in Prometheus and VictoriaMetrics."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from history_harness import DAILY, DAY, Server, Writer, account_id, documented, fill, midnight, today
from test_on_real_servers import restated, settle
from waiting import wait_for

from exporter.collectors.cost import CostSettings
from exporter.cost import windows
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.history.live import LiveSample, LiveWrite
from exporter.history.live_settings import LiveWriteSettings
from exporter.ledger.file import Ledger

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "prometheus/rules/history.yml"
MakeServer = Callable[..., Any]
MakeWriter = Callable[..., Writer]
ACCOUNTS, SERVICES = 3, 2


def rules() -> dict[str, str]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found = {rule["record"]: " ".join(rule["expr"].split()) for rule in group["rules"]}
    assert len(found) == len(group["rules"])
    return found


def test_no_rule_adds_raw_samples() -> None:
    """Each restatement of a day is a sample of its own."""
    texts = [*rules().values(), *documented()]
    assert len(texts) > 30, texts
    for text in texts:
        for use in re.finditer(DAILY + r"(\{[^}]*\})?(?![:a-z_])", text):
            before = text[: use.start()].rstrip()
            assert before.endswith(("last_over_time(", "label_values(")), text
            assert re.match(r"\[1d\]|, ", text[use.end() :]), text


def test_rules_have_every_level_and_conventional_names() -> None:
    operations: dict[str, set[str]] = {}
    for name in rules():
        level, metric, operation = name.split(":")
        assert metric == DAILY
        operations.setdefault(level, set()).add(operation)
    assert set(operations) == {"account", "service", "organization"}
    assert len(set(map(frozenset, operations.values()))) == 1


def days_of(operation: str, newest: date, now: datetime) -> list[date]:
    """The days that an operation is about; `newest` is the newest complete one."""
    month = now.date().replace(day=1)
    before = (month - DAY).replace(day=1)
    complete = range((newest - month).days + 1)
    match operation:
        case "month_to_date":
            return [month + n * DAY for n in complete]
        case "same_days" | "previous_month_to_date":
            first = month if operation == "same_days" else before
            return [first + n * DAY for n in complete if n < (month - before).days]
        case "sum30d_before":
            return [newest - back * DAY for back in range(30, 60)]
        case _:
            return [newest - back * DAY for back in range(int(operation[3:-1]))]


def expected(name: str, ledger: Ledger, now: datetime) -> dict[tuple[str, ...], float]:
    level, _, operation = name.split(":")
    newest = ledger.cost.complete_day(now)
    assert newest is not None
    found: dict[tuple[str, ...], float] = {}
    for day in days_of(operation, newest, now):
        for (account, service), usd in ledger.cost.sums(day, day + DAY, "unblended").items():
            key: tuple[str, ...] = {
                "account": (f"account-{int(account) - 100_000_000_000}", account),
                "service": (service,),
                "organization": (),
            }[level]
            found[key] = found.get(key, 0.0) + float(usd)
    return found


@pytest.mark.stack
def test_recorded_series_are_what_the_ledger_holds(
    make_server: MakeServer, ledger: Ledger, tmp_path: Path
) -> None:
    """As Prometheus itself records them, of an exporter that is scraped twice; no dated history is needed."""
    quick = tmp_path / "history.yml"
    quick.write_text(
        RULES.read_text().replace("- name: cost-history", "- name: cost-history\n    interval: 1s")
    )
    server: Server = make_server(rules=str(quick))
    restated(ledger, fill(ledger, 70, ACCOUNTS, SERVICES))
    now = datetime.now(UTC)
    view = ViewContext(ledger=ledger, now=now, settings=CostSettings(), names={}, sections=Sections())

    def read() -> Iterator[LiveSample]:
        for sample in windows.render(view):
            yield (
                sample.family.name,
                dict(zip(sample.family.labels, sample.values, strict=True)),
                sample.value,
            )

    for instance in ("a", "b"):
        labels = {"job": "aws-spend-exporter", "instance": instance}
        settings = LiveWriteSettings.model_validate({"url": server.write_url, "labels": labels})
        LiveWrite(settings, read, lambda: datetime.now(UTC), None).push()
    for name in rules():
        if name.endswith("ratio"):
            base = name.removesuffix("sum30d_ratio").removesuffix("month_over_month_ratio")
            upper = "sum30d" if name.endswith("sum30d_ratio") else "same_days"
            lower = "sum30d_before" if upper == "sum30d" else "previous_month_to_date"
            above, below = expected(base + upper, ledger, now), expected(base + lower, ledger, now)
            wanted = {key: above[key] / below[key] for key in above}
        else:
            wanted = expected(name, ledger, now)

        def recorded(name: str = name) -> dict[tuple[str, ...], float]:
            return server.query(name, datetime.now(UTC))

        wait_for(name, lambda recorded=recorded, wanted=wanted: recorded() == pytest.approx(wanted))


@pytest.mark.stack
@pytest.mark.parametrize("program", ["prometheus", "victoria-metrics"])
def test_the_documented_queries_are_right_at_any_midnight(
    make_server: MakeServer, make_writer: MakeWriter, ledger: Ledger, program: str
) -> None:
    """Those of the newest days are compared in test_windows_after_midnight.py, those of sums in test_dated_sums_on_prometheus.py."""
    server: Server = make_server(program)
    restated(ledger, fill(ledger, 130, ACCOUNTS, SERVICES))
    make_writer(server.write_url).write()
    settle(server)
    wait_for("it is visible", lambda: len(server.days()) == 130)
    queries = [query for query in documented() if set(re.findall(r"\baws_\w+", query)) == {DAILY}]
    assert len(queries) >= 6
    for query in queries:
        asked = query.replace("111122223333", account_id(0))
        bars = server.query_range(asked, midnight(today() - 50 * DAY), midnight(today() - DAY))
        assert bars, query
        assert {len(values) for values in bars.values()} == {50}, query
    # Each day of a month that ends a window of thirty, and the thirty before it.
    last, before = (query for query in queries if "[30d:1d] offset" in query)
    for back in range(3, 34):
        end = today() - back * DAY
        for query, newest in ((last, end - DAY), (before, end - 31 * DAY)):
            wanted: dict[tuple[str, ...], float] = {}
            for day in (newest - number * DAY for number in range(30)):
                for (_, service), usd in ledger.cost.sums(day, day + DAY, "unblended").items():
                    wanted[service,] = wanted.get((service,), 0.0) + float(usd)
            assert server.query(query, midnight(end)) == wanted, (query, end)

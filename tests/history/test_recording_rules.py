"""The recording rules over written history say what the ledger says, in Prometheus and as queries of VictoriaMetrics."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from history_harness import DAILY, DAY, Server, Writer, account_id, fill, midnight, today
from test_on_real_servers import restated, settle
from waiting import wait_for

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


def documented() -> list[str]:
    """The queries of docs/history.md."""
    return re.findall(r"```promql\n(.*?)```", (ROOT / "docs/history.md").read_text(), re.S)


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


def days_of(operation: str, now: datetime) -> list[date]:
    """The days that an operation is about."""
    newest = now.date() - DAY
    month = now.date().replace(day=1)
    match operation:
        case "month_to_date":
            return [month + n * DAY for n in range(now.day - 1)]
        case "previous_month_to_date":
            before = (month - DAY).replace(day=1)
            days = [before + n * DAY for n in range(now.day - 1)]
            return [day for day in days if day.month == before.month]
        case "sum30d_before":
            return [newest - back * DAY for back in range(30, 60)]
        case _:
            return [newest - back * DAY for back in range(int(operation[3:-1]))]


def expected(name: str, ledger: Ledger, now: datetime) -> dict[tuple[str, ...], float]:
    level, _, operation = name.split(":")
    found: dict[tuple[str, ...], float] = {}
    for day in days_of(operation, now):
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
    make_server: MakeServer, make_writer: MakeWriter, ledger: Ledger, tmp_path: Path
) -> None:
    quick = tmp_path / "history.yml"
    quick.write_text(RULES.read_text().replace("interval: 2m", "interval: 1s"))
    server: Server = make_server(rules=str(quick))
    restated(ledger, fill(ledger, 70, ACCOUNTS, SERVICES))
    make_writer(server.write_url).write()
    now = datetime.now(UTC)
    for name in rules():
        if name.endswith("ratio"):
            base = name.removesuffix("sum30d_ratio").removesuffix("month_over_month_ratio")
            upper = "sum30d" if name.endswith("sum30d_ratio") else "month_to_date"
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
def test_the_rules_expressions_are_right_at_any_time(
    make_server: MakeServer, make_writer: MakeWriter, ledger: Ledger, program: str
) -> None:
    server: Server = make_server(program)
    restated(ledger, fill(ledger, 130, ACCOUNTS, SERVICES))
    make_writer(server.write_url).write()
    settle(server)
    wait_for("it is visible", lambda: len(server.days()) == 130)
    moments = [midnight(today() - back * DAY) for back in range(3, 34)]  # each day of a month, at midnight
    moments += [moments[0] + timedelta(seconds=second) for second in (1, 3600, 43_200, 86_399)]
    for query in documented():
        asked = query.replace("111122223333", account_id(0))
        bars = server.query_range(asked, midnight(today() - 50 * DAY), midnight(today() - DAY))
        assert bars, query
        assert {len(values) for values in bars.values()} == {50}, query
    for name, expression in rules().items():
        # VictoriaMetrics' subqueries see no `@ end()` of the outer query as Prometheus' do.
        if f"{DAILY}[" in expression and (program == "prometheus" or "@ end()" not in expression):
            for now in moments:
                assert server.query(expression, now) == expected(name, ledger, now), (name, now)

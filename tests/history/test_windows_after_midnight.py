"""Every recorded, documented and drawn window of days is what the ledger says, at each ten minutes around midnight.

The source books at its own pace, the exporter refreshes each six hours, and a real Prometheus holds both the scraped
gauges and the dated history.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from history_harness import DAY, Server, Writer, midnight
from midnight_chain import (
    HOUR,
    LATE,
    PROMPT,
    ROOT,
    Chain,
    Source,
    Truth,
    expanded,
    ratio,
    recording_rules,
    running_chain,
)

from exporter.history.endpoint import EndpointError
from exporter.ledger.file import Ledger
from grafana.builder import promql

pytestmark = [pytest.mark.stack]

MakeServer = Callable[..., Any]
MakeWriter = Callable[..., Writer]
Vector = Mapping[tuple[str, ...], float]

RULES = recording_rules("history")
_STEP = timedelta(minutes=10)


def cookbook() -> dict[str, str]:
    """The queries of docs/cookbook.md by their questions."""
    text = (ROOT / "docs/cookbook.md").read_text()
    return dict(re.findall(r"^### (.+)\n```promql\n(.+)\n```$", text, re.M))


def of_history() -> str:
    """The query of docs/history.md for windows that are not served."""
    text = (ROOT / "docs/history.md").read_text()
    (found,) = (each for each in re.findall(r"```promql\n(.*?)```", text, re.S) if "complete_through" in each)
    return found


def drawn(server: Server, expression: str, now: datetime, days: int = 30) -> str:
    """A panel's query of so many days until a moment, with everything chosen."""
    end = int(now.timestamp())
    is_dated = server.query(f"group(last_over_time(aws_cost_daily_by_service_usd[{days + 7}d]))", now)
    values = {
        "{__to:date:seconds}": str(end),
        "{__from:date:seconds}": str(end - days * 86_400),
        "{__range_ms}": str(days * 86_400_000),
        "__range": f"{days * 86_400}s",
        "accounts": "()",
        "service": ".*",
        "undated": "dated" if is_dated else ".*",
        "live": "none" if is_dated else "()",
    }
    if "$complete" in expression:
        (complete,) = server.query(drawn(server, promql.complete_through(), now, days), now).values()
        values["complete"] = f"{complete:.0f}"
    return re.sub(r"\$(\{[\w:]+\}|\w+)", lambda found: values[found[1]], expression)


def questions(truth: Truth) -> Iterator[tuple[str, Vector]]:
    """What is documented, and its answer."""
    asked = cookbook()
    total = {days: truth.sums(truth.back(days)) for days in (1, 7, 30)}
    yield asked["What did the newest complete day cost?"], total[1]
    yield asked["Which day is that?"], {(): midnight(truth.newest()).timestamp()}
    yield asked["What did the last 30 complete days cost?"], total[30]
    yield (
        asked["And each of the last seven complete days, on average?"],
        {key: usd / 7 for key, usd in total[7].items()},
    )
    now, before = truth.sums(truth.back(7), 1), truth.sums(truth.back(7, 7), 1)
    yield (
        asked["Which services grew most, the last seven complete days against the seven before?"],
        {("7", *key): usd - before[key] for key, usd in now.items()},
    )
    yield (
        asked["Is this month more expensive than the last, over the same days?"],
        truth.recorded("organization:aws_cost_daily_usd:month_over_month_ratio"),
    )
    yield (
        asked["Which accounts changed most against the 30 days before?"],
        {
            key: abs(value - 1)
            for key, value in truth.recorded("account:aws_cost_daily_usd:sum30d_ratio").items()
        },
    )
    yield (
        asked["What did the most expensive of the last 90 complete days cost?"],
        {(): max(truth.sums([day])[()] for day in truth.back(90))},
    )
    yield of_history(), truth.sums(truth.back(14), 0, 1)


def panels(truth: Truth) -> Iterator[tuple[str, Vector]]:
    """What panels compute, and what it should be."""
    for days in (1, 7):
        now, before = truth.sums(truth.back(days), 0, 1), truth.sums(truth.back(days, 7), 0, 1)
        change = {key: now.get(key, 0) - before.get(key, 0) for key in {*now, *before}}
        yield (
            promql.movers(days, 8)[0],
            {key: usd for key, usd in change.items() if abs(usd) >= promql.LEAST_CHANGE_USD},
        )
    last, before = truth.sums(truth.back(28)), truth.sums(truth.back(28, 28))
    yield promql.direction(28), {key: value - 1 for key, value in ratio(last, before).items()}
    # A range that ends at midnight ends with the day before.
    ended = replace(truth, now=truth.now - timedelta(seconds=1))
    yield promql.same_days_of_last_month(), truth.sums(ended.same_days()[1])
    # Thirty midnights before now, of which those that end a complete day.
    ends = [truth.today - number * DAY for number in range(30)]
    chosen = [end - DAY for end in ends if end - DAY <= truth.newest()]
    yield (
        promql.average_day(),
        {key: usd / len(chosen) for key, usd in truth.sums(chosen).items()},
    )


def compare(chain: Chain, now: datetime, *, with_panels: bool) -> int:
    """Ask Prometheus for every window at a moment; returns how many were compared."""
    truth = Truth(chain.ledger, chain.source, now)
    count = 0
    for name, expression in RULES.items():
        assert chain.server.query(expression, now) == pytest.approx(truth.recorded(name), rel=1e-9), (
            now,
            name,
        )
        count += 1
    for expression, wanted in (*questions(truth), *(panels(truth) if with_panels else ())):
        asked = expanded(drawn(chain.server, expression, now), RULES)
        found = chain.server.query(asked, now)
        found = {tuple(v for v in key if v != "aws-spend-exporter"): value for key, value in found.items()}
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9), (now, expression)
        count += 1
    return count


def compare_averages(chain: Chain, now: datetime) -> None:
    """The moving average of seven days ends with the newest complete day, in a graph of daily steps."""
    truth = Truth(chain.ledger, chain.source, now)
    expression = drawn(chain.server, promql.average_of_week(""), now)
    ends = midnight(truth.today)
    (line,) = chain.server.query_range(expression, ends - 15 * DAY, ends).values()
    days = [truth.today - number * DAY for number in range(16)]
    wanted = {
        midnight(day): truth.sums([day - number * DAY for number in range(7)])[()] / 7
        for day in days
        if day <= truth.newest()
    }
    assert line == pytest.approx(wanted, rel=1e-9), now


def around(night: date) -> list[datetime]:
    """Each ten minutes from 22:00 before a day to 08:00 of it."""
    start = midnight(night) - 2 * HOUR
    return [start + number * _STEP for number in range(61)]


def walk(
    chain: Chain, nights: list[date], moments: Callable[[date], list[datetime]], *, panels_each: int = 1
) -> int:
    """Begin five days before the first night, live through all of them, and compare at their moments.

    The first days show how long the source takes to book. Panels are slow to ask for: at some of the moments only.
    """
    now = midnight(nights[0] - 5 * DAY) + timedelta(hours=4, minutes=20)
    count, compared = 0, {}
    for night in nights:
        asked = moments(night)
        while now < asked[0]:
            chain.move_to(now)
            now += HOUR
        for number, moment in enumerate(asked):
            chain.move_to(moment)
            count += compare(chain, moment, with_panels=number % panels_each == 0)
            compared[moment] = {
                name: chain.server.query(expression, moment) for name, expression in RULES.items()
            }
        compare_averages(chain, asked[-1])
        now = asked[-1] + HOUR
    # What was recorded then is still what was known then.
    for moment in list(compared)[:: len(compared) // 5]:
        for name, value in compared[moment].items():
            assert chain.server.query(RULES[name], moment) == value, (moment, name)
    return count


def nights_of(boundary: date) -> list[date]:
    """The nights before the last day of a month, and before the first four of the next."""
    return [boundary + number * DAY for number in range(-1, 4)]


@pytest.mark.timeout(240)
def test_no_window_lacks_a_day_over_the_end_of_a_leap_february(
    make_server: MakeServer, make_writer: MakeWriter, ledger: Ledger
) -> None:
    """The night to 1 March each ten minutes, and each two hours the night to the 3rd, when its 1st is complete."""
    boundary = date(2024, 3, 1)

    def moments(night: date) -> list[datetime]:
        return around(night) if night == boundary else around(night)[1::12]

    server: Server = make_server(window="10000d", retention="10000d")
    with running_chain(LATE, boundary + 5 * DAY, server, make_writer, ledger) as chain:
        count = walk(chain, [boundary, boundary + 2 * DAY, boundary + 3 * DAY], moments, panels_each=6)
    assert count > 60 * 30


def test_without_dated_history_panels_compare_whole_days_that_were_scraped(
    make_server: MakeServer, ledger: Ledger
) -> None:
    """What `yesterday` showed last on each day: up to the day before yesterday. A young installation says nothing."""
    first, boundary = date(2025, 2, 12), date(2025, 3, 1)
    server: Server = make_server(window="10000d", retention="10000d")
    with running_chain(PROMPT, boundary + DAY, server, None, ledger) as chain:
        now, shown = midnight(first) + timedelta(hours=4, minutes=20), set()
        while now < midnight(boundary) + 8 * HOUR:
            chain.move_to(now)
            # From the day before the first scrape to the day before yesterday.
            known = (now.date() - first).days
            if now >= midnight(boundary) - 2 * HOUR or now.hour == 12:
                truth = Truth(chain.ledger, chain.source, now)
                newest = min(truth.newest(), now.date() - 2 * DAY)
                for days in (1, 7):
                    found = server.query(drawn(server, promql.movers(days, 8)[0], now), now)
                    sides = [
                        truth.sums([newest - (before + number) * DAY for number in range(days)], 0, 1)
                        for before in (0, 7)
                    ]
                    change = {key: usd - sides[1][key] for key, usd in sides[0].items()}
                    wanted = {key: usd for key, usd in change.items() if abs(usd) >= promql.LEAST_CHANGE_USD}
                    assert found == (pytest.approx(wanted) if known >= days + 7 else {}), (now, days)
                    shown.add((days, bool(found)))
            now += HOUR
    assert shown == {(1, False), (1, True), (7, False), (7, True)}


BOUNDARIES = [
    date(2024, 1, 1),  # a year's end
    date(2024, 2, 29),  # 28 to 29 February of a leap year
    date(2024, 3, 1),
    date(2025, 3, 1),  # 28 February to 1 March of another
    date(2025, 4, 1),  # March is longer than February: its last days have no counterpart
    date(2025, 9, 1),
    date(2028, 2, 29),
    date(2028, 3, 1),
]


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("source", [PROMPT, LATE], ids=lambda source: source.name)
@pytest.mark.parametrize("boundary", BOUNDARIES, ids=str)
def test_no_window_lacks_a_day_at_any_minute(
    make_server: MakeServer, make_writer: MakeWriter, ledger: Ledger, boundary: date, source: Source
) -> None:
    server: Server = make_server(window="10000d", retention="10000d")
    with running_chain(source, boundary + 6 * DAY, server, make_writer, ledger) as chain:
        try:
            count = walk(chain, nights_of(boundary), around)
        except EndpointError:
            if midnight(boundary) < datetime.now(UTC):
                raise
            pytest.skip("this Prometheus takes no samples of the future")
    assert count > 5 * 61 * 30

"""A single low day is found once, after the days that follow it, is the same everywhere, and is listed, never sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.anomalies import cost as anomalies
from exporter.anomalies import families
from exporter.anomalies.cost import assess, assessed_day
from exporter.anomalies.messages import listed
from exporter.anomalies.settings import AnomalySettings
from exporter.api.endpoints import all_endpoints
from exporter.api.endpoints.anomalies import Query, answer
from exporter.api.source import Source
from exporter.config.model import Config
from exporter.core.amounts import Amounts
from exporter.core.moments import start_of_day
from exporter.cost.settings import CostSettings
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

DAY = timedelta(days=1)
LOW = date(2026, 5, 18)
PROD = "111111111111"
SETTINGS = AnomalySettings()
Daily = Callable[[date], float]
Series = Mapping[tuple[str, str], Daily]

ONE_LOW_DAY: Series = {
    (PROD, "low"): lambda day: 0 if day == LOW else 1000,
    (PROD, "steady"): lambda day: 100 + day.day % 3,
}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "ledger.sqlite")) as opened:
        yield opened


def read(ledger: Ledger, series: Series, now: datetime) -> None:
    """A hundred days as AWS reports them at `now`; of the day that is not over, a little."""
    days = dict.fromkeys((now.date() - number * DAY for number in range(100)), False)
    costs = {
        (day, *key): Amounts(Decimal(0), amortized=Decimal(repr(daily(day) / (1 + (day == now.date())))))
        for key, daily in series.items()
        for day in days
        if daily(day)
    }
    ledger.reads.commit(CostRead(now, days, costs))
    ledger.reads.commit_non_usage(CostRead(now, days, {}))


def found(ledger: Ledger, now: datetime) -> list[tuple[date, str, str, float]]:
    assessment = assess(ledger, now, SETTINGS)
    assert assessment is not None
    return [(each.day, each.service, each.kind, round(each.usd)) for each in assessment.findings]


def source(ledger: Ledger, now: datetime) -> Source:
    return Source(ledger=ledger, config=Config(anomalies=SETTINGS), now=now, names={PROD: "prod"})


def view(ledger: Ledger, now: datetime) -> ViewContext:
    return ViewContext(
        ledger=ledger, now=now, settings=CostSettings(), names={PROD: "prod"}, sections=Sections(SETTINGS)
    )


def test_a_low_day_is_found_on_one_assessed_day_and_listed_once(ledger: Ledger) -> None:
    """Read every six hours, for six days after it."""
    seen: dict[date, set[tuple[date, str, str, float]]] = {}
    for hours in range(0, 6 * 24, 6):
        now = start_of_day(LOW + DAY) + timedelta(hours=hours)
        read(ledger, ONE_LOW_DAY, now)
        day = assessed_day(ledger, now)
        assert day is not None
        if hours < 72:
            assert found(ledger, now) == [], "it may be late data"
        for finding in found(ledger, now):
            seen.setdefault(day, set()).add(finding)
    assert seen == {LOW + 2 * DAY: {(LOW, "low", "dip", -1000)}}
    (row,) = listed(ledger, start_of_day(LOW))
    assert (row.day, row.service, row.kind, round(row.usd)) == (LOW, "low", "dip", -1000)
    summary = next(each for each in all_endpoints() if each.name == "summary")
    told = summary.reply(source(ledger, now), summary.query())
    assert [(each["day"], each["account"], each["kind"], each["usd"]) for each in told["listed"]] == [
        ("2026-05-18", "prod", "dip", "-1000.00")
    ]


def test_a_low_day_that_was_read_for_the_last_time_within_72_hours_is_not_found(ledger: Ledger) -> None:
    now = start_of_day(LOW + DAY) + timedelta(hours=71)
    # The second day after it has settled by two reads, six hours apart.
    for at in (now - timedelta(hours=12), now):
        read(ledger, ONE_LOW_DAY, at)
    assert found(ledger, now) == []


@pytest.mark.parametrize("back", [1, 2])
def test_a_day_after_it_that_is_low_or_not_known_makes_it_no_single_low_day(
    ledger: Ledger, back: int
) -> None:
    now = datetime(2026, 5, 22, 13, tzinfo=UTC)
    low: Series = {
        **ONE_LOW_DAY,
        (PROD, "low"): lambda day: 0 if day in (LOW, LOW + back * DAY) else 1000,
    }
    read(ledger, low, now)
    assert assessed_day(ledger, now) == LOW + 2 * DAY
    assert [finding for finding in found(ledger, now) if finding[2] == "dip"] == []


def test_metrics_api_and_the_ledger_show_the_same_and_mark_it_as_unsent(ledger: Ledger) -> None:
    now = datetime(2026, 5, 22, 13, tzinfo=UTC)
    read(ledger, ONE_LOW_DAY, now)
    samples = list(anomalies.render(view(ledger, now)))
    labels = (PROD, "prod", "low", "dip")
    assert {s.values: round(s.value) for s in samples if s.family == families.ANOMALY} == {labels: -1000}
    assert {s.values: s.value for s in samples if s.family is families.UNSENT} == {labels: 1}
    for query in (Query(), Query(kind="dip"), Query(days=5)):
        (row,) = answer(source(ledger, now), query)["findings"]
        assert (row["day"], row["service"], row["kind"], row["usd"]) == ("2026-05-18", "low", "dip", -1000.0)
    assert answer(source(ledger, now), Query(kind="drop"))["findings"] == []


def test_one_that_is_restated_to_what_is_usual_is_no_finding_any_more(ledger: Ledger) -> None:
    now = datetime(2026, 5, 22, 13, tzinfo=UTC)
    read(ledger, ONE_LOW_DAY, now)
    assert found(ledger, now) == [(LOW, "low", "dip", -1000)]
    read(ledger, {**ONE_LOW_DAY, (PROD, "low"): lambda day: 1000}, now + timedelta(hours=1))
    assert found(ledger, now + timedelta(hours=1)) == []


def test_answers_need_no_ledger_that_can_be_written_and_change_nothing(ledger: Ledger) -> None:
    """Commands read the file of an exporter that runs; its own API reads by a connection that cannot write."""
    now = datetime(2026, 5, 22, 13, tzinfo=UTC)
    read(ledger, ONE_LOW_DAY, now)
    with closing(Ledger(ledger.path, read_only=True)) as unwritable:
        assert [row["kind"] for row in answer(source(unwritable, now), Query(days=3))["findings"]] == ["dip"]
        for endpoint in all_endpoints():
            if endpoint.name == "summary":
                assert endpoint.reply(source(unwritable, now), endpoint.query())["listed"] == []
    with ledger.connection() as db:
        before = db.total_changes
        answer(source(ledger, now), Query(days=3))
        assert db.total_changes == before
        assert db.execute("SELECT COUNT(*) FROM anomaly_messages").fetchone() == (0,)


def test_a_ledger_that_takes_nothing_holds_no_message(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime(2026, 5, 22, 13, tzinfo=UTC)
    read(ledger, {(PROD, "a"): lambda day: 900 if day == LOW + 2 * DAY else 100}, now)
    with closing(Ledger(ledger.path, read_only=True)) as unwritable:
        samples = list(anomalies.render(view(unwritable, now)))
    assert [s.values[2:] for s in samples if s.family == families.ANOMALY] == [("a", "spike")]
    assert [s for s in samples if s.family is families.UNSENT] == []
    assert "every finding is worth a message" in caplog.text

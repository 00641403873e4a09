"""A change of any day of the history is in the ledger and in the dated history within the time that docs/cost-data.md names."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from restated import DAY, SERVICES, Restated, restated

from exporter.aws.errors import AwsError
from exporter.aws.settings import Ceiling, CeilingSettings
from exporter.collectors import cost
from exporter.core.amounts import ChargeClass
from exporter.core.moments import month_start
from exporter.cost.older_months import usd_a_month, within_ceilings
from exporter.cost.refresh_plan import known_scale, month_of_pages
from exporter.cost.rereads import Reread
from exporter.ledger.pending import Origin

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
NOTICED_WITHIN = timedelta(days=7, hours=6)
"""A week between two comparisons of months, and a refresh before it."""
TURN = timedelta(days=90)


def check(made: Restated) -> None:
    """Every day that has settled is as AWS says, in the ledger, by charge class too, and in the history."""
    truth = made.truth()
    assert made.held() == truth
    usage = made.truth(lambda record_type: record_type == "Usage")
    assert made.held(ChargeClass.USAGE) == usage
    assert made.written() == {key: float(usd) for key, usd in truth.items()}
    # Of what a scrape shows, only the last month is whole at any hour.
    last, this = month_start(made.now.date(), 1), month_start(made.now.date())
    assert made.served("aws_cost_last_month_usd") == {
        key: float(usd) for key, usd in made.simulator.truth.totals(last, this).items() if usd
    }


def restate_ages(made: Restated, ages: range | list[int]) -> None:
    """Another dollar and a bit on the day of each age, in one account and service each."""
    ids = made.account_ids
    today = made.now.date()
    made.restate(
        (
            today - age * DAY,
            ids[age % len(ids)],
            SERVICES[age // len(ids) % len(SERVICES)],
            "Refund" if age % 5 == 0 else "Usage",
            Decimal(-age if age % 5 == 0 else age) + Decimal("0.0000000001"),
        )
        for age in ages
    )


def test_a_day_of_any_age_is_put_right_within_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with restated(tmp_path, monkeypatch, NOW) as made:
        restate_ages(made, [1, 2, 5, 19, 20, 49, 50, 51, 66, 100, 180, 299, 370, 390])
        made.run(NOW + NOTICED_WITHIN)
        check(made)


def test_a_quiet_week_has_two_comparisons_and_nothing_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with restated(tmp_path, monkeypatch, NOW, settings={"reread_days": None}) as made:
        made.simulator.requests.clear()
        made.run(NOW + NOTICED_WITHIN)
        assert made.queries("MONTHLY") == 2
        old = month_start(NOW.date(), 1).isoformat()
        asked = [
            entry.params["TimePeriod"] for entry in made.simulator.requests.entries() if entry.service == "ce"
        ]
        assert sum(period["Start"] < old for period in asked) == 2
        check(made)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_day_of_every_age_is_put_right_within_a_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All ages from 1 to 390 days, thirty at a time, each time after the last ones were checked."""
    with restated(tmp_path, monkeypatch, NOW) as made:
        for first in range(1, 14):
            restate_ages(made, range(first, 391, 13))
            made.run(made.now + NOTICED_WITHIN)
            check(made)


@pytest.mark.parametrize("age", [15, 40, 200])
def test_moves_that_cancel_out_are_found_by_the_comparison_of_months(
    age: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each account's and each service's total of the day stays what it was."""
    with restated(tmp_path, monkeypatch, NOW) as made:
        (a, b), (x, y) = made.account_ids[:2], SERVICES[:2]
        day, hundred = NOW.date() - age * DAY, Decimal(100)
        made.restate(
            [
                (day, a, x, "Usage", hundred),
                (day, a, y, "Usage", -hundred),
                (day, b, x, "Usage", -hundred),
                (day, b, y, "Usage", hundred),
            ]
        )
        made.run(NOW + NOTICED_WITHIN)
        check(made)


@pytest.mark.parametrize("age", [10, 40, 300])
def test_usage_that_is_relabelled_as_credit_is_found_although_the_totals_stay(
    age: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with restated(tmp_path, monkeypatch, NOW) as made:
        day, account = NOW.date() - age * DAY, made.account_ids[1]
        made.restate(
            [
                (day, account, SERVICES[0], "Usage", Decimal(50)),
                (day, account, SERVICES[0], "Credit", Decimal(-50)),
            ]
        )
        made.run(NOW + NOTICED_WITHIN)
        check(made)


def test_cost_that_moves_between_the_days_of_a_month_is_found_when_their_turn_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with restated(tmp_path, monkeypatch, NOW, settings={"interval": "1d"}) as made:
        account, middle = made.account_ids[0], date(2025, 11, 15)
        made.restate(
            [
                (middle, account, SERVICES[0], "Usage", Decimal(30)),
                (middle + 5 * DAY, account, SERVICES[0], "Usage", Decimal(-30)),
            ]
        )
        made.run(NOW + NOTICED_WITHIN)
        assert made.held() != made.truth()  # no month has moved
        made.run(NOW + TURN)
        check(made)


def test_every_day_has_its_turn_within_a_quarter_and_no_day_pays_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the second time, when days have become old that were new."""
    settings = {"compare_months": None, "interval": "1d"}
    with restated(tmp_path, monkeypatch, NOW, settings=settings, groups_per_page=60, accounts=2) as made:
        until = NOW + TURN + timedelta(days=20)
        most = 0
        while made.now < until:
            before = made.queries("DAILY")
            made.run(made.now + DAY)
            most = max(most, made.queries("DAILY") - before)
            old = month_start(made.now.date(), 1)
            states = made.ledger.reads.day_states(made.first, old)
            ages = [made.now - state.whole_at for state in states.values() if state.whole_at is not None]
            assert len(ages) == (old - made.first).days
            assert max(ages) <= TURN + timedelta(days=2)
        # Ten groups a day, six days a page: the whole history is sixty pages, and the bill's last month six.
        assert most <= 20


def test_what_was_found_and_not_read_yet_outlives_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    with restated(tmp_path, monkeypatch, NOW) as made:
        ids = made.account_ids
        days = [date(2026, 1, 15), date(2025, 11, 3), date(2025, 8, 30)]
        made.restate(
            [(day, ids[number], SERVICES[number], "Usage", Decimal(7)) for number, day in enumerate(days)]
        )
        made.run(NOW + timedelta(days=6, hours=18))
        made.simulator.clock.set(NOW + timedelta(days=7))

        def kill() -> None:
            if made.ledger.pending.of("months"):
                raise KilledError

        made.committed = kill
        # The refresh goes through, then the comparison, and one of the three months.
        with pytest.raises(KilledError):
            made.collect()
        made.committed = lambda: None
        compared = made.queries("MONTHLY")
        assert compared
        assert len(made.ledger.pending.of("months")) == 2
        assert made.held() != made.truth()

        made.restart()
        made.run(made.now + timedelta(hours=1))
        check(made)
        assert made.queries("MONTHLY") - compared <= 1  # the other of the two comparisons


def test_days_that_are_asked_for_come_first_and_hold_up_nothing_where_they_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ceilings = CeilingSettings(cost=Ceiling(day=Decimal(1), month=None), first_fill=None)
    with restated(tmp_path, monkeypatch, NOW, ceilings=ceilings) as made:
        restate_ages(made, [100])
        day = NOW.date() - 100 * DAY
        made.simulator.clock.set(NOW + timedelta(hours=7))  # a refresh is due, too
        made.simulator.requests.clear()
        Reread(day, day + DAY).request(made.ledger, made.now)
        made.collect()
        # No more was agreed to: what is due follows by itself.
        assert made.queries("DAILY") == 2
        assert made.held() == made.truth()
        assert cost.due(*made.context()) == made.now

        Reread(day, day + DAY).request(made.ledger, made.now)
        made.ledger.charges.add_charge(made.now, "cost", "ce", "GetCostAndUsage", Decimal(1))
        with pytest.raises(AwsError, match=r"ceilings\.cost\.day is \$1"):
            made.collect()
        assert made.ledger.pending.of(Origin.REQUEST) == []
        made.simulator.clock.set(NOW + DAY)
        made.run(NOW + DAY + timedelta(hours=12))
        check(made)


def test_old_days_wait_while_the_ceilings_leave_no_more_than_the_refreshes_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ceilings = CeilingSettings(cost=Ceiling(day=None, month=Decimal(10)), first_fill=None)
    with restated(tmp_path, monkeypatch, NOW, ceilings=ceilings) as made:
        # Of ten dollars, what a refresh needs until the end of May is left, and little more.
        made.ledger.charges.add_charge(NOW, "cost", "ce", "GetCostAndUsage", Decimal("9.40"))
        restate_ages(made, [100])
        made.run(NOW + NOTICED_WITHIN)
        assert made.queries("MONTHLY") == 0
        assert made.held() != made.truth()
        states = made.ledger.reads.day_states(made.now.date() - DAY, made.now.date())
        assert [state.read_at for state in states.values() if state.read_at] != []

        made.run(datetime(2026, 6, 1, 12, tzinfo=UTC))
        check(made)


def test_old_days_that_the_ceiling_has_no_room_for_are_read_less_often_and_refreshes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, settings = datetime(2026, 6, 1, 1, tzinfo=UTC), {"interval": "12h"}
    with restated(tmp_path, monkeypatch, start, groups_per_page=100, settings=settings) as made:
        scale = known_scale(made.ledger, made.now).as_scale()
        needed = sum(month_of_pages(made.settings, scale).values(), Decimal(0)) / 100
        comparisons = usd_a_month(made.settings.model_copy(update={"reread_days": None}), scale)
        # A tenth is kept free, and comparisons are due every ten days.
        limit = needed + comparisons * 7 / 10
        assert limit > needed * Decimal("1.1")
        paced = within_ceilings(made.settings, scale, {"month": limit}, needed)
        assert paced.compare_months is not None
        assert paced.compare_months == pytest.approx(timedelta(days=10), abs=timedelta(minutes=1))
        made.ceilings = CeilingSettings(cost=Ceiling(day=None, month=limit), first_fill=None)
        made.restart()
        spent = made.ledger.charges.charged_since("cost", made.now)

        made.run(made.now + timedelta(days=9))
        asked = made.queries("MONTHLY")
        restate_ages(made, [100, 200])
        assert made.held() != made.truth()
        made.run(made.now + timedelta(days=2))
        assert (asked, made.queries("MONTHLY") > 0) == (0, True)
        check(made)
        # A request that a ceiling refuses is raised.
        made.run(datetime(2026, 6, 30, 23, tzinfo=UTC))
        assert made.ledger.charges.charged_since("cost", datetime(2026, 6, 1, tzinfo=UTC)) <= limit + spent
        refreshed = made.ledger.reads.scanned_at("refresh")
        assert refreshed is not None
        assert made.now - refreshed <= timedelta(hours=12)

"""An untouched demo is quiet and a spike is not, on any day of the month."""

from datetime import date, timedelta
from decimal import Decimal

from demo.thresholds import Thresholds, choose_thresholds, factor_needed

TODAY = date(2026, 3, 12)
PROD, DEV = "111111111111", "222222222222"


def costs(today: date, fee: int = 0) -> dict[tuple[date, str, str], Decimal]:
    days = [today - timedelta(days=back) for back in range(14)]
    usual = {
        (day, account, service): Decimal(usd)
        for day in days
        for account, service, usd in ((PROD, "EC2", 300), (PROD, "RDS", 500), (DEV, "EC2", 4))
    }
    return usual | {(day, PROD, "Tax"): Decimal(fee) for day in days if day.day == 1 and fee}


def test_thresholds_are_a_quarter_above_the_most_expensive_day_in_steps_of_ten() -> None:
    assert choose_thresholds(costs(TODAY), TODAY) == Thresholds(
        organization=Decimal(1010), accounts={PROD: Decimal(1000), DEV: Decimal(20)}
    )


def test_fees_of_the_first_count_only_while_an_alert_may_look_at_that_day() -> None:
    later = choose_thresholds(costs(TODAY, fee=4000), TODAY)
    assert later.accounts[PROD] == 1000
    soon = date(2026, 3, 3)
    assert choose_thresholds(costs(soon, fee=4000), soon).accounts[PROD] == 6000


def test_the_factor_needed_lets_the_settled_days_pass_the_limit_surely() -> None:
    limit = choose_thresholds(costs(TODAY), TODAY).accounts[PROD]
    # 500 of 800 come from RDS: 300 + 2 x 500 = 1300 is above 1000 x 1.1, 300 + 500 is not.
    assert factor_needed(costs(TODAY), limit, PROD, "RDS", TODAY) == 2
    assert factor_needed(costs(TODAY), limit, PROD, "absent", TODAY) is None


def test_more_is_needed_for_the_whole_organization() -> None:
    limit = choose_thresholds(costs(TODAY), TODAY).organization
    # 500 of 804 come from RDS: 304 + 2 x 500 = 1304 is above 1010 x 1.1; of DEV's 4 it takes 79 x 4 more.
    assert factor_needed(costs(TODAY), limit, PROD, "RDS", TODAY, organization=True) == 2
    assert factor_needed(costs(TODAY), limit, DEV, "EC2", TODAY, organization=True) == 78


def test_more_is_needed_while_the_limit_leaves_room_for_fees() -> None:
    soon = date(2026, 3, 3)
    limit = choose_thresholds(costs(soon, fee=4000), soon).accounts[PROD]
    assert factor_needed(costs(soon, fee=4000), limit, PROD, "RDS", soon) == 13


def test_the_configuration_holds_what_was_chosen() -> None:
    assert Thresholds(Decimal(50), {PROD: Decimal(40)}).as_config() == {
        "organization": {"day": 50, "month": 2000},
        "accounts": {"overrides": {PROD: {"day": 40, "month": 1600}}},
    }

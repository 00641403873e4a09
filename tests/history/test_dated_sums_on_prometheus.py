"""Sums, months, non-usage charges and account groups stand in a real Prometheus as the ledger has them, and are fixed there."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from history_harness import (
    DAY,
    Server,
    account_id,
    amount,
    cost_of,
    documented,
    fill,
    midnight,
    restate,
    running_as_configured,
    today,
)
from waiting import wait_for

from exporter.accounts.placing import describe_days
from exporter.core.moments import month_start, utc_now
from exporter.core.places import Account
from exporter.history.endpoint import RemoteWriteEndpoint
from exporter.history.request import encode_labels
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

pytestmark = pytest.mark.stack

YESTERDAY = today() - DAY
COUNT = 70  # at least one whole month


def of_day(server: Server, family: str, day: date) -> dict[tuple[str, ...], float]:
    return server.query(f'last_over_time({family}{{job=""}}[1d])', midnight(day + DAY))


def sums_of_pairs(server: Server, by: str, day: date) -> dict[tuple[str, ...], float]:
    return server.query(f"sum by ({by}) (last_over_time(aws_cost_daily_usd[1d]))", midnight(day + DAY))


def month_of_pairs(server: Server, by: str, month: date) -> dict[tuple[str, ...], float]:
    """Asked at the midnight that ends the month."""
    end = month_start(month, -1)
    days = f"last_over_time(aws_cost_daily_usd[1d])[{(end - month).days}d:1d] offset -1ms"
    return server.query(f"sum by ({by}) (sum_over_time({days}))", midnight(end))


BY = {"by_service": "service", "by_account": "account, account_id"}


def agrees(server: Server, day: date, month: date) -> bool:
    """Whether the sums of a day and of a month are those of the pairs beside them."""
    return all(
        of_day(server, f"aws_cost_daily_{name}_usd", day) == sums_of_pairs(server, by, day) != {}
        and of_day(server, f"aws_cost_monthly_{name}_usd", month) == month_of_pairs(server, by, month) != {}
        for name, by in BY.items()
    ) and of_day(server, "aws_cost_monthly_usd", month) == month_of_pairs(
        server, "account, account_id, service", month
    )


@pytest.mark.fault(
    "what the dated history holds of a sum is overwritten or wiped",
    "it is written again as the ledger has it",
)
def test_sums_follow_the_pairs_and_are_fixed_like_them(make_server: Any, ledger: Ledger) -> None:
    server: Server = make_server()
    fill(ledger, COUNT, accounts=2, services=2)
    month = month_start(today(), 1)
    restated = month + 4 * DAY
    charged = {(account_id(1), "Service 1"): "2.5", (account_id(0), "Service 0"): "-0.5"}
    ledger.reads.commit_non_usage(
        CostRead(
            utc_now(), {YESTERDAY: False}, {(YESTERDAY, *pair): amount(usd) for pair, usd in charged.items()}
        )
    )

    def non_usage() -> dict[tuple[str, ...], float]:
        return of_day(server, "aws_cost_daily_non_usage_usd", YESTERDAY)

    def bars(about: str, day: date) -> dict[tuple[str, ...], float]:
        """What the documented query about it says at the midnight that begins the day."""
        (query,) = (query for query in documented() if f"_{about}" in query)
        return server.query(query, midnight(day))

    with running_as_configured(server, ledger) as run:
        wait_for("all is written", lambda: agrees(server, YESTERDAY, month))
        assert non_usage() == {
            ("account-1", account_id(1), "Service 1"): 2.5,
            ("account-0", account_id(0), "Service 0"): -0.5,
        }
        known = "aws_cost_daily_non_usage_known"
        assert of_day(server, known, YESTERDAY) == {(): 1.0}
        assert of_day(server, known, YESTERDAY - DAY) == {(): 0.0}
        whole = server.query("sum(last_over_time(aws_cost_daily_usd[1d]))", midnight(today()))
        assert bars("non_usage_known", YESTERDAY) == pytest.approx({(): whole[()] - 2.0})
        assert bars("non_usage_known", YESTERDAY - DAY) == {}
        assert bars("monthly", month) == month_of_pairs(server, "service", month)
        assert bars("monthly", month + DAY) == {}
        # The current month has no sum.
        assert of_day(server, "aws_cost_monthly_usd", month_start(today())) == {}

        # A service and an account are taken back by AWS, with credits on what is left.
        restate(ledger, restated, {(0, 1): "-3.125"})
        run.history.notify()
        wait_for(
            "the restated day is written",
            lambda: (
                of_day(server, "aws_cost_daily_by_service_usd", restated)
                == {("Service 0",): 0.0, ("Service 1",): -3.125}
            ),
        )
        wait_for("its month is written", lambda: agrees(server, restated, month))
        assert of_day(server, "aws_cost_daily_by_account_usd", restated) == {
            ("account-0", account_id(0)): -3.125,
            ("account-1", account_id(1)): 0.0,
        }

        writer = RemoteWriteEndpoint(server.settings())
        at = round((midnight(YESTERDAY) + timedelta(hours=20)).timestamp() * 1000)
        # Changed by another program, and a service that the ledger does not have.
        writer.write([
            (encode_labels("aws_cost_daily_by_service_usd", {"service": "Service 0"}), at, 12345.0),
            (encode_labels("aws_cost_daily_by_service_usd", {"service": "Service 9"}), at, 7.0),
        ])  # fmt: skip
        writer.close()

        def is_fixed() -> bool:
            found = of_day(server, "aws_cost_daily_by_service_usd", YESTERDAY)
            return found == sums_of_pairs(server, "service", YESTERDAY) | {("Service 9",): 0.0}

        assert not is_fixed()
        run.until("it is fixed", is_fixed)

        server.stop()
        server.wipe()
        server.start()
        run.until("it is there again", lambda: agrees(server, restated, month))


def test_past_cost_is_grouped_by_the_groups_of_the_configuration(make_server: Any, ledger: Ledger) -> None:
    server: Server = make_server()
    fill(ledger, 10, accounts=3, services=1)
    accounts = {
        account_id(number): Account(
            account_id(number), f"account-{number}", groups={"team": team} if team else {}
        )
        for number, team in enumerate(("web", "web", ""))
    }
    describe_days(ledger, accounts, {"team"}, 10, utc_now())

    def by_team(day: date) -> dict[tuple[str, ...], float]:
        (query,) = (query for query in documented() if "by (team)" in query)
        return server.query(query, midnight(day))

    def expected(day: date) -> dict[tuple[str, ...], float]:
        of_accounts = [float(cost_of(number, 0, day)) for number in range(3)]
        return {("web",): of_accounts[0] + of_accounts[1], (): of_accounts[2]}

    with running_as_configured(server, ledger) as run:
        for day in (YESTERDAY, today() - 10 * DAY):
            wait_for("it is written", lambda day=day: by_team(day) == expected(day))  # type: ignore[misc]
        # The labels of such a family are those of the configuration: another value is found and fixed all the same.
        labels = {
            "account_id": account_id(0),
            "account": "account-0",
            "state": "ACTIVE",
            "ou": "/",
            "team": "web",
        }
        writer = RemoteWriteEndpoint(server.settings())
        at = round((midnight(YESTERDAY) + timedelta(hours=20)).timestamp() * 1000)
        writer.write([(encode_labels("aws_account_info", labels), at, 5.0)])
        writer.write([(encode_labels("aws_account_info", {**labels, "team": "old"}), at, 1.0)])
        writer.close()
        found = f'aws_account_info{{job="",account_id="{account_id(0)}"}}'
        run.until(
            "it is fixed",
            lambda: (
                sorted(server.query(f"last_over_time({found}[1d])", midnight(today())).items())
                == [
                    (("account-0", account_id(0), "/", "ACTIVE", "old"), 0.0),
                    (("account-0", account_id(0), "/", "ACTIVE", "web"), 1.0),
                ]
            ),
        )

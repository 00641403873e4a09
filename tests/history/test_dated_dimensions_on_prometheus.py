"""Cost by one dimension stands in a real Prometheus as the ledger has it, adds up to the accounts there, and is fixed there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from history_harness import (
    DAY,
    Server,
    account_id,
    amount,
    documented,
    midnight,
    running_as_configured,
    today,
)
from waiting import wait_for

from exporter.core.moments import utc_now
from exporter.core.money import to_units
from exporter.cube.dimensions import Dimension
from exporter.cube.values import AnyUnits, CubeRead, Source, commit
from exporter.history.endpoint import RemoteWriteEndpoint
from exporter.history.request import encode_labels
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

pytestmark = pytest.mark.stack

YESTERDAY = today() - DAY
COUNT = 40
REGION, TEAM = Dimension("region"), Dimension("tag", "team")


def keys_of(day: date, account: int) -> dict[str, float]:
    """Thirty regions of an account and day in eighths of a dollar, so that sums of floats are exact."""
    return {f"region-{number:02}": 100 - number + account + day.day / 8 for number in range(30)}


def tags_of(day: date, account: int) -> dict[str, float]:
    total = sum(keys_of(day, account).values())
    return {"": total - 100, "web": 60.5, "data": 39.5}


def read(
    ledger: Ledger,
    dimension: Dimension,
    costs: Mapping[date, Mapping[tuple[int, str], float]],
    source: Source = "cost_explorer",
    at: datetime | None = None,
) -> None:
    found: dict[tuple[date, str, str], AnyUnits] = {
        (day, account_id(account), key): tuple(map(to_units, amount(str(usd))))  # type: ignore[misc]
        for day, of_day in costs.items()
        for (account, key), usd in of_day.items()
    }
    commit(
        ledger, CubeRead(dimension, "account", at or utc_now(), source, dict.fromkeys(costs, 0), found), 100
    )


def fill_all(ledger: Ledger) -> None:
    days = [today() - back * DAY for back in range(1, COUNT + 1)]
    ledger.accounts.name({account_id(a): f"account-{a}" for a in range(2)}, days[-1])
    cost = {
        (day, account_id(a), "Service 0"): amount(str(sum(keys_of(day, a).values())))
        for day in days
        for a in range(2)
    }
    ledger.reads.commit(CostRead(utc_now(), dict.fromkeys(days, False), cost))
    for dimension, split in ((REGION, keys_of), (TEAM, tags_of)):
        read(
            ledger,
            dimension,
            {day: {(a, key): usd for a in range(2) for key, usd in split(day, a).items()} for day in days},
        )


@pytest.mark.fault(
    "what the dated history holds of cost by one dimension is overwritten or wiped",
    "it is written again as the ledger has it",
)
def test_cost_by_dimension_adds_up_to_the_accounts_and_is_fixed(make_server: Any, ledger: Ledger) -> None:
    server: Server = make_server()
    fill_all(ledger)

    def adds_up() -> bool:
        accounts = of_all_days("sum by (account_id) (last_over_time(aws_cost_daily_by_account_usd[1d]))")
        return (
            len(accounts) == 2
            and all(len(days) == COUNT for days in accounts.values())
            and of_all_days("sum by (account_id) (last_over_time(aws_cost_daily_by_region_usd[1d]))")
            == accounts
            and of_all_days(
                'sum by (account_id) (last_over_time(aws_cost_daily_by_tag_usd{tag_key="team"}[1d]))'
            )
            == accounts
        )

    def of_all_days(expression: str) -> dict[tuple[str, ...], dict[datetime, float]]:
        return server.query_range(expression, midnight(today() - (COUNT - 1) * DAY), midnight(today()))

    def bars(family: str) -> dict[tuple[str, ...], float]:
        """Yesterday's, as docs/history.md asks for them."""
        (query,) = (query for query in documented() if family in query)
        return server.query(query, midnight(YESTERDAY))

    def regions() -> dict[tuple[str, ...], float]:
        return bars("by_region")

    def teams() -> dict[tuple[str, ...], float]:
        return bars("by_tag")

    untagged = sum(tags_of(YESTERDAY, a)[""] for a in range(2))
    with running_as_configured(server, ledger) as run:
        wait_for("all is written", adds_up)
        assert len(regions()) == 21
        assert regions()[("other",)] == sum(
            keys_of(YESTERDAY, a)[f"region-{number}"] for a in range(2) for number in range(20, 30)
        )
        # What is untagged has no such label.
        assert teams() == {(): untagged, ("web",): 121.0, ("data",): 79.0}

        # Another source has other keys: those that go are 0, and the newest stamp has it.
        days = [today() - back * DAY for back in range(1, COUNT + 1)]
        places = {
            day: {(a, f"place-{n}"): sum(keys_of(day, a).values()) / 8 for a in range(2) for n in range(8)}
            for day in days
        }
        read(ledger, REGION, places, "data_export", utc_now() + timedelta(seconds=1))
        total = sum(places[YESTERDAY].values())
        run.until(
            "it is written again",
            lambda: (
                regions()
                == {
                    **{(f"region-{number:02}",): 0.0 for number in range(20)},
                    ("other",): 0.0,
                    **{(f"place-{number}",): total / 8 for number in range(8)},
                }
            ),
        )

        # Someone writes another value of what is untagged, and a tag that the ledger does not know.
        labels = {"account_id": account_id(0), "account": "account-0", "tag_key": "team"}
        at = round((midnight(YESTERDAY) + timedelta(hours=20)).timestamp() * 1000)
        writer = RemoteWriteEndpoint(server.settings())
        writer.write([(encode_labels("aws_cost_daily_by_tag_usd", labels), at, 1.0)])
        writer.write([(encode_labels("aws_cost_daily_by_tag_usd", {**labels, "tag_value": "x"}), at, 7.0)])
        writer.close()
        run.until(
            "it is fixed",
            lambda: teams() == {(): untagged, ("web",): 121.0, ("data",): 79.0, ("x",): 0.0},
        )

        server.stop()
        server.wipe()
        server.start()
        run.until("it is there again", lambda: teams() == {(): untagged, ("web",): 121.0, ("data",): 79.0})
        assert sum(regions().values()) == total

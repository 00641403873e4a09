"""The summary says what the ledger holds to the cent, and null for everything that it does not."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exporter.api.endpoints.summary import Query, answer
from exporter.api.source import Source
from exporter.config.model import Config
from exporter.core.amounts import Amounts
from exporter.core.metric import Family, Sample
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

NOW = datetime(2026, 3, 20, 13, tzinfo=UTC)
TODAY = NOW.date()
PROD, DEV = "111111111111", "222222222222"
DAY = timedelta(days=1)
UNUSED = Family(
    "aws_resources_unused_estimated_monthly_cost_usd",
    "x",
    ("account_id", "account", "region", "resource_type", "reason"),
)
COUNT = Family("aws_resources_unused", "x", ("account_id",))

Cost = Callable[[date, str, str], str | None]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


def fill(ledger: Ledger, cost: Cost, days: int = 60, read_at: datetime = NOW) -> None:
    wanted = [TODAY - timedelta(days=back) for back in range(days)]
    costs = {
        (day, account, service): Amounts(Decimal(usd), amortized=Decimal(usd) * 2)
        for day in wanted
        for account, service in ((PROD, "Amazon EC2"), (PROD, "AWS Lambda"), (DEV, "Amazon EC2"))
        if (usd := cost(day, account, service)) is not None
    }
    ledger.reads.commit(CostRead(read_at, {day: day >= TODAY - DAY for day in wanted}, costs))


def flat(day: date, account: str, service: str) -> str | None:
    return {(PROD, "Amazon EC2"): "100.10", (DEV, "Amazon EC2"): "10", (PROD, "AWS Lambda"): "0.005"}[
        account, service
    ]


def asked(
    ledger: Ledger, config: Mapping[str, Any] | None = None, samples: tuple[Sample, ...] = (), movers: int = 5
) -> dict[str, Any]:
    source = Source(
        ledger=ledger,
        config=Config.model_validate(config or {}),
        now=NOW,
        names={PROD: "prod"},
        samples=samples,
    )
    return answer(source, Query(movers=movers))


def span(start: str, end: str, usd: str | None, *, settled: bool = False) -> dict[str, Any]:
    return {"start": start, "end": end, "usd": usd, "settled": settled}


def test_flat_spend(ledger: Ledger) -> None:
    fill(ledger, flat)
    config = {"thresholds": {"organization": {"day": 500, "month": 2000.5}}}
    found = asked(ledger, config)
    usd = {
        key: found.pop(key)["usd"] for key in ("yesterday", "last_7_days", "previous_7_days", "month_to_date")
    }
    assert {key: Decimal(value) for key, value in usd.items()} == {
        "yesterday": Decimal("110.105"),
        "last_7_days": Decimal("770.735"),
        "previous_7_days": Decimal("770.735"),
        "month_to_date": Decimal("2202.1"),  # 20 days, today included
    }
    projected = Decimal(found.pop("projected_month_usd"))
    assert abs(projected - Decimal("110.105") * 31) < Decimal("0.02")
    assert found == {
        "now": "2026-03-20T13:00:00Z",
        "read_at": "2026-03-20T13:00:00Z",
        "cost_type": "unblended",
        "budget_day_usd": "500",
        "budget_month_usd": "2000.5",
        "settled_days": [
            span(day, day, "110.1050000000", settled=True)
            for day in (f"2026-03-{number}" for number in range(12, 19))
        ],
        "movers_day": {
            "start": "2026-03-18",
            "end": "2026-03-18",
            "before_start": "2026-03-17",
            "before_end": "2026-03-17",
            "top": [],
        },
        "movers_week": {
            "start": "2026-03-12",
            "end": "2026-03-18",
            "before_start": "2026-03-05",
            "before_end": "2026-03-11",
            "top": [],
        },
        "waste_usd": None,
        "waste": [],
        "listed": [],
    }


def test_an_empty_ledger_knows_nothing(ledger: Ledger) -> None:
    assert asked(ledger) == {
        "now": "2026-03-20T13:00:00Z",
        "read_at": None,
        "cost_type": "unblended",
        "yesterday": span("2026-03-19", "2026-03-19", None),
        "last_7_days": span("2026-03-12", "2026-03-18", None),
        "previous_7_days": span("2026-03-05", "2026-03-11", None),
        "month_to_date": span("2026-03-01", "2026-03-19", None),
        "budget_day_usd": None,
        "budget_month_usd": None,
        "projected_month_usd": None,
        "settled_days": [],
        "movers_day": None,
        "movers_week": None,
        "waste_usd": None,
        "waste": [],
        "listed": [],
    }


def test_a_partial_yesterday_is_in_neither_week(ledger: Ledger) -> None:
    fill(ledger, lambda day, *key: "6" if day == TODAY - DAY else "10")
    found = asked(ledger)
    weeks = [found[key] for key in ("last_7_days", "previous_7_days")]
    assert [(week["start"], week["end"], Decimal(week["usd"])) for week in weeks] == [
        ("2026-03-12", "2026-03-18", 210),
        ("2026-03-05", "2026-03-11", 210),
    ]
    movers = found["movers_week"]
    assert [(week["start"], week["end"]) for week in weeks] == [
        (movers["start"], movers["end"]),
        (movers["before_start"], movers["before_end"]),
    ]


def test_a_gap_makes_what_spans_it_unknown_and_nothing_else(ledger: Ledger) -> None:
    fill(ledger, flat, days=10)  # the month's first days are missing
    found = asked(ledger)
    known = {
        key: found[key]["usd"] is not None
        for key in ("yesterday", "last_7_days", "previous_7_days", "month_to_date")
    }
    assert known == {"yesterday": True, "last_7_days": True, "previous_7_days": False, "month_to_date": False}
    assert found["movers_day"] is not None
    assert found["movers_week"] is None


def test_a_day_without_cost_that_was_read_is_zero(ledger: Ledger) -> None:
    fill(ledger, lambda *_: None)
    found = asked(ledger)
    assert [Decimal(found[key]["usd"]) for key in ("yesterday", "month_to_date")] == [0, 0]


def test_movers_are_the_biggest_changes_up_and_down_of_the_newest_settled_day(ledger: Ledger) -> None:
    settled = TODAY - 2 * DAY

    def moved(day: date, account: str, service: str) -> str | None:
        if day == settled:
            return {(PROD, "Amazon EC2"): "150.10", (DEV, "Amazon EC2"): None, (PROD, "AWS Lambda"): "0.014"}[
                account, service
            ]
        return flat(day, account, service)

    fill(ledger, moved)
    found = asked(ledger)["movers_day"]
    assert found == {
        "start": "2026-03-18",
        "end": "2026-03-18",
        "before_start": "2026-03-17",
        "before_end": "2026-03-17",
        "top": [
            {"account_id": PROD, "account": "prod", "service": "Amazon EC2", "usd": "150.1000000000", "change_usd": "50.0000000000"},
            {"account_id": DEV, "account": DEV, "service": "Amazon EC2", "usd": "0", "change_usd": "-10.0000000000"},
        ],
    }  # fmt: skip
    assert [mover["account_id"] for mover in asked(ledger, movers=1)["movers_day"]["top"]] == [PROD]


def test_the_configured_cost_type_is_summed(ledger: Ledger) -> None:
    fill(ledger, flat)
    found = asked(ledger, {"collectors": {"cost": {"cost_type": "amortized"}}})
    assert (found["cost_type"], Decimal(found["yesterday"]["usd"])) == ("amortized", Decimal("220.21"))


def test_waste_is_summed_over_regions_and_null_where_nobody_looks(ledger: Ledger) -> None:
    def unused(usd: float, account_id: str, kind: str, region: str) -> Sample:
        return UNUSED(
            usd, account_id=account_id, account="x", region=region, resource_type=kind, reason="unattached"
        )

    samples = (
        unused(1.1, PROD, "ebs_volume", "us-east-1"),
        unused(2.2, PROD, "ebs_volume", "eu-west-1"),
        unused(50, DEV, "nat_gateway", "us-east-1"),
    )
    found = asked(ledger, samples=samples, movers=1)
    assert (found["waste_usd"], found["waste"]) == (
        "53.30",
        [{"account_id": DEV, "account": "x", "resource_type": "nat_gateway", "reason": "unattached", "usd": "50.00"}],
    )  # fmt: skip
    assert asked(ledger, samples=(COUNT(0, account_id=PROD),))["waste_usd"] == "0"
    assert asked(ledger)["waste_usd"] is None


def test_just_after_midnight_the_month_to_date_is_that_of_yesterday(ledger: Ledger) -> None:
    fill(ledger, flat)
    midnight = datetime(2026, 3, 21, 0, 1, tzinfo=UTC)
    found = answer(Source(ledger=ledger, config=Config(), now=midnight, names={}), Query())
    assert (found["month_to_date"]["end"], Decimal(found["month_to_date"]["usd"])) == (
        "2026-03-20",
        Decimal("2202.1"),
    )


def test_on_the_first_of_a_month_an_unread_today_is_unknown(ledger: Ledger) -> None:
    fill(ledger, flat)
    found = answer(
        Source(ledger=ledger, config=Config(), now=datetime(2026, 4, 1, 0, 1, tzinfo=UTC), names={}), Query()
    )
    assert found["month_to_date"] == span("2026-04-01", "2026-04-01", None)

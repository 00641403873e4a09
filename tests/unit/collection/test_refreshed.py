"""What a refresh says of the accounts that it was about."""

from __future__ import annotations

from exporter.collection.refreshed import AccountReading, Outcome, Refreshed


def reading(number: int, minutes_old: int | None = None, **outcomes: int) -> AccountReading:
    return AccountReading(
        account_id=f"{number:012}",
        account=f"account-{number}",
        outcomes={Outcome(name): count for name, count in outcomes.items()},
        minutes_old=minutes_old,
    )


def lines(*accounts: AccountReading) -> list[str]:
    return Refreshed(collector="usage", accounts=accounts).lines()


def test_one_account_needs_no_name() -> None:
    assert lines(reading(1, read=3)) == ["usage: read"]
    assert lines(reading(1, 1, known=3)) == ["usage: not read, what is known is 1 minute old"]
    assert lines(reading(1, known=3)) == ["usage: not read, nothing is due"]


def test_accounts_are_told_apart_where_they_differ() -> None:
    assert lines(reading(1, read=1), reading(2, 4, known=1), reading(3, 2, known=1)) == [
        "usage: read, in account-1 (000000000001)",
        "usage: not read, what is known is 4 minutes old, in account-2 (000000000002), account-3 (000000000003)",
    ]
    assert lines(*(reading(number, read=1) for number in range(1000))) == ["usage: read, in 1000 accounts"]
    many = lines(reading(0, read=1), *(reading(number, 3, known=1) for number in range(1, 9)))
    assert many[1].endswith("account-5 (000000000005) and 3 more")


def test_an_account_is_read_if_any_of_its_units_was_and_failed_if_any_has() -> None:
    assert reading(1, read=1, known=2).outcome is Outcome.READ
    assert reading(1, read=1, failed=1, known=2).outcome is Outcome.FAILED
    assert reading(1, known=2).outcome is Outcome.KNOWN
    assert reading(1, read=1, denied=3).outcome is Outcome.READ
    assert reading(1, known=1, denied=3).outcome is Outcome.KNOWN
    assert reading(1, denied=3).outcome is Outcome.DENIED
    assert lines(reading(1, denied=2), reading(2, read=2)) == [
        "usage: read, in account-2 (000000000002)",
        "usage: denied, in account-1 (000000000001)",
    ]


def test_days_are_counted() -> None:
    assert Refreshed(collector="cost", days=31).lines() == ["cost: 31 days read"]
    assert Refreshed(collector="cost", days=31, days_left=30).lines() == [
        "cost: 1 day read, 30 days still being read"
    ]
    found = Refreshed(collector="cost", accounts=(reading(1, 4, known=1),)).as_json()
    assert found == {
        "collector": "cost",
        "reason": None,
        "accounts": [
            {
                "account_id": "000000000001",
                "account": "account-1",
                "outcome": "known",
                "units": {"read": 0, "known": 1, "failed": 0, "denied": 0},
                "minutes_old": 4,
            }
        ],
        "days": 0,
        "days_left": 0,
        "text": ["cost: not read, what is known is 4 minutes old"],
    }

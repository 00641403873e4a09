"""The accounts' organizational units and groups, as dated values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta

from exporter.core.metric import Family
from exporter.core.places import Account
from exporter.ledger.daily_values import DailyValue, pack_labels, upsert
from exporter.ledger.file import Ledger

OU_INFO = Family(
    "aws_account_ou_info",
    "1 for each account and each organizational unit above it, by the unit's path; live, and at each day.",
    ("account_id", "account", "ou"),
)

ACCOUNT_INFO = Family(
    "aws_account_info",
    "1 for each account that is collected, with its state, OU path and groups; live, and at each day.",
    ("account_id", "account", "state", "ou"),
)
"""Beside these labels it has one for each group of the configuration."""

_VALUES_A_TRANSACTION = 20_000


def ancestors(ou: str) -> tuple[str, ...]:
    """The paths of a unit and of each unit above it, nearest last; the root alone for `/`."""
    parts = [part for part in ou.split("/") if part]
    if not parts:
        return ("/",)
    return tuple("/" + "/".join(parts[: depth + 1]) for depth in range(len(parts)))


def place_days(ledger: Ledger, account_ids: Iterable[str], days_back: int, now: datetime) -> int:
    """Put the units of these accounts at each complete day that has none yet; returns the values put."""

    def units(day: date, those: Iterable[str]) -> Iterable[DailyValue]:
        ous = ledger.accounts.ous(on=day)
        for account_id in those:
            if account_id in ous:
                for ou in ancestors(ous[account_id]):
                    yield DailyValue(day, OU_INFO.name, account_id, ou, 1.0)

    return _put_days(ledger, OU_INFO, account_ids, days_back, now, units)


def describe_days(
    ledger: Ledger,
    accounts: Mapping[str, Account],
    group_labels: Iterable[str],
    days_back: int,
    now: datetime,
) -> int:
    """Put the state, unit and groups of these accounts at each complete day that has none yet; returns the values put.

    The unit is that of the day, as far as it is known; state and groups are those of now.
    """
    labels = sorted(group_labels)

    def info(day: date, those: Iterable[str]) -> Iterable[DailyValue]:
        ous = ledger.accounts.ous(on=day)
        for account in map(accounts.__getitem__, those):
            known = {"state": account.state, "ou": ous.get(account.id, account.ou)}
            groups = {label: account.groups.get(label, "") for label in labels}
            yield DailyValue(day, ACCOUNT_INFO.name, account.id, pack_labels(known | groups), 1.0)

    return _put_days(ledger, ACCOUNT_INFO, accounts, days_back, now, info)


def _put_days(
    ledger: Ledger,
    family: Family,
    account_ids: Iterable[str],
    days_back: int,
    now: datetime,
    values_of: Callable[[date, Iterable[str]], Iterable[DailyValue]],
) -> int:
    today = now.date()
    oldest = today - timedelta(days=days_back)
    with ledger.connection() as db:
        newest = dict(
            db.execute(
                "SELECT account_id, MAX(day) FROM dated_values"
                " JOIN dated_series ON dated_series.id = dated_values.series WHERE family = ? GROUP BY account_id",
                (family.name,),
            ).fetchall()
        )
    by_day: dict[date, list[str]] = {}
    for account_id in account_ids:
        known = newest.get(account_id)
        day = max(date.fromordinal(known) + timedelta(days=1), oldest) if known else oldest
        while day < today:
            by_day.setdefault(day, []).append(account_id)
            day += timedelta(days=1)
    put_in_all = 0
    values: list[DailyValue] = []
    for day in sorted(by_day):  # so that the newest day shows where a stopped process has to go on
        values += values_of(day, by_day[day])
        if len(values) >= _VALUES_A_TRANSACTION:
            put_in_all += upsert(ledger, values, now)
            values = []
    return put_in_all + upsert(ledger, values, now)

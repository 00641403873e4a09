"""The accounts' organizational units, as dated values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

from exporter.core.metric import Family
from exporter.ledger.daily_values import DailyValue, upsert
from exporter.ledger.file import Ledger

OU_INFO = Family(
    "aws_account_ou_info",
    "1 for each account and each organizational unit above it, by the unit's path; live, and at each day.",
    ("account_id", "account", "ou"),
)

_OUS_A_TRANSACTION = 20_000


# The accounts' organizational units


def ancestors(ou: str) -> tuple[str, ...]:
    """The paths of a unit and of each unit above it, nearest last; the root alone for `/`."""
    parts = [part for part in ou.split("/") if part]
    if not parts:
        return ("/",)
    return tuple("/" + "/".join(parts[: depth + 1]) for depth in range(len(parts)))


def place_days(ledger: Ledger, account_ids: Iterable[str], days_back: int, now: datetime) -> int:
    """Put the units of these accounts at each complete day that has none yet; returns the values put."""
    today = now.date()
    oldest = today - timedelta(days=days_back)
    with ledger.connection() as db:
        newest = dict(
            db.execute(
                "SELECT account_id, MAX(day) FROM dated_values"
                " JOIN dated_series ON dated_series.id = dated_values.series WHERE family = ? GROUP BY account_id",
                (OU_INFO.name,),
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
    for day in sorted(by_day):  # so that the newest day says where a stopped process has to go on
        ous = ledger.accounts.ous(on=day)
        values += _placed(day, by_day[day], ous)
        if len(values) >= _OUS_A_TRANSACTION:
            put_in_all += upsert(ledger, values, now)
            values = []
    return put_in_all + upsert(ledger, values, now)


def _placed(day: date, account_ids: Iterable[str], ous: Mapping[str, str]) -> Iterable[DailyValue]:
    for account_id in account_ids:
        if account_id in ous:
            for ou in ancestors(ous[account_id]):
                yield DailyValue(day, OU_INFO.name, account_id, ou, 1.0)

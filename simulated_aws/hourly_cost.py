"""Cost Explorer's hours: the last fourteen days, which an organisation switches on and pays for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from simulated_aws.charges import METRICS, CostKey
from simulated_aws.cost_split import split
from simulated_aws.cost_truth import Charges
from simulated_aws.wire import AwsError

_HOUR = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
_DAYS = 14

HourSums = dict[int, dict[tuple[str, ...], list[int]]]
"""The sums of a day's groups by hour."""


def hour_period(period: Mapping[str, str], now: datetime) -> tuple[datetime, datetime]:
    """The period of an HOURLY query; a ValidationException if Cost Explorer would refuse it."""
    start, end = (_moment(period[name]) for name in ("Start", "End"))
    if start >= end:
        raise AwsError("ValidationException", "Start date (and hour) should be before end date (and hour)")
    if start > now:
        raise AwsError("ValidationException", "start date cannot be in the future")
    if start < now - timedelta(days=_DAYS):
        raise AwsError("ValidationException", "Hourly data is available for the last 14 days only.")
    return start, end


def _moment(text: str) -> datetime:
    try:
        if not _HOUR.fullmatch(text):
            raise ValueError(text)
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        text = f"Date {text} is not in the format yyyy-MM-ddTHH:mm:ssZ"
        raise AwsError("ValidationException", text) from None
    if moment.minute or moment.second:
        raise AwsError("ValidationException", "HOURLY periods begin and end with an hour.")
    return moment.astimezone(UTC)


def hours_of(start: datetime, end: datetime) -> Sequence[datetime]:
    """Each hour from `start` to before `end`."""
    return [start + timedelta(hours=number) for number in range(int((end - start).total_seconds() // 3600))]


def hour_sums(charges: Charges, hours: int, group: Callable[[CostKey], tuple[str, ...] | None]) -> HourSums:
    """The sums of a day of which `hours` are reported; charges whose group is None are left out."""
    found = [(key, amounts, group(key)) for key, amounts in charges]
    kept = [(key, amounts, name) for key, amounts, name in found if name is not None]
    sums: HourSums = {}
    if not kept:
        return sums
    # An hour is the sum of its resources: it splits as the lines of an export do.
    for parts in split(
        [key for key, *_ in kept], [each[1] for each in kept], hours, hourly=True, resources=False
    ):
        for charge, hour, amounts in zip(
            parts.charge.tolist(), parts.hour.tolist(), parts.amounts.tolist(), strict=True
        ):
            total = sums.setdefault(hour, {}).setdefault(kept[charge][2], [0] * len(METRICS))
            for index, amount in enumerate(amounts):
                total[index] += amount
    return sums

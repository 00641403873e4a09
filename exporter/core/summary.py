"""The summary of cost that the API returns and the digest shows."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer

from exporter.core.money import usd_text

Dollars = Annotated[Decimal, PlainSerializer(usd_text, return_type=str, when_used="json")]
"""US dollars; text in JSON."""


class Share(BaseModel):
    """A part of the answer; fields of newer releases are ignored by older relays."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Span(Share):
    """Cost of the UTC days from `start` to `end`, both included."""

    start: date
    end: date
    usd: Dollars | None
    """None where a day of it has not been read: unknown is never zero."""
    settled: bool = False
    """Whether AWS is done with all of it, as far as can be known."""


class Mover(Share):
    """What changed by `change_usd` to `usd`, an account's service."""

    account_id: str
    account: str
    service: str
    usd: Dollars
    change_usd: Dollars


class Movers(Share):
    """The biggest changes of cost between two spans of equal length, by size."""

    start: date
    end: date
    before_start: date
    before_end: date
    top: tuple[Mover, ...]


class Waste(Share):
    """List price of unused resources, in USD a month."""

    account_id: str
    account: str
    resource_type: str
    reason: str
    usd: Dollars


class Listed(Share):
    """A finding that no message was sent of: what it is off its expectation, and when that was decided."""

    day: date
    account_id: str
    account: str
    service: str
    kind: str
    usd: Dollars
    decided_at: datetime


class Summary(Share):
    """Amounts in USD of the configured cost type; None is unknown, or a budget that is not set."""

    now: datetime
    read_at: datetime | None
    """When the ledger was last brought up to date."""
    cost_type: str
    yesterday: Span
    last_7_days: Span
    """To the newest complete day, or the day before yesterday while none is: a week with a partial day would look like a
    fall."""
    previous_7_days: Span
    month_to_date: Span
    budget_day_usd: Dollars | None
    budget_month_usd: Dollars | None
    projected_month_usd: Dollars | None
    settled_days: tuple[Span, ...] = ()
    """The newest settled day and the six before it, newest last; empty in answers of older exporters."""
    movers_day: Movers | None
    """The newest settled day against the day before."""
    movers_week: Movers | None
    """The seven days to the newest settled one against the seven before."""
    waste_usd: Dollars | None
    waste: tuple[Waste, ...]
    """The most expensive first, as many as movers were asked for."""
    listed: tuple[Listed, ...] = ()
    """What stood out in the last two weeks without a message, the largest first; empty in answers of older exporters."""

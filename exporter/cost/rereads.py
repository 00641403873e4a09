"""Days that somebody asks to have read again: which there are, what that costs at most, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from exporter.aws.meter import COST_EXPLORER_REQUEST_USD, Ceilings
from exporter.core.moments import period_start, to_milliseconds, to_moment
from exporter.cost.older_months import history_start
from exporter.cost.refresh_plan import (
    GROUPS_A_DAY_FACTS,
    CostPart,
    known_scale,
    non_usage_groups_a_day,
)
from exporter.cost.settings import CostSettings
from exporter.ledger.file import Ledger
from exporter.ledger.pending import Origin, PendingRead

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Reread:
    """Whole days [start, end) to be read again."""

    start: date
    end: date

    @property
    def days(self) -> int:
        """How many days that are."""
        return (self.end - self.start).days

    def refusal(self, settings: CostSettings, now: datetime) -> str | None:
        """Why these days cannot be read, None if they can."""
        if settings.source == "data_export":
            return "cost_explorer as collectors.cost.source: an export is read again when AWS replaces it"
        first, today = history_start(settings, now.date()), now.date()
        last = self.end - _DAY
        if self.start > last:
            return f"from: found {self.start}, expected a day that is not after {last}"
        if self.start < first or last > today:
            wrong = f"from: found {self.start}" if self.start < first else f"to: found {last}"
            return f"{wrong}, expected days of the history, {first} to {today}"
        return None

    def pages(self, ledger: Ledger, now: datetime) -> int:
        """Requests that this takes, non-usage charges included; more if AWS has more groups than it had."""
        scale = known_scale(ledger, now)
        seen = ledger.facts.get(GROUPS_A_DAY_FACTS[CostPart.OTHER]) or 0
        lines = max(seen, non_usage_groups_a_day(scale.accounts))
        return scale.pages_of(self.days, scale.keys) + scale.pages_of(self.days, lines)

    def usd(self, ledger: Ledger, now: datetime) -> Decimal:
        """The price of `pages`."""
        return self.pages(ledger, now) * COST_EXPLORER_REQUEST_USD

    def over_ceiling(self, ledger: Ledger, ceilings: Ceilings, now: datetime) -> str | None:
        """Which ceiling the price would pass, None if there is room."""
        usd = self.usd(ledger, now)
        for period, limit in ceilings.limits("cost").items():
            if limit is None:
                continue
            left = limit - ledger.charges.charged_since("cost", period_start(period, now))
            if usd > left:
                return (
                    f"reading these days again costs about ${usd:.2f},"
                    f" and ${max(left, Decimal(0)):.2f} of ceilings.cost.{period} is left: ask for fewer"
                    " days, or raise the ceiling"
                )
        return None

    def request(self, ledger: Ledger, now: datetime) -> None:
        """Have them read before anything else; a kill loses nothing of it."""
        ledger.pending.add(
            Origin.REQUEST,
            [PendingRead(part, self.start, self.end, now) for part in (CostPart.COSTS, CostPart.OTHER)],
        )

    def withdraw(self, ledger: Ledger) -> None:
        """Leave the rest of them as they are."""
        ledger.pending.drop_within(Origin.REQUEST, (CostPart.COSTS, CostPart.OTHER), self.start, self.end)

    def days_read_since(self, ledger: Ledger, since: datetime) -> int:
        """How many of them have been read whole, with their non-usage charges, since a moment."""
        since = to_moment(to_milliseconds(since))  # as reads are kept
        states = ledger.reads.day_states(self.start, self.end)
        return sum(
            state.whole_at is not None
            and state.whole_at >= since
            and state.other_read_at is not None
            and state.other_read_at >= since
            for state in states.values()
        )


def days_left(ledger: Ledger) -> int:
    """Days that are still to be read of the longest read that was asked for."""
    return max(((read.end - read.start).days for read in ledger.pending.of(Origin.REQUEST)), default=0)

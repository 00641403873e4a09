"""What became of a reading that somebody asked for: what AWS was asked for, and what was known well enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_NAMED_ACCOUNTS = 5


class Outcome(StrEnum):
    """Of one unit."""

    READ = "read"
    KNOWN = "known"  # not read: what is known is a moment old
    FAILED = "failed"
    DENIED = "denied"  # a service control policy denies the region


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReading:
    """Units of one account by their outcome."""

    account_id: str
    account: str
    outcomes: Mapping[Outcome, int]
    minutes_old: int | None = None
    """How long ago AWS was read for what is known."""

    @property
    def outcome(self) -> Outcome:
        """`failed` if any unit has, else `read` if any was read; `denied` only if all are."""
        order = (Outcome.FAILED, Outcome.READ, Outcome.KNOWN, Outcome.DENIED)
        return next((each for each in order if self.outcomes.get(each)), Outcome.KNOWN)

    @property
    def shown(self) -> str:
        """The account for a person."""
        return self.account_id if self.account == self.account_id else f"{self.account} ({self.account_id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """The answer to a refresh."""

    collector: str
    reason: str | None = None
    """Why it was not done; None if it was."""
    accounts: tuple[AccountReading, ...] = ()
    days: int = 0
    """Days that were asked for by date; 0 where it was about what is due."""
    days_left: int = 0
    """Those of them that are still being read."""

    def lines(self) -> list[str]:
        """A line for each kind of outcome, e.g. `cost: read`."""
        found = []
        if self.days:
            left = f", {_days(self.days_left)} still being read" if self.days_left else ""
            found.append(f"{self.collector}: {_days(self.days - self.days_left)} read{left}")
            return found
        for outcome in Outcome:
            readings = [each for each in self.accounts if each.outcome is outcome]
            if readings:
                found.append(f"{self.collector}: {_text(outcome, readings)}{self._where(readings)}")
        return found

    def _where(self, readings: list[AccountReading]) -> str:
        """In which accounts, where not all have the same outcome."""
        if len(readings) == len(self.accounts):
            return "" if len(readings) == 1 else f", in {len(readings)} accounts"
        names = ", ".join(each.shown for each in readings[:_NAMED_ACCOUNTS])
        more = f" and {len(readings) - _NAMED_ACCOUNTS} more" if len(readings) > _NAMED_ACCOUNTS else ""
        return f", in {names}{more}"

    def as_json(self) -> dict[str, Any]:
        """Everything, an object an account."""
        return {
            "collector": self.collector,
            "reason": self.reason,
            "accounts": [
                {
                    "account_id": each.account_id,
                    "account": each.account,
                    "outcome": each.outcome,
                    "units": {outcome: each.outcomes.get(outcome, 0) for outcome in Outcome},
                    "minutes_old": each.minutes_old,
                }
                for each in self.accounts
            ],
            "days": self.days,
            "days_left": self.days_left,
            "text": self.lines(),
        }


def _text(outcome: Outcome, readings: Iterable[AccountReading]) -> str:
    if outcome is not Outcome.KNOWN:
        return outcome
    ages = [age for each in readings if (age := each.minutes_old) is not None]
    if not ages:
        return "not read, nothing is due"
    minutes = max(ages)
    return f"not read, what is known is {minutes} minute{'' if minutes == 1 else 's'} old"


def _days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"

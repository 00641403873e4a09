"""PromQL idioms that the dashboards share; docs/history.md says why dated cost is asked like this.

Live gauges carry the scrape's own labels beside the contract's, and an account can be renamed within a
day: wherever a query looks back in time over live gauges, it first takes one value an account and service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

# `members` are the accounts of the chosen group, `account` those of them that are chosen by hand.
ACCOUNT = 'account_id=~"$account", account_id=~"$members"'
# Subjects that are no account have no account_id; they are shown for any chosen account.
SUBJECT = 'account_id=~"$account|", account_id=~"$members|"'
COST = f'{ACCOUNT}, service=~"$service"'
PLACE = f'{ACCOUNT}, region=~"$region"'
PAIR = "account_id, account, service"

_DAY = 86_400
_DAY_MS = 86_400_000
_WEEK = 7
_LATE_DAYS = 7  # how far the newest complete day may lie back; AWS books within two
_LIVE_DAY = "1439m"
_YESTERDAYS_DAY = "last_over_time(aws_cost_daily_usd{%s}[1d])"


def _at_end(vector: str) -> str:
    """A vector as it is at the end of the query, at every step of it."""
    return f"last_over_time({vector}[1s:1s] @ end())"


_MIDNIGHT = _at_end(f"(vector(time()) - vector(time()) % {_DAY})")


def total(by: str, vector: str) -> str:
    """The sum by some labels, or of everything when there are none."""
    return f"sum by ({by}) ({vector})" if by else f"sum({vector})"


def daily_cost(by: str, matchers: str = COST) -> str:
    """Cost of the UTC day that begins at each step, in USD; the step must be one day.

    Dated history first. Where there is none, the live gauges show it: a day's cost is what `yesterday` showed at
    the end of the following day, and the current day is what `today` shows. The first minute of a day does not
    count: a scrape may come before the exporter has noticed midnight, and what it shows is the day before.
    """

    def live(family: str, shift: str) -> str:
        newest = f"last_over_time({family}{{{matchers}}}[{_LIVE_DAY}] offset {shift})"
        return total(by, f"max by ({_series(by)}) ({newest})")

    return (
        f"{total(by, f'last_over_time(aws_cost_daily_usd{{{matchers}}}[1d] offset -1d)')}"
        f" or {live('aws_cost_yesterday_usd', '-2d')}"
        f" or {live('aws_cost_today_usd', '-1d')}"
    )


def complete_through(look: str = "[1d] @ end()") -> str:
    """End of the newest complete day at the end of a query, in seconds; never counted from the wall clock's day.

    Where no exporter was scraped, as before the installation, the end of the day before yesterday stands for it.
    """
    served = f"max(last_over_time(aws_cost_complete_through_timestamp_seconds{look}))"
    return f"({served} or on () ({_MIDNIGHT} - {_DAY}))"


def complete_days(vector: str) -> str:
    """A range vector of daily steps at the end of each day as one of complete days only."""
    return f"({vector} and on () (vector(time()) <= on () {complete_through()}))"


def direction(days: int, matchers: str = COST) -> str:
    """By which part the newest complete UTC days cost more than as many before them; at the end of a range.

    From dated history, else what `yesterday` showed last on each following day. Absent unless all of these days
    are known.
    """

    def ratio(steps: _Steps, vector: str) -> str:
        last, before = (f"sum({steps.sum(vector, first, days)})" for first in (0, days))
        return f"({last} / {before} - 1)"

    return _dated_or_live(2 * days, "", matchers, ratio)


def movers(days: int, most: int) -> str:
    """By how much account and service pairs rose or fell against the same days a week before, largest first.

    The days are the newest complete ones; all of both sides are known, or nothing is shown. What is new has
    cost nothing before; what has ended costs nothing now.
    """
    change = _dated_or_live(
        days + _WEEK,
        PAIR,
        COST,
        lambda steps, vector: f"sum by ({PAIR}) ({steps.change(vector, days, _WEEK)})",
    )
    return f"{change} and topk({most}, abs({change}) > 0.005)"


def _dated_or_live(days: int, by: str, matchers: str, expr: Callable[[_Steps, str], str]) -> str:
    """What `expr` makes of daily cost by account and service, if the newest complete days are all known."""
    dated, live = _Steps(days, is_live=False), _Steps(days, is_live=True)
    newest = f"max by ({_series(by)}) (last_over_time(aws_cost_yesterday_usd{{{matchers}}}[1d]))"
    return (
        f"({expr(dated, f'last_over_time(aws_cost_daily_usd{{{matchers}}}[1d])')} and on () {dated.are_known()}"
        f" or {expr(live, newest)} and on () {live.are_known()} unless on () {dated.are_known()})"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steps:
    """Daily steps back to so many days before the end of the newest complete one, each at the end of a day.

    What is live shows a day only when the next one ends: its steps are of the day before, and the newest one is
    of the day before yesterday.
    """

    days: int = field(kw_only=False)
    is_live: bool

    @property
    def _age(self) -> str:
        """How many seconds before the end of the newest complete day the day of a step ended."""
        if not self.is_live:
            return f"({complete_through()} - time())"
        return f"(clamp_max({complete_through()}, scalar({_MIDNIGHT}) - {_DAY}) - time() + {_DAY})"

    @property
    def _back(self) -> str:
        return f"[{self.days + _LATE_DAYS}d:1d] offset -1ms"

    def _between(self, first: int, days: int) -> str:
        return f"({self._age} >= {first * _DAY} < {(first + days) * _DAY})"

    def sum(self, vector: str, first: int, days: int) -> str:
        """The sum of so many days; the newest complete one is day 0."""
        return f"sum_over_time(({vector} and on () {self._between(first, days)}){self._back})"

    def change(self, vector: str, days: int, before: int) -> str:
        """The sum of the newest days less that of as many so many days before."""
        sign = f"({self._between(0, days)} * 0 + 1 or {self._between(before, days)} * 0 - 1)"
        return f"sum_over_time(({vector} * on () group_left () {sign}){self._back})"

    def are_known(self) -> str:
        """A value only if every day has one."""
        family = "aws_cost_yesterday_usd" if self.is_live else "aws_cost_daily_usd"
        known = f"group(last_over_time({family}[1d])) and on () {self._between(0, self.days)}"
        return f"(count_over_time(({known}){self._back}) == {self.days})"


def same_days_of_last_month(matchers: str = COST) -> str:
    """Cost of days 1 to k of the previous calendar month, of which k are complete in this one; nothing without any."""
    now = _at_end("vector(time())")
    last = _at_end("(vector(time()) - 86400 * day_of_month())")
    newest = f"({complete_through()} - 1)"
    return (
        f"sum(sum_over_time(({_YESTERDAYS_DAY % matchers}"
        f" and on () month({newest}) == month({now})"
        f" and on () month(vector(time() - 1)) == month({last})"
        f" and on () day_of_month(vector(time() - 1)) <= day_of_month({newest}))[62d:1d] offset -1ms))"
    )


def top(count: int, by: str, vector: str) -> str:
    """The largest, for instant queries."""
    return f"topk({count}, sum by ({by}) ({vector}))"


def top_of_range(count: int, by: str, matchers: str = COST) -> str:
    """Those that cost most in this month and the last, the same ones at every step of a range.

    A range of daily steps ends at the last midnight, where a fresh exporter knew nothing yet: hence the
    look ahead. The look back lets a range end in the future, as "this month" does.
    """
    months = f'{{__name__=~"aws_cost_month_to_date_usd|aws_cost_last_month_usd", {matchers}}}'
    return f"topk({count}, sum by ({by}) (last_over_time({months}[3d] @ end() offset -1d)))"


def month_to_date(by: str) -> str:
    """Cost of this UTC calendar month so far."""
    return total(by, f"aws_cost_month_to_date_usd{{{COST}}}")


def _series(by: str) -> str:
    """The labels that one value an account and service needs to be summed by `by`."""
    return ", ".join(sorted({"account_id", "service", *filter(None, by.split(", "))}))

"""PromQL idioms that the dashboards share; docs/history.md says why dated cost is asked like this.

Live gauges carry the scrape's own labels beside the contract's, and an account can be renamed within a
day: wherever a query looks back in time over live gauges, it first takes one value an account and service.
"""

from __future__ import annotations

# `members` are the accounts of the chosen group, `account` those of them that are chosen by hand.
ACCOUNT = 'account_id=~"$account", account_id=~"$members"'
COST = f'{ACCOUNT}, service=~"$service"'
PLACE = f'{ACCOUNT}, region=~"$region"'
PAIR = "account_id, account, service"

_DAY_MS = 86_400_000
_LIVE_DAY = "1439m"
_YESTERDAYS_DAY = "last_over_time(aws_cost_daily_usd{%s}[1d])"


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


def days_cost(by: str, days: int, ago: int = 1, matchers: str = COST) -> str:
    """Cost of so many UTC days in USD, of which the last was `ago` days before yesterday; at the end of a range.

    Yesterday still grows: hence one day ago. From dated history, else what `yesterday` showed last on each day.
    """
    offset = f"offset {ago * _DAY_MS - 1}ms" if ago else "offset -1ms"
    dated = f"sum_over_time({_YESTERDAYS_DAY % matchers}[{days}d:1d] {offset})"
    # What `yesterday` showed last on a day is the cost of the day before it.
    newest = f"max by ({_series(by)}) (last_over_time(aws_cost_yesterday_usd{{{matchers}}}[1d]))"
    live_offset = f"offset {(ago - 1) * _DAY_MS - 1}ms"
    live = f"sum_over_time({newest}[{days}d:1d] {live_offset})"
    return f"({total(by, dated)} or {total(by, live)})"


def movers(days: int, most: int) -> str:
    """By how much account and service pairs rose or fell against the same days a week before, largest first.

    What is new has cost nothing before; what has ended costs nothing now.
    """
    now, before = days_cost(PAIR, days, 1), days_cost(PAIR, days, 8)
    change = f"({now} - {before} or {now} or -1 * {before})"
    return f"{change} and topk({most}, abs({change}) > 0.005)"


def same_days_of_last_month(matchers: str = COST) -> str:
    """Cost of as many complete days of the previous calendar month as this one has; nothing on the first."""
    this, last = (
        f"last_over_time({moment}[1s:1s] @ end())"
        for moment in ("vector(time())", "(vector(time()) - 86400 * day_of_month())")
    )
    return (
        f"sum(sum_over_time(({_YESTERDAYS_DAY % matchers}"
        f" and on () month(vector(time() - 1)) == month({last})"
        f" and on () day_of_month(vector(time() - 1)) < day_of_month({this}))[62d:1d] offset -1ms))"
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

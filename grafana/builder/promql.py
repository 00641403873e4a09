"""PromQL idioms that the dashboards share.

Live gauges carry the scrape's own labels beside the contract's, and an account can be renamed within a
day: wherever a query looks back in time over live gauges, it first takes one value an account and service.
"""

from __future__ import annotations

COST = 'account_id=~"$account", service=~"$service"'
ACCOUNT = 'account_id=~"$account"'


def daily_cost(by: str) -> str:
    """Cost of the UTC day that begins at each step, in USD; the step must be one day.

    Dated history first. Where there is none, the live gauges say what they said last: a day's cost is
    what `yesterday` showed at the end of the following day, and the current day is what `today` shows.
    """
    series = ", ".join(sorted({"account_id", "service"}.union(by.split(", "))))

    def live(family: str, shift: str) -> str:
        newest = f"last_over_time({family}{{{COST}}}[1d] offset {shift})"
        return f"sum by ({by}) (max by ({series}) ({newest}))"

    return (
        f"sum by ({by}) (last_over_time(aws_cost_daily_usd{{{COST}}}[1d] offset -1d))"
        f" or {live('aws_cost_yesterday_usd', '-2d')}"
        f" or {live('aws_cost_today_usd', '-1d')}"
    )


def top_services(count: int) -> str:
    """The services that cost most in this month and the last, the same ones at every step of a range.

    A range of daily steps ends at the last midnight, where a fresh exporter knew nothing yet: hence the
    look ahead. The look back lets a range end in the future, as "this month" does.
    """
    months = f'{{__name__=~"aws_cost_month_to_date_usd|aws_cost_last_month_usd", {COST}}}'
    return f"topk({count}, sum by (service) (last_over_time({months}[3d] @ end() offset -1d)))"


def top_accounts(count: int) -> str:
    """The accounts that cost most this month."""
    return f"topk({count}, sum by (account_id, account) (aws_cost_month_to_date_usd{{{COST}}}))"

"""Panels of cost that several dashboards show."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, common, stat, table, timeseries

from grafana.builder.collected import INVENTORY
from grafana.builder.promql import (
    COST,
    PAIR,
    daily_cost,
    month_to_date,
    movers,
    same_days_of_last_month,
    top_of_range,
)
from grafana.builder.style import (
    BAD,
    GOOD,
    MUTED,
    USD,
    WARNING,
    account_column,
    account_id_column,
    colour_services,
    columns,
    daily_bars,
    fixed,
    instant,
    money_bar,
    money_column,
    properties,
    ranged,
    ranking_bars,
    rows,
    service_column,
    stat_panel,
    steps,
    table_panel,
    thresholds,
    when_unknown,
    without_columns,
)

_SERVICES_SHOWN = 12
_ACCOUNTS_SHOWN = 12
_ROWS = 20


def yesterday(width: int) -> stat.Panel:
    """Cost of the previous UTC day."""
    return (
        stat_panel(
            "Yesterday",
            "Cost of the previous UTC day as AWS reports it now. AWS reports up to a day late and is asked every "
            "six hours, so it still grows during today.",
            width=width,
            height=5,
        )
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", f"sum(aws_cost_yesterday_usd{{{COST}}})", "Yesterday"))
    )


def month(width: int) -> stat.Panel:
    """The month so far, what the same days of the last one cost, and where it will end."""
    return (
        stat_panel(
            "This month",
            "Cost of this UTC calendar month so far; of days 1 to k of last month, where k days of this one are complete, or of "
            "all of them where it has fewer (nothing until the 1st is complete, and only with dated history); and our own "
            "projection of the whole month. Up to a day behind.",
            width=width,
            height=5,
        )
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", month_to_date(""), "Month to date"))
        .with_target(instant("B", same_days_of_last_month(), "Same days last month"))
        .with_target(instant("C", f"sum(aws_cost_month_projection_usd{{{COST}}})", "Projected month"))
        .override_by_name("Same days last month", properties(color=fixed(MUTED)))
    )


def budget(scope: str, accounts: str, *, width: int) -> stat.Panel:
    """The projected month as a share of the scope's monthly threshold; `accounts` are its matchers."""
    matchers = ", ".join(filter(None, (f'scope="{scope}", period="month"', accounts)))
    limit = f"sum(max by (account_id) (aws_cost_threshold_usd{{{matchers}}}))"
    return (
        stat_panel(
            "Projection of budget",
            f"Projected cost of this month, all services counted, as a share of the {scope}'s monthly threshold in the "
            "configuration. As old as the projection, at most six hours.",
            width=width,
            height=5,
        )
        .unit("percentunit")
        .decimals(0)
        .mappings([when_unknown("no budget")])
        .thresholds(thresholds((None, GOOD), (0.9, WARNING), (1, BAD)))
        .with_target(
            instant("A", f"sum(aws_cost_month_projection_usd{{{accounts}}}) / on () {limit}", "Of the budget")
        )
    )


def share(title: str, description: str, part: str, whole: str, *, width: int) -> stat.Panel:
    """Cost of this month by the matchers `part` as a share of that by the matchers `whole`."""
    family = "aws_cost_month_to_date_usd"
    return (
        stat_panel(title, description, width=width, height=5)
        .unit("percentunit")
        .decimals(1)
        .with_target(instant("A", f"sum({family}{part}) / on () sum({family}{whole})", "Share"))
    )


def list_ratio(
    which: str, by: str, legend: str, *, most: int, unknown: str, width: int, height: int
) -> bargauge.Panel:
    """The bill by list price, for the highest by these labels; `unknown` is the text where there is none."""
    panel = (
        ranking_bars(
            "Bill against list price",
            f"Usage cost of the newest settled day by the list price of a day of what exists now, {which}: below 1 are "
            "discounts and what runs part of the day, above it what list price does not count.",
            width=width,
            height=height,
        )
        .no_value(unknown)
        .unit("percentunit")
        .decimals(0)
        .with_target(
            instant(
                "A",
                f"sort_desc(topk({most}, max by ({by}) (aws_cost_realised_to_list_ratio{{{COST}}})))",
                legend,
            )
        )
    )
    return INVENTORY.in_values(panel, "inventory")


def daily_by(
    by: str, legend: str, title: str, rest: str, *, width: int, height: int, most: int = _SERVICES_SHOWN
) -> timeseries.Panel:
    """Stacked days by what costs most, and the sum of the rest."""
    daily = f"({daily_cost(by)})"
    largest = top_of_range(most, by)
    return (
        daily_bars(
            title,
            f"Cost of each UTC day: the {most} that cost most in this month and the last, and the sum of the rest. "
            "Days before the first scrape need dated history. The last two days still grow, and AWS restates the "
            "month until about the 7th of the next.",
            width=width,
            height=height,
        )
        .with_target(ranged("A", f"{daily} and on ({by}) {largest}", legend, "1d"))
        .with_target(ranged("B", f"sum({daily} unless on ({by}) {largest})", rest, "1d"))
        .override_by_name(rest, properties(color=fixed(MUTED)))
    )


def daily_by_service(width: int, height: int) -> timeseries.Panel:
    return colour_services(
        daily_by(
            "service", "{{service}}", "Daily cost by service", "Other services", width=width, height=height
        )
    )


def daily_by_account(width: int, height: int) -> timeseries.Panel:
    return daily_by(
        "account_id, account",
        "{{account}} · {{account_id}}",
        "Daily cost by account",
        "Other accounts",
        width=width,
        height=height,
        most=_ACCOUNTS_SHOWN,
    )


def changed(
    title: str, days: int, what: str, width: int, height: int, *, without: tuple[str, ...] = ()
) -> table.Panel:
    """The pairs of account and service that rose or fell most against a week before."""
    panel = (
        table_panel(
            title,
            f"Accounts and services whose cost {what} changed most against the same a week before. The newest complete "
            "day ended one or two days ago; nothing is shown unless all days of both are known.",
            width=width,
            height=height,
        )
        .no_value("nothing changed")
        .with_target(rows("A", movers(days, 8)))
        .transformations(
            columns(
                {"account": "Account", "account_id": "Account id", "service": "Service", "Value": "Change"}
            )
        )
        .sort_by([common.TableSortByFieldState().display_name("Change").desc(True)])
        .override_by_name("Account", account_column())
        .override_by_name("Account id", account_id_column(width))
        .override_by_name("Service", service_column())
        .override_by_name(
            "Change",
            money_column(
                custom__cellOptions={"type": "color-text"},
                thresholds=steps((None, GOOD), (0, BAD)),
            ),
        )
    )
    return without_columns(panel, without)


def ranking(by: str, names: dict[str, str], title: str, width: int, height: int) -> table.Panel:
    """What cost most this month, with its projection, yesterday and today so far."""

    def of(family: str) -> str:
        return f"sum by ({by}) ({family}{{{COST}}})"

    # On the 1st nothing is known of the month until the first read; its projection ranks until then.
    largest = f"topk({_ROWS}, {month_to_date(by)} or on () {of('aws_cost_month_projection_usd')})"

    def cost(family: str) -> str:
        return f"{of(family)} and on ({by}) {largest}"

    panel = (
        table_panel(
            title,
            f"The {_ROWS} that cost most this UTC month, with the projection of the month, yesterday, and today so "
            "far. Both days are partial until AWS has reported them, up to a day late.",
            width=width,
            height=height,
        )
        .with_target(rows("A", f"sort_desc({month_to_date(by)} and on ({by}) {largest})"))
        .with_target(rows("B", cost("aws_cost_month_projection_usd")))
        .with_target(rows("C", cost("aws_cost_yesterday_usd")))
        .with_target(rows("D", cost("aws_cost_today_usd")))
        .transformations(
            columns(
                names
                | {
                    "Value #A": "Month to date",
                    "Value #B": "Projected",
                    "Value #C": "Yesterday",
                    "Value #D": "Today so far",
                }
            )
        )
        .sort_by([common.TableSortByFieldState().display_name("Month to date").desc(True)])
        .override_by_name("Month to date", money_bar())
    )
    for column in ("Projected", "Yesterday", "Today so far"):
        panel.override_by_name(column, money_column())
    if "account" in names:
        panel.override_by_name("Account id", account_id_column(width))
        panel.override_by_name("Account", account_column())
    if "service" in names:
        panel.override_by_name("Service", service_column())
    return panel


def accounts(width: int, height: int) -> table.Panel:
    return ranking(
        "account_id, account", {"account": "Account", "account_id": "Account id"}, "Accounts", width, height
    )


def services(width: int, height: int) -> table.Panel:
    return ranking("service", {"service": "Service"}, "Services", width, height)


def pairs(width: int, height: int) -> table.Panel:
    """Services within accounts by cost."""
    return ranking(
        PAIR,
        {"account": "Account", "account_id": "Account id", "service": "Service"},
        "Services in accounts",
        width,
        height,
    )


_FINDINGS = f"sum by ({PAIR}, kind) (aws_cost_anomaly_usd{{{COST}}})"
_KINDS = {
    "spike": "Spike",
    "drop": "Drop",
    "dip": "Low day",
    "new_service": "New service",
    "stopped_service": "Stopped service",
}
"""What the kinds of findings are called; a test holds it to the kinds that there are."""


def anomalies(width: int, height: int) -> table.Panel:
    """Findings that hold on the assessed day, with the dollars that each is off."""
    return (
        table_panel(
            "Open anomalies",
            "Accounts and services whose assessed day is far off what was expected, and by how many dollars. That day ended "
            "one or two days ago, at the start of a month up to five; a single low day is two days older. Each refresh of cost "
            "computes the baseline again.",
            width=width,
            height=height,
        )
        .no_value("none")
        # The largest to either side: a low day is below zero.
        .with_target(rows("A", f"{_FINDINGS} and topk(20, abs({_FINDINGS}))"))
        .transformations(
            columns(
                {
                    "account": "Account",
                    "account_id": "Account id",
                    "service": "Service",
                    "kind": "Kind",
                    "Value": "Off by",
                }
            )
        )
        .override_by_name("Account", account_column())
        .override_by_name("Account id", account_id_column(width))
        .override_by_name("Service", service_column())
        .override_by_name(
            "Kind",
            properties(
                custom__width=120,
                mappings=[
                    {"type": "value", "options": {kind: {"text": text} for kind, text in _KINDS.items()}}
                ],
            ),
        )
        .override_by_name("Off by", money_column())
    )

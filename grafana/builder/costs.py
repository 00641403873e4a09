"""Panels of cost that several dashboards show."""

from __future__ import annotations

from grafana_foundation_sdk.builders import barchart, bargauge, common, stat, table, timeseries

from grafana.builder import promql
from grafana.builder.collected import COST as COST_COLLECTOR
from grafana.builder.collected import INVENTORY
from grafana.builder.months import monthly_bars
from grafana.builder.promql import (
    ACCOUNT,
    BY_ACCOUNT,
    COST,
    LEAST_CHANGE_USD,
    PAIR,
    Ranking,
    against_last_month,
    change,
    cost_of_months,
    daily_cost,
    drawn,
    matchers,
    month_so_far,
    month_to_date,
    movers,
    range_cost,
    top_of_months,
    top_of_range,
)
from grafana.builder.style import (
    BAD,
    GOOD,
    MUTED,
    NARROW_MONEY_WIDTH,
    NEUTRAL,
    SERVICES,
    USD,
    WARNING,
    account_column,
    account_id_column,
    calculated,
    colour_services,
    columns,
    daily_bars,
    difference,
    fixed,
    instant,
    largest_first,
    legend_below,
    money_bar,
    money_column,
    part_column,
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

_TILE = 4  # rows of the grid that a panel of figures takes
_DIRECTION = (None, GOOD), (0.02, NEUTRAL), (0.1, WARNING), (0.25, BAD)
_SERVICES_SHOWN = 12
_ACCOUNTS_SHOWN = 12
_ROWS = 20


def chart_ranking(label: promql.RankedLabel, part: promql.Part) -> Ranking:
    """What a chart of days shows apart from the rest."""
    return Ranking(most=_SERVICES_SHOWN if label == "service" else _ACCOUNTS_SHOWN, label=label, part=part)


def table_ranking(label: promql.RankedLabel) -> Ranking:
    """What a table lists."""
    return Ranking(most=_ROWS, label=label, part="all")


def yesterday(width: int) -> stat.Panel:
    """Cost of the newest UTC day that is over at the end of the range."""
    return (
        stat_panel(
            "Yesterday",
            "Cost of the newest UTC day that is over at the end of the range: of a range that ends now, yesterday's. AWS reports up to a "
            "day late and is asked every six hours, so that it still grows then.",
            width=width,
            height=_TILE,
        )
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", promql.yesterday(), "Yesterday"))
    )


def in_range(width: int) -> stat.Panel:
    """The range, what a day of it runs at, and what that was before."""
    return (
        stat_panel(
            "The range shown",
            "Cost of the UTC days of the range, all charges, as far as they are over; what runs on an average complete day of it, without "
            "tax, support, fees and credits; and by which part that is more than as many days before. Needs dated history, the "
            "comparison of both sides.",
            width=width,
            height=_TILE,
            named=True,
        )
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", range_cost(""), "Total"))
        .with_target(instant("B", promql.average_day(), "Run a day"))
        .with_target(instant("C", promql.change_in_part(), "Against before"))
        .override_by_name(
            "Against before",
            properties(unit="percentunit", decimals=1, thresholds=steps(*_DIRECTION)),
        )
    )


def month(width: int) -> stat.Panel:
    """The month so far, its complete days against the same of the last one, and where it will end."""
    return (
        stat_panel(
            "This month",
            "Cost of the UTC calendar month in which the range ends, up to its end; by which part its complete days cost more than the "
            "same days of the month before, of as many as both have (nothing until the 1st is complete, and only with dated "
            "history); and, of a range that ends now, our own projection of the whole month. Up to a day behind.",
            width=width,
            height=_TILE,
            named=True,
        )
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", month_to_date(""), "Month to date"))
        .with_target(instant("B", against_last_month(), "Against last month"))
        .with_target(instant("C", f"sum(aws_cost_month_projection_usd{{{COST}}})", "Projected month"))
        .override_by_name(
            "Against last month", properties(unit="percentunit", decimals=1, thresholds=steps(*_DIRECTION))
        )
    )


def budget(width: int, height: int = _TILE) -> stat.Panel:
    """The projected month as a share of the monthly threshold: of chosen accounts that have one, else of the organization."""
    projection = "aws_cost_month_projection_usd"
    monthly = 'aws_cost_threshold_usd{period="month", scope='
    limits = f'max by (account_id) ({monthly}"account", account_id=~"$accounts", account_id!=""}})'
    chosen = f"sum(sum by (account_id) ({projection}{{{ACCOUNT}}}) and on (account_id) {limits}) / on () sum({limits})"
    organization = f'sum({projection}) / on () max({monthly}"organization"}})'
    panel = (
        stat_panel(
            "Projection of budget",
            "Projected cost of this month, all services counted, as a share of the monthly threshold in the configuration: of the "
            "chosen accounts that have one, else of the organization, which no other filter changes. As old as the "
            "projection, at most six hours; only of a range that ends now.",
            width=width,
            height=height,
            named=True,
        )
        .no_value("no budget")
        .unit("percentunit")
        .decimals(0)
        .mappings([when_unknown("no budget")])
        .thresholds(thresholds((None, GOOD), (0.9, WARNING), (1, BAD)))
        .with_target(instant("A", f"{organization} unless on () ({chosen})", "of the organization"))
        .with_target(instant("B", chosen, "of the accounts"))
    )
    return COST_COLLECTOR.in_values(panel, "of the organization")


def share(title: str, description: str, part: str, whole: str, *, width: int) -> stat.Panel:
    """Cost of the range of one vector as a share of that of another."""
    return (
        stat_panel(title, description, width=width, height=_TILE)
        .unit("percentunit")
        .decimals(1)
        .with_target(instant("A", f"{part} / on () {whole}", "Share"))
    )


def list_ratio(
    which: str, by: str, legend: str, *, most: int, unknown: str, width: int, height: int
) -> bargauge.Panel:
    """The bill by list price, for the highest by these labels; `unknown` is the text where there is none."""
    panel = (
        ranking_bars(
            "Bill against list price",
            f"Usage cost of the newest settled day by the list price of a day of what exists now, {which}: below 1 are "
            "discounts and what runs part of the day, above it what list price does not count. A bar is full at 200%.",
            width=width,
            height=height,
        )
        .no_value(unknown)
        .max(2)
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
    by: str,
    legend: str,
    title: str,
    rest: str,
    *,
    part: promql.Part = "run",
    width: int,
    height: int,
) -> timeseries.Panel:
    """Stacked days by what costs most, and the sum of the rest."""
    largest = chart_ranking("account_id" if by == BY_ACCOUNT else "service", part)
    others = f"round(sum({daily_cost(by, part, largest.others())}), 0.0001) != 0"
    what = "Cost" if part == "all" else "Run"
    apart = "" if part == "all" else ", without tax, support, fees and credits"
    return (
        daily_bars(
            title,
            f"{what} of each UTC day{apart}: the {largest.most} that cost most in the range, and the sum of the rest. Days before the first "
            "scrape need dated history. The last two days still grow, and AWS restates the month until about the 7th of "
            "the next.",
            width=width,
            height=height,
        )
        .with_target(ranged("A", drawn(daily_cost(by, part, largest.them())), legend, "1d"))
        .with_target(ranged("B", drawn(others), rest, "1d"))
        .override_by_name(rest, properties(color=fixed(MUTED)))
    )


def daily_by_service(width: int, height: int) -> timeseries.Panel:
    return colour_services(
        daily_by(
            "service", "{{service}}", "Daily run by service", "Other services", width=width, height=height
        )
    )


def daily_by_account(width: int, height: int, part: promql.Part = "run") -> timeseries.Panel:
    return daily_by(
        BY_ACCOUNT,
        "{{account}} · {{account_id}}",
        "Daily cost by account" if part == "all" else "Daily run by account",
        "Other accounts",
        part=part,
        width=width,
        height=height,
    )


def non_usage(width: int, height: int) -> timeseries.Panel:
    """What is charged on top of usage, at the day at which AWS charges it."""
    return colour_services(
        daily_bars(
            "Tax, support, fees and credits",
            "Charges of each UTC day that are no usage: tax, support, upfront and recurring fees, refunds, credits. Most fall on the "
            "1st, which is why they are kept apart from the run of the days. Asked once a day.",
            width=width,
            height=height,
        )
        .no_value("none in this range")
        .legend(legend_below("sum"))
        .with_target(ranged("A", drawn(daily_cost("service", "non_usage")), "{{service}}", "1d"))
    )


def monthly_by_service(width: int, height: int) -> barchart.Panel:
    """All charges by month: thirteen bars, or the months that a range in the past touches."""
    months, largest = cost_of_months("service"), top_of_months(_SERVICES_SHOWN, "service")
    panel = (
        monthly_bars(
            "Monthly cost by service",
            f"Cost of each UTC calendar month with all charges, tax and support included: the {_SERVICES_SHOWN} services that cost "
            "most, and the sum of the rest; grey is the month so far. Twelve months and this one, or the months that a chosen "
            "range in the past touches. A month is shown by service once each of its days was read after its end; needs dated history.",
            width=width,
            height=height,
        )
        .with_target(ranged("A", f"{months} and on (service) {largest}", "{{service}}", "1d"))
        .with_target(
            ranged(
                "B",
                f"round(sum({months} unless on (service) {largest}), 0.0001) != 0",
                "Other services",
                "1d",
            )
        )
        .with_target(ranged("C", month_so_far(), "Month so far", "1d"))
        .override_by_name("Other services", properties(color=fixed(MUTED)))
        .override_by_name("Month so far", properties(color=fixed("#6e6e6e")))
    )
    for service, colour in SERVICES.items():
        panel.override_by_name(service, properties(color=fixed(colour)))
    return panel


def changed(
    title: str, days: int, what: str, width: int, height: int, *, without: tuple[str, ...] = ()
) -> table.Panel:
    """The pairs of account and service whose run rose or fell most against a week before."""
    differs, now = movers(days, 8)
    panel = (
        table_panel(
            title,
            f"Accounts and services whose run {what} changed most against the same a week before, without tax, support, fees and "
            "credits. The newest complete day of the range ended up to two days before now; nothing is shown unless all days of "
            f"both are known. Changes of ${LEAST_CHANGE_USD} and more are listed; those of a tenth and more are coloured.",
            width=width,
            height=height,
        )
        .no_value(f"no change of ${LEAST_CHANGE_USD} or more, or not all days are known")
        .with_target(rows("A", differs))
        .with_target(rows("B", now))
        .transformations(
            calculated(
                columns(
                    {
                        "account": "Account",
                        "account_id": "Account id",
                        "service": "Service",
                        "From": "From",
                        "Value #B": "To",
                        "Value #A": "Change",
                        "Part": "Change %",
                    }
                ),
                difference("From", "Value #B", "-", "Value #A"),
                difference("Part", "Value #A", "/", "From"),
                *largest_first("Value #A"),
            )
        )
        .override_by_name("Account", account_column(width))
        .override_by_name("Account id", account_id_column(width))
        .override_by_name("Service", service_column())
        .override_by_name("From", money_column(custom__width=NARROW_MONEY_WIDTH))
        .override_by_name("To", money_column(custom__width=NARROW_MONEY_WIDTH))
        .override_by_name("Change", money_column(custom__width=NARROW_MONEY_WIDTH))
        .override_by_name("Change %", part_column())
    )
    return without_columns(panel, without)


def ranking(by: str, names: dict[str, str], title: str, width: int, height: int) -> table.Panel:
    """What cost most in the range, how its run changed against before, and the month."""
    largest = table_ranking("account_id" if by == BY_ACCOUNT else "service").them()
    panel = (
        table_panel(
            title,
            f"The {_ROWS} that cost most in the range, all charges, as far as its UTC days are over; what runs in it without tax, support, "
            "fees and credits, against as many days before, if all of them are known; and, of a range that ends now, the "
            "month so far and its projection. Needs dated history; without it, the month and the last one rank.",
            width=width,
            height=height,
        )
        .with_target(rows("A", f"sort_desc({range_cost(by, choice=largest)})"))
        # What only charges beside usage is left with the remainder of a difference, which is neither a run nor an end of one.
        .with_target(rows("B", f"round({promql.cost_before(by, largest)}, 0.000001)"))
        .with_target(rows("C", f"round({change(by, largest)}, 0.000001)"))
        .with_target(rows("D", f"sum by ({by}) (aws_cost_month_to_date_usd{{{matchers(largest)}}})"))
        .with_target(rows("E", f"sum by ({by}) (aws_cost_month_projection_usd{{{matchers(largest)}}})"))
        .transformations(
            calculated(
                columns(
                    names
                    | {
                        "Value #A": "In the range",
                        "Value #B": "Run before",
                        "Value #C": "Change",
                        "Part": "Change %",
                        "Value #D": "Month to date",
                        "Value #E": "Projected",
                    }
                ),
                difference("Part", "Value #C", "/", "Value #B"),
            )
        )
        .sort_by([common.TableSortByFieldState().display_name("In the range").desc(True)])
        .override_by_name("In the range", money_bar())
        .override_by_name("Change", money_column())
        .override_by_name("Change %", part_column())
    )
    for column in ("Run before", "Month to date", "Projected"):
        panel.override_by_name(column, money_column())
    return _linked(panel, names, width)


def _linked(panel: table.Panel, names: dict[str, str], width: int) -> table.Panel:
    if "account" in names:
        panel.override_by_name("Account id", account_id_column(width))
        panel.override_by_name("Account", account_column(width))
    if "service" in names:
        panel.override_by_name("Service", service_column())
    return panel


def accounts(width: int, height: int) -> table.Panel:
    return ranking(BY_ACCOUNT, {"account": "Account", "account_id": "Account id"}, "Accounts", width, height)


def services(width: int, height: int) -> table.Panel:
    return ranking("service", {"service": "Service"}, "Services", width, height)


def pairs(width: int, height: int) -> table.Panel:
    """Services within accounts by cost.

    Of the largest accounts: to sum each day of the thousands of pairs of hundreds of accounts would take longer than all
    of the page. No more than the sum of the range, for the same reason.
    """
    largest = table_ranking("account_id").them()
    names = {"account": "Account", "account_id": "Account id", "service": "Service"}
    panel = (
        table_panel(
            "Services in accounts",
            f"The {_ROWS} services of an account that cost most in the range, all charges, as far as its UTC days are over; of the {_ROWS} "
            "accounts that cost most in it. Without dated history, of all accounts, by the cost of this month and the last.",
            width=width,
            height=height,
        )
        .with_target(rows("A", f"sort_desc({top_of_range(_ROWS, PAIR, choice=largest)})"))
        .transformations(columns(names | {"Value": "In the range"}))
        .sort_by([common.TableSortByFieldState().display_name("In the range").desc(True)])
        .override_by_name("In the range", money_bar())
    )
    return _linked(panel, names, width)


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
    panel = (
        table_panel(
            "Open anomalies",
            "Accounts and services whose assessed day is far off what was expected, and by how many dollars. That day ended "
            "one or two days ago, at the start of a month up to five; a single low day is two days older. Each refresh of cost "
            "computes the baseline again. Of a range in the past, what stood at its end.",
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
                    "Value #A": "Off by",
                }
            )
        )
        .override_by_name("Account", account_column(width))
        .override_by_name("Account id", account_id_column(width))
        .override_by_name("Service", service_column())
        .override_by_name(
            "Kind",
            properties(
                custom__width=115,
                mappings=[
                    {"type": "value", "options": {kind: {"text": text} for kind, text in _KINDS.items()}}
                ],
            ),
        )
        .override_by_name("Off by", money_column(custom__width=NARROW_MONEY_WIDTH))
    )
    return COST_COLLECTOR.in_rows(panel, "account")

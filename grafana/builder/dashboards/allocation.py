"""Allocation: who spends what, by a tag or a cost category."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from grafana_foundation_sdk.builders import barchart, common, dashboard, stat, table, timeseries
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder import budgets, costs
from grafana.builder.cuts import NOTES, Cut, of_months
from grafana.builder.frame import frame, query_variable
from grafana.builder.months import monthly_bars
from grafana.builder.promql import (
    ACCOUNT,
    BY_ACCOUNT,
    END,
    LEAST_CHANGE_USD,
    RANGE,
    RANGE_BEGINS,
    TWO_RANGES,
    both_known,
    drawn,
    is_before,
    is_now,
    select,
)
from grafana.builder.style import (
    BAD,
    COLUMNS,
    GOOD,
    MUTED,
    NARROW_MONEY_WIDTH,
    NEUTRAL,
    USD,
    WARNING,
    account_column,
    account_id_column,
    calculated,
    columns,
    daily_bars,
    difference,
    fixed,
    instant,
    largest_first,
    line_panel,
    money_bar,
    money_column,
    part_column,
    properties,
    ranged,
    rows,
    stat_panel,
    steps,
    table_panel,
    when_unknown,
)

_ROWS, _MOVERS = 20, 8
_LATEST = 40  # days in which the newest written day is looked for, also where the range ends with this month
_NO_VALUE = "#d9a441"
_NOTE_WIDTH = 230  # beside columns of amounts, so that the name of a setting is not cut
_NONE = "none"  # of `$allocation`, where nothing is read
_CHOSEN = 'label_replace(vector(1), "chosen", "$allocation", "", "")'
_IS_NONE = f'{_CHOSEN} and on (chosen) label_replace(vector(1), "chosen", "{_NONE}", "", "")'
_VALUES = Cut(
    what="value",
    by="'$allocation'",
    without="(no $allocation)",
    family="aws_cost_daily_by_${kind}_usd",
    label="${kind}_value",
    matchers=', $key_label="$key"',
    switch="off: switch on collectors.cost_breakdowns.tags",
    missing=f"max({_IS_NONE})",
)
_SHARE = {"unit": "percentunit", "decimals": 1, "min": 0}


def build() -> Dashboard:
    return (
        frame(
            "allocation",
            "Allocation",
            "Who spends what: cost by the values of a tag or a cost category, by account and by group.",
            without=("region",),
            first=(_allocation(),),
            rankings=(costs.table_ranking("account_id"),),
        )
        .with_variable(_derived("kind", "tag", {"cost_category:.+": "cost_category"}))
        .with_variable(_derived("key_label", "tag_key", {"cost_category:.+": "cost_category"}))
        .with_variable(_derived("key", _NONE, {"(?:tag|cost_category):(.+)": "$1"}))
        .with_variable(_through())
        .with_variable(_comparable())
        .with_variable(_total())
        .with_variable(_VALUES.ranking())
        .with_panel(costs.in_range(10))
        .with_panel(_without())
        .with_panel(costs.budget(5))
        .with_panel(_values())
        .with_panel(_share_of_days())
        .with_panel(_daily())
        .with_panel(_monthly())
        .with_panel(_movers())
        .with_panel(_groups())
        .with_panel(_pairs())
        .with_panel(budgets.aws_budgets(12, 10))
        .with_panel(costs.accounts(COLUMNS, 10))
        .build()
    )


# Variables


def _allocation() -> dashboard.QueryVariable:
    """What is allocated by, as the command calls it: `tag:team`; what covers most of the newest month first."""

    def keys(family: str, key: str, value: str, prefix: str) -> str:
        days = f'last_over_time({family}{{{value}!=""}}[1d])'
        newest = f"sum by ({key}) (sum_over_time({days}[31d:1d] @ $complete offset -1s))"
        # To add up all days of a year takes long; which keys there are, does not.
        there = f"0 * group by ({key}) (last_over_time({family}[1d$__range]))"
        return f'label_replace({newest} or {there}, "allocation", "{prefix}:$1", "{key}", "(.+)")'

    found = (
        f"{keys('aws_cost_daily_by_tag_usd', 'tag_key', 'tag_value', 'tag')}"
        f" or {keys('aws_cost_daily_by_cost_category_usd', 'cost_category', 'cost_category_value', 'cost_category')}"
    )
    nothing = f'label_replace(vector(0), "allocation", "{_NONE}", "", "")'
    return (
        query_variable(
            "allocation",
            "Allocate by",
            "A tag key or a cost category of the range; what covers most of its newest month comes first.",
            3,
            f"query_result(sort_desc({found} or on () {nothing}))",
        )
        .regex('/allocation="([^"]+)"/')
        .sort(model.VariableSort.DISABLED)
    )


def _derived(name: str, default: str, patterns: Mapping[str, str]) -> dashboard.QueryVariable:
    """What follows from `$allocation`: families and labels of tags and of cost categories have different names."""
    found = f'label_replace({_CHOSEN}, "is", "{default}", "", "")'
    for pattern, value in patterns.items():
        found = f'label_replace({found}, "is", "{value}", "chosen", "{pattern}")'
    return (
        query_variable(
            name, f"Allocate by: {name}", "Follows from what is allocated by.", 3, f"query_result({found})"
        )
        .regex('/is="([^"]+)"/')
        .current(model.VariableOption(text=default, value=default))
        .hide(model.VariableHide.HIDE_VARIABLE)
    )


def _number(
    name: str, label: str, description: str, expr: str, regex: str = r"/\} (\d+)/"
) -> dashboard.QueryVariable:
    return (
        query_variable(name, label, description, 3, f"query_result({expr})")
        .regex(regex)
        .current(model.VariableOption(text="0", value="0"))
        .hide(model.VariableHide.HIDE_VARIABLE)
    )


def _through() -> dashboard.QueryVariable:
    """A day is written by a dimension once it is complete and was read by it: later than the day's cost."""
    written = f"vector(time()) and on () {_VALUES.is_written('[1d]')}"
    return _number(
        "through",
        "Allocated through",
        "End of the newest day of the range that is written by what is allocated by, in seconds.",
        f"clamp_min(max_over_time(({written})[{_LATEST}d:1d] @ {END} offset -1s), {RANGE_BEGINS}) or on () vector({RANGE_BEGINS})",
    )


def _comparable() -> dashboard.QueryVariable:
    known = both_known(_VALUES.is_written("[1d]"), "$through")
    return _number(
        "comparable",
        "Comparable",
        "1 where all days of the range and of the one before it are written by what is allocated by.",
        f"({known}) ^ 0 or on () vector(0)",
    )


def _total() -> dashboard.QueryVariable:
    return _number(
        "total",
        "Total",
        "Cost of the range of what is chosen, in USD, as far as it is written by what is allocated by.",
        f"{_VALUES.in_range('')} or on () vector(0)",
        r"/\} (-?[\d.]+)/",
    )


# Panels


def _before_and_change(by: str, more: str = "", accounts: str = "$accounts") -> tuple[str, str]:
    """Cost of as many days before the range, and by how much that of the range differs; if all of them are known."""

    def weighted(weights: str) -> str:
        days = f"{_VALUES.ended(by, more, accounts)} * on () group_left () ({weights})"
        return f"sum_over_time(({days}){TWO_RANGES})"

    now, before = is_now("$through"), is_before("$through")
    # What is new has cost nothing before.
    pair = weighted(f"{before} * 0 + 1 or {now} * 0"), weighted(f"{now} * 0 + 1 or {before} * 0 - 1")
    known = "and on () (vector($comparable) == 1)"
    return f"{pair[0]} {known}", f"{pair[1]} {known}"


def _values() -> table.Panel:
    in_range = _VALUES.named(_VALUES.in_range)
    panel = (
        table_panel(
            "By $allocation",
            f"Cost of the range by the values of what is allocated by, all charges, as far as its UTC days are written: the {_VALUES.most} that "
            "cost most, the sum of the others, and what has none; and against as many days before, where all of both are known. "
            "A range with a 1st has tax, support and fees, which another may not have. Up to two days behind.",
            width=15,
            height=11,
        )
        .no_value("nothing in this range")
        .with_target(rows("A", f"sort_desc({in_range})"))
        .with_target(rows("B", f"{in_range} / on () group_left () (vector($total) != 0)"))
        .with_target(
            rows("C", f"round({_VALUES.named(lambda by, more: _before_and_change(by, more)[0])}, 0.000001)")
        )
        .with_target(
            rows("D", f"round({_VALUES.named(lambda by, more: _before_and_change(by, more)[1])}, 0.000001)")
        )
        .transformations(
            calculated(
                columns(
                    {
                        "key": "Value",
                        "Value #A": "In the range",
                        "Value #B": "Share",
                        "Value #C": "Before",
                        "Value #D": "Change",
                        "Part": "Change %",
                    }
                    | NOTES
                ),
                difference("Part", "Value #D", "/", "Value #C"),
            )
        )
        .sort_by([common.TableSortByFieldState().display_name("In the range").desc(True)])
        .override_by_name("Value", properties(custom__wrapText=True))
        .override_by_name("In the range", money_bar())
        .override_by_name("Share", properties(**_SHARE, noValue="–", custom__width=75))
        .override_by_name("Before", money_column(custom__width=NARROW_MONEY_WIDTH))
        .override_by_name("Change", money_column(custom__width=NARROW_MONEY_WIDTH))
        .override_by_name("Change %", part_column())
    )
    return _VALUES.in_rows(panel, custom__width=_NOTE_WIDTH)


_OF_ALL, _OF_USAGE = "Of all charges", "Of usage"


def _of_usage(over: Callable[[str], str]) -> str:
    """The part of usage that has no value; `over` is made of each selector."""
    usage, untagged = (
        f"sum({over(_VALUES.selector(more, family=family))})"
        for more, family in (("", "aws_cost_daily_taggable_usd"), (None, "aws_cost_daily_untagged_usd"))
    )
    # What is all tagged has no untagged usage, if the key is asked for at all.
    asked = "0 * group(" + over('aws_cost_daily_untagged_usd{$key_label="$key"}') + ")"
    return f"({untagged} or on () {asked}) / ({usage} != 0)"


_NOTHING = f', {_VALUES.label}=""'


def _without() -> stat.Panel:
    none = _VALUES.in_range("", _NOTHING)
    of_all = f"({none} or on () vector(0)) / (vector($total) != 0)"
    of_usage = _of_usage(lambda selector: f"sum_over_time(last_over_time({selector}[1d]){RANGE})")
    panel = (
        stat_panel(
            "Not allocated",
            "Cost of the range without a value of what is allocated by, and which part that is of all charges; where untagged usage is "
            "asked for or comes from an export, which part it is of usage at amortized cost, which leaves out tax, support, "
            "fees and credits. Up to two days behind.",
            width=9,
            height=4,
            named=True,
        )
        .no_value("not known")
        .unit("percentunit")
        .decimals(1)
        .with_target(instant("A", of_all, _OF_ALL))
        .with_target(instant("B", of_usage, _OF_USAGE))
        .with_target(instant("C", none, "Dollars"))
        .override_by_regexp(
            "/^Of /", properties(thresholds=steps((None, GOOD), (0.1, NEUTRAL), (0.25, WARNING), (0.5, BAD)))
        )
        .override_by_name("Dollars", properties(unit=USD, decimals=2))
    )
    return _VALUES.in_values(panel, "Allocation")


def _share_of_days() -> timeseries.Panel:
    none, whole = _VALUES.days("", _NOTHING), _VALUES.days("")
    # Where all has a value, the largest values have cost.
    shown = _VALUES.days(_VALUES.label, f', {_VALUES.label}=~"${_VALUES.top}"')
    of_all = f"({none}) / ({whole}) or on () 0 * group({shown})"
    of_usage = _of_usage(lambda selector: f"last_over_time({selector}[1d] offset -1d)")
    until = f"and on () (vector(time()) < {END})"
    panel = (
        line_panel(
            "Not allocated, by day",
            "Which part of each UTC day has no value of what is allocated by: of all charges, in which a 1st stands out by its tax, "
            "support and fees; and of usage at amortized cost, where untagged usage is asked for or comes from an export. "
            "Up to two days behind.",
            width=9,
            height=11,
        )
        .no_value("no day in this range")
        .unit("percentunit")
        .decimals(1)
        .min(0)
        .with_target(ranged("A", of_all, _OF_ALL, "1d"))
        .with_target(ranged("B", f"{of_usage} {until}", _OF_USAGE, "1d"))
        .override_by_name(_OF_ALL, properties(color=fixed(NEUTRAL)))
        .override_by_name(_OF_USAGE, properties(color=fixed(WARNING)))
    )
    return _VALUES.in_legend(panel)


def _daily() -> timeseries.Panel:
    panel = (
        daily_bars(
            "Daily cost by value",
            f"Cost of each UTC day that is written, all charges: the {_VALUES.most} values that cost most in the range, the sum of "
            "the others, and what has none. Up to two days behind; AWS restates the month until about the 7th of the next.",
            width=15,
            height=10,
        )
        .with_target(
            ranged("A", _VALUES.named(lambda by, more: drawn(_VALUES.days(by, more))), "{{key}}", "1d")
        )
        .override_by_name(_VALUES.others, properties(color=fixed(MUTED)))
        .override_by_regexp(r"/^\(no /", properties(color=fixed(_NO_VALUE)))
    )
    return _VALUES.in_legend(panel)


def _monthly() -> barchart.Panel:
    whole = f"and on () {_VALUES.is_written('[1d] offset -1d')} and on () (vector(time()) < {END})"
    return (
        monthly_bars(
            "Monthly cost by value",
            "Cost of each UTC calendar month, all charges, by the same values: twelve months and this one as far as it is written, or "
            "the months that begin in a chosen range in the past. A month is shown whose 1st is written: days are read newest first. Up to two days behind.",
            width=9,
            height=10,
        )
        .no_value("no month is known here: the table of values says why")
        .time_from("12M/M")
        .with_target(
            ranged(
                "A",
                _VALUES.named(lambda by, more: f"{of_months(_VALUES.ended(by, more))} {whole}"),
                "{{key}}",
                "1d",
            )
        )
        .override_by_name(_VALUES.others, properties(color=fixed(MUTED)))
        .override_by_regexp(r"/^\(no /", properties(color=fixed(_NO_VALUE)))
    )


def _movers() -> table.Panel:
    largest = costs.table_ranking("account_id")
    by = f"{BY_ACCOUNT}, {_VALUES.label}"
    before, change = _before_and_change(by, accounts=largest.variable)
    moved = f"topk({_MOVERS}, abs({change}) >= {LEAST_CHANGE_USD})"
    panel = (
        table_panel(
            "Movers",
            f"Values within accounts whose cost, all charges, changed most between as many days before the range and the range; of the "
            f"{largest.most} accounts that cost most in it. Changes of ${LEAST_CHANGE_USD} and more, where all days of both are known; "
            "those of a tenth and more are coloured. Up to two days behind.",
            width=14,
            height=10,
        )
        .no_value(f"no change of ${LEAST_CHANGE_USD} or more, or not all days are known")
        .with_target(rows("A", _VALUES.keyed(f"({change} and on ({by}) {moved})", BY_ACCOUNT)))
        .with_target(rows("B", _VALUES.keyed(f"({before} and on ({by}) {moved})", BY_ACCOUNT)))
        .transformations(
            calculated(
                columns(
                    {
                        "account": "Account",
                        "account_id": "Account id",
                        "key": "Value",
                        "Value #B": "Before",
                        "To": "In the range",
                        "Value #A": "Change",
                        "Part": "Change %",
                    }
                    | NOTES
                ),
                difference("To", "Value #B", "+", "Value #A"),
                difference("Part", "Value #A", "/", "Value #B"),
                *largest_first("Value #A"),
            )
        )
        .override_by_name("Account", account_column(14))
        .override_by_name("Account id", account_id_column(14))
        .override_by_name("Value", properties(custom__wrapText=True))
        .override_by_name("Change %", part_column())
    )
    for column in ("Before", "In the range", "Change"):
        # The sum of two that are missing is no number.
        panel.override_by_name(
            column, money_column(custom__width=NARROW_MONEY_WIDTH, mappings=[when_unknown("–")])
        )
    return _VALUES.in_rows(panel, custom__width=_NOTE_WIDTH)


def _pairs() -> table.Panel:
    by = f"{BY_ACCOUNT}, {_VALUES.label}"
    panel = (
        table_panel(
            "Values in accounts",
            f"The {_ROWS} values within an account that cost most in the range, all charges, as far as its UTC days are written. Up to two "
            "days behind.",
            width=12,
            height=10,
        )
        .no_value("nothing in this range")
        .with_target(
            rows("A", f"sort_desc({_VALUES.keyed(f'topk({_ROWS}, {_VALUES.in_range(by)})', BY_ACCOUNT)})")
        )
        .transformations(
            columns(
                {"account": "Account", "account_id": "Account id", "key": "Value", "Value #A": "In the range"}
                | NOTES
            )
        )
        .sort_by([common.TableSortByFieldState().display_name("In the range").desc(True)])
        .override_by_name("Account", account_column(12))
        .override_by_name("Account id", account_id_column(12))
        .override_by_name("Value", properties(custom__wrapText=True))
        .override_by_name("In the range", money_bar())
    )
    return _VALUES.in_rows(panel)


def _groups() -> table.Panel:
    """By what groups are, as the accounts were in them on each day."""
    days = f"last_over_time({select('aws_cost_daily', BY_ACCOUNT)}[1d])"
    written = f'last_over_time(aws_account_info{{job="", {ACCOUNT}}}[1d])'
    # One group an account, also on the day on which it moved.
    of_account = f"topk by (account_id) (1, max by (account_id, $grouping) ({written} == 1))"
    grouped = f"{days} * on (account_id) group_left ($grouping) ({of_account} or on (account_id) group by (account_id) ({days}))"
    summed = f"sum by ($grouping) (sum_over_time(({grouped}){RANGE}))"
    named = f'label_replace(label_replace({summed}, "in", "$1", "$grouping", "(.+)"), "in", "(none)", "$grouping", "")'
    return (
        table_panel(
            "Groups",
            "Cost of the range, all charges, by organizational unit or by the group of the configuration that is chosen at the top, in which each "
            "account was on the day. As far as the UTC days are written, up to two days behind; needs dated history.",
            width=10,
            height=10,
        )
        .no_value("no dated history in this range")
        .with_target(rows("A", f"topk({_ROWS}, sum by (in) ({named}))"))
        .transformations(columns({"in": "Group", "Value": "In the range"}))
        .sort_by([common.TableSortByFieldState().display_name("In the range").desc(True)])
        .override_by_name("Group", properties(custom__wrapText=True))
        .override_by_name("In the range", money_bar())
    )

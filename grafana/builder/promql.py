"""PromQL idioms that the dashboards share; docs/history.md says why dated cost is asked like this.

Selectors. Everything is filtered by `$accounts` and `$service`. `$accounts` has no value unless accounts or groups are
chosen, and Grafana writes `()` for it: a regular expression that matches only a label that is absent. One selector
thus names both the sums that the exporter keeps and the account and service pairs under them, and finds the sums
where nothing is chosen and the pairs where something is, never both: 20 series instead of 6,000.

Time. All is asked of the end of the range, never of now: names, ranks and what is complete are those of the range.
`END` is a literal in the query, so that what is looked up there is evaluated once, not at each step; so is `$complete`,
the end of the newest complete day of the range.

Live gauges carry the scrape's own labels beside the contract's, and an account can be renamed within a
day: wherever a query looks back in time over live gauges, it first takes one value an account and service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

Part = Literal["all", "run", "non_usage"]
"""All charges; those of usage, which run from day to day; or the others: tax, support, fees, credits, refunds."""

RankedLabel = Literal["service", "account_id"]
RANKED = "top"
"""What names of variables of rankings begin with."""

END = "${__to:date:seconds}"
START = "${__from:date:seconds}"
# Account ids have twelve digits each, so that `.*` adds none to those that are chosen.
ACCOUNT = 'account_id=~"$accounts.*"'
# Subjects that are no account have no account_id; they are shown for any chosen account.
SUBJECT = 'account_id=~"$accounts.*|"'
# What is chosen where there is no dated history in the range; where there is, it finds nothing, and is short.
LIVE_COST = 'account_id=~"$live.*", service=~"$service"'
PLACE = f'{ACCOUNT}, region=~"$region"'
PAIR = "account_id, account, service"
BY_ACCOUNT = "account_id, account"

_DAY = 86_400
_HALF_DAY = 43_200
_WEEK = 7
LEAST_CHANGE_USD = 1
"""A change of fewer dollars is no news, however large a part it is."""
# A range ends at a midnight, or as "last month" does a second before it: its last day is over then.
_TODAY = f"({END} - {END} % {_DAY})"  # that began the day in which the range ends
_MIDNIGHT = f"({END} + 1 - ({END} + 1) % {_DAY})"  # the newest one of the range
_MIDNIGHT_BEFORE = (
    f"({END} - 1 - ({END} - 1) % {_DAY})"  # the same, and a day earlier where the range ends at midnight
)
_LIVE = "[12h]"  # where there is no dated history, a day is what was served last within so long
# The range and as much before it: durations are added by writing them one after the other, each in another unit.
TWO_RANGES = f"[2d$__range${{__range_ms}}ms:1d] @ {END} offset -1s"
# Dated history of the range; `-1s` excludes the midnight that begins it, and includes one that ends it in a second.
_BY_SERVICE = "aws_cost_daily_by_service_usd"
# Before the first cost, that a day has no other charges may be known all the same.
_RUN_IS_KNOWN = f"last_over_time(aws_cost_daily_non_usage_known[1d]) > 0 and on () group(last_over_time({_BY_SERVICE}[1d]))"
RANGE_BEGINS = f"({START} - {START} % {_DAY})"


def _before_begins(through: str) -> str:
    """When as many days began before the range as are complete in it; `through` is the end of the newest of these."""
    return f"(2 * {RANGE_BEGINS} - {through})"


def is_before(through: str = "$complete") -> str:
    """A value at the end of each of as many days before the range as are complete in it."""
    return f"(vector(time()) <= {RANGE_BEGINS} > {_before_begins(through)})"


def is_now(through: str = "$complete") -> str:
    """A value at the end of each complete day of the range."""
    return f"(vector(time()) > {RANGE_BEGINS} <= {through})"


def both_known(days: str, through: str = "$complete") -> str:
    """A value only if each complete day of the range, and as many before it, have one in `days`."""
    each = f"{days} and on () (vector(time()) > {_before_begins(through)} <= {through})"
    return f"(count_over_time(({each}){TWO_RANGES}) * {_DAY} == 2 * ({through} - {RANGE_BEGINS}))"


# Of the month in which the range ends, and of the range if that is later.
_DAY_OF_MONTH = f"day_of_month(vector({END} - 1))"
_MONTH_BEGINS = f"({_MIDNIGHT_BEFORE} - {_DAY} * ({_DAY_OF_MONTH} - 1))"
RANGE = f"[$__range:1d] @ {END} offset -1s"
IS_DATED = f"group(last_over_time({_BY_SERVICE}[7d$__range]))"
"""A value where the range, or the week before it, has dated history."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What selectors find, as regular expressions of ids and names."""

    accounts: str = "$accounts"
    live: str = "$live"
    """The accounts of live gauges that stand for dated history."""
    service: str = "$service"
    more: str = ""
    """Further matchers, each after a comma."""
    more_live: str = ""
    """Further matchers of live gauges that stand for dated history."""


CHOSEN = Choice()


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """The services or accounts that cost most in the range of what is chosen, in a hidden variable of this name.

    Found once a page instead of in each query that shows them; their ids are fewer than those of a chosen group, too.
    """

    most: int
    label: RankedLabel
    part: Part

    @property
    def name(self) -> str:
        return f"{RANKED}{self.most}_{self.label}_{self.part}"

    @property
    def variable(self) -> str:
        return f"${self.name}"

    def them(self) -> Choice:
        """What is chosen, of these only."""
        if self.label == "service":
            return Choice(service=self.variable)
        return Choice(accounts=self.variable, more_live=f', account_id=~"{self.variable}"')

    def others(self) -> Choice:
        """What is chosen, without these."""
        without = f', {self.label}!~"{self.variable}"'
        return Choice(more=without, more_live=without)


def matchers(choice: Choice) -> str:
    """What is chosen, of a family by account and service."""
    return f'account_id=~"{choice.accounts}.*", service=~"{choice.service}"{choice.more}'


COST = matchers(CHOSEN)


def total(by: str, vector: str) -> str:
    """The sum by some labels, or of everything when there are none."""
    return f"sum by ({by}) ({vector})" if by else f"sum({vector})"


def select(stem: str, by: str, choice: Choice = CHOSEN, *others: str) -> str:
    """A selector of what is chosen, of `{stem}_usd` or of the sums beside it that suffice for sums by these labels.

    What it finds must still be summed by `by`. `others` are further stems.
    """
    stems = (stem, *others)
    pairs = "|".join(f"{each}_usd" for each in stems)
    if by == "service":
        names = f"{pairs}|{'|'.join(f'{each}_by_service_usd' for each in stems)}"
        return f'{{__name__=~"{names}", account_id=~"{choice.accounts}", service=~"{choice.service}"{choice.more}}}'
    if "service" in by:
        return _named(stems, "_usd", choice)
    # Sums by account have no service.
    return select_by_account(pairs, "|".join(f"{each}_by_account_usd" for each in stems), choice)


def select_by_account(pairs: str, accounts_alone: str, choice: Choice = CHOSEN) -> str:
    """A selector of what is chosen, of the family by account while all services are chosen, or else of the one by pair."""
    # While all services are chosen, `.(?:.*){9}` excludes all that have one; no service is called one character and
    # then nine times the name of a chosen one.
    return (
        f'{{__name__=~"{pairs}|{accounts_alone}", account_id=~"{choice.accounts}.*", service=~"{choice.service}",'
        f' service!~".(?:{choice.service}){{9}}"{choice.more}}}'
    )


def _non_usage(stem: str, choice: Choice, *others: str) -> str:
    """A selector of the pairs with other charges than usage; they are few."""
    return _named((stem, *others), "_non_usage_usd", choice)


def _named(stems: tuple[str, ...], ending: str, choice: Choice) -> str:
    """A selector of families by account and service."""
    if len(stems) == 1:
        return f"{stems[0]}{ending}{{{matchers(choice)}}}"
    return f'{{__name__=~"{"|".join(f"{stem}{ending}" for stem in stems)}", {matchers(choice)}}}'


def _for_live(choice: Choice) -> Choice:
    """The same of live gauges that stand for dated history."""
    return replace(choice, accounts=choice.live, more=choice.more_live)


def _less(whole: str, other: str, part: Part) -> str:
    """Values to be summed: those of `other` have a label more, or those of the same account and service would be lost."""
    if part == "non_usage":
        return other
    return whole if part == "all" else f'{whole} or label_replace(-({other}), "less", "1", "", "")'


def _as_it_is(vector: str) -> str:
    return vector


def _days(
    by: str,
    part: Part,
    over: Callable[[str], str] = _as_it_is,
    *,
    at_begin: bool = False,
    choice: Choice = CHOSEN,
) -> str:
    """Cost of the UTC day that ends (or begins) at a step, to be summed by `by`.

    Dated history, or, in an installation without, what `yesterday` showed at the end of the following day. `over` is
    what is made of each of the two in time: to join thousands of series at each step takes longer than to read them.
    """
    dated, live = (" offset -1d", " offset -2d") if at_begin else ("", " offset -1d")

    def either(written: str, served: str) -> str:
        newest = f"max by ({_series(by)}) (last_over_time({served}{_LIVE}{live}))"
        return f"{over(f'last_over_time({written}[1d]{dated})')} or {over(newest)}"

    return _less(
        either(select("aws_cost_daily", by, choice), select("aws_cost_yesterday", by, _for_live(choice))),
        either(_non_usage("aws_cost_daily", choice), _non_usage("aws_cost_yesterday", _for_live(choice))),
        part,
    )


def _now(by: str, part: Part, day: str, choice: Choice) -> str:
    """What was served of `today` or `yesterday` at the end of the range, to be summed by `by`."""
    whole, other = (
        f"max by ({_series(by)}) ({selector} @ {END})"
        for selector in (select(f"aws_cost_{day}", by, choice), _non_usage(f"aws_cost_{day}", choice))
    )
    return _less(whole, other, part)


def _newest(by: str, part: Part, choice: Choice) -> str:
    """The same of both days, with a label `day`: one selector names both, since chosen accounts make it long."""
    whole, other = (
        f'max by ({_series(by)}, day) (label_replace({selector} @ {END}, "day", "$1", "__name__", "aws_cost_(.+?)_.+"))'
        for selector in (
            select("aws_cost_today", by, choice, "aws_cost_yesterday"),
            _non_usage("aws_cost_today", choice, "aws_cost_yesterday"),
        )
    )
    return _less(whole, other, part)


def daily_cost(by: str, part: Part = "all", choice: Choice = CHOSEN) -> str:
    """Cost of the UTC day that begins at each step, in USD; the step must be one day.

    Dated history first, see `_days`. The day in which the range ends and the day before are not written yet: what
    the live gauges show at the end of the range stands for them. An exporter that has not noticed midnight shows the
    day before, so that the first two minutes of a day count for nothing.
    """

    def is_here(day: str, midnight: str) -> str:
        here = f"abs(vector(time() - 1) - {midnight}) < {_HALF_DAY}"
        return f'label_replace({here}, "day", "{day}", "", "")'

    here = f"on (day) ({is_here('today', _TODAY)} or {is_here('yesterday', f'({_TODAY} - {_DAY})')})"
    # Summed first: this part is evaluated once, and at each step only its sums are looked at.
    newest = total(f"{by}, day" if by else "day", _newest(by, part, choice))
    return (
        f"({total(by, _days(by, part, at_begin=True, choice=choice))}"
        f" or {total(by, f'{newest} and {here}')}"
        f" and on () (vector({END} % {_DAY}) > 120) unless on () {_written('[1d] offset -1d')})"
        f" and on () (vector(time()) < {END})"
    )


def drawn(days: str) -> str:
    """The days of a chart that it draws, so that its legend counts no others.

    Grafana draws a bar of at most 200 pixels from the midnight on: in a range of a day or two, all of it can lie before the
    range. A day is left out of which more passed before the range than a quarter of the range.
    """
    return f"{days} and on () (vector(time()) >= {START} - ({END} - {START}) / 4)"


def complete_through() -> str:
    """End of the newest complete day of the range, in seconds: what `$complete` holds; never counted from the wall clock's day.

    As it was reported until three days later, so that a range in the past ends with its last day. Where no exporter
    was scraped, as in an outage or in the future, it is the newest day that is written: a day is written once it is
    complete. Before all history each day counts as complete. Without dated history a day is known at the end of the
    day that follows it.
    """
    served = f"max(last_over_time(aws_cost_complete_through_timestamp_seconds[4d] @ {END} offset -3d))"
    undated = f"clamp_max({served}, {_MIDNIGHT} - {_DAY}) unless on () {IS_DATED}"
    written = f"max_over_time((vector(time()) and on () ({_RUN_IS_KNOWN}))[7d$__range:1d] @ {END} offset -1s)"
    return (
        f"clamp_max({undated} or on () {served} or on () {written} or on () vector({_MIDNIGHT}), {_MIDNIGHT})"
    )


def range_cost(by: str, part: Part = "all", choice: Choice = CHOSEN) -> str:
    """Cost of the UTC days of the range as far as dated history has them, in USD; at any step the same."""
    return total(by, _days(by, part, lambda days: f"sum_over_time({days}{RANGE})", choice=choice))


def organization_cost() -> str:
    """Cost of the UTC days of the range of all accounts and services, in USD."""
    return f"sum(sum_over_time(last_over_time({_BY_SERVICE}[1d]){RANGE}))"


def average_day() -> str:
    """The run of an average complete day of the range, in USD."""
    return f"avg_over_time({_complete_runs()}{RANGE})"


def deviation_of_days() -> str:
    """The standard deviation of the run of the complete days of the range, in USD."""
    return f"stddev_over_time({_complete_runs()}{RANGE})"


def _complete_runs() -> str:
    """The run of each complete day at its end."""
    days = f"sum({_days(BY_ACCOUNT, 'run')})"
    return f"({days} and on () (vector(time()) <= $complete))"


def average_of_week(by: str, choice: Choice = CHOSEN) -> str:
    """The average run of the seven UTC days that end with each complete day, at the begin of that day, in USD.

    Only where all seven days are known. The steps must be days; they are looked up at their ends, also before the range.
    """
    week = f"[7d:1d] offset -{_DAY * 1000 + 1}ms"  # a millisecond, or an eighth day would be on the edge
    days = total(by, _days(by or BY_ACCOUNT, "run", choice=choice))
    is_complete = f"on () (vector(time() + {_DAY}) <= $complete)"
    live = f'last_over_time(aws_cost_yesterday_by_service_usd{{service=~"$undated"}}{_LIVE} offset -1d)'
    known = f"on () (count_over_time(group(last_over_time({_BY_SERVICE}[1d]) or {live}){week}) == 7)"
    # A service without cost on a day has no value then, and cost nothing.
    return f"sum_over_time(({days}){week}) / 7 and {known} and {is_complete}"


def coming_days(most: int) -> str:
    """The date of each of the coming days that is projected, in milliseconds, by `days_ahead`."""
    numbers = " or ".join(
        f'label_replace(vector({number}), "days_ahead", "{number}", "", "")' for number in range(1, most + 1)
    )
    return f"({_TODAY} + {_DAY} * ({numbers})) * 1000 and on (days_ahead) aws_cost_forecast_daily_usd"


def cost_before(by: str, choice: Choice = CHOSEN) -> str:
    """The run of as many UTC days before the range as are complete in it, in USD; nothing unless all days are known.

    What is new has cost nothing before: 0.
    """
    return _of_both_ranges(by, f"{is_before()} * 0 + 1 or {is_now()} * 0", choice)


def change_in_part() -> str:
    """By which part the run of the complete days of the range is more than that of as many days before."""
    run = f"sum(sum_over_time((({_days('', 'run')}) and on () {is_before()}){TWO_RANGES}))"
    return f"({change('')}) / {run}"


def change(by: str, choice: Choice = CHOSEN) -> str:
    """By how many dollars the run of the complete days of the range differs from that of as many days before.

    Nothing unless all days are known. What is new has cost nothing before; what has ended costs nothing now.
    """
    return _of_both_ranges(by, f"{is_now()} * 0 + 1 or {is_before()} * 0 - 1", choice)


def _of_both_ranges(by: str, weights: str, choice: Choice) -> str:
    """The run of the complete days of the range and of as many before it, each day times its weight; if all are known."""
    weighted = f"({_days(by, 'run', choice=choice)}) * on () group_left () ({weights})"
    return f"{total(by, f'sum_over_time(({weighted}){TWO_RANGES})')} and on () {both_known(f'group({_RUN_IS_KNOWN})')}"


def direction(days: int) -> str:
    """By which part the run of the newest complete UTC days is more than that of as many before them.

    Absent unless all of these days are known.
    """
    last, before = (_sum_of_newest("", first, days) for first in (0, days))
    return f"({last} / {before} - 1) and on () {_are_known(2 * days)}"


def movers(days: int, most: int) -> tuple[str, str]:
    """By how much the run of account and service pairs rose or fell against the same days a week before, and the run now.

    The largest changes of at least a dollar. The days are the newest complete ones of the range; all of both sides are
    known, or nothing is shown. What is new has cost nothing before; what has ended costs nothing now.
    """

    def weighted(weight_before: str) -> str:
        weight = f"({_newest_days(0, days)} * 0 + 1 or {_newest_days(_WEEK, days)} * 0{weight_before})"
        times = f"* on () group_left () {weight}){_back(days + _WEEK)}"
        return total(PAIR, _days(PAIR, "run", lambda vector: f"sum_over_time(({vector} {times})"))

    differs = weighted(" - 1")
    largest = f"topk({most}, abs({differs}) >= {LEAST_CHANGE_USD}) and on () {_are_known(days + _WEEK)}"
    return f"{differs} and {largest}", f"{weighted('')} and {largest}"


def _newest_days(first: int, days: int) -> str:
    """A value at the end of so many days; the newest complete one of the range is day 0."""
    return f"(vector($complete - time()) >= {first * _DAY} < {(first + days) * _DAY})"


def _back(days: int) -> str:
    """The ends of so many days; the newest complete one of the range is the last."""
    return f"[{days}d:1d] @ $complete offset -1s"


def _sum_of_newest(by: str, first: int, days: int) -> str:
    """The run of so many days, of which the newest complete one of the range is day 0."""
    newest = f"and on () {_newest_days(first, days)}){_back(first + days)}"
    return total(by, _days(by, "run", lambda vector: f"sum_over_time(({vector} {newest})"))


def _are_known(days: int) -> str:
    """A value only if each of the newest complete days of the range has one."""
    live = f'last_over_time(aws_cost_yesterday_by_service_usd{{service=~"$undated"}}{_LIVE} offset -1d)'
    known = f"group({_RUN_IS_KNOWN} or {live}) and on () {_newest_days(0, days)}"
    return f"(count_over_time(({known}){_back(days)}) == {days})"


def yesterday() -> str:
    """Cost of the UTC day before the one in which the range ends, in USD; as it was served then, else as it is written."""
    dated = total("", f"last_over_time(({_days('', 'all')})[1d:1d] offset -1s)")
    return f"sum({select('aws_cost_yesterday', '')}) or {dated}"


def month_to_date(by: str) -> str:
    """Cost of the UTC calendar month in which the range ends, up to its end, in USD; for instant queries."""
    served = total(by, f"aws_cost_month_to_date_usd{{{COST}}}")
    in_month = f"on () (vector(time()) > on () {_MONTH_BEGINS})"
    dated = total(by, f"sum_over_time((({_days(by, 'all')}) and {in_month})[31d:1d] offset -1s)")
    return f"{served} or ({dated} unless on () group(aws_cost_month_to_date_usd))"


_IN_LAST_MONTH = f"({END} - 1 - {_DAY} * {_DAY_OF_MONTH})"


def _first_days(moment: str) -> str:
    """Cost of days 1 to k of the calendar month of a moment; k are complete in the month in which the range ends.

    No more than the month before has, so that a month is compared with one of as many days.
    """
    newest = "vector($complete - 1)"
    return (
        f"sum(sum_over_time((({_days('', 'all')})"
        f" and on () month({newest}) == on () month(vector({END} - 1))"
        f" and on () month(vector(time() - 1)) == on () month({moment})"
        f" and on () day_of_month(vector(time() - 1)) <= on () day_of_month({newest}) <= on () days_in_month({_IN_LAST_MONTH})"
        ")[62d:1d] offset -1s))"
    )


def same_days_of_last_month() -> str:
    """Cost of days 1 to k of the previous calendar month, of which k are complete in this one; nothing without any."""
    return _first_days(_IN_LAST_MONTH)


def against_last_month() -> str:
    """By which part the complete days of this calendar month cost more than the same days of the one before."""
    return f"{_first_days(f'vector({END} - 1)')} / {same_days_of_last_month()} - 1"


def top(count: int, by: str, vector: str) -> str:
    """The largest, for instant queries."""
    return f"topk({count}, sum by ({by}) ({vector}))"


def top_of_range(count: int, by: str, part: Part = "all", choice: Choice = CHOSEN) -> str:
    """Those that cost most in the range, the same ones at every step; of which no day is written, by their yesterday.

    Pairs by this month and the last, and only without dated history.
    """
    recent = total(by, _now(by, part, "yesterday", choice))
    if by == PAIR:
        months = '__name__=~"aws_cost_month_to_date_usd|aws_cost_last_month_usd"'
        recent = f"sum by ({by}) ({{{months}, {LIVE_COST}}} @ {END})"
    ranked = f"{range_cost(by, part, choice)} or {recent}"
    # Without usage there is no run.
    return f"topk({count}, {f'({ranked}) > 0.005' if part == 'run' else ranked})"


def cost_of_months(by: str) -> str:
    """Cost of each complete UTC calendar month at its 1st, in USD; of the first one at the first step of the range."""

    def month(look: str) -> str:
        return total(by, f"last_over_time({select('aws_cost_monthly', by)}{look} offset -1d)")

    return (
        f"({month('[1d]')} or {month('[31d]')} and on () (vector(time()) <= {START})"
        f" unless on () (vector(time()) >= on () {_MONTH_BEGINS})) and on () (vector(time()) < {END})"
    )


def top_of_months(count: int, by: str) -> str:
    """Those that cost most in the months that the range touches."""
    return f"topk({count}, sum by ({by}) (sum_over_time(({cost_of_months(by)})[1d$__range:1d] @ {END})))"


def month_so_far() -> str:
    """Cost of the month in which the range ends, up to its end, where `cost_of_months` would show it complete."""
    served = f"sum(aws_cost_month_to_date_usd{{{COST}}} @ {END})"
    days = f"({_days('', 'all')}) and on () (vector(time()) > on () {_MONTH_BEGINS})"
    dated = f"sum(sum_over_time(({days})[31d:1d] @ {END} offset -1s))"
    first_step = f"clamp_min({_MONTH_BEGINS}, {RANGE_BEGINS})"
    return (
        f"({served} or {dated}) and on () (vector(time()) - on () {first_step} >= 0 < {_DAY})"
        " unless on () group(last_over_time(aws_cost_monthly_by_service_usd[1d] offset -1d))"
    )


def _written(look: str = "[1d]") -> str:
    """A value if the day has been written to dated history, regardless of what is chosen."""
    return f"group(last_over_time({_BY_SERVICE}{look}))"


def _series(by: str) -> str:
    """The labels that one value an account and service needs to be summed by `by`."""
    return ", ".join(sorted({"account_id", "service", *filter(None, by.split(", "))}))

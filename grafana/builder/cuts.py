"""Cost by one dimension beside the account: a region, a usage type, the value of a tag.

These families are dated and have no live gauges: a range has the days that are written. They have no label `service`, and
none has the key of another. Yet each is filtered by all that can be chosen: a matcher of a label that is absent matches
while all is chosen and finds nothing as soon as something is, so that no panel shows a sum that its filters do not mean.
What is then to be asked instead, a panel says itself, see `Cut.state`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard, table

from grafana.builder.collected import ENABLED, FEWER_FILTERS, NOTHING_SCRAPED, Enumerated
from grafana.builder.frame import hidden_list
from grafana.builder.promql import END, RANGE, RANKED, Choice, select, select_by_account
from grafana.builder.style import STATE, properties, rows

FAMILY = "aws_cost_daily_by_{}_usd"
CHOSEN = {
    "service": ("--service '{}'", "aws_cost_daily_by_service_usd"),
    "region": ("--region {}", FAMILY.format("region")),
    "usage_type": ("--usage-type {}", FAMILY.format("usage_type")),
}
"""Variables that no two of these families have as labels: the command's option, and the family that names their values."""
OTHER = "other"
"""The key of the sum of the keys that have no series."""
NOTE = "note"
NOTES = {NOTE: "Note"}
"""The column of a table that says what is not known; without it, there is no such column."""
_MARK = "~"  # in no name of AWS
_NEWEST = "[8d] @ $complete"
DIMENSIONS = "region", "usage_type", "charge_type", "resource"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut(Enumerated):
    """A dimension, how its cost is selected, and what is said where it is not known."""

    what: str
    """A key in words: region."""
    without: str
    """What cost without such a key is called."""
    by: str
    """The command's name of it."""
    family: str
    label: str
    """Of its keys."""
    filters: tuple[str, ...] = ("service",)
    """Which of `CHOSEN` the dashboard has."""
    most: int = 12
    """How many keys are shown apart from the others."""
    matchers: str = ""
    """Further ones, each after a comma."""
    switch: str
    """What is said while nothing reads it."""
    collectors: str = "cost_breakdowns|cost_export"
    """Each of them reads it; `|` stands between them."""
    missing: str
    """A vector that has a series while no day near the end of the range has it."""

    # Amounts

    def selector(self, more: str | None = None, accounts: str = "$accounts", family: str = "") -> str:
        """What is chosen, of `family` or of this one; `more` replaces its own matchers, each after a comma."""
        chosen = "".join(f', {name}=~"${name}"' for name in self.filters)
        return f'{family or self.family}{{account_id=~"{accounts}.*"{self.matchers if more is None else more}{chosen}}}'

    def all_of(self, more: str) -> str:
        """Further matchers beside its own."""
        return f"{self.matchers}{more}"

    def days(self, by: str, more: str = "") -> str:
        """Cost of the UTC day that begins at each step, in USD; the step must be one day."""
        days = _sum(by, f"last_over_time({self.selector(self.all_of(more))}[1d] offset -1d)")
        return f"{days} and on () (vector(time()) < {END})"

    def ended(self, by: str, more: str = "", accounts: str = "$accounts") -> str:
        """The same of the day that ends at each step, for subqueries."""
        return _sum(by, f"last_over_time({self.selector(self.all_of(more), accounts)}[1d])")

    def in_range(self, by: str, more: str = "") -> str:
        """Cost of the UTC days of the range that are written, in USD."""
        return of_range(self.selector(self.all_of(more)), by)

    def is_written(self, look: str) -> str:
        """A value where a day has the dimension at all, regardless of what is chosen."""
        return f"group(last_over_time({self.family}{{{self.matchers.removeprefix(', ')}}}{look}))"

    # Names

    @property
    def top(self) -> str:
        """The variable of the keys that cost most in the range."""
        return f"{RANKED}{self.most}_{self.what.replace(' ', '_')}s"

    def ranking(self) -> dashboard.QueryVariable:
        """What `named` shows apart: ranked once a page."""
        ranked = self.in_range(self.label, f', {self.label}!~"|{OTHER}"')
        return hidden_list(
            self.top,
            f"Largest {self.what}s",
            f"The {self.most} {self.what}s that cost most in the range: those that panels show apart.",
            f"group by ({self.label}) (topk({self.most}, {ranked} != 0))",
            rf'/{self.label.removeprefix("${kind}")}="([^"]+)"/',
        )

    def keyed(self, vector: str, by: str) -> str:
        """Sums by `by` and `label` with a label `key`, which also names what has none."""
        named = f'label_replace({vector}, "key", "$1", "{self.label}", "(.+)")'
        return f'sum by ({by}, key) (label_replace({named}, "key", "{self.without}", "{self.label}", ""))'

    def named(self, of: Callable[[str, str], str], more: str = "") -> str:
        """Sums by `key`: the name of each key that is shown apart, of the others, and of what has none.

        `of` is given labels to sum by, and matchers. To name each key would take longer than to read them all.
        """
        shown = of(self.label, f'{more}, {self.label}=~"(${self.top})|"')
        shown = f'label_replace({shown}, "key", "$1", "{self.label}", "(.+)")'
        shown = f'label_replace({shown}, "key", "{self.without}", "{self.label}", "")'
        others = of("", f'{more}, {self.label}!~"(${self.top})|"')
        return f'sum by (key) ({shown} or label_replace({others}, "key", "{self.others}", "", ""))'

    @property
    def others(self) -> str:
        return f"Other {self.what}s"

    # States

    def unknown(self) -> Mapping[str, str]:
        enabled = f'group({ENABLED}{{collector=~"{self.collectors}"}})'
        return {
            self.switch: f"group({ENABLED}) and on () {self.missing} unless on () {enabled}",
            f"no day by {self.what} in this range": f"{enabled} and on () {self.missing}",
            NOTHING_SCRAPED: f"absent({ENABLED}) and on () {self.missing}",
            FEWER_FILTERS: is_chosen(self._others),
        }

    def in_rows(self, panel: table.Panel, label: str = NOTE, **more: object) -> table.Panel:
        """Say it as a row: where filters meet that no family has together, with the command that answers.

        In a column that is there only for it, with `more` properties: names lead to what they name.
        """
        said = f"{self.state(label, (FEWER_FILTERS,))} or {command(self.by, self._others)}"
        panel.override_by_name(NOTES[NOTE], properties(custom__wrapText=True, **more))
        return panel.with_target(rows(STATE, said))

    @property
    def _others(self) -> tuple[str, ...]:
        return tuple(name for name in self.filters if name != self.label)


def _sum(by: str, vector: str) -> str:
    return f"sum by ({by}) ({vector})" if by else f"sum({vector})"


def is_chosen(variables: tuple[str, ...]) -> str:
    """A series while any of these variables has another value than all."""
    marked = f'label_replace(vector(1), "is", "{_MARK}", "", "")'
    pattern = "".join(f"(?:${name})" for name in variables)
    return f'max(label_replace({marked}, "is", "", "is", "{pattern}") and on (is) {marked})'


def command(by: str, others: tuple[str, ...]) -> str:
    """The command that answers what is chosen of `others`, for the first value of each; nothing while none is."""
    chosen, *rest = map(_option, others)
    for name, other in zip(others[1:], rest, strict=True):
        # Each with the next, or one of both alone.
        chosen = (
            f"({chosen} * on () group_left ({name}_option) ({other} or on () vector(1)) or on () {other})"
        )
    # Days and an account stand in one text, of which an account is chosen where it ends with an id.
    text = "${__from:date:iso} ${__to:date:iso} $account"
    begin = f'label_replace(vector(1), "of", "{text}", "", "")'
    begin = f'label_replace({begin}, "days", " --from $1 --to $2", "of", "(.{{10}}).*? (.{{10}}).*")'
    begin = f'label_replace({begin}, "one", " --account $1", "of", ".* ([0-9]{{12}})")'
    begin = f'label_replace({begin}, "of", "aws-spend-exporter costs --by {by}", "", "")'
    options = ", ".join(f'"{name}_option"' for name in others)
    joined = f"{chosen} * on () group_left (of, days, one) {begin}"
    return f'max by ({NOTE}) (label_join({joined}, "{NOTE}", "", "of", {options}, "one", "days"))'


def _option(variable: str) -> str:
    """The command's option for the first value that is chosen, in a label; nothing while all is.

    By the name that a series has, since in the variable it is written as a regular expression.
    """
    option, family = CHOSEN[variable]
    chosen = f'{variable}=~"${variable}", {variable}!~".(?:${variable}){{9}}"'
    found = f"group by ({variable}) (last_over_time({family}{{{chosen}}}[1d$__range]))"
    return f'topk(1, label_replace({found}, "{variable}_option", " {option.format("$1")}", "{variable}", "(.+)"))'


def dimensions() -> dashboard.QueryVariable:
    """Which dimensions were written for one of the newest days of the range."""
    names = "|".join(map(FAMILY.format, DIMENSIONS))
    found = f'group by (__name__) (last_over_time({{__name__=~"{names}"}}{_NEWEST}))'
    pattern = FAMILY.format("(.+)")
    return hidden_list(
        "dimensions",
        "Dimensions",
        "Dimensions by which one of the newest days of the range is written.",
        f'label_replace({found}, "dimension", "$1", "__name__", "{pattern}")',
        r'/dimension="(\w+)"/',
    )


def missing(dimension: str) -> str:
    """A series while `$dimensions` does not hold it."""
    marked = f'label_replace(vector(1), "is", "{dimension}", "", "")'
    return f'max(label_replace({marked}, "is", "", "is", "$dimensions") and on (is) {marked})'


_MORE = "".join(f', {name}=~"${name}", {name}!~".(?:${name}){{9}}"' for name in CHOSEN if name != "service")


def chosen_by_account() -> str:
    """A selector of what is chosen, to be summed: by account alone, or of the one service, region or usage type.

    Of each account, the family that has just the filter that is chosen; none where two are.
    """
    return select_by_account(
        f"aws_cost_daily_usd|{FAMILY.format('region')}|{FAMILY.format('usage_type')}",
        "aws_cost_daily_by_account_usd",
        Choice(more=_MORE),
    )


def chosen_by_service() -> str:
    """The same by service, which is known neither of a region nor of a usage type."""
    return select("aws_cost_daily", "service", Choice(more=', region=~"$region", usage_type=~"$usage_type"'))


def of_range(selector: str, by: str = "") -> str:
    """Cost of the UTC days of the range that are written, of any such selector."""
    return _sum(by, f"sum_over_time(last_over_time({selector}[1d]){RANGE})")


_ODD = "(month(vector(time() - {})) % 2 == 1)"
_EVEN = "(month(vector(time() - {})) % 2 == 0)"


def of_months(days: str) -> str:
    """Sums of calendar months at their first days; `days` is of the day that ends at a step, and steps are days.

    Of the 31 days from a 1st on, those of the next month have a number that is odd where this one's is even, or the reverse:
    they are summed apart.
    """

    def parity(seconds: int) -> str:
        odd, even = (
            f'label_replace({of.format(seconds)}, "odd", "{number}", "", "")'
            for number, of in ((1, _ODD), (2, _EVEN))
        )
        return f"({odd} ^ 0 or {even} ^ 0)"

    each = f"({days}) * on () group_left (odd) {parity(1)}"
    of_month = f"sum_over_time(({each})[31d:1d] offset -31d) and on (odd) {parity(0)}"
    return f"sum without (odd) ({of_month}) and on () (day_of_month(vector(time())) == 1)"

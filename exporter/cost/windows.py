"""Windows of complete days, summed from the ledger: the newest days, those before them, and a month against the last.

Every window ends with the newest complete day (`CostTable.complete_day` has the definition), not with the wall
clock's yesterday. So none of them lacks a day after midnight or while the source books late, and both sides of a
comparison have the same number of days.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from exporter.core.fields import CollectorSettings
from exporter.core.metric import Family, Sample
from exporter.core.moments import days_between, month_start, start_of_day
from exporter.cost.settings import CostSettings
from exporter.declarations.view import ViewContext
from exporter.ledger.file import Ledger

TRAILING_DAYS = (1, 7, 30)
COMPARED_DAYS = (7, 30)
_DAY = timedelta(days=1)
_MOST_DAYS = 62  # the longest reach of any window: a month and the last one

_ACCOUNT = ("account_id", "account")
COMPLETE_THROUGH = Family(
    "aws_cost_complete_through_timestamp_seconds",
    "End of the newest complete UTC day, where every window of complete days ends: over, with cost, and read as long"
    " after its end as AWS needs to book a day; see docs/cost-data.md.",
)

_TRAILING = (
    "Cost of the newest `days` complete UTC days, up to aws_cost_complete_through_timestamp_seconds, {by}; correct"
    " per `days`, absent until all of them have been read."
)
_BEFORE = (
    "Cost of the `days` UTC days before the newest `days` complete ones, {by}; correct per `days`, absent until all"
    " of both have been read."
)
_MONTH = (
    "Cost of the complete UTC days of the current calendar month, {by}; absent until its 1st is complete."
)
_THIS_SAME = (
    "Cost of days 1 to k of the current UTC month, {by}: k is how many of its days are complete, at most the"
    " length of the last month; absent until its 1st is complete."
)
_LAST_SAME = (
    "Cost of days 1 to k of the last UTC month, {by}, with the k of the families of the current month's same days;"
    " absent until the 1st of the current month is complete."
)


@dataclass(frozen=True, slots=True)
class _Families:
    """The families of one grain: by account, or by service."""

    trailing: Family
    before: Family
    month: Family
    this_same: Family
    last_same: Family

    @classmethod
    def of(cls, infix: str, labels: tuple[str, ...], by: str) -> _Families:
        def family(name: str, text: str, *more: str) -> Family:
            return Family(f"aws_cost_{name}{infix}_usd", text.format(by=by), (*labels, *more))

        return cls(
            trailing=family("trailing", _TRAILING, "days"),
            before=family("trailing_before", _BEFORE, "days"),
            month=family("month_complete", _MONTH),
            this_same=family("month_matched", _THIS_SAME),
            last_same=family("last_month_matched", _LAST_SAME),
        )

    def all(self) -> tuple[Family, ...]:
        return self.trailing, self.before, self.month, self.this_same, self.last_same


BY_ACCOUNT = _Families.of("", _ACCOUNT, "by account")
BY_SERVICE = _Families.of("_by_service", ("service",), "by service of the whole organization")
FAMILIES = (COMPLETE_THROUGH, *BY_ACCOUNT.all(), *BY_SERVICE.all())


@dataclass(frozen=True, slots=True)
class Window:
    """The UTC days of [start, end)."""

    start: date
    end: date

    @property
    def days(self) -> int:
        """How many."""
        return (self.end - self.start).days

    def back(self, days: int) -> Window:
        """As many days, so many earlier."""
        return Window(self.start - days * _DAY, self.end - days * _DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The days of every window at one moment; a window of which a day has not been read after its end is missing."""

    newest: date
    """The newest complete day."""
    trailing: Mapping[int, Window]
    before: Mapping[int, Window]
    month: Window | None
    """The complete days of the current month."""
    same: tuple[Window, Window] | None
    """As many days of the current month and of the last one."""

    def spans(self) -> Iterable[Window]:
        """All of them."""
        yield from self.trailing.values()
        yield from self.before.values()
        if self.month is not None:
            yield self.month
        if self.same is not None:
            yield from self.same


def find_windows(ledger: Ledger, now: datetime) -> Windows | None:
    """The windows of complete days at `now`; None while no day is complete."""
    newest = ledger.cost.complete_day(now)
    if newest is None:
        return None
    end = newest + _DAY
    known = _known_days(ledger, newest)

    def is_known(span: Window) -> bool:
        return span.days > 0 and set(days_between(span.start, span.end)) <= known

    trailing = {days: Window(end - days * _DAY, end) for days in TRAILING_DAYS}
    before = {days: trailing[days].back(days) for days in COMPARED_DAYS}
    this_month, last_month = month_start(now.date()), month_start(now.date(), 1)
    month = Window(this_month, end)
    count = min(month.days, (this_month - last_month).days)
    same = (
        Window(this_month, this_month + count * _DAY),
        Window(last_month, last_month + count * _DAY),
    )
    return Windows(
        newest=newest,
        trailing={days: span for days, span in trailing.items() if is_known(span)},
        before={days: span for days, span in before.items() if is_known(span) and is_known(trailing[days])},
        month=month if is_known(month) else None,
        same=same if all(map(is_known, same)) else None,
    )


def _known_days(ledger: Ledger, newest: date) -> set[date]:
    """The days up to `newest` that were read after their end, as far back as a window may reach."""
    states = ledger.reads.day_states(newest - _MOST_DAYS * _DAY, newest + _DAY)
    return {
        day
        for day, state in states.items()
        if state.read_at is not None and state.read_at >= start_of_day(day + _DAY)
    }


Sums = Mapping[str, Decimal]
"""USD by account id, or by service; those without a row in the window are missing."""


def sum_windows(
    ledger: Ledger, spans: Collection[Window], cost_type: str
) -> tuple[dict[Window, Sums], dict[Window, Sums]]:
    """USD of each span by account id, and by service.

    Windows overlap: each day is read once, in the stretches between the ends of all of them.
    """
    bounds = sorted({bound for span in spans for bound in (span.start, span.end)})
    by_account: dict[Window, dict[str, Decimal]] = {span: {} for span in spans}
    by_service: dict[Window, dict[str, Decimal]] = {span: {} for span in spans}
    for start, end in pairwise(bounds):
        within = [span for span in by_account if span.start <= start and end <= span.end]
        if not within:
            continue
        accounts, services = _stretch(ledger, start, end, cost_type)
        for span in within:
            _add(by_account[span], accounts)
            _add(by_service[span], services)
    return {**by_account}, {**by_service}


def _stretch(
    ledger: Ledger, start: date, end: date, cost_type: str
) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    accounts: dict[str, Decimal] = {}
    services: dict[str, Decimal] = {}
    for (account_id, service), usd in ledger.cost.sums(start, end, cost_type).items():
        accounts[account_id] = accounts.get(account_id, Decimal(0)) + usd
        services[service] = services.get(service, Decimal(0)) + usd
    return accounts, services


def _add(sums: dict[str, Decimal], more: Sums) -> None:
    for key, usd in more.items():
        sums[key] = sums.get(key, Decimal(0)) + usd


# The view


def render(view: ViewContext[CollectorSettings]) -> Iterable[Sample]:
    """Every window that the ledger can answer for; nothing while no day is complete."""
    windows = find_windows(view.ledger, view.now)
    if windows is None:
        return
    yield COMPLETE_THROUGH(start_of_day(windows.newest + _DAY).timestamp())
    cost_type = view.sections.of(CostSettings).cost_type
    by_account, by_service = sum_windows(view.ledger, frozenset(windows.spans()), cost_type)
    names = view.ledger.accounts.names(on=windows.newest)
    yield from _samples(
        windows,
        BY_ACCOUNT,
        by_account,
        lambda account_id: {"account_id": account_id, "account": view.account(account_id, names)},
    )
    yield from _samples(windows, BY_SERVICE, by_service, lambda service: {"service": service})


def _samples(
    windows: Windows,
    families: _Families,
    sums: Mapping[Window, Sums],
    labels: Callable[[str], Mapping[str, str]],
) -> Iterable[Sample]:
    def of(family: Family, span: Window, **more: str) -> Iterable[Sample]:
        for key, usd in sorted(sums[span].items()):
            yield family(usd, **labels(key), **more)

    for days, span in windows.trailing.items():
        yield from of(families.trailing, span, days=str(days))
    for days, span in windows.before.items():
        yield from of(families.before, span, days=str(days))
    if windows.month is not None:
        yield from of(families.month, windows.month)
    if windows.same is not None:
        yield from of(families.this_same, windows.same[0])
        yield from of(families.last_same, windows.same[1])

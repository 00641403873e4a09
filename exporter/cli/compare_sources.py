"""`doctor --compare-month`: a month of the data export beside Cost Explorer's, by service, for one paid request.

What it finds is left beside the ledger, where the exporter takes it to serve it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal

from prometheus_client import CollectorRegistry

from exporter.aws.advice import advice
from exporter.aws.charges import MemoryCharges
from exporter.aws.cost_explorer import daily_costs
from exporter.aws.errors import AwsError
from exporter.aws.meter import COST_EXPLORER_REQUEST_USD, Charges, Meter
from exporter.aws.partitions import of_arn
from exporter.aws.settings import make_aws
from exporter.cli.finding import CheckFinding
from exporter.collectors.cost import COLLECTOR as COST
from exporter.config.model import Config
from exporter.core.amounts import AMOUNTS, CostTypeNotAvailableError, Units
from exporter.core.moments import days_between, month_start, utc_now
from exporter.core.money import sum_to_units, to_usd
from exporter.cube.months import CubeMonth, CubeMonths
from exporter.exports.sums.comparison import AGREES_WITHIN, SourceComparison, by_service, leave
from exporter.ledger.database import LedgerLockedError
from exporter.ledger.file import Ledger

_SUBJECT = "both sources"
_DAY = timedelta(days=1)


class _BesideExporter(MemoryCharges):
    """The charges of a running exporter, which alone writes its ledger, and beside them our own."""

    def __init__(self, books: Ledger) -> None:
        super().__init__()
        self._books = books

    def charged_since(self, budget: str, since: datetime | None) -> Decimal:
        """The sum of both."""
        return self._books.charges.charged_since(budget, since) + super().charged_since(budget, since)


def compare_sources(config: Config, month: date) -> Iterator[CheckFinding]:
    """What both sources have of a month, in the configured cost type: the services that differ, then the sums."""
    try:
        with _ledger(config) as (ledger, charges):
            held = CubeMonths(ledger).all().get(month)
            if held is None or held.source != "data_export":
                yield _found(
                    f"{month:%Y-%m} is no month of a data export here", "not read", "choose one that is"
                )
                return
            yield from _differences(config, ledger, charges, held)
    except AwsError as error:
        yield _found(str(error), error.kind, advice(error))
    except CostTypeNotAvailableError as error:
        yield _found(str(error), "not compared", "set collectors.cost.cost_type to one of these")
    except (OSError, sqlite3.Error) as error:
        yield _found(f"the ledger cannot be read: {error}", "ledger", "see data_dir")


@contextmanager
def _ledger(config: Config) -> Iterator[tuple[Ledger, Charges]]:
    """The ledger, and the charges that count against its ceilings."""
    try:
        with closing(Ledger(config.ledger_path)) as ledger:
            yield ledger, ledger.charges
    except LedgerLockedError:
        with closing(Ledger(config.ledger_path, read_only=True)) as ledger:
            yield ledger, _BesideExporter(ledger)


def _differences(config: Config, ledger: Ledger, charges: Charges, held: CubeMonth) -> Iterator[CheckFinding]:
    cost = config.settings(COST)
    start = date.fromisoformat(held.details["first_day"])
    end = min(date.fromisoformat(held.details["last_day"]) + _DAY, month_start(held.month, -1))
    ledger.cost.require(cost.cost_type, start, end)
    days = tuple(days_between(start, end))
    exported = by_service(ledger, days)
    meter = Meter(charges, config.ceilings, utc_now, CollectorRegistry())
    with closing(make_aws(config.aws, meter)) as aws:
        partition = of_arn(str(aws.call(None, "sts", "GetCallerIdentity", aws.region)["Arn"]))
        answer = daily_costs(
            aws, None, start, end, ("SERVICE",), granularity="MONTHLY", partition=partition,
            billing_view_arn=cost.billing_view_arn,
        )  # fmt: skip
    found = SourceComparison(
        days=days,
        compared_at=utc_now(),
        cost_types=tuple(held.details["cost_types"]),
        exported=exported,
        reported={
            service: Units(*map(sum_to_units, amounts)) for (_, service), amounts in answer.amounts.items()
        },
    )
    yield from _shown(found, cost.cost_type, held.read_at, answer.pages * COST_EXPLORER_REQUEST_USD)
    try:
        leave(config.ledger_path.parent, found)
    except OSError as error:
        yield _found(
            f"the exporter cannot serve this: {error}",
            "data_dir",
            "run the doctor as who may write data_dir",
        )


def _shown(
    found: SourceComparison, cost_type: str, delivered_at: datetime, usd: Decimal
) -> Iterator[CheckFinding]:
    place, nothing = AMOUNTS.index(cost_type), Units()
    differing = found.differences(cost_type)
    for name, units in differing.items():
        of_export, of_cost_explorer = (
            side.get(name, nothing)[place] for side in (found.exported, found.reported)
        )
        yield _found(
            f"{name}: {_usd(of_export)} of the export, {_usd(of_cost_explorer)} of Cost Explorer, {_usd(units)}"
        )
    services = len(found.services(cost_type))
    exported, reported = found.totals(cost_type)
    yield _found(
        f"{found.days[0]} to {found.days[-1]}, {cost_type}: {services - len(differing)} of {services} services agree to the"
        f" cent; {_usd(exported)} of the export as of {delivered_at:%Y-%m-%d %H:%M} UTC, {_usd(reported)} of Cost Explorer"
        f" (${usd})",
        advice=_what_it_means(differing, exported - reported),
    )


def _what_it_means(differing: Mapping[str, int], rest: int) -> str:
    if not differing:
        return ""
    if abs(rest) < AGREES_WITHIN:
        return "the sums agree: only names of services differ, please report them"
    return "a month that is not final moves between two deliveries; else see docs/data-exports.md"


def _found(result: str, error: str | None = None, advice: str = "") -> CheckFinding:
    return CheckFinding(_SUBJECT, "", "", "", result, error, advice)


def _usd(units: int) -> str:
    amount = to_usd(units)
    return f"{'-' if amount < 0 else ''}${abs(amount):,.2f}"

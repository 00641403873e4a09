"""`doctor --compare-month`: a month of the data export beside Cost Explorer's, by service, for one paid request."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
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
from exporter.core.moments import month_start, utc_now
from exporter.cube.months import CubeMonth, CubeMonths
from exporter.ledger.database import LedgerLockedError
from exporter.ledger.file import Ledger

_SUBJECT = "both sources"
_AGREES_WITHIN = Decimal("0.01")
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
    exported: defaultdict[str, Decimal] = defaultdict(Decimal)
    for (_, service), usd in ledger.cost.sums(start, end, cost.cost_type).items():
        exported[service] += usd
    meter = Meter(charges, config.ceilings, utc_now, CollectorRegistry())
    with closing(make_aws(config.aws, meter)) as aws:
        partition = of_arn(str(aws.call(None, "sts", "GetCallerIdentity", aws.region)["Arn"]))
        answer = daily_costs(
            aws, None, start, end, ("SERVICE",), granularity="MONTHLY", partition=partition,
            billing_view_arn=cost.billing_view_arn,
        )  # fmt: skip
    reported = {service: getattr(amounts, cost.cost_type) for (_, service), amounts in answer.amounts.items()}
    services = {name for name in {*exported, *reported} if exported.get(name) or reported.get(name)}
    differing = {
        name: difference
        for name in services
        if abs(difference := exported.get(name, Decimal(0)) - reported.get(name, Decimal(0)))
        >= _AGREES_WITHIN
    }
    for name, difference in sorted(differing.items(), key=lambda item: (-abs(item[1]), item[0])):
        yield _found(
            f"{name}: {_usd(exported.get(name))} of the export, {_usd(reported.get(name))} of Cost Explorer,"
            f" {_usd(difference)}"
        )
    total, other = sum(exported.values(), Decimal(0)), sum(reported.values(), Decimal(0))
    last = end - _DAY
    yield _found(
        f"{start} to {last}, {cost.cost_type}: {len(services) - len(differing)} of {len(services)} services agree to the"
        f" cent; {_usd(total)} of the export as of {held.read_at:%Y-%m-%d %H:%M} UTC, {_usd(other)} of Cost Explorer"
        f" (${answer.pages * COST_EXPLORER_REQUEST_USD})",
        advice=_what_it_means(differing, total - other),
    )


def _what_it_means(differing: dict[str, Decimal], rest: Decimal) -> str:
    if not differing:
        return ""
    if abs(rest) < _AGREES_WITHIN:
        return "the sums agree: only names of services differ, please report them"
    return "a month that is not final moves between two deliveries; else see docs/data-exports.md"


def _found(result: str, error: str | None = None, advice: str = "") -> CheckFinding:
    return CheckFinding(_SUBJECT, "", "", "", result, error, advice)


def _usd(amount: Decimal | None) -> str:
    amount = amount or Decimal(0)
    return f"{'-' if amount < 0 else ''}${abs(amount):,.2f}"

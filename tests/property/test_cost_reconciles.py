"""The cost families, the dated one included, equal what the simulated AWS holds, to the last digit, whatever it does to its data.

Hypothesis draws organisations: cost on days around a month end, rows that appear, change, move to
another service and vanish, and the moments at which the exporter reads. The truth is totalled by
code that shares nothing with the API. The second test breaks our code in several ways and demands
that this property notices each.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import fsum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from recording_endpoint import RecordingEndpoint

from exporter.aws import cost_explorer, cost_pages
from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import Aws
from exporter.aws.errors import AwsError
from exporter.aws.meter import Meter
from exporter.aws.settings import Ceiling, CeilingSettings
from exporter.collectors import cost
from exporter.core.exposition import render
from exporter.core.moments import Clock, month_start, start_of_day, to_milliseconds, utc_now
from exporter.core.places import Account, Target
from exporter.cost import queries
from exporter.cost.dated_sums import DATED_SUMS, DatedSums
from exporter.declarations.context import Context
from exporter.declarations.view import ViewContext
from exporter.history.endpoint import RemoteWriteEndpoint
from exporter.history.sample_timestamps import COST, Stamps, daily_values
from exporter.history.settings import HistorySettings
from exporter.history.writer import HistoryMetrics, HistoryWriter
from exporter.ledger.cost import CostTable
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostReads
from simulated_aws import METRICS, ExplicitCost, OrganizationSpec, SimulatedAws

SERVICES = ("Amazon Simple Storage Service", "AWS Lambda", "Tax")
RECORD_TYPES = ("Usage", "SavingsPlanCoveredUsage", "Tax", "Credit", "Refund")
UNLIMITED = CeilingSettings(cost=Ceiling(day=None, month=None), first_fill=None)
MONTH_END = date(2026, 3, 1)
CENT = 0.01
NOT_SENT = 0.0001  # a smaller change of a dated value is not written
BY_DAY = ("aws_cost_daily_by_account_usd", "aws_cost_daily_by_service_usd")
BY_MONTH = ("aws_cost_monthly_usd", "aws_cost_monthly_by_account_usd", "aws_cost_monthly_by_service_usd")


@dataclass(frozen=True)
class Scenario:
    """What AWS holds, when it is read, and how restated days are looked for."""

    rows: tuple[ExplicitCost, ...]
    moments: tuple[datetime, ...]
    refresh: str
    cost_type: str


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatedAws]:
    spec = OrganizationSpec(
        seed=7, accounts=3, services=2, groups_per_page=3, now=datetime(2026, 3, 1, tzinfo=UTC)
    )
    with SimulatedAws(spec, costs=()) as simulator, pytest.MonkeyPatch.context() as patch:
        for name, value in simulator.environment().items():
            patch.setenv(name, value)
        yield simulator


@pytest.fixture(scope="module")
def aws(simulator: SimulatedAws) -> Iterator[Aws]:
    meter = Meter(MemoryCharges(), UNLIMITED, utc_now, CollectorRegistry())
    aws = Aws(meter, endpoint_url=simulator.url, simulated=True)
    yield aws
    aws.close()


def scenarios(account_ids: tuple[str, ...]) -> st.SearchStrategy[Scenario]:
    # The hours around midnight and month ends are drawn as often as all others.
    first = st.builds(
        lambda days, minutes: datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=days, minutes=minutes),
        st.sampled_from((-1, 0, 0, 1, 9, 10, 11, 27)),
        st.sampled_from((0, 1, 30, 700, 1439)),
    )
    steps = st.lists(st.integers(24, 24 * 9), min_size=1, max_size=3)

    def rows_for(moments: tuple[datetime, ...]) -> st.SearchStrategy[tuple[ExplicitCost, ...]]:
        changes = st.none() | st.sampled_from(moments)
        row = st.builds(
            ExplicitCost,
            day=st.sampled_from((-31, -20, -3, -2, -1, 0, 1, 2, 9, 27)).map(
                lambda days: MONTH_END + timedelta(days=days)
            ),
            account_id=st.sampled_from(account_ids),
            service=st.sampled_from(SERVICES),
            record_type=st.sampled_from(RECORD_TYPES),
            usage_type=st.integers(0, 10**6).map(str),
            amounts=st.lists(
                st.integers(-(10**12), 10**13) | st.integers(10**12, 10**15), min_size=5, max_size=5
            ).map(
                lambda units: dict(zip(METRICS, (Decimal(unit).scaleb(-10) for unit in units), strict=False))
            ),
            visible_from=changes,
            visible_until=changes,
        )
        return st.lists(row, min_size=3, max_size=30).map(distinguishable)

    @st.composite
    def draw_scenario(draw: st.DrawFn) -> Scenario:
        start = draw(first)
        moments = [start]
        refresh = draw(st.sampled_from(("auto", "full", "scan")))
        for hours in draw(steps):
            moments.append(moments[-1] + (1 if refresh == "full" else 4) * timedelta(hours=hours))
        return Scenario(
            draw(rows_for(tuple(moments))),
            tuple(moments),
            refresh,
            draw(st.sampled_from(tuple(cost_explorer.METRICS))),
        )

    return draw_scenario()


def distinguishable(rows: list[ExplicitCost]) -> tuple[ExplicitCost, ...]:
    """No two sets of rows have one sum: a scan of totals cannot see a change that leaves them all alike."""
    return tuple(
        ExplicitCost(
            row.day,
            row.account_id,
            row.service,
            {metric: amount + Decimal(2**number).scaleb(-10) for metric, amount in row.amounts.items()},
            record_type=row.record_type,
            usage_type=row.usage_type,
            visible_from=row.visible_from,
            visible_until=row.visible_until,
        )
        for number, row in enumerate(rows)
    )


def expected(
    simulator: SimulatedAws, scenario: Scenario, start: date, end: date
) -> dict[tuple[str, str], float]:
    metric = cost_explorer.METRICS[scenario.cost_type]
    totals = simulator.truth.totals(start, end, metric=metric)
    return {(key[0], key[1]): float(value) for key, value in totals.items() if value}


def exported(ledger: Ledger, scenario: Scenario, now: datetime) -> dict[str, list[Any]]:
    """The samples of a scrape by family."""
    settings = cost.CostSettings(refresh=scenario.refresh, cost_type=scenario.cost_type)
    text = "".join(
        render(cost.render(ViewContext(ledger=ledger, now=now, settings=settings, names={}))).values()
    )
    found: dict[str, list[Any]] = {}
    for metric in text_string_to_metric_families(text):
        for sample in metric.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def by_key(samples: list[Any]) -> dict[tuple[str, str], float]:
    """The non-zero values by account id and service."""
    return {
        (sample.labels["account_id"], sample.labels["service"]): sample.value
        for sample in samples
        if sample.value
    }


class Dated:
    """Writes the history of a ledger to an endpoint, and says what stands there."""

    def __init__(self, ledger: Ledger, endpoint: RecordingEndpoint, scenario: Scenario, clock: Clock) -> None:
        settings = HistorySettings.model_validate({"write_url": endpoint.write_url})
        self.endpoint = endpoint
        self.connection = RemoteWriteEndpoint(settings)
        metrics = HistoryMetrics(CollectorRegistry())
        self.sums = DatedSums(ledger, scenario.cost_type, settings.window, 1, clock)
        self.writers = [
            HistoryWriter(
                settings, scenario.cost_type, Stamps(ledger, source), self.connection, clock, metrics
            )
            for source in (COST, daily_values(DATED_SUMS))
        ]

    def write(self) -> None:
        """What is new, and what follows from it."""
        assert not self.sums.update()
        for writer in self.writers:
            writer.write()

    def values(self, family: str = "aws_cost_daily_usd") -> dict[tuple[date, str, str], float]:
        """The value of the newest stamp of each day and series, without zeros."""
        newest: dict[tuple[date, str, str], float] = {}
        for (account_id, service, stamp), value in sorted(
            self.endpoint.by_stamp(family).items(), key=lambda item: item[0][2]
        ):
            newest[(datetime.fromtimestamp(stamp / 1000, UTC).date(), account_id, service)] = value
        return {key: value for key, value in newest.items() if value}


def differences(simulator: SimulatedAws, aws: Aws, scenario: Scenario) -> list[str]:
    """Read at each moment and say which families differ from the truth; empty when all is well."""
    simulator.set_costs(scenario.rows)
    payer = Account(simulator.payer_id, "payer")
    target = Target(payer.id, payer.name, "us-east-1")
    settings = cost.CostSettings(
        refresh=scenario.refresh,
        cost_type=scenario.cost_type,
        history_months=1,
        interval=timedelta(hours=6),
    )
    metric = cost_explorer.METRICS[scenario.cost_type]
    wrong = []
    with tempfile.TemporaryDirectory() as folder, closing(RecordingEndpoint()) as endpoint:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        dated = Dated(ledger, endpoint, scenario, simulator.clock.now)
        try:
            # Scans by account and by service find what moved within a day and a half, and an old day
            # is read again every third day.
            delays = (0,) if scenario.refresh == "full" else (0, 16, 32, 80)
            for moment in scenario.moments:
                for hours in delays:
                    now = moment + timedelta(hours=hours)
                    simulator.clock.set(now)
                    context: Context[Any] = Context(
                        aws=aws,
                        ledger=ledger,
                        clock=simulator.clock.now,
                        accounts={payer.id: payer},
                        settings=settings,
                    )
                    cost.collect(context, target)
                today = now.date()
                day = timedelta(days=1)
                families = exported(ledger, scenario, now)
                periods = [
                    ("aws_cost_today_usd", today, today + day),
                    ("aws_cost_yesterday_usd", today - day, today),
                    ("aws_cost_day_before_yesterday_usd", today - 2 * day, today - day),
                    ("aws_cost_month_to_date_usd", month_start(today), today + day),
                    ("aws_cost_last_month_usd", month_start(today, 1), month_start(today)),
                ]
                for sample in families.get("aws_cost_assessed_day_timestamp_seconds", ()):
                    assessed = datetime.fromtimestamp(sample.value, UTC).date()
                    periods.append(("aws_cost_assessed_day_usd", assessed, assessed + day))
                for family, start, end in periods:
                    samples = families.get(family, [])
                    seen = by_key(samples)
                    if seen != (true := expected(simulator, scenario, start, end)):
                        wrong.append(f"{now} {family}: {seen} is not {true}")
                    # No key twice under two names: the sum over the family is the organisation's total.
                    total = simulator.truth.totals(start, end, by=(), metric=metric).get((), Decimal(0))
                    if abs(fsum(sample.value for sample in samples) - float(total)) > CENT / 2:
                        wrong.append(f"{now} {family}: its sum is not {total}")
                dated.write()
                wrong += [
                    f"{now} {family} {key}: {found} is not {true}"
                    for family, key, found, true in dated_differences(
                        dated,
                        simulator.truth.totals(
                            month_start(today, 1), today, by=("day", "account", "service"), metric=metric
                        ),
                        today,
                    )
                ]
        except AwsError as error:
            wrong.append(str(error))
        finally:
            dated.connection.close()
            ledger.close()
    return wrong


def dated_differences(
    dated: Dated, truth: Mapping[tuple[str, ...], Decimal], today: date
) -> Iterator[tuple[str, tuple[date, str, str], float, float]]:
    """What stands in the dated families and is not true: family, day and key, what was found, and the truth."""
    wanted: dict[str, dict[tuple[date, str, str], Decimal]] = {
        family: {} for family in ("aws_cost_daily_usd", *BY_DAY, *BY_MONTH)
    }
    last_month = month_start(today, 1)
    for (text, account_id, service), usd in truth.items():
        day = date.fromisoformat(text)
        places = {
            "usd": (account_id, service),
            "by_account_usd": (account_id, ""),
            "by_service_usd": ("", service),
        }
        for place, of in places.items():
            wanted[f"aws_cost_daily_{place}"].setdefault((day, *of), Decimal(0))
            wanted[f"aws_cost_daily_{place}"][day, *of] += usd
            if month_start(day) == last_month:
                wanted[f"aws_cost_monthly_{place}"].setdefault((last_month, *of), Decimal(0))
                wanted[f"aws_cost_monthly_{place}"][last_month, *of] += usd
    for family, by_key in wanted.items():
        written = dated.values(family)
        for key in written.keys() | by_key.keys():
            found, true = written.get(key, 0.0), float(by_key.get(key, 0))
            # Sums of large amounts as floats: the truth of a test may be a million dollars.
            if key[0] >= last_month and abs(found - true) > max(NOT_SENT, 1e-12 * abs(true)):
                yield family, key, found, true


SLOW = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
)


def test_every_family_equals_the_truth(simulator: SimulatedAws, aws: Aws) -> None:
    ids = tuple(account.id for account in simulator.accounts)

    @SLOW
    @given(scenarios(ids))
    def holds(scenario: Scenario) -> None:
        assert differences(simulator, aws, scenario) == []

    holds()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_family_equals_the_truth_for_long(simulator: SimulatedAws, aws: Aws) -> None:
    ids = tuple(account.id for account in simulator.accounts)

    @settings(SLOW, max_examples=500)
    @given(scenarios(ids))
    def holds(scenario: Scenario) -> None:
        assert differences(simulator, aws, scenario) == []

    holds()


# What the property has to notice


def drop_the_later_pages(patch: pytest.MonkeyPatch) -> None:
    whole = cost_explorer._add_page

    def drop(collected: Any, page: cost_pages.Page, keys: int) -> int:
        if collected.pages:
            for period in page.results_by_time:
                period.groups = []
        return whole(collected, page, keys)

    patch.setattr(cost_explorer, "_add_page", drop)


def sum_floats(patch: pytest.MonkeyPatch) -> None:
    def sums(self: CostTable, start: date, end: date, cost_type: str) -> dict[tuple[str, str], Decimal]:
        found: dict[tuple[str, str], float] = {}
        for row in self.rows(start, end):
            key = (row.account_id, row.service)
            found[key] = found.get(key, 0.0) + float(getattr(row.amounts, cost_type))
        return {key: Decimal(value) for key, value in found.items()}

    patch.setattr(CostTable, "sums", sums)


def include_the_end(patch: pytest.MonkeyPatch) -> None:
    exact = CostTable.sums

    def sums(self: CostTable, start: date, end: date, cost_type: str) -> dict[tuple[str, str], Decimal]:
        return exact(self, start, end + timedelta(days=1), cost_type)

    patch.setattr(CostTable, "sums", sums)


def ask_with_an_inclusive_end(patch: pytest.MonkeyPatch) -> None:
    exact = queries.daily_costs

    def daily_costs(aws: Aws, payer: Any, start: date, end: date, *args: Any, **kwargs: Any) -> Any:
        return exact(
            aws, payer, start, max(start + timedelta(days=1), end - timedelta(days=1)), *args, **kwargs
        )

    patch.setattr(queries, "daily_costs", daily_costs)


def keep_vanished_keys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CostReads, "_zero_day", lambda *_: None)


def take_one_cost_type_for_another(patch: pytest.MonkeyPatch) -> None:
    exact = cost_pages.Metrics.units
    patch.setattr(
        cost_pages.Metrics, "units", lambda self: exact(self)._replace(amortized=exact(self).blended)
    )


def stamp_every_value_of_a_day_alike(patch: pytest.MonkeyPatch) -> None:
    def noon(day: date, *_: object) -> int:
        return to_milliseconds(start_of_day(day) + timedelta(hours=12))

    patch.setattr("exporter.history.writer.next_stamp", noon)


@contextmanager
def broken(mutation: Callable[[pytest.MonkeyPatch], None]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        mutation(patch)
        yield


@pytest.mark.parametrize(
    "mutation",
    [
        drop_the_later_pages,
        ask_with_an_inclusive_end,
        keep_vanished_keys,
        stamp_every_value_of_a_day_alike,
        # A minute of scenarios until one shows it.
        *(
            pytest.param(mutation, marks=pytest.mark.long)
            for mutation in (sum_floats, include_the_end, take_one_cost_type_for_another)
        ),
    ],
)
def test_the_property_notices(
    mutation: Callable[[pytest.MonkeyPatch], None], simulator: SimulatedAws, aws: Aws
) -> None:
    ids = tuple(account.id for account in simulator.accounts)
    with broken(mutation):
        try:
            find(
                scenarios(ids),
                lambda scenario: differences(simulator, aws, scenario) != [],
                settings=settings(SLOW, max_examples=150, phases=(Phase.generate,), database=None),
            )
        except NoSuchExample:
            pytest.fail("150 scenarios passed with broken code")

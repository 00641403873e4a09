"""Findings come from usage at amortized cost, of days that are known whole, and are the same wherever they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exporter.anomalies import causes as anomaly_causes
from exporter.anomalies import cost as anomalies
from exporter.anomalies import families
from exporter.anomalies.causes import Cause, Explanation, region_of
from exporter.anomalies.cost import assess, assessed_day
from exporter.anomalies.settings import AnomalyCausesSettings, AnomalyKinds, AnomalySettings
from exporter.api.endpoints.anomalies import Query, answer
from exporter.api.source import Source
from exporter.collection.plan import make_plan
from exporter.collectors.anomaly_causes import paid_calls
from exporter.config.model import Config
from exporter.config.read import ConfigError, load_config
from exporter.core.amounts import Amounts
from exporter.core.moments import start_of_day
from exporter.cost.settings import CostSettings
from exporter.declarations.calls import Scale
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

DAY = timedelta(days=1)
TESTED = date(2026, 5, 18)
NOW = datetime(2026, 5, 20, 13, tzinfo=UTC)  # 37 hours after the end of the tested day
SETTINGS = AnomalySettings()
PROD = "111111111111"
Daily = Callable[[date], float]
Series = Mapping[tuple[str, str], Daily]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def amortized(usd: float) -> Amounts:
    """Paid in advance: what is unblended says nothing."""
    value = Decimal(repr(round(usd, 4)))
    return Amounts(Decimal(0), Decimal(0), value, Decimal(0), value)


def fill(
    ledger: Ledger,
    series: Series,
    other: Series | None = None,
    now: datetime = NOW,
    unread: set[date] | None = None,
    estimated_from: date | None = None,
) -> None:
    """Ninety days as a read at `now` leaves them; `series` are whole cost, `other` what of it is no usage."""
    days = [
        now.date() - number * DAY
        for number in range(100)
        if now.date() - number * DAY not in (unread or set())
    ]

    def costs(of: Series) -> dict[tuple[date, str, str], Amounts]:
        return {
            (day, account, service): amortized(daily(day))
            for (account, service), daily in of.items()
            for day in days
            if daily(day)
        }

    estimated = {day: estimated_from is not None and day >= estimated_from for day in days}
    ledger.reads.commit(CostRead(now, estimated, costs(series)))
    ledger.reads.commit_non_usage(CostRead(now, estimated, costs(other or {})))


def spiking(level: float, factor: float = 3, days: int = 1) -> Daily:
    return lambda day: level * (factor if 0 <= (TESTED - day).days < days else 1)


def kinds(
    ledger: Ledger, settings: AnomalySettings = SETTINGS, now: datetime = NOW
) -> dict[str, tuple[str, float]]:
    found = assess(ledger, now, settings)
    assert found is not None
    return {finding.service: (finding.kind, round(finding.usd, 2)) for finding in found.findings}


def source(ledger: Ledger, **settings: Any) -> Source:
    return Source(
        ledger=ledger, config=Config(anomalies=AnomalySettings(**settings)), now=NOW, names={PROD: "prod"}
    )


def view(ledger: Ledger, settings: AnomalySettings = SETTINGS, now: datetime = NOW) -> ViewContext:
    return ViewContext(
        ledger=ledger, now=now, settings=CostSettings(), names={PROD: "prod"}, sections=Sections(settings)
    )


def test_every_kind_is_found_of_the_newest_settled_day(ledger: Ledger) -> None:
    fill(
        ledger,
        {
            (PROD, "steady"): lambda day: 100,
            (PROD, "spike"): spiking(100),
            (PROD, "drop"): spiking(100, 0.2, days=2),
            (PROD, "new"): lambda day: 80 if day >= TESTED else 0,
            (PROD, "stopped"): lambda day: 0 if day > TESTED - 2 * DAY else 60,
        },
    )
    assert assessed_day(ledger, NOW) == TESTED
    assert kinds(ledger) == {
        "spike": ("spike", 200),
        "drop": ("drop", -80),
        "new": ("new_service", 80),
        "stopped": ("stopped_service", -60),
    }
    assert list(kinds(ledger)) == [
        "spike",
        "drop",
        "new",
        "stopped",
    ]  # the most dollars first, to either side


def test_a_month_that_is_told_too_high_is_no_spike_until_the_bill_before_it_is_final(ledger: Ledger) -> None:
    may, now = date(2026, 5, 1), datetime(2026, 5, 5, 13, tzinfo=UTC)

    def rising(factor: float, first: date = may) -> Daily:
        return lambda day: 100 * (factor if day >= first else 1)

    series: Series = {
        (PROD, "with the month"): rising(1.3),
        (PROD, "by half"): rising(1.5),
        (PROD, "a day later"): rising(1.3, may + DAY),
        (PROD, "down with the month"): rising(0.7),
    }
    fill(ledger, series, now=now, estimated_from=date(2026, 4, 1))
    assert assessed_day(ledger, now) == date(2026, 5, 3)
    told = {"by half": ("spike", 50), "a day later": ("spike", 30)}
    assert kinds(ledger, now=now) == told
    fill(ledger, series, now=now, estimated_from=may)
    also = {"with the month": ("spike", 30), "down with the month": ("drop", -30)}
    assert kinds(ledger, now=now) == told | also


def test_a_bill_is_final_after_the_seventh(ledger: Ledger) -> None:
    may, now = date(2026, 5, 1), datetime(2026, 5, 9, 13, tzinfo=UTC)
    series: Series = {(PROD, "with the month"): lambda day: 130 if day >= may else 100}
    fill(ledger, series, now=now, estimated_from=date(2026, 4, 1))
    assert assessed_day(ledger, now) == date(2026, 5, 7)
    assert kinds(ledger, now=now) == {}
    fill(ledger, series, now=now, estimated_from=may)
    assert kinds(ledger, now=now) == {"with the month": ("spike", 30)}


def test_what_is_not_usage_is_no_finding(ledger: Ledger) -> None:
    def fee(day: date) -> float:
        return 500 if day == TESTED else 0

    def refund(day: date) -> float:
        return -900 if TESTED - DAY <= day <= TESTED else 0

    fill(
        ledger,
        {
            (PROD, "fee"): lambda day: 100 + fee(day),
            (PROD, "refund"): lambda day: 100 + refund(day),
            (PROD, "Tax"): fee,
        },
        {(PROD, "fee"): fee, (PROD, "refund"): refund, (PROD, "Tax"): fee},
    )
    assert kinds(ledger) == {}


def test_a_day_that_was_not_read_is_no_end_of_anything(ledger: Ledger) -> None:
    fill(ledger, {(PROD, "a"): lambda day: 100}, unread={TESTED - DAY, TESTED - 2 * DAY})
    assert kinds(ledger) == {}


def test_a_service_that_is_back_after_months_is_not_new(ledger: Ledger) -> None:
    long_ago = TESTED - timedelta(days=80)
    fill(
        ledger,
        {
            (PROD, "back"): lambda day: 80 if day >= TESTED or day < long_ago else 0,
            (PROD, "a little"): lambda day: 15 if day >= TESTED or day < long_ago else 0,
            (PROD, "steady"): lambda day: 10,
        },
    )
    assert kinds(ledger) == {"back": ("spike", 80)}


def test_the_first_of_a_month_waits_until_its_fees_are_told(ledger: Ledger) -> None:
    now = datetime(2026, 5, 3, 13, tzinfo=UTC)
    first = date(2026, 5, 1)
    fill(
        ledger,
        {(PROD, "Tax"): lambda day: 100 if day == first else 0, (PROD, "a"): lambda day: 50},
        now=now - DAY,
    )
    # The tax has come in since, and is not yet known to be none of usage.
    days = {first: False}
    costs = {(first, PROD, "Tax"): amortized(900), (first, PROD, "a"): amortized(50)}
    ledger.reads.commit(CostRead(now, days, costs))
    assert ledger.cost.assessed_day(now) == first
    assert assessed_day(ledger, now) == first - DAY
    assert kinds(ledger, now=now) == {}
    ledger.reads.commit_non_usage(CostRead(now, days, {(first, PROD, "Tax"): amortized(900)}))
    assert assessed_day(ledger, now) == first
    assert kinds(ledger, now=now) == {}


@pytest.mark.parametrize(("number", "waits"), [(3, True), (4, False)])
def test_fees_of_a_month_come_until_the_third(ledger: Ledger, number: int, waits: bool) -> None:
    day = date(2026, 5, number)
    now = datetime(2026, 5, number + 2, 13, tzinfo=UTC)
    fill(ledger, {(PROD, "a"): lambda day: 50}, now=now - DAY)
    ledger.reads.commit(CostRead(now, {day: False}, {(day, PROD, "a"): amortized(60)}))
    assert ledger.cost.assessed_day(now) == day
    assert assessed_day(ledger, now) == (day - DAY if waits else day)


def test_nothing_is_said_while_nothing_has_settled(ledger: Ledger) -> None:
    assert assess(ledger, NOW, SETTINGS) is None
    assert {sample.family for sample in anomalies.render(view(ledger))} == {families.SETTING}
    assert answer(source(ledger), Query()) | {"settings": None} == {
        "read_at": None,
        "assessed_day": None,
        "days": [],
        "settings": None,
        "cost_type": "amortized",
        "charge_class": "usage",
        "findings": [],
        "usage_assessed_day": None,
        "usage_findings": [],
    }


def test_a_commit_is_followed_though_results_are_kept(ledger: Ledger) -> None:
    fill(ledger, {(PROD, "a"): lambda day: 100})
    first = assess(ledger, NOW, SETTINGS)
    assert assess(ledger, NOW, SETTINGS) is first
    assert kinds(ledger) == {}
    fill(ledger, {(PROD, "a"): spiking(100)}, now=NOW + timedelta(minutes=1))
    assert kinds(ledger, now=NOW + timedelta(minutes=1)) == {"a": ("spike", 200)}
    assert kinds(ledger, AnomalySettings(usd_per_day=Decimal(300))) == {}


def test_limits_and_kinds_are_settings(ledger: Ledger) -> None:
    fill(ledger, {(PROD, "a"): spiking(100, 1.4), (PROD, "new"): lambda day: 80 if day >= TESTED else 0})
    assert kinds(ledger) == {"a": ("spike", 40), "new": ("new_service", 80)}
    assert kinds(ledger, AnomalySettings(percentage=50)) == {"new": ("new_service", 80)}
    assert kinds(ledger, AnomalySettings(new_service_usd_per_day=Decimal(90))) == {"a": ("spike", 40)}
    assert kinds(ledger, AnomalySettings(kinds=AnomalyKinds(spike=False, new_service=False))) == {}


def test_metrics_and_api_show_the_same_findings(ledger: Ledger) -> None:
    fill(
        ledger,
        {
            (PROD, "steady"): lambda day: 100,
            (PROD, "spike"): spiking(100),
            ("222222222222", "drop"): spiking(100, 0.2, days=2),
            (PROD, "idle"): lambda day: 0,
        },
    )
    samples = list(anomalies.render(view(ledger)))
    served = {
        sample.values: round(sample.value, 4) for sample in samples if sample.family == families.ANOMALY
    }
    told = answer(source(ledger), Query())
    assert {
        (row["account_id"], row["account"], row["service"], row["kind"]): row["usd"]
        for row in told["findings"]
    } == served
    assert served == {
        (PROD, "prod", "spike", "spike"): 200.0,
        ("222222222222", "222222222222", "drop", "drop"): -80.0,
    }
    assert {s.values: s.value for s in samples if s.family is families.EXPECTED} == {
        (PROD, "prod", "steady"): 100,
        (PROD, "prod", "spike"): 100,
        ("222222222222", "222222222222", "drop"): 100,
    }
    assert {s.values: s.value for s in samples if s.family is families.USAGE} == {
        (PROD, "prod", "steady"): 100,
        (PROD, "prod", "spike"): 300,
        ("222222222222", "222222222222", "drop"): 20,
    }
    assert {s.values[0]: s.value for s in samples if s.family is families.SETTING} == {
        "score": 5, "percentage": 20, "usd_per_day": 25, "new_service_usd_per_day": 10,
    }  # fmt: skip
    assert [s.value for s in samples if s.family is families.DAY_TIMESTAMP] == [
        start_of_day(TESTED).timestamp()
    ]


def test_a_finding_carries_the_groups_of_its_account_for_routing(ledger: Ledger) -> None:
    fill(ledger, {(PROD, "a"): spiking(100), ("222222222222", "b"): spiking(100)})
    grouped = replace(view(ledger), group_labels=("env", "team"), groups={PROD: {"team": "platform"}})
    samples = [sample for sample in anomalies.render(grouped) if sample.family.name == families.ANOMALY.name]
    assert {tuple(zip(s.family.labels, s.values, strict=True))[3:] for s in samples} == {
        (("kind", "spike"), ("env", ""), ("team", "platform")),
        (("kind", "spike"), ("env", ""), ("team", "")),
    }


def test_the_api_gives_the_evidence_and_the_cause(ledger: Ledger) -> None:
    fill(ledger, {(PROD, "spike"): spiking(100)})
    told = Explanation(
        TESTED,
        TESTED - 7 * DAY,
        (
            Cause("EUW2-BoxUsage:m5.large", "RunInstances", "eu-west-2", Decimal(10), Decimal("190.5")),
            Cause("NatGateway-Hours", "NatGateway", "", Decimal(0), Decimal("19.5")),
        ),
    )
    anomaly_causes.commit(ledger, PROD, "spike", told, NOW)
    (row,) = answer(source(ledger), Query())["findings"]
    deviation = row["deviation_usd"]
    assert row == {
        "day": "2026-05-18",
        "account_id": PROD,
        "account": "prod",
        "service": "spike",
        "kind": "spike",
        "usd": 200.0,
        "cost_usd": 300.0,
        "expected_usd": 100.0,
        "lower_usd": pytest.approx(100 - 5 * deviation, abs=2),
        "upper_usd": pytest.approx(100 + 5 * deviation, abs=0.01),
        "percentage": 200.0,
        "deviation_usd": pytest.approx(3.2, abs=0.2),
        "score": pytest.approx(200 / deviation, abs=0.01),
        "recurs": False,
        "same_weekdays": [
            {"day": f"{TESTED - 7 * number * DAY}", "cost_usd": 100.0} for number in range(1, 9)
        ],
        "cause": {
            "compared_with": "2026-05-11",
            "spike_day": "2026-05-18",
            "grew": [
                {"usage_type": "EUW2-BoxUsage:m5.large", "operation": "RunInstances", "region": "eu-west-2",
                 "before_usd": "10", "after_usd": "190.5", "usd": "180.5", "resources": []},
                {"usage_type": "NatGateway-Hours", "operation": "NatGateway", "region": None,
                 "before_usd": "0", "after_usd": "19.5", "usd": "19.5", "resources": []},
            ],
        },
    }  # fmt: skip
    assert {s.values[2:]: s.value for s in anomalies.render(view(ledger)) if s.family is families.CAUSE} == {
        ("spike", "EUW2-BoxUsage:m5.large", "RunInstances", "eu-west-2", ""): 180.5,
        ("spike", "NatGateway-Hours", "NatGateway", "", ""): 19.5,
    }


def test_the_api_replays_past_days_and_takes_another_sensitivity(ledger: Ledger) -> None:
    fill(
        ledger,
        {
            (PROD, "a"): lambda day: 300 if day == TESTED - 3 * DAY else 100,
            (PROD, "b"): lambda day: 100 + day.toordinal() % 7 * 2,
        },
    )

    def told(**query: Any) -> list[tuple[str, str]]:
        return [
            (row["day"], row["service"])
            for row in answer(source(ledger, usd_per_day=1), Query(**query))["findings"]
        ]

    assert told() == []
    assert told(days=5) == [("2026-05-15", "a")]
    assert told(days=5, service="b") == told(days=5, account_id="2") == told(days=5, kind="drop") == []
    with pytest.raises(ValueError, match=r"anomalies\.enabled"):
        answer(source(ledger, enabled=False), Query())


def test_sensitivity_is_a_number_of_deviations(ledger: Ledger) -> None:
    fill(ledger, {(PROD, "a"): lambda day: 114 if day == TESTED else 100})
    loose: dict[str, Any] = {"percentage": 1, "usd_per_day": 1}
    found = {
        sensitivity: len(answer(source(ledger, **loose), Query(sensitivity=sensitivity))["findings"])
        for sensitivity in ("low", "medium", "high")
    }
    assert found == {"low": 0, "medium": 0, "high": 1}


def test_a_spike_of_several_days_is_explained_once(ledger: Ledger) -> None:
    told = Explanation(TESTED, TESTED - 7 * DAY, ())
    anomaly_causes.commit(ledger, PROD, "a", told, NOW)
    asked = {
        number: anomaly_causes.explain(ledger, TESTED + number * DAY, PROD, "a") for number in (-1, 0, 2, 3)
    }
    assert asked == {-1: None, 0: told, 2: told, 3: None}
    assert anomaly_causes.explain(ledger, TESTED, PROD, "b") is None
    assert anomaly_causes.asked_since(ledger, NOW) == 1
    assert anomaly_causes.asked_since(ledger, NOW + DAY) == 0


def waiting(ledger: Ledger, at: datetime = NOW, **settings: Any) -> dict[str, float]:
    """Seconds from NOW until the alert of a service goes out at the latest, of those that wait."""
    refused = settings.pop("refused", frozenset())
    causes = AnomalyCausesSettings.model_validate({"enabled": True, **settings})
    asked = replace(view(ledger), now=at, sections=Sections(SETTINGS, causes), refused=lambda: refused)
    return {
        sample.values[2]: sample.value - NOW.timestamp()
        for sample in anomalies.render(asked)
        if sample.family is families.CAUSE_DUE
    }


def test_the_alert_of_a_spike_waits_for_its_cause_for_a_bounded_time(ledger: Ledger) -> None:
    fill(ledger, {(PROD, "spike"): spiking(100), (PROD, "steady"): lambda day: 100})
    assert waiting(ledger) == {"spike": 600}
    # The moment was set when the spike was seen first, and no later rendering or process moves it.
    assert waiting(ledger, NOW + timedelta(minutes=9)) == {"spike": 600}
    assert waiting(ledger, NOW - timedelta(minutes=5)) == {"spike": 300}, "a clock that was set back"
    assert waiting(ledger, NOW + timedelta(minutes=10)) == {}
    anomaly_causes.commit(ledger, PROD, "spike", Explanation(TESTED, TESTED - 7 * DAY, ()), NOW)
    assert waiting(ledger) == {}, "it was asked about, and nothing grew"


def test_no_alert_waits_for_a_cause_that_is_not_asked_for(ledger: Ledger) -> None:
    fill(ledger, {(PROD, name): spiking(usd) for name, usd in (("a", 300), ("b", 200), ("c", 100))})
    assert waiting(ledger, enabled=False) == {}
    # The largest first; what is beyond the limit does not begin to wait when the next day's limit allows it.
    assert waiting(ledger, requests_per_day=2) == {"a": 600, "b": 600}
    assert waiting(ledger, requests_per_day=3) == {"a": 600, "b": 600}
    assert waiting(ledger, refused=frozenset({"anomaly_causes"})) == {}
    anomaly_causes.end_waits(ledger, ())
    assert waiting(ledger) == {}


def test_a_refused_collector_never_begins_to_hold_an_alert(ledger: Ledger) -> None:
    fill(ledger, {(PROD, "a"): spiking(100)})
    assert waiting(ledger, refused=frozenset({"anomaly_causes"})) == {}
    assert waiting(ledger) == {}, "the alert has gone out already"


def test_a_refusal_that_comes_before_any_view_has_seen_the_spike_holds_no_alert(ledger: Ledger) -> None:
    fill(ledger, {(PROD, "a"): spiking(100)})
    assessment = assess(ledger, NOW, SETTINGS)
    assert assessment
    anomaly_causes.end_waits(ledger, assessment.spikes)
    assert waiting(ledger) == {}


def test_a_ledger_that_takes_nothing_holds_no_alert(ledger: Ledger) -> None:
    fill(ledger, {(PROD, "a"): spiking(100)})
    unwritable = Ledger(ledger.path, read_only=True)
    assert waiting(unwritable) == {}
    unwritable.close()
    assert waiting(ledger) == {"a": 600}


def test_an_alert_waits_less_than_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("collectors: {anomaly_causes: {alert_waits: 15m}}")
    with pytest.raises(ConfigError, match=r"collectors\.anomaly_causes\.alert_waits.*at most 14m"):
        load_config(path, {})


def test_a_region_is_read_off_a_usage_type_where_it_says_one() -> None:
    asked = {
        ("USW2-BoxUsage:m5.large", "Amazon EC2"): "us-west-2",
        ("EU-TimedStorage-ByteHrs", "Amazon S3"): "eu-west-1",
        ("USE1-EUW1-AWS-Out-Bytes", "Amazon S3"): "us-east-1",
        ("EU-DataTransfer-Out-Bytes", "Amazon CloudFront"): "",
        ("BoxUsage:m5.large", "Amazon EC2"): "",
        ("Global-Requests", "AWS WAF"): "",
        ("DNS-Queries", "Amazon Route 53"): "",
    }
    assert {key: region_of(*key) for key in asked} == asked


def test_what_grew_is_named_the_most_first() -> None:
    before = {("a", "x"): Decimal(5), ("b", "x"): Decimal(5), ("gone", "x"): Decimal(9)}
    after = {("a", "x"): Decimal(9), ("b", "x"): Decimal(4), ("USE2-c", "y"): Decimal(7)}
    assert list(anomaly_causes.grown(before, after, "s", 9)) == [
        Cause("USE2-c", "y", "us-east-2", Decimal(0), Decimal(7)),
        Cause("a", "x", "", Decimal(5), Decimal(9)),
    ]
    assert len(list(anomaly_causes.grown(before, after, "s", 1))) == 1


def test_the_plan_shows_what_asking_for_causes_costs_and_nothing_while_it_is_off() -> None:
    def planned(**settings: Any) -> list[tuple[str, Decimal, Decimal]]:
        config = Config(collectors={"anomaly_causes": settings})
        plan = make_plan(config, Scale(10, 20, 200, 2, 2000), {}, NOW)
        return [
            (line.operation, line.requests, line.usd)
            for line in plan.lines
            if line.collector == "anomaly_causes"
        ]

    assert planned() == []
    # A spike a month in fifty pairs, and never more than the limit.
    assert planned(enabled=True) == [("GetCostAndUsage", Decimal(4), Decimal("0.04"))]
    scale = Scale(1000, 20, 20_000, 2, 2000)
    assert [call.per_month for call in paid_calls(AnomalyCausesSettings(requests_per_day=3), scale)] == [
        Decimal(90)
    ]


def test_the_originals_environment_variable_is_the_percentage(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("anomalies: {percentage: 30}")
    assert load_config(path, {"COST_ANOMALY_THRESHOLD": "45"}).anomalies.percentage == 30
    path.write_text("anomalies: {usd_per_day: 5}")
    assert load_config(path, {"COST_ANOMALY_THRESHOLD": "45"}).anomalies == AnomalySettings(
        percentage=45, usd_per_day=Decimal(5)
    )
    both = {"COST_ANOMALY_THRESHOLD": "45", "AWS_SPEND_EXPORTER_ANOMALIES__PERCENTAGE": "50"}
    assert load_config(path, both).anomalies.percentage == 50
    with pytest.raises(ConfigError, match=r"COST_ANOMALY_THRESHOLD: found 'much'"):
        load_config(path, {"COST_ANOMALY_THRESHOLD": "much"})


def test_a_day_of_the_history_that_was_read_too_early_says_nothing(ledger: Ledger) -> None:
    before = TESTED - DAY
    low: Series = {(PROD, "a"): lambda day: 20 if day >= before else 100}
    fill(ledger, low, unread={before})
    early = start_of_day(TESTED) + timedelta(hours=2)
    for commit in (ledger.reads.commit, ledger.reads.commit_non_usage):
        costs = {(before, PROD, "a"): amortized(20)} if commit == ledger.reads.commit else {}
        commit(CostRead(early, {before: False}, costs))
    assert kinds(ledger) == {}
    fill(ledger, low, now=NOW + timedelta(minutes=1))
    assert kinds(ledger, now=NOW + timedelta(minutes=1)) == {"a": ("drop", -80)}

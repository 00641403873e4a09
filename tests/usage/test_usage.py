"""Usage from CloudWatch: counters that count each period once, levels in base units, totals by day."""

from __future__ import annotations

from datetime import date

from conftest import MakePoller
from usage_harness import DAY, HOUR, NOW, TRUE_SOURCES, true_sum

from exporter.demo.simulator import SimulatedAws
from exporter.usage_metrics import USAGE_METRICS


def test_counters_begin_at_zero_and_count_what_came_after(aws: SimulatedAws, make_poller: MakePoller) -> None:
    poller = make_poller()
    poller.poll()
    shown = poller.show()
    counters = {row.name for row in USAGE_METRICS if row.is_counter}
    assert {name: value for (name, _, _), value in shown.items() if name in counters} == dict.fromkeys(
        counters, 0.0
    )
    epoch = NOW.replace(minute=0)
    for _ in range(5):
        aws.clock.advance(HOUR)
        poller.poll()
    shown = poller.show()
    for family in TRUE_SOURCES:
        assert shown[family, "", ""] == true_sum(aws, family, epoch, epoch + 5 * HOUR) > 0
    print(poller.charged())


def test_daily_totals_are_of_whole_days_and_two_weeks_back(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    poller = make_poller()
    poller.poll()
    days = poller.days("aws_lambda_invocations_daily")
    assert sorted(days) == [date(2026, 3, 3 + number) for number in range(14)]
    for day, value in days.items():
        start = NOW.replace(year=day.year, month=day.month, day=day.day, hour=0, minute=0)
        assert value == true_sum(aws, "aws_lambda_invocations_total", start, start + DAY)

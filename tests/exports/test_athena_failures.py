"""A query of Athena that is charged without a result waits before it is sent again: longer each time, also over restarts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from athena_reader import (
    LEAST,
    NOON,
    QUERIES,
    asking,
    charged,
    held_by_aws,
    organization_with_athena,
    served,
    started,
)
from export_reader import Reader, refused
from organizations import MakeAws

from exporter.aws.errors import AwsError, Kind
from exporter.collectors import cost_export
from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def aws(make_aws: MakeAws) -> SimulatedAws:
    return organization_with_athena(make_aws)


def fail_queries(aws: SimulatedAws) -> str:
    return aws.faults.add("query_fails", service="athena", operation="StartQueryExecution", count=10**6).id


@pytest.mark.fault(
    "a query of Athena that fails at each attempt, over restarts of the exporter",
    "it is paid for once an interval, then ever more rarely, down to once a day",
)
def test_a_failing_query_is_paid_for_ever_more_rarely_over_restarts(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    fault = fail_queries(aws)
    failed_at, sent = NOON, 1
    with asking(aws, tmp_path) as reader:
        refused(
            reader, Kind.EXPORT, "charged once without a result", "not sent again before 2026-03-03 13:00"
        )
    for hours in (1, 2, 4, 8, 16, 24):
        aws.clock.set(failed_at + hours * HOUR - MINUTE)
        with asking(aws, tmp_path) as reader:
            reason = refused(reader, Kind.EXPORT, "Query exhausted resources", "without a result")
            next_at = failed_at + hours * HOUR
            assert f"not sent again before {next_at:%Y-%m-%d %H:%M} UTC" in reason
            assert (started(aws), charged(reader)) == (sent, sent * LEAST)
        failed_at, sent = failed_at + hours * HOUR, sent + 1
        aws.clock.set(failed_at)
        with asking(aws, tmp_path) as reader:
            refused(reader, Kind.EXPORT, f"charged {sent} times in a row without a result")
            assert (started(aws), charged(reader)) == (sent, sent * LEAST)
    aws.faults.clear(fault)
    aws.clock.set(failed_at + 24 * HOUR)
    with asking(aws, tmp_path) as reader:
        reader.read()
        assert served(reader) == held_by_aws(aws)
        assert started(aws) == sent + len(QUERIES)


def test_the_condition_of_the_month_says_why_it_waits(aws: SimulatedAws, tmp_path: Path) -> None:
    fail_queries(aws)
    with asking(aws, tmp_path) as reader:
        refused(reader, Kind.EXPORT)
        aws.clock.set(NOON + MINUTE)
        refused(reader, Kind.EXPORT)
        assert ("aws_spend_exporter_export_month_success", ("2026-03",), 0) in [
            (sample.family.name, sample.values, sample.value) for sample in reader.samples()
        ]


def test_a_new_delivery_is_asked_for_at_once(aws: SimulatedAws, tmp_path: Path) -> None:
    fault = fail_queries(aws)
    with asking(aws, tmp_path) as reader:
        refused(reader, Kind.EXPORT, "charged once")
        aws.clock.set(NOON + HOUR)
        refused(reader, Kind.EXPORT, "charged 2 times in a row", "before 2026-03-03 15:00")
        aws.clock.set(NOON + HOUR + MINUTE)
        aws.exports.deliver(force=True)
        refused(reader, Kind.EXPORT, "charged once", "before 2026-03-03 14:01")
        assert started(aws) == 3
        aws.exports.deliver(force=True)
        aws.faults.clear(fault)
        aws.clock.set(NOON + HOUR + 2 * MINUTE)
        aws.exports.deliver(force=True)
        reader.read()
        assert served(reader) == held_by_aws(aws)


@pytest.mark.parametrize(
    "changed",
    [{"timeout": "45m"}, {"region": "eu-west-1"}, {"results": "s3://results/elsewhere/"}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_changed_configuration_is_tried_at_once(
    aws: SimulatedAws, tmp_path: Path, changed: dict[str, str]
) -> None:
    fail_queries(aws)
    with asking(aws, tmp_path) as reader:
        refused(reader, Kind.EXPORT, "charged once")
    with asking(aws, tmp_path) as reader:
        refused(reader, Kind.EXPORT, "charged once")
        assert started(aws) == 1
    with asking(aws, tmp_path, **changed) as reader:
        refused(reader, Kind.EXPORT, "charged once")
        assert started(aws) == 2


def test_who_asks_for_the_month_waits_no_longer_than_a_moment(aws: SimulatedAws, tmp_path: Path) -> None:
    fail_queries(aws)

    def refresh(reader: Reader) -> str:
        """As the runner does it: with the shortened interval of an early attempt."""
        settings = reader.settings.model_copy(update={"interval": 5 * MINUTE})
        with pytest.raises(AwsError) as caught:
            list(cost_export.collect(replace(reader.context(settings), is_early=True), reader.target))
        return str(caught.value)

    with asking(aws, tmp_path) as reader:
        for attempt in range(4):
            aws.clock.set(NOON + attempt * 5 * MINUTE)
            refresh(reader)
            assert started(aws) == attempt + 1
            assert "not sent again before" in refresh(reader)
            assert started(aws) == attempt + 1
        aws.clock.set(NOON + 8 * HOUR)
        refused(reader, Kind.EXPORT, "charged 4 times in a row")
        assert started(aws) == 4


def test_what_was_not_started_does_not_end_the_wait(aws: SimulatedAws, tmp_path: Path) -> None:
    fault = fail_queries(aws)
    with asking(aws, tmp_path) as reader:
        refused(reader, Kind.EXPORT, "charged once")
        aws.clock.set(NOON + HOUR)
        refused(reader, Kind.EXPORT, "charged 2 times in a row")
        aws.faults.clear(fault)
        throttled = aws.faults.add("throttle", service="athena", operation="StartQueryExecution")
        aws.clock.set(NOON + 3 * HOUR)
        refused(reader, Kind.THROTTLED)
        assert charged(reader) == 2 * LEAST
        aws.faults.clear(throttled.id)
        fail_queries(aws)
        refused(reader, Kind.EXPORT, "charged 3 times in a row", "before 2026-03-03 19:00")


@pytest.mark.fault(
    "a query of Athena that is stopped at each attempt",
    "it is paid for ever more rarely, also over a restart",
)
def test_a_query_that_was_stopped_waits_too(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.athena.running_polls = 10**6
    with asking(aws, tmp_path, timeout="1s") as reader:
        refused(reader, Kind.EXPORT, "was stopped", "charged once")
        paid = charged(reader)
        assert paid
    aws.clock.set(NOON + MINUTE)
    with asking(aws, tmp_path, timeout="1s") as reader:
        refused(reader, Kind.EXPORT, "was stopped", "charged once")
        assert started(aws) == 1
        assert charged(reader) == LEAST  # it has ended by now


def test_results_that_are_gone_at_once_are_not_paid_for_at_each_attempt(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    whole = aws.exports.before_get

    def remove(bucket: str, key: str, operation: str) -> None:
        whole(bucket, key, operation)
        if bucket == "results":
            for found, _ in aws.exports.buckets.list("results", ""):
                aws.exports.buckets.delete("results", found)

    aws.exports.before_get = remove  # type: ignore[method-assign] # the other end of the wire
    with asking(aws, tmp_path) as reader:
        refused(reader, Kind.EXPORT, "a result of Athena is gone", "charged once")
        once = started(aws)
    with asking(aws, tmp_path) as reader:
        refused(reader, Kind.EXPORT, "a result of Athena is gone", "charged once")
        assert started(aws) == once
        aws.clock.set(NOON + HOUR)
        refused(reader, Kind.EXPORT, "a result of Athena is gone", "charged 2 times in a row")
        assert started(aws) == once + 1


def test_the_query_for_hours_waits_although_it_is_of_other_days_after_midnight(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    aws.faults.add("query_fails", service="athena", resource="2026-03 hours", count=10**6)
    aws.clock.set(NOON + 11.5 * HOUR)
    with asking(aws, tmp_path) as reader:
        refused(reader, Kind.EXPORT, "query for the hours of 2026-03", "before 2026-03-04 00:30")
        sent = started(aws)
        aws.clock.set(NOON + 12.5 * HOUR - MINUTE)
        refused(reader, Kind.EXPORT, "query for the hours of 2026-03", "before 2026-03-04 00:30")
        assert started(aws) == sent
        aws.clock.set(NOON + 12.5 * HOUR)
        refused(reader, Kind.EXPORT, "query for the hours of 2026-03", "charged 2 times in a row")
        assert started(aws) == sent + 1

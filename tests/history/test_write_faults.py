"""What stands between the ledger and Prometheus fails: nothing is lost, the metrics show it, and all comes right again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from history_harness import (
    DAY,
    Between,
    Running,
    Writer,
    account_id,
    cost_of,
    fill,
    midnight,
    restate,
    running,
    today,
)
from recording_endpoint import RecordingEndpoint, Request, Sample
from waiting import wait_for

from exporter.core.moments import to_milliseconds, utc_now
from exporter.history.endpoint import BatchRefusedError
from exporter.ledger.file import Ledger

MakeServer = Callable[..., Any]
MakeWriter = Callable[..., Writer]
YESTERDAY = today() - DAY
DAYS = 420
PAGE = "<html><head><title>400 Bad Request</title></head><body>nginx</body></html>"


def refused_batches(run: Running) -> int:
    return int(run.metric("write_failures_total"))


def right(run: Running, between: Between, server: Any, totals: dict[date, float]) -> None:
    """The fault is over: everything is there, and no metric says otherwise."""
    between.refuse = lambda request: None
    run.until("everything is there", lambda: server.days() == totals)
    run.until("it is seen", lambda: run.metric("divergent_dates") == 0)


@pytest.mark.stack
@pytest.mark.parametrize(
    ("status", "text"),
    [
        pytest.param(400, "Bad Request", id="400"),
        pytest.param(400, PAGE, id="page"),
        pytest.param(409, "", id="409"),
        pytest.param(413, "request entity too large", id="413"),
        pytest.param(422, "", id="422"),
        pytest.param(500, "internal error", id="500"),
    ],
)
@pytest.mark.fault(
    "a proxy answers {status} to every write of the first fill",
    "no sample is given up, every day counts as divergent, and all is there after it without a restart",
)
def test_a_first_fill_behind_a_proxy_that_refuses_is_whole_in_the_end(
    make_server: MakeServer, ledger: Ledger, endpoint: RecordingEndpoint, status: int, text: str
) -> None:
    server = make_server()
    totals = fill(ledger, DAYS)
    between = Between(endpoint, server)
    between.refuse = lambda request: (status, text)
    with running(between, ledger) as run:
        run.until("it is tried again", lambda: refused_batches(run) >= 3)
        assert run.metric("divergent_dates") == DAYS
        assert run.metric("samples_rejected_total") == 0
        assert server.days() == {}
        right(run, between, server, totals)
        assert run.metric("samples_rejected_total") == 0
        run.until("all are counted", lambda: run.metric("samples_written_total") == 6 * DAYS)


@pytest.mark.fault(
    "a proxy answers 400 to every write", "an attempt costs few requests, and other days are tried each time"
)
def test_an_endpoint_that_refuses_everything_is_not_stormed(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    fill(ledger, 60)
    endpoint.answer = lambda request: (400, "Bad Request")
    now = utc_now()
    writer = make_writer(endpoint.write_url, batch_size=10, clock=lambda: now)
    tried: list[set[date]] = []
    for _ in range(3):
        now += timedelta(seconds=1)  # so that those that have failed once do not wait any more
        endpoint.requests.clear()
        with pytest.raises(BatchRefusedError):
            writer.write()
        assert len(endpoint.requests) <= 9 + 10 * 2
        tried.append({day_of(sample) for request in endpoint.requests for sample in request.samples})
    assert not tried[0] & tried[1]
    assert not tried[2] & (tried[0] | tried[1])
    endpoint.answer = lambda request: (204, "")
    assert writer.write() == 6 * (60 - len(tried[2])), "those that have just failed wait"
    now += timedelta(seconds=1)
    assert writer.write() == 6 * len(tried[2])


def day_of(sample: Sample) -> date:
    return datetime.fromtimestamp(sample[1] / 1000, tz=utc_now().tzinfo).date()


@pytest.mark.stack
@pytest.mark.parametrize("bad", [0, 2])
@pytest.mark.fault(
    "a filter answers 400 with a page to each request with one account",
    "the others are written, its days count as divergent, and it is there after it",
)
def test_what_a_filter_holds_back_holds_nothing_else_up(
    make_server: MakeServer, ledger: Ledger, endpoint: RecordingEndpoint, bad: int
) -> None:
    server = make_server()
    totals = fill(ledger, 40)
    between = Between(endpoint, server)

    def refuse(request: Request) -> tuple[int, str] | None:
        hit = any(dict(labels).get("account_id") == account_id(bad) for labels, _, _ in request.samples)
        return (400, PAGE) if hit else None

    between.refuse = refuse
    others = {
        day: total - float(cost_of(bad, 0, day) + cost_of(bad, 1, day)) for day, total in totals.items()
    }
    # Some batches hold nothing but samples of that account.
    with running(between, ledger, batch_size=30) as run:
        run.until("the others are there", lambda: server.days() == others)
        run.until("it is tried again", lambda: refused_batches(run) >= 4)
        # The endpoint has a batch a moment before it is counted.
        run.until("they are counted", lambda: run.metric("samples_written_total") == 4 * 40)
        assert run.metric("divergent_dates") == 40
        restate(ledger, YESTERDAY, {(a, s): cost_of(a, s, YESTERDAY) + 1 for a in range(3) for s in range(2)})
        others[YESTERDAY] += 4
        run.until("news of the others do not wait", lambda: server.days() == others)
        run.until("it is compared meanwhile", lambda: ledger.facts.get("history_read_back_at"))
        right(run, between, server, totals | {YESTERDAY: totals[YESTERDAY] + 6})
        assert run.metric("samples_rejected_total") == 0


@pytest.mark.stack
@pytest.mark.parametrize("most", [3_000, 600])
@pytest.mark.fault(
    "a proxy answers 413 to requests of more than {most} bytes", "restated days have their new values"
)
def test_restated_days_pass_a_proxy_that_takes_small_requests(
    make_server: MakeServer, ledger: Ledger, endpoint: RecordingEndpoint, most: int
) -> None:
    server = make_server()
    totals = fill(ledger, 60)
    between = Between(endpoint, server)
    with running(between, ledger) as run:
        wait_for("it is written", lambda: server.days() == totals)
        between.refuse = lambda request: (413, "too large") if len(request.body) > most else None
        before = len(endpoint.requests)
        for back in range(1, 61):
            day = today() - back * DAY
            costs = {(a, s): cost_of(a, s, day) * 2 for a in range(3) for s in range(2)}
            restate(ledger, day, costs, utc_now() + timedelta(seconds=1))
            totals[day] *= 2
        run.history.notify()
        wait_for("the new values are there", lambda: server.days() == totals)
        wait_for("it is seen", lambda: run.metric("divergent_dates") == 0)
        assert len(endpoint.requests) - before < 200
        assert run.metric("samples_rejected_total") == 0
        assert refused_batches(run) == 0, "all of it was taken at once"


@pytest.mark.stack
@pytest.mark.fault(
    "Prometheus refuses old samples, its out-of-order window being too short",
    "they are counted, their days are divergent, and they are there a day after the window is set",
)
def test_what_prometheus_refused_is_there_a_day_after_it_takes_it(
    make_server: MakeServer, ledger: Ledger, endpoint: RecordingEndpoint
) -> None:
    server = make_server(window="30d")
    totals = fill(ledger, 50)
    between = Between(endpoint, server)
    push = Writer(ledger, server.settings())
    push.endpoint.write([(b"\n\x0f\n\x08__name__\x12\x03now", to_milliseconds(utc_now()), 1.0)])
    push.close()
    with running(between, ledger, batch_size=100) as run:
        wait_for("they are refused", lambda: run.metric("samples_rejected_total") >= 6 * 20)
        wait_for("it is seen", lambda: 20 <= run.metric("divergent_dates") <= 21)
        rejected = run.metric("samples_rejected_total")
        missing = int(run.metric("divergent_dates"))
        assert rejected == 6 * missing
        wait_for("all are counted", lambda: run.metric("samples_written_total") == 6 * (50 - missing))
        assert len(server.days()) == 50 - missing

        run.later(timedelta(hours=20))
        run.until("it is compared", lambda: ledger.facts.get("history_read_back_at"))
        assert run.metric("samples_rejected_total") == rejected, "once a day is enough"
        server.stop()
        server.options["window"] = "450d"
        server.start()
        run.later(timedelta(hours=5))
        wait_for("all is there", lambda: server.days() == totals)
        run.until("it is seen", lambda: run.metric("divergent_dates") == 0)
        assert run.metric("samples_rejected_total") == rejected


@pytest.mark.fault(
    "Prometheus refuses the same samples for days",
    "a bounded number is sent again each day, others each time",
)
def test_what_stays_refused_is_asked_again_in_bounds(ledger: Ledger, endpoint: RecordingEndpoint) -> None:
    fill(ledger, 60, accounts=1, services=1)
    endpoint.bad = lambda sample: "out of bounds"
    with running(endpoint, ledger, batch_size=2, read_back=None) as run:
        wait_for("all are refused", lambda: run.metric("samples_rejected_total") == 60)
        wait_for("it is seen", lambda: run.metric("divergent_dates") == 60)
        asked: list[set[date]] = []
        for number in range(1, 4):
            endpoint.requests.clear()
            run.later(DAY)
            wait_for(
                "some are asked again", lambda n=number: run.metric("samples_rejected_total") == 60 + 20 * n
            )
            asked.append({day_of(sample) for request in endpoint.requests for sample in request.samples})
            assert len(asked[-1]) <= 20
            assert len(endpoint.requests) <= 20
        assert len(set.union(*asked)) > 20
        # When they are taken, the rest does not wait for a day.
        endpoint.bad = None
        run.later(DAY)
        wait_for("all are taken", lambda: run.metric("samples_written_total") == 60)
        wait_for("it is seen", lambda: run.metric("divergent_dates") == 0)


@pytest.mark.parametrize("take_2", [False, True], ids=["1.0", "2.0"])
@pytest.mark.fault(
    "the first 30 of 2,000 samples, one series, are refused", "1,970 are taken, and 30 are counted and marked"
)
def test_a_bad_series_is_counted_and_marked(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter, take_2: bool
) -> None:
    endpoint.take_2 = take_2
    totals = fill(ledger, 30, accounts=1, services=67)
    endpoint.bad = lambda sample: (
        "label value too long" if dict(sample[0])["service"] == "Service 0" else None
    )
    writer = make_writer(endpoint.write_url)
    assert writer.write() == 30 * 66
    assert writer.metric("samples_written_total") == 30 * 66
    assert writer.metric("samples_rejected_total") == 30
    assert writer.stamps.refused(min(totals), today()) == dict.fromkeys(totals, 1)
    assert len(endpoint.requests) <= (2 if take_2 else 18)  # of two batches
    assert writer.write() == 0


@pytest.mark.fault(
    "one sample is too large for a proxy", "its day alone waits, and is tried again with ever longer pauses"
)
def test_a_day_of_which_a_sample_is_left_over_waits(
    ledger: Ledger, endpoint: RecordingEndpoint, make_writer: MakeWriter
) -> None:
    fill(ledger, 5)
    held = midnight(YESTERDAY) + timedelta(days=-2)

    def answer(request: Request) -> tuple[int, str]:
        hit = any(
            day_of(sample) == held.date() and dict(sample[0])["service"] == "Service 1"
            and dict(sample[0])["account_id"] == account_id(1)
            for sample in request.samples
        )  # fmt: skip
        return (413, "") if hit else (204, "")

    endpoint.answer = answer
    now = utc_now()
    writer = make_writer(endpoint.write_url, clock=lambda: now)
    with pytest.raises(BatchRefusedError) as caught:
        writer.write()
    assert caught.value.taken == 6 * 5 - 1
    pauses = []
    for _ in range(12):
        assert writer.write() == 0, "it waits"
        retry_at = writer.writer.retry_at
        assert retry_at is not None
        pauses.append((retry_at - now).total_seconds())
        now = retry_at
        endpoint.requests.clear()
        with pytest.raises(BatchRefusedError):
            writer.write()
        assert len(endpoint.requests) == 1
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    # A new reading of the day does not wait; a day that is complete is not on hold any more.
    restate(ledger, held.date(), {(0, 0): "77"}, now + timedelta(days=1))
    with pytest.raises(BatchRefusedError) as caught:
        writer.write()
    assert caught.value.taken == 5
    endpoint.answer = lambda request: (204, "")
    now += timedelta(minutes=5)
    assert writer.write() == 1
    assert writer.writer.retry_at is None

"""The dated history in real Prometheus and VictoriaMetrics: right in every zone, hour and state of the endpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import requests
from history_harness import (
    DAILY,
    DAY,
    Between,
    Clock,
    Server,
    Writer,
    account_id,
    cost_of,
    fill,
    midnight,
    restate,
    running,
    today,
)
from prometheus_client import CollectorRegistry
from waiting import wait_for

from exporter.history.endpoint import EndpointError
from exporter.history.isolation import Written
from exporter.history.request import encode_labels
from exporter.history.sample_timestamps import Stamps
from exporter.history.settings import HistorySettings
from exporter.history.writer import History, HistoryMetrics
from exporter.ledger.file import Ledger

pytestmark = pytest.mark.stack

MakeServer = Callable[..., Any]
MakeWriter = Callable[..., Writer]
YESTERDAY = today() - DAY
BARS = f"sum(last_over_time({DAILY}[1d] offset -1d))"
ZONES = range(-12, 12)


def settle(server: Server) -> None:
    """Who asks VictoriaMetrics for a series before it is visible is told for ten seconds that there is none."""
    time.sleep(1.5 if server.program == "victoria-metrics" else 0)


def assert_right_in_every_zone(server: Server, totals: Mapping[date, float]) -> None:
    """As Grafana asks: steps of a day, aligned to the viewer's midnight."""
    first, last = min(totals), max(totals)
    for zone in ZONES:
        shift = timedelta(hours=zone)
        bars = server.query_range(BARS, midnight(first) - shift, midnight(last) - shift)
        assert {(at + shift).date(): value for at, value in bars[()].items()} == totals, zone


def assert_right_at_every_hour(server: Server, totals: Mapping[date, float]) -> None:
    """Sums of complete days, at each hour of a day, at exact midnight and a moment to each side of it."""
    day = max(totals) - 2 * DAY
    moments = [midnight(day) + timedelta(hours=hour) for hour in range(25)]
    moments += [midnight(day) + timedelta(seconds=second) for second in (1, 86_399)]
    for now in moments:
        newest = now.date() - DAY
        for count in (7, 30):
            if newest - (count - 1) * DAY < min(totals):
                continue
            n_days = f"sum(sum_over_time(last_over_time({DAILY}[1d])[{count}d:1d] offset -1ms))"
            expected = sum(totals[newest - back * DAY] for back in range(count))
            assert server.query(n_days, now) == {(): expected}, (now, count)
        yesterday = f"sum(last_over_time(last_over_time({DAILY}[1d])[1d:1d]))"
        assert server.query(yesterday, now) == {(): totals[newest]}, now


def restated(ledger: Ledger, totals: dict[date, float]) -> dict[date, float]:
    """Restates days of a fill of 3 x 2 keys, one key vanishing; the new totals."""
    at = datetime.now(UTC) + timedelta(seconds=1)
    for back in (1, 2, 9, len(totals) - 1):
        day = today() - back * DAY
        costs = {(a, s): cost_of(a, s, day) * 3 for a in range(3) for s in range(2)}
        del costs[(1, 1)]
        restate(ledger, day, costs, at)
        totals = totals | {day: float(sum(costs.values()))}
    return totals


@pytest.mark.parametrize(
    ("program", "days"),
    [
        ("prometheus", 12),
        ("prometheus-3", 12),
        ("victoria-metrics", 36),
        # Each day becomes a block of its own, and takes half a second.
        pytest.param("prometheus", 396, marks=[pytest.mark.long, pytest.mark.timeout(600)]),
        pytest.param("victoria-metrics", 396, marks=pytest.mark.long),
    ],
)
def test_days_are_right_in_every_zone_and_hour_after_restatements_and_compaction(
    make_server: MakeServer, make_writer: MakeWriter, ledger: Ledger, program: str, days: int
) -> None:
    server = make_server(program)
    totals = fill(ledger, days)
    writer = make_writer(server.write_url)
    if program != "victoria-metrics":
        push(writer, [("now", time.time())])  # a scrape is newer than all that is dated
    assert writer.write() == 6 * days
    settle(server)
    wait_for("it is visible", lambda: server.days() == totals)
    assert_right_in_every_zone(server, totals)
    assert_right_at_every_hour(server, totals)

    totals = restated(ledger, totals)
    assert writer.write() == 4 * 6
    wait_for("it is visible", lambda: server.days() == totals)
    if program == "prometheus":  # only the old one takes a sample of the future, which starts a compaction
        compact(server, writer, days)
        totals = restated(ledger, totals | {YESTERDAY: -1})  # the same values: nothing is sent
        assert writer.write() == 0
        restate(ledger, YESTERDAY, {(0, 0): "0.5"})
        totals[YESTERDAY] = 0.5
        assert writer.write() == 5  # one value, and four zeros for what has vanished
        wait_for("it is visible", lambda: server.days() == totals)
    assert_right_in_every_zone(server, totals)
    assert_right_at_every_hour(server, totals)
    server.stop()
    server.start()
    wait_for("it is visible", lambda: server.days() == totals)
    assert writer.metric("samples_rejected_total") == 0


def push(writer: Writer, samples: list[tuple[str, float]]) -> None:
    points = [(encode_labels(name, {}), int(at * 1000), 1.0) for name, at in samples]
    assert writer.endpoint.write(points) == Written()


def compact(server: Any, writer: Writer, days: int) -> None:
    """Has Prometheus write its head and then the samples out of order into blocks of two hours, to the end."""
    assert server.compactions() == 0
    segment = server.oldest_out_of_order_segment()
    # Its head spans more than three hours then, and the commit starts a compaction.
    push(writer, [("now", time.time() + 4 * 3600)])
    wait_for("it is compacted", lambda: server.oldest_out_of_order_segment() > segment, 400)
    assert server.compactions() >= days


@pytest.mark.parametrize("program", ["prometheus", "prometheus-3"])
@pytest.mark.fault("{program} refuses samples that are too old", "the others are taken, in few requests")
def test_a_poison_sample_does_not_block_its_batch(
    make_server: MakeServer, make_writer: MakeWriter, ledger: Ledger, program: str
) -> None:
    """By 1.0 a request is refused whole, by 2.42 with 500; by 2.0 the others are taken at once."""
    server = make_server(program, window="30d")
    totals = fill(ledger, 50)
    writer = make_writer(server.write_url, batch_size=100)
    push(writer, [("now", time.time())])
    assert writer.write() + writer.metric("samples_rejected_total") == 300
    assert writer.metric("samples_written_total") in (6 * 29, 6 * 30)
    assert writer.write() == 0, "what was refused is not sent again by itself"
    taken = server.days()
    assert taken == {day: totals[day] for day in taken}
    assert len(taken) in (29, 30)
    answered = writes_answered(server)
    batches = 1 + 3
    assert answered == batches if program == "prometheus-3" else answered <= batches + 1 + 3 * 12


def writes_answered(server: Server) -> int:
    """The write requests that a Prometheus has answered."""
    text = requests.get(f"{server.url}/metrics", timeout=30).text
    lines = [
        line for line in text.splitlines() if 'requests_total{code="' in line and '"/api/v1/write"' in line
    ]
    return sum(int(float(line.split()[1])) for line in lines)


@pytest.mark.fault("Prometheus stops while the history is written", "it has everything after its return")
def test_an_endpoint_that_is_down_while_writing_gets_everything_later(
    make_server: MakeServer, ledger: Ledger
) -> None:
    server = make_server()
    totals = fill(ledger, 396, accounts=10, services=5)
    with running(server, ledger, batch_size=200) as run:
        wait_for("it writes", lambda: run.metric("samples_written_total") > 500)
        server.stop()
        assert run.metric("samples_written_total") < 396 * 50
        totals |= restated_small(ledger)
        wait_for("it has failed", lambda: run.metric("write_failures_total") >= 1)
        server.start()
        wait_for("all is there", lambda: server.days() == totals)


def restated_small(ledger: Ledger) -> dict[date, float]:
    costs = {(a, s): cost_of(a, s, YESTERDAY) + 1 for a in range(10) for s in range(5)}
    restate(ledger, YESTERDAY, costs, datetime.now(UTC) + timedelta(seconds=1))
    return {YESTERDAY: float(sum(costs.values()))}


@pytest.mark.fault("Prometheus loses its data", "the whole history is written again")
def test_a_wiped_prometheus_is_seeded_again(make_server: MakeServer, ledger: Ledger) -> None:
    server = make_server()
    totals = fill(ledger, 396)
    with running(server, ledger) as run:
        wait_for("it is written", lambda: server.days() == totals)
        run.until("it is compared", lambda: ledger.facts.get("history_read_back_at"))
        assert run.metric("divergent_dates") == 0
        server.stop()
        server.wipe()
        server.start()
        assert server.days() == {}
        run.later(timedelta(minutes=11))  # nothing changed: it is the look at the newest days that notices
        wait_for("it is seeded", lambda: server.days() == totals)
        assert run.metric("divergent_dates") == 396
        run.until("it is found whole", lambda: run.metric("divergent_dates") == 0)


@pytest.mark.parametrize("program", ["prometheus", "victoria-metrics"])
@pytest.mark.fault(
    "another program writes into our series", "the read-back finds it, and only that is written again"
)
def test_a_day_altered_behind_our_back_is_found_and_fixed(
    make_server: MakeServer, make_writer: MakeWriter, ledger: Ledger, program: str
) -> None:
    server = make_server(program)
    totals = fill(ledger, 40)
    with running(server, ledger) as run:
        settle(server)
        wait_for("it is written", lambda: server.days() == totals)
        run.until("it is compared", lambda: ledger.facts.get("history_read_back_at"))
        assert run.metric("divergent_dates") == 0
        written = run.metric("samples_written_total")
        day, other = today() - 20 * DAY, today() - 30 * DAY
        alter = make_writer(server.write_url).endpoint

        def labels(**more: str) -> bytes:
            ours = {"account_id": account_id(0), "account": "account-0", "service": "Service 0"}
            return encode_labels(DAILY, ours | more)

        evening = int((midnight(day) + timedelta(hours=18)).timestamp() * 1000)
        alter.write(
            [
                (labels(), evening, 12345.0),  # another value, later on that day
                (labels(service="Stranger"), evening, 5.0),  # a series that the ledger knows nothing of
                (labels(account="other name"), evening, 7.0),
                (labels(account_id="999999999999"), evening, 11.0),  # somebody else's account
            ]
        )
        # As much more as less: the sum stays, the number of values changes.
        zeroed = cost_of(0, 0, other)
        moved = float(zeroed + cost_of(0, 1, other))
        noon = int((midnight(other) + timedelta(hours=12, minutes=30)).timestamp() * 1000)
        alter.write([(labels(), noon, 0.0), (labels(service="Service 1"), noon, moved)])
        settle(server)
        more = 12345.0 + 5.0 + 7.0 + 11.0 - float(cost_of(0, 0, day))
        wait_for("it is altered", lambda: abs(server.days()[day] - totals[day] - more) < 0.001)
        # A server may show the second write later than the first, and its day has the same sum as before.
        second = f'last_over_time({DAILY}{{service="Service 1"}}[1d])'
        ours = ("account-0", account_id(0), "Service 1")
        wait_for("so is the other day", lambda: server.query(second, midnight(other + DAY))[ours] == moved)
        assert server.days()[other] == totals[other]

        run.later(timedelta(days=1, minutes=1))
        foreign = totals | {day: totals[day] + 11.0}
        wait_for("it is fixed", lambda: server.days() == foreign)
        # The other day's sum was right before: what is sent of it, the server may show later.
        first = f'last_over_time({DAILY}{{service="Service 0"}}[1d])'
        were = {first: ("Service 0", zeroed), second: ("Service 1", cost_of(0, 1, other))}
        for query, (service, usd) in were.items():
            key, value = ("account-0", account_id(0), service), float(usd)
            wait_for(
                f"so is {service}",
                lambda query=query, key=key, value=value: (
                    server.query(query, midnight(other + DAY))[key] == pytest.approx(value)
                ),
            )
        assert run.metric("divergent_dates") == 2
        run.until("it stays fixed", lambda: run.metric("divergent_dates") == 0)
        # Only what differs is sent, not the whole days.
        assert run.metric("samples_written_total") == written + 3
        assert server.query(second, midnight(other + DAY))[ours] == float(cost_of(0, 1, other))


@pytest.mark.fault(
    "Prometheus fails or shortens an answer while it compacts", "it is asked again, and nothing is written"
)
def test_a_query_that_meets_a_compaction_is_asked_again_and_is_no_divergence(
    make_server: MakeServer, ledger: Ledger, endpoint: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Before 2.49 Prometheus fails a query whose samples it compacts meanwhile, or leaves some of them out."""
    server = make_server()
    totals = fill(ledger, 40)
    between = Between(endpoint, server)
    between.failures = 1
    with running(between, ledger) as run:
        wait_for("it is written", lambda: server.days() == totals)
        run.until("it is compared", lambda: ledger.facts.get("history_read_back_at"))
        assert run.metric("read_back_failures_total") == 1
        assert "the dated history is behind" in caplog.text
        assert "answered 422" in caplog.text

        # The look at the newest days, too: it is not put off until the next is due.
        asked = between.asked
        between.failures = 1
        run.later(timedelta(minutes=11))
        wait_for("it is asked again", lambda: between.asked == asked + 1 + 2)
        assert run.metric("read_back_failures_total") == 2

        def compared() -> int:
            """The queries that it took."""
            asked, before = between.asked, ledger.facts.get("history_read_back_at")
            run.later(DAY)
            wait_for("it is compared", lambda: ledger.facts.get("history_read_back_at") != before)
            return between.asked - asked

        normal = compared()
        between.omissions = 2
        assert compared() == normal + 2  # sums and counts of one part are asked for again
        assert between.omissions == 0
        assert run.metric("divergent_dates") == 0
        assert run.metric("samples_written_total") == 240
        assert run.metric("write_failures_total") == 0


@pytest.mark.fault("the endpoint drops what it has acknowledged", "three attempts, and the days are reported")
def test_an_endpoint_that_keeps_less_than_it_is_given_is_not_written_for_ever(
    make_server: MakeServer, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """As VictoriaMetrics does with samples beyond its retention: taken, and gone."""
    server = make_server("victoria-metrics", retention="30d")
    fill(ledger, 40)
    with running(server, ledger) as run:
        wait_for("it is written", lambda: run.metric("samples_written_total") == 240)

        def compare() -> None:
            before = ledger.facts.get("history_read_back_at")
            run.later(DAY)
            run.until("it is compared", lambda: ledger.facts.get("history_read_back_at") != before)

        comparisons = 0
        while "stay different however often" not in caplog.text:
            compare()
            comparisons += 1
            assert comparisons < 8
        assert 5 <= run.metric("divergent_dates") <= 40
        written = run.metric("samples_written_total")
        compare()
        assert run.metric("samples_written_total") == written


@pytest.mark.fault("the query API answers nonsense", "nothing is written")
def test_an_answer_of_nonsense_is_no_reason_to_write_anything(
    ledger: Ledger, endpoint: Any, make_writer: MakeWriter
) -> None:
    fill(ledger, 5)
    from exporter.history.read_back import ReadBack

    writer = make_writer(endpoint.write_url)
    writer.write()
    back = ReadBack(writer.endpoint, writer.stamps)
    for status, text in ((200, "<html>"), (200, "{}"), (503, ""), (422, '{"status": "error"}')):
        endpoint.answer = lambda request, status=status, text=text: (status, text)
        with pytest.raises(EndpointError):
            back.differing(YESTERDAY, today())


@pytest.mark.fault("a write hangs when the exporter stops", "the exporter ends in time")
def test_the_thread_ends_at_once_while_a_request_hangs(ledger: Ledger, endpoint: Any) -> None:
    fill(ledger, 3)
    asked, release = threading.Event(), threading.Event()

    def hang(_: object) -> tuple[int, str]:
        asked.set()
        release.wait(60)
        return 204, ""

    endpoint.answer = hang
    settings = {"write_url": endpoint.write_url}
    history = History(
        HistorySettings.model_validate(settings),
        "unblended",
        Stamps(ledger),
        Clock(),
        HistoryMetrics(CollectorRegistry()),
    )
    history.start()
    assert asked.wait(60)
    began = time.monotonic()
    assert not history.stop(0.2)
    assert time.monotonic() - began < 30
    release.set()
    assert history.stop(60)

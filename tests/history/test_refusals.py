"""Only a receiver's words about samples are about samples: which ones, of which receiver, and what is refused."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording_endpoint import Answer, RecordingEndpoint, Request, Sample

from exporter.history.endpoint import BatchRefusedError, EndpointError, RemoteWriteEndpoint
from exporter.history.isolation import Written
from exporter.history.refusals import LIMITS, REFUSALS, Reason, reason_of, series_named
from exporter.history.request import Point, encode_labels
from exporter.history.settings import HistorySettings

COUNT = 2000
Bad = Callable[[Sample], str | None]
Make = Callable[..., RemoteWriteEndpoint]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[RemoteWriteEndpoint] = []

    def endpoint(server: RecordingEndpoint, **more: Any) -> RemoteWriteEndpoint:
        settings = {"write_url": server.write_url, "timeout": "60s", **more}
        made.append(RemoteWriteEndpoint(HistorySettings.model_validate(settings)))
        return made[-1]

    yield endpoint
    for one in made:
        one.close()


def points(count: int = COUNT, of_a_series: int = 30) -> list[Point]:
    """Series of so many samples each, whose values are their indices and whose days go on."""
    return [
        (
            encode_labels("m", {"series": f"{index // of_a_series:05}"}),
            1_000_000 + 1000 * (index % of_a_series) + index // of_a_series,
            float(index),
        )
        for index in range(count)
    ]


def among(indices: set[int], words: str) -> Bad:
    return lambda sample: words if int(sample[2]) in indices else None


def taken(endpoint: RecordingEndpoint) -> set[int]:
    return {int(value) for _, _, value in endpoint.taken}


# The words

SAID = {
    Reason.ORDER: [
        "out of order sample\n",
        'out of order sample for series {__name__="m", a="1"}',
        "store locally for endpoint 127.0.0.1:12907: add 1 samples: out of order sample\n",
        'user=acc_ws: err: out of order sample. timestamp=2023-01-01T00:00:00Z, series={__name__="m"}',
        "failed pushing to ingester: user=a: the sample has been rejected because another sample with a more recent"
        " timestamp has already been ingested and out-of-order samples are not allowed"
        ' (err-mimir-sample-out-of-order). The affected sample has timestamp 1 and is from series m{a="1"}',
    ],
    Reason.OLD: [
        "out of bounds\n",
        "too old sample\n",
        "add 12 samples: out of bounds",
        'timestamp too old: 1700000000000 metric: "aws_cost_daily_usd"',
        "the sample has been rejected because its timestamp is too old (err-mimir-sample-timestamp-too-old).",
        "received a sample whose timestamp is too far in the past (err-mimir-too-far-in-past)",
    ],
    Reason.SAMPLE: [
        "duplicate sample for timestamp 1700000000000; overrides not allowed: existing 1, new value 2\n",
        "err: duplicate sample for timestamp. timestamp=2023-01-01T00:00:00Z, series={}",
        "the sample has been rejected because another sample with the same timestamp, but a different value, has"
        " already been ingested (err-mimir-sample-duplicate-timestamp).",
        'timestamp too new: 1700000000000 metric: "m"',
    ],
    Reason.SERIES: [
        'invalid metric name or labels, got {a="1"}',
        'invalid labels for series, labels {a="1", a="2"}, duplicated label a',
        "received a series whose label value length exceeds the limit (err-mimir-label-value-too-long).",
        "received a series whose number of labels exceeds the limit (err-mimir-max-label-names-per-series).",
        'label value too long for metric: "m" label value: "aaa"',
        "series has too many labels (actual: 40, limit: 30) series: 'm'",
        "add 3 series: out of order labels",
        "add 3 series: label set contains duplicate label names",
    ],
}


@pytest.mark.parametrize(
    ("reason", "text"), [(reason, text) for reason, texts in SAID.items() for text in texts]
)
def test_what_receivers_say_of_samples_is_understood(reason: Reason, text: str) -> None:
    assert reason_of(400, text) is reason
    assert reason_of(500, text.upper()) is reason


@pytest.mark.parametrize("words", REFUSALS, ids=lambda words: words.text)
def test_each_words_have_a_source_and_are_found_alone(words: Any) -> None:
    assert words.text == words.text.lower()
    assert ":" in words.source
    assert reason_of(words.status or 400, f"user=1: {words.text} 5") is words.reason
    assert not any(limit in words.text for limit in LIMITS)
    if words.status is not None:
        assert reason_of(503, words.text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bad Request",
        "<html><body>Your browser is too old. Sample: duplicate sample for timestamp</body></html>",
        "<!DOCTYPE html><title>400</title>out of order sample",
        "snappy: corrupt input",
        "proto: illegal wireType 7",
        "index out of bounds",
        "the request body is too old",
        "cannot read prompb.WriteRequest: cannot decompress request with length 0: snappy: corrupt input",
        "per-user series limit of 150000 exceeded (err-mimir-max-series-per-user). To adjust the related limit ...",
        "the request has been rejected because the tenant exceeded the ingestion rate limit, set to 10000 items/s with"
        " a maximum allowed burst of 200000 (err-mimir-tenant-max-ingestion-rate)",
        "per-metric series limit (local limit: 0 global limit: 20000 actual local limit: 6666) exceeded",
        "Forbidden by rule 941100: out of memory",
    ],
)
def test_other_words_are_not_about_samples(text: str) -> None:
    assert reason_of(400, text) is None


@given(st.text())
def test_lines_of_any_text_are_read_whole_or_not_at_all(text: str) -> None:
    named = series_named(text)
    assert len(named) in (0, len(text.strip().splitlines()))
    assert all(series.startswith("{") and series.endswith("}") for _, series in named)


def test_the_series_that_prometheus_names_are_read() -> None:
    text = (
        'too old sample for series {__name__="m", a="x for series {y}"}\n'
        'invalid labels for series, labels {__name__="m", a="1", a="2"}, duplicated label a\n'
        'invalid metric name or labels, got {a="1"}\n'
    )
    assert series_named(text) == [
        (Reason.OLD, '{__name__="m", a="x for series {y}"}'),
        (Reason.SERIES, '{__name__="m", a="1", a="2"}'),
        (Reason.SERIES, '{a="1"}'),
    ]
    assert series_named(text + "2 further errors") == []


# Which samples are refused by 1.0, and how many requests it takes to know

SCATTERED = set(range(7, COUNT, 67))
assert len(SCATTERED) == 30


@pytest.mark.parametrize("of_a_series", [1, 30, COUNT])
@pytest.mark.parametrize(
    ("bad", "most"),
    [
        pytest.param({1234}, 14, id="one"),
        pytest.param(set(range(29)), 29 * 12 + 2, id="the first 29"),
        pytest.param(set(range(30)), 30 * 12 + 2, id="the first 30"),
        pytest.param(SCATTERED, 30 * 12 + 2, id="30 scattered ones"),
        pytest.param(set(range(COUNT - 30, COUNT)), 30 * 12 + 10, id="the last 30"),
    ],
)
@pytest.mark.fault(
    "samples with the timestamps of others stand in a batch of remote write 1.0", "they alone are refused"
)
def test_bad_samples_alone_are_refused(
    endpoint: RecordingEndpoint, make: Make, bad: set[int], most: int, of_a_series: int
) -> None:
    endpoint.bad = among(bad, "duplicate sample for timestamp")
    assert make(endpoint).write(points(of_a_series=of_a_series)) == Written(refused=frozenset(bad))
    assert taken(endpoint) == set(range(COUNT)) - bad
    assert len(endpoint.requests) <= most


@pytest.mark.parametrize("words", ["label value too long", "sample invalid label", "out of order sample"])
@pytest.mark.parametrize("series", [0, 33, 66])
@pytest.mark.fault(
    "every sample of one series is bad, by 1.0", "the other series are taken, with fifteen requests"
)
def test_a_bad_series_takes_no_other_along(
    endpoint: RecordingEndpoint, make: Make, words: str, series: int
) -> None:
    bad = set(range(series * 30, min(series * 30 + 30, COUNT)))
    endpoint.bad = among(bad, words)
    assert make(endpoint).write(points()) == Written(refused=frozenset(bad))
    assert taken(endpoint) == set(range(COUNT)) - bad
    assert len(endpoint.requests) <= 15


@pytest.mark.fault("all series but one are bad, by 1.0", "that one is taken, and requests are bounded")
def test_one_good_series_is_found(
    endpoint: RecordingEndpoint, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.history.isolation.random", random.Random(1))  # no probe is of that series
    good = set(range(900, 930))
    endpoint.bad = among(set(range(COUNT)) - good, "label value too long")
    assert make(endpoint).write(points()) == Written(refused=frozenset(range(COUNT)) - good)
    assert taken(endpoint) == good
    assert len(endpoint.requests) <= 80


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.fault("all series but one are bad, by 1.0", "that one is taken, and requests are bounded")
def test_one_good_series_is_found_wherever_the_probes_are(
    endpoint: RecordingEndpoint, make: Make, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """A probe that is taken has bad samples located one by one, which many bad series do not deserve."""
    monkeypatch.setattr("exporter.history.isolation.random", random.Random(seed))
    good = set(range(900, 930))
    endpoint.bad = among(set(range(COUNT)) - good, "label value too long")
    assert make(endpoint).write(points()) == Written(refused=frozenset(range(COUNT)) - good)
    assert taken(endpoint) == good
    assert len(endpoint.requests) <= 150


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("days", [0, 1, 15, 29, 30])
@pytest.mark.fault(
    "the out-of-order window is shorter than the history", "what lies in it is taken, in sixteen requests"
)
def test_what_is_too_old_is_refused_in_few_requests(
    endpoint: RecordingEndpoint, make: Make, status: int, days: int
) -> None:
    first = 1_000_000 + 1000 * days

    def answer(request: Request) -> Answer:
        old = any(stamp < first for _, stamp, _ in request.samples)
        return (status, "too old sample" if status == 500 else "out of bounds") if old else (204, "")

    endpoint.answer = answer
    old = {index for index, (_, stamp, _) in enumerate(points()) if stamp < first}
    assert make(endpoint).write(points()) == Written(refused=frozenset(old))
    assert taken(endpoint) == set(range(COUNT)) - old
    assert len(endpoint.requests) <= 16


NEWEST = max(enumerate(points()), key=lambda item: item[1][1])[0]


@pytest.mark.parametrize("good", [0, 700, NEWEST])
@pytest.mark.fault("1,999 of 2,000 samples are bad, each by itself, by 1.0", "requests are bounded")
def test_one_good_sample_among_bad_ones_does_not_cost_a_request_each(
    endpoint: RecordingEndpoint, make: Make, good: int
) -> None:
    """By 1.0 it is found by chance, or where a search begins; what is refused is asked again some other day."""
    endpoint.bad = among(set(range(COUNT)) - {good}, "duplicate sample for timestamp")
    written = make(endpoint).write(points())
    assert len(endpoint.requests) <= 500
    assert written == Written(refused=frozenset(set(range(COUNT)) - taken(endpoint)))
    if good == NEWEST:
        assert taken(endpoint) == {good}


@pytest.mark.parametrize(
    ("words", "most"),
    [
        ("out of bounds", 2),
        ("too old sample", 2),
        ("duplicate sample for timestamp", 40),
        ("label value too long", 80),
    ],
)
@pytest.mark.fault("the receiver refuses every sample by its words", "all are refused, with few requests")
def test_a_batch_of_nothing_but_bad_samples_costs_few_requests(
    endpoint: RecordingEndpoint, make: Make, words: str, most: int
) -> None:
    endpoint.bad = lambda sample: words
    assert make(endpoint).write(points()) == Written(refused=frozenset(range(COUNT)))
    assert len(endpoint.requests) <= most


@pytest.mark.parametrize("of_a_series", [1, 10, 2000])
def test_hundreds_of_bad_samples_cost_a_bounded_number_of_requests(
    endpoint: RecordingEndpoint, make: Make, of_a_series: int
) -> None:
    """What they take along is good some other day: each time fewer are undecided."""
    bad = set(range(3, COUNT, 11))
    endpoint.bad = among(bad, "duplicate sample for timestamp")
    rest = set(range(COUNT))
    everything = points(of_a_series=of_a_series)
    writer = make(endpoint)
    for _ in range(3):
        before, order = len(endpoint.requests), sorted(rest)
        written = writer.write([everything[index] for index in order])
        assert not written.left
        assert len(endpoint.requests) - before <= 32 * 12 + 64 + 11
        assert len(written.refused) < len(rest)
        rest = {order[index] for index in written.refused}
    assert bad <= rest
    assert taken(endpoint) == set(range(COUNT)) - rest


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bad=st.sets(st.integers(0, 99), max_size=12),
    count=st.integers(1, 100),
    of_a_series=st.sampled_from([1, 7, 100]),
    take_2=st.booleans(),
    names_series=st.booleans(),
)
def test_any_few_bad_samples_alone_are_refused(
    endpoint: RecordingEndpoint,
    make: Make,
    bad: set[int],
    count: int,
    of_a_series: int,
    take_2: bool,
    names_series: bool,
) -> None:
    bad = {index for index in bad if index < count}
    endpoint.take_2, endpoint.names_series = take_2, names_series
    endpoint.taken.clear()
    endpoint.requests.clear()
    endpoint.bad = among(bad, "duplicate sample for timestamp")
    written = make(endpoint).write(points(count, of_a_series))
    assert taken(endpoint) | written.refused == set(range(count))
    assert bad <= written.refused
    assert len(endpoint.requests) <= 12 * (len(bad) + 1) + 11
    if len(bad) * 3 < count:
        assert written.refused == bad


# Remote write 2.0


@pytest.mark.parametrize("names_series", [True, False])
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(set(), id="none"),
        pytest.param({1234}, id="one"),
        pytest.param(set(range(29)), id="29"),
        pytest.param(set(range(30)), id="30"),
        pytest.param(SCATTERED, id="30 scattered"),
        pytest.param(set(range(COUNT - 1)), id="1,999"),
        pytest.param(set(range(COUNT)) - {777}, id="1,999, another one"),
        pytest.param(set(range(COUNT)), id="all"),
    ],
)
@pytest.mark.fault(
    "bad samples stand in a batch of remote write 2.0", "the others are taken at once, and each is known"
)
def test_a_receiver_of_2_0_takes_the_good_samples_at_once(
    endpoint: RecordingEndpoint, make: Make, bad: set[int], names_series: bool
) -> None:
    endpoint.take_2, endpoint.names_series = True, names_series
    endpoint.bad = among(bad, "duplicate sample for timestamp")
    assert make(endpoint).write(points()) == Written(refused=frozenset(bad))
    first, *others = endpoint.requests
    assert [int(value) for _, _, value in endpoint.taken[: COUNT - len(bad)]] == sorted(
        set(range(COUNT)) - bad
    )
    assert len(first.samples) == COUNT
    few = min(len(bad), COUNT - len(bad))
    assert len(others) <= 11 * few  # to tell them apart by counts; none where the whole series is bad


@pytest.mark.fault(
    "a receiver of 2.0 takes nothing older than an hour, and does not name the series",
    "the newer samples are taken, the older ones located with few requests",
)
def test_a_window_that_is_too_short_costs_one_search(endpoint: RecordingEndpoint, make: Make) -> None:
    """As many bad samples in each of the series: by series, each would be searched."""
    endpoint.take_2, endpoint.names_series = True, False
    sent = points()
    oldest = sorted(range(COUNT), key=lambda index: sent[index][1])
    bad = set(oldest[:700])
    endpoint.bad = among(bad, "err-mimir-sample-timestamp-too-old")
    assert make(endpoint).write(sent) == Written(refused=frozenset(bad))
    assert taken(endpoint) == set(range(COUNT)) - bad
    assert len(endpoint.requests) <= 13


@pytest.mark.parametrize("words", ["too old sample", "out of order sample", "label value too long"])
@pytest.mark.fault("a receiver of 2.0 names the series of what it refuses", "one request is enough")
def test_named_series_cost_no_further_request(endpoint: RecordingEndpoint, make: Make, words: str) -> None:
    endpoint.take_2 = True
    # Of each series the oldest ones, of some none; and of one label all.
    bad = {index for index in range(COUNT) if index % 30 < (index // 30) % 4}
    if words == "label value too long":
        bad = {index for index in range(COUNT) if (index // 30) % 4 == 1}
    endpoint.bad = among(bad, words)
    assert make(endpoint).write(points()) == Written(refused=frozenset(bad))
    assert len(endpoint.requests) == 1
    assert taken(endpoint) == set(range(COUNT)) - bad


@pytest.mark.parametrize("ignore_2", [True, False], ids=["by 204", "by 415"])
@pytest.mark.fault(
    "the receiver knows remote write 1.0 only, and shows it {ignore_2}", "all is written by 1.0"
)
def test_a_receiver_of_1_0_gets_1_0(endpoint: RecordingEndpoint, make: Make, ignore_2: bool) -> None:
    endpoint.ignore_2 = ignore_2
    writer = make(endpoint)
    for _ in range(3):
        assert writer.write(points(50)) == Written()
    assert [request.headers["X-Prometheus-Remote-Write-Version"] for request in endpoint.requests] == [
        "0.1.0"
    ] * 3
    assert len(endpoint.declined) == 1, "2.0 is tried once"
    assert len(endpoint.taken) == 150


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.fault("the receiver cannot read a body of 2.0, and answers {status}", "all is written by 1.0")
def test_a_receiver_that_cannot_read_2_0_gets_1_0(
    endpoint: RecordingEndpoint, make: Make, status: int
) -> None:
    def answer(request: Request) -> Answer:
        version = request.headers["X-Prometheus-Remote-Write-Version"]
        return (status, "proto: illegal wireType") if version == "2.0.0" else (204, "")

    endpoint.answer = answer
    endpoint.take_2 = True  # so that the answer is ours; it confirms nothing
    endpoint.confirms = False
    writer = make(endpoint)
    assert writer.write(points(50)) == Written()
    assert len(endpoint.taken) == 50
    assert len(endpoint.requests) == 2
    assert writer.write(points(50)) == Written()
    assert len(endpoint.requests) == 3, "2.0 is not tried again"


@pytest.mark.parametrize("ignore_2", [True, False], ids=["by 204", "by 415"])
@pytest.mark.fault("the receiver is replaced by one that knows 1.0 only", "the next batch is written by 1.0")
def test_a_receiver_that_forgets_2_0_gets_1_0(
    endpoint: RecordingEndpoint, make: Make, ignore_2: bool
) -> None:
    endpoint.take_2 = True
    writer = make(endpoint)
    assert writer.write(points(10)) == Written()
    endpoint.take_2, endpoint.ignore_2 = False, ignore_2
    assert writer.write(points(10)) == Written()
    assert [len(request.samples) for request in endpoint.requests] == [10, 10]
    assert endpoint.requests[-1].headers["X-Prometheus-Remote-Write-Version"] == "0.1.0"


@pytest.mark.fault(
    "a receiver of 2.0 answers 204, and counts fewer samples than it was sent", "they are sent by 1.0"
)
def test_a_success_that_counts_fewer_samples_is_not_believed(endpoint: RecordingEndpoint, make: Make) -> None:
    endpoint.take_2 = True
    endpoint.answer = lambda request: (204, "", {"X-Prometheus-Remote-Write-Samples-Written": "9"})
    assert make(endpoint).write(points(10)) == Written()
    versions = [request.headers["X-Prometheus-Remote-Write-Version"] for request in endpoint.requests]
    assert versions == ["2.0.0", "0.1.0"]


# What is about the request


def larger_than(most: int) -> Callable[[Request], Answer]:
    return lambda request: (413, "request entity too large") if len(request.body) > most else (204, "")


@pytest.mark.parametrize("most", [2000, 500])
@pytest.mark.fault(
    "something in front of the receiver answers 413 to large requests", "all is taken in smaller ones"
)
def test_a_request_that_is_too_large_is_halved(endpoint: RecordingEndpoint, make: Make, most: int) -> None:
    endpoint.answer = larger_than(most)
    writer = make(endpoint)
    assert writer.write(points()) == Written()
    assert taken(endpoint) == set(range(COUNT))
    assert len(endpoint.taken) == COUNT
    first = len(endpoint.requests)
    endpoint.requests.clear()
    assert writer.write(points()) == Written()
    assert len(endpoint.requests) < first, "it has learnt the size"

    endpoint.answer = lambda request: (204, "")
    sizes = set()
    for _ in range(70):
        endpoint.requests.clear()
        writer.write(points())
        sizes.add(len(endpoint.requests))
    assert 1 in sizes, "large requests are tried again"


@pytest.mark.fault(
    "one sample alone is too large for what stands in front of the receiver", "it is left, all else is taken"
)
def test_a_sample_that_is_too_large_is_left_over(endpoint: RecordingEndpoint, make: Make) -> None:
    everything = points(200)
    everything[77] = (encode_labels("m", {"series": "x" * 3000}), *everything[77][1:])
    endpoint.answer = lambda request: (
        (413, "") if any(value == 77 for *_, value in request.samples) else (204, "")
    )
    assert make(endpoint).write(everything) == Written(left=frozenset({77}))
    assert taken(endpoint) == set(range(200)) - {77}
    assert len(endpoint.requests) <= 20


@pytest.mark.parametrize("status", [400, 403, 500])
@pytest.mark.parametrize("series", [0, 50])
@pytest.mark.fault(
    "a filter answers {status} with a page to each request with one series",
    "the others are taken, none is refused",
)
def test_what_a_filter_holds_back_is_left_over(
    endpoint: RecordingEndpoint, make: Make, status: int, series: int
) -> None:
    held = f"{series:05}"

    def answer(request: Request) -> Answer:
        hit = any(dict(labels)["series"] == held for labels, _, _ in request.samples)
        return (status, "<html>Request blocked: out of order sample</html>") if hit else (204, "")

    endpoint.answer = answer
    writer = make(endpoint)
    if status == 403:  # credentials as well, for which nothing is searched
        with pytest.raises(EndpointError, match="Request blocked") as caught:
            writer.write(points())
        assert not isinstance(caught.value, BatchRefusedError)
        assert len(endpoint.requests) == 1
        return
    bad = frozenset(range(series * 30, series * 30 + 30))
    assert writer.write(points()) == Written(left=bad)
    assert taken(endpoint) == set(range(COUNT)) - bad
    assert len(endpoint.requests) <= 30 * 12 + 11
    with pytest.raises(BatchRefusedError, match="Request blocked"):
        writer.write([points()[index] for index in sorted(bad)])


@pytest.mark.fault(
    "every request is refused by other words, batch after batch", "each costs two requests but the first"
)
def test_an_endpoint_in_doubt_is_asked_little(endpoint: RecordingEndpoint, make: Make) -> None:
    endpoint.answer = lambda request: (400, "Bad Request")
    writer = make(endpoint)
    counts = []
    for _ in range(3):
        endpoint.requests.clear()
        with pytest.raises(BatchRefusedError, match="answered 400: Bad Request"):
            writer.write(points())
        counts.append(len(endpoint.requests))
    assert counts == [9, 2, 2]

"""The store serves whole results, already rendered, and lets old ones go absent."""

import gc
import gzip
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.collection.result import CollectionResult
from exporter.collection.store import Key, Store
from exporter.core.exposition import DuplicateSeriesError, render, render_labels, render_value
from exporter.core.metric import Family, Sample
from exporter.core.resource import Resource

COST = Family("aws_test_cost_usd", "A cost.", ("account_id", "service"))
CALLS = Family("aws_test_calls_total", "Calls.", ("account_id",), "counter")
START = datetime(2026, 5, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def text(store: Store) -> str:
    return store.exposition()[0].decode()


def lines(store: Store, prefix: str) -> list[str]:
    return [line for line in text(store).splitlines() if line.startswith(prefix)]


def all_lines(store: Store) -> list[str]:
    """Within a family, the order depends on what was published before."""
    return sorted(text(store).splitlines())


def failed(kind: str = "throttled", at: datetime = START) -> CollectionResult:
    return CollectionResult(samples=(), attempted_at=at, succeeded_at=None, error=kind)


def good(*samples: Sample, at: datetime = START) -> CollectionResult:
    return CollectionResult(samples=samples, attempted_at=at, succeeded_at=at)


@given(
    st.lists(
        st.tuples(st.text(min_size=1), st.text(min_size=1), st.floats(allow_nan=False)),
        unique_by=lambda row: row[:2],
    )
)
def test_whatever_is_published_is_parsed_back(rows: list[tuple[str, str, float]]) -> None:
    # A carriage return is no line end to Prometheus, but it is to the parser of the library.
    rows = [
        row
        for row in rows
        if not {"\r", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\x0b", "\x0c"}
        & set("".join(row[:2]))
    ]
    rendered = render(COST(value, account_id=account, service=service) for account, service, value in rows)
    parsed = [
        (sample.labels["account_id"], sample.labels["service"], sample.value)
        for family in text_string_to_metric_families("".join(rendered.values()))
        for sample in family.samples
    ]
    assert parsed == rows


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.0, "1"), (0.0, "0"), (-2.5, "-2.5"), (1e300, "1e+300"), (float("inf"), "inf"), (float("nan"), "nan")],
)
def test_values_are_written_as_prometheus_reads_them(value: float, expected: str) -> None:
    assert render_value(value) == expected


def test_an_empty_label_is_left_out() -> None:
    assert render_labels(("a", "b"), ("", 'x"\n\\')) == '{b="x\\"\\n\\\\"}'
    assert render_labels(("a",), ("",)) == ""


def test_families_are_joined_under_one_header() -> None:
    store = Store(Clock())
    for account in ("1", "2"):
        store.publish(Key("cost", account), good(COST(3, account_id=account, service="S3")), interval=HOUR)

    assert lines(store, "# TYPE aws_test_cost_usd") == ["# TYPE aws_test_cost_usd gauge"]
    assert lines(store, "aws_test_cost_usd") == [
        'aws_test_cost_usd{account_id="1",service="S3"} 3',
        'aws_test_cost_usd{account_id="2",service="S3"} 3',
    ]


def test_the_gzipped_text_is_the_same() -> None:
    store = Store(Clock())
    store.publish(Key("cost", "1"), good(COST(3, account_id="1", service="S3")), interval=HOUR)
    plain, packed = store.exposition()
    assert gzip.decompress(packed) == plain


def test_a_failure_keeps_the_last_good_samples_for_three_intervals() -> None:
    clock = Clock()
    store = Store(clock)
    key = Key("cost", "1", "eu-west-1")
    store.publish(key, good(COST(3, account_id="1", service="S3")), account="prod", interval=HOUR)
    store.publish(
        key,
        CollectionResult(samples=(), attempted_at=START + HOUR, succeeded_at=None, error="throttled"),
        account="prod",
        interval=HOUR,
    )

    clock.now = START + 3 * HOUR - timedelta(seconds=1)
    assert lines(store, "aws_test_cost_usd") == ['aws_test_cost_usd{account_id="1",service="S3"} 3']
    assert list(store.samples({COST.name})) == [COST(3, account_id="1", service="S3")]

    clock.now = START + 3 * HOUR
    assert lines(store, "aws_test_cost_usd") == []
    assert list(store.samples({COST.name})) == []
    own = 'collector="cost",account_id="1",account="prod"'
    assert lines(store, "aws_spend_exporter_collector_success") == [
        'aws_spend_exporter_collector_success{collector="cost"} 0',
        f"aws_spend_exporter_collector_success{{{own}}} 0",
    ]
    assert lines(store, "aws_spend_exporter_collector_failure_info") == [
        f'aws_spend_exporter_collector_failure_info{{{own},unit="cost",region="eu-west-1",kind="throttled"}} 1'
    ]
    assert lines(store, "aws_spend_exporter_collector_last_success") == [
        f"aws_spend_exporter_collector_last_success_timestamp_seconds{{{own}}} {int(START.timestamp())}"
    ]


def test_with_an_interval_of_seconds_the_last_good_samples_stay_for_a_minute() -> None:
    clock = Clock()
    store = Store(clock)
    store.publish(Key("cost"), good(COST(3, account_id="1", service="S3")), interval=timedelta(seconds=3))
    clock.now = START + timedelta(seconds=59)
    assert lines(store, "aws_test_cost_usd") == ['aws_test_cost_usd{account_id="1",service="S3"} 3']
    clock.now = START + timedelta(seconds=60)
    assert lines(store, "aws_test_cost_usd") == []


def test_a_unit_that_never_succeeded_has_no_sample_and_no_last_success() -> None:
    store = Store(Clock())
    store.publish(
        Key("cost", "1"),
        CollectionResult(samples=(), attempted_at=START, succeeded_at=None, error="access_denied"),
        interval=HOUR,
    )

    assert lines(store, "aws_test") == []
    assert lines(store, "aws_spend_exporter_collector_last_success") == []


def test_the_last_success_is_that_of_the_region_that_was_read_the_longest_ago() -> None:
    store = Store(Clock())
    for region, at in (("eu-west-1", START), ("us-east-1", START - HOUR), ("eu-west-2", START)):
        store.publish(
            Key("ec2", "1", region),
            CollectionResult(samples=(), attempted_at=at, succeeded_at=at),
            account="prod",
            interval=HOUR,
        )
    (line,) = lines(store, "aws_spend_exporter_collector_last_success")
    assert line.endswith(f" {int((START - HOUR).timestamp())}")


def test_a_success_replaces_all_samples_of_its_unit_and_no_others() -> None:
    store = Store(Clock())
    store.publish(
        Key("cost", "1"),
        good(COST(1, account_id="1", service="S3"), COST(2, account_id="1", service="EC2")),
        interval=HOUR,
    )
    store.publish(Key("cost", "2"), good(COST(9, account_id="2", service="S3")), interval=HOUR)
    store.publish(Key("cost", "1"), good(COST(5, account_id="1", service="EC2")), interval=HOUR)

    assert lines(store, "aws_test_cost_usd") == [
        'aws_test_cost_usd{account_id="1",service="EC2"} 5',
        'aws_test_cost_usd{account_id="2",service="S3"} 9',
    ]


def test_a_duplicate_series_is_an_error_and_changes_nothing() -> None:
    store = Store(Clock())
    sample = COST(1, account_id="1", service="S3")
    store.publish(Key("cost", "1"), good(sample), interval=HOUR)

    with pytest.raises(DuplicateSeriesError, match=r'aws_test_cost_usd\{account_id="1",service="S3"\}'):
        store.publish(Key("cost", "1"), good(sample, sample), interval=HOUR)
    with pytest.raises(DuplicateSeriesError, match="published by cost and by other"):
        store.publish(Key("other", "1"), good(sample), interval=HOUR)

    assert lines(store, "aws_test_cost_usd") == ['aws_test_cost_usd{account_id="1",service="S3"} 1']


def test_a_refused_publish_takes_no_family() -> None:
    """B is refused for `one`, which A publishes: C may still publish `two`."""
    one, two = Family("aws_test_one", "One."), Family("aws_test_two", "Two.")
    store = Store(Clock())
    store.publish(Key("a"), good(one(1)), interval=HOUR)
    with pytest.raises(DuplicateSeriesError, match="aws_test_one is published by a and by b"):
        store.publish(Key("b"), good(two(2), one(2)), interval=HOUR)
    store.publish(Key("c"), good(two(3)), interval=HOUR)

    assert lines(store, "aws_test") == ["aws_test_one 1", "aws_test_two 3"]


FAMILIES = [Family(f"aws_test_{name}", "A value.", ("account_id",)) for name in ("one", "two", "three")]
Publish = tuple[str, str, list[Family] | None]
"""The unit, the account, and the families of its samples in order; None where it failed."""
PUBLISHES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["1", "2"]),
        st.one_of(st.none(), st.lists(st.sampled_from(FAMILIES), max_size=3)),
    ),
    min_size=2,
    max_size=8,
)


def publish(store: Store, unit: str, account: str, families: list[Family] | None) -> bool:
    """Whether the store took it."""
    result = (
        CollectionResult(samples=(), attempted_at=START, succeeded_at=None, error="throttled")
        if families is None
        else good(*(family(1, account_id=account) for family in families))
    )
    try:
        store.publish(Key(unit, account), result, account=account, interval=HOUR)
    except DuplicateSeriesError:
        return False
    return True


@settings(max_examples=300)
@given(PUBLISHES)
def test_a_refused_publish_leaves_everything_as_it_was(rows: list[Publish]) -> None:
    """A store that was never asked for what another refused serves and accepts the same."""
    store = Store(Clock())
    taken = []
    for row in rows:
        before = all_lines(store), store.results()
        if publish(store, *row):
            taken.append(row)
        else:
            assert (all_lines(store), store.results()) == before
    without = Store(Clock())
    assert all(publish(without, *row) for row in taken)
    assert (all_lines(store), store.results()) == (all_lines(without), without.results())
    for family in FAMILIES:
        later: Publish = ("d", "1", [family])
        assert publish(store, *later) == publish(without, *later), "the families have the same owners"


def test_what_is_forgotten_is_gone() -> None:
    store = Store(Clock())
    for account in ("1", "2"):
        store.publish(Key("cost", account), good(COST(3, account_id=account, service="S3")), interval=HOUR)
    store.forget([Key("cost", "1"), Key("cost", "never there")])

    assert lines(store, "aws_test_cost_usd") == ['aws_test_cost_usd{account_id="2",service="S3"} 3']
    assert not any('account_id="1"' in line for line in text(store).splitlines())
    assert store.result(Key("cost", "1")) is None


def served(store: Store) -> set[str]:
    """The units, accounts and regions of which there are results."""
    return {":".join((key.unit, key.account_id, key.region)) for key in store.results()}


def many() -> Store:
    store = Store(Clock())
    for key in (
        Key("accounts"),
        Key("ec2", "1", "a"),
        Key("ec2", "1", "b"),
        Key("ec2", "2", "a"),
        Key("s3", "2"),
    ):
        store.publish(key, good(), interval=HOUR)
    return store


def test_accounts_that_left_are_forgotten() -> None:
    store = many()
    store.forget_accounts({"2", "3"})
    assert served(store) == {"accounts::", "ec2:2:a", "s3:2:"}
    assert store.keys_of("1") == []


def test_units_that_no_longer_run_are_forgotten() -> None:
    store = many()
    store.forget_units({"ec2", "rds"})
    assert served(store) == {"ec2:1:a", "ec2:1:b", "ec2:2:a"}
    assert store.keys_of("1") == [Key("ec2", "1", "a"), Key("ec2", "1", "b")]
    assert store.keys_of("2") == [Key("ec2", "2", "a")]


def test_what_is_forgotten_may_depend_on_what_is_there() -> None:
    store = many()
    store.forget(key for account in "12" for key in store.keys_of(account) if key.region == "a")
    assert served(store) == {"accounts::", "ec2:1:b", "s3:2:"}


def test_resources_are_looked_up_by_account_and_owner() -> None:
    clock = Clock()
    store = Store(clock)
    for owner, unit, account in (
        ("inventory", "inventory_ec2", "1"),
        ("inventory", "inventory_s3", "2"),
        ("other", "x", "1"),
    ):
        result = CollectionResult(
            samples=(), attempted_at=START, succeeded_at=START, resources=(Resource(id=unit, type="t"),)
        )
        store.publish(Key(unit, account), result, account="prod", interval=HOUR, owner=owner)
    store.publish(Key("inventory_sqs", "1"), failed(), interval=HOUR, owner="inventory")

    def found(**which: str) -> list[str]:
        return [resource.id for held in store.published_resources(**which) for resource in held.resources]

    assert found() == ["inventory_ec2", "inventory_s3", "x"]
    assert found(owner="inventory") == ["inventory_ec2", "inventory_s3"]
    assert found(account_id="1") == ["inventory_ec2", "x"]
    assert found(account_id="1", owner="inventory") == ["inventory_ec2"]
    assert found(account_id="3") == found(owner="none") == []
    clock.now += 3 * HOUR
    assert found() == []


def test_what_has_expired_is_served_again_once_the_clock_is_set_back() -> None:
    clock = Clock()
    store = Store(clock)
    store.publish(Key("cost", "1"), good(COST(3, account_id="1", service="S3")), interval=HOUR)
    clock.now += 3 * HOUR
    assert lines(store, "aws_test_cost_usd") == []
    assert lines(store, "aws_spend_exporter_series") == ['aws_spend_exporter_series{collector="cost"} 0']
    clock.now -= HOUR
    assert lines(store, "aws_test_cost_usd") == ['aws_test_cost_usd{account_id="1",service="S3"} 3']
    clock.now += HOUR
    assert lines(store, "aws_test_cost_usd") == []


def test_what_was_old_when_it_was_published_is_served_once_the_clock_is_set_back() -> None:
    clock = Clock()
    store = Store(clock)
    assert lines(store, "aws_test_cost_usd") == []
    clock.now += 4 * HOUR
    store.publish(Key("cost", "1"), good(COST(3, account_id="1", service="S3")), interval=HOUR)
    clock.now -= 2 * HOUR
    assert lines(store, "aws_test_cost_usd") == ['aws_test_cost_usd{account_id="1",service="S3"} 3']


def test_what_has_expired_and_was_replaced_does_not_return_when_the_clock_is_set_back() -> None:
    clock = Clock()
    store = Store(clock)
    key = Key("cost", "1")
    store.publish(key, good(COST(3, account_id="1", service="S3")), interval=HOUR)
    clock.now += 3 * HOUR
    assert lines(store, "aws_test_cost_usd") == []
    store.publish(key, good(COST(4, account_id="1", service="S3"), at=clock.now), interval=HOUR)
    clock.now -= HOUR
    assert lines(store, "aws_test_cost_usd") == ['aws_test_cost_usd{account_id="1",service="S3"} 4']


def test_a_family_is_free_once_no_unit_of_its_owner_publishes_it() -> None:
    store = Store(Clock())
    sample = COST(1, account_id="1", service="S3")
    for account in ("1", "2"):
        store.publish(Key("cost", account), good(COST(1, account_id=account, service="S3")), interval=HOUR)
    store.forget([Key("cost", "1")])
    with pytest.raises(DuplicateSeriesError, match="published by cost and by other"):
        store.publish(Key("other", "1"), good(sample), interval=HOUR)
    store.forget([Key("cost", "2")])
    store.publish(Key("other", "1"), good(sample), interval=HOUR)
    assert lines(store, "aws_test_cost_usd") == ['aws_test_cost_usd{account_id="1",service="S3"} 1']


def test_a_result_that_is_old_already_is_not_served() -> None:
    """E.g. one that is restored."""
    store = Store(Clock())
    store.publish(
        Key("cost", "1"), good(COST(3, account_id="1", service="S3"), at=START - 3 * HOUR), interval=HOUR
    )
    assert lines(store, "aws_test_cost_usd") == []
    store.publish(Key("cost", "1"), good(COST(4, account_id="1", service="S3")), interval=HOUR)
    assert lines(store, "aws_test_cost_usd") == ['aws_test_cost_usd{account_id="1",service="S3"} 4']


@pytest.mark.parametrize(
    ("name", "type_"), [("aws_x_total", "gauge"), ("aws_x", "counter"), ("Aws_x", "gauge")]
)
def test_an_unconventional_family_cannot_be_declared(name: str, type_: str) -> None:
    with pytest.raises(ValueError, match="not a conventional name"):
        Family(name, "", (), type_)  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [{}, {"account_id": "1"}, {"account_id": "1", "region": "x"}])
def test_a_sample_has_exactly_the_declared_labels(labels: dict[str, str]) -> None:
    with pytest.raises(TypeError, match="has the labels"):
        COST(1, **labels)


def test_what_was_replaced_is_not_kept() -> None:
    """Not even until it would have expired: a cost view of a thousand accounts is rendered many times in that time."""
    clock = Clock()
    store = Store(clock)
    family = Family("test_kept", "A value.", ("series",))

    def publish(number_of_round: int, *, error: str | None = None) -> None:
        samples = tuple(family(1, series=f"kept {number_of_round} {number}") for number in range(3))
        result = CollectionResult(
            samples=samples, attempted_at=clock.now, succeeded_at=None if error else clock.now, error=error
        )
        store.publish(Key("unit", "1"), result, account="one", interval=timedelta(hours=6))

    for number_of_round in range(20):
        publish(number_of_round)
        store.exposition()
        publish(number_of_round, error="throttled")
        store.exposition()
        clock.now += timedelta(minutes=1)
    gc.collect()
    rounds = {
        each.values[0].split()[1]
        for each in gc.get_objects()
        if isinstance(each, Sample) and each.family is family
    }
    assert rounds == {"19"}

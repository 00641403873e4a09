"""A question is answered from the source of each month, exactly, or refused; what was not read is no zero."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lines_of_months import Line, all_days, commit_export, commit_ledger, commit_values, write_lines

from exporter.aws.cost_explorer import USAGE_RECORD_TYPES
from exporter.core.amounts import NET_COST_TYPES
from exporter.core.moments import start_of_day
from exporter.cube import hours, tag_months
from exporter.cube import lines as cube_lines
from exporter.cube.answering import answer
from exporter.cube.dimensions import parse_dimension
from exporter.cube.lines import LinesError
from exporter.cube.months import LINES, CubeMonths
from exporter.cube.question import Answer, Cannot, Gap, Question, parse_filter, parse_key
from exporter.ledger.file import Ledger

pytestmark = pytest.mark.clockless

A, B = "111111111111", "222222222222"
SEP, OCT, NOV, DEC = date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1), date(2026, 12, 1)
AT = datetime(2026, 12, 5, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def ask(
    ledger: Ledger, *by: str, start: date = OCT, end: date = NOV, cost_type: str = "unblended", **where: str
) -> dict[tuple[str, ...], int]:
    found = answer(
        ledger,
        Question(start, end, by, {name: frozenset({value}) for name, value in where.items()}, cost_type),
    )
    assert (found.cannot, found.missing, found.gaps) == (None, [], [])
    return dict(found.costs)


LINES_OF_OCTOBER = [
    Line(OCT, A, "EC2", 7, region="us-east-1", resource="i-1", tags={"tag:team": "web"}),
    Line(OCT, A, "EC2", 11, region="eu-west-1", resource="i-2"),
    Line(date(2026, 10, 2), B, "EC2", 13, region="eu-west-1"),
    Line(date(2026, 10, 31), B, "S3", -5, region="eu-west-1", usage_type="Storage", charge_type="Credit"),
]


def test_every_dimension_of_an_export_together(ledger: Ledger) -> None:
    commit_export(ledger, OCT, LINES_OF_OCTOBER)
    assert ask(ledger, "region", "account", "service") == {
        ("us-east-1", A, "EC2"): 7,
        ("eu-west-1", A, "EC2"): 11,
        ("eu-west-1", B, "EC2"): 13,
        ("eu-west-1", B, "S3"): -5,
    }
    assert ask(ledger, "resource", "tag:team", account=A) == {("i-1", "web"): 7, ("i-2", ""): 11}
    assert ask(ledger, "day", region="eu-west-1", usage_type="BoxUsage:m6i.large") == {
        ("2026-10-01",): 11,
        ("2026-10-02",): 13,
    }
    assert ask(ledger, "charge_type", "month") == {("Usage", "2026-10"): 31, ("Credit", "2026-10"): -5}
    assert ask(ledger, region="us-east-1") == {(): 7}


def test_account_service_day_and_month_come_from_the_ledger(ledger: Ledger) -> None:
    commit_ledger(ledger, [*all_days(OCT), *all_days(NOV)], LINES_OF_OCTOBER, AT)
    assert ask(ledger, "account", "service") == {(A, "EC2"): 18, (B, "EC2"): 13, (B, "S3"): -5}
    assert ask(ledger, "service", account=B, start=OCT, end=NOV) == {("EC2",): 13, ("S3",): -5}
    months = {key: units for key, units in ask(ledger, "month", end=DEC).items() if units}
    assert months == {("2026-10",): 26}
    assert ask(ledger, "day", service="EC2", end=date(2026, 10, 3)) == {
        ("2026-10-01",): 18,
        ("2026-10-02",): 13,
    }


def test_one_dimension_of_cost_explorer_beside_what_it_was_read_beside(ledger: Ledger) -> None:
    commit_ledger(ledger, all_days(OCT), LINES_OF_OCTOBER, AT)
    commit_values(ledger, "region", "account", all_days(OCT), LINES_OF_OCTOBER, AT)
    assert ask(ledger, "region") == {("us-east-1",): 7, ("eu-west-1",): 19}
    assert ask(ledger, "day", region="eu-west-1", account=B) == {("2026-10-02",): 13, ("2026-10-31",): -5}
    found = answer(ledger, Question(OCT, NOV, ("region", "service"), {}, "unblended"))
    assert found.cannot == Cannot("unread")
    commit_values(ledger, "region", "service", all_days(OCT), LINES_OF_OCTOBER, AT)
    assert ask(ledger, "region", service="S3") == {("eu-west-1",): -5}


def test_days_that_only_the_other_side_was_read_of_are_answered_from_it(ledger: Ledger) -> None:
    commit_values(ledger, "region", "account", [OCT], LINES_OF_OCTOBER[:2], AT)
    commit_values(ledger, "region", "service", all_days(OCT)[1:], LINES_OF_OCTOBER[2:], AT)
    assert ask(ledger, "region") == {("us-east-1",): 7, ("eu-west-1",): 19}


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (("region", "usage_type"), Cannot("together")),
        (("region", "account", "service"), Cannot("together")),
        (("resource",), Cannot("resource")),
        (("usage_type",), Cannot("unread")),
        (("tag:team", "service"), Cannot("unread")),
    ],
    ids=str,
)
def test_what_cost_explorer_cannot_answer_is_refused(
    by: tuple[str, ...], expected: Cannot, ledger: Ledger
) -> None:
    commit_ledger(ledger, all_days(OCT), LINES_OF_OCTOBER, AT)
    commit_values(ledger, "region", "account", all_days(OCT), LINES_OF_OCTOBER, AT)
    assert answer(ledger, Question(OCT, NOV, by, {}, "unblended")).cannot == expected


def test_a_range_over_both_sources_is_answered_with_what_both_can(ledger: Ledger) -> None:
    september = [replace(line, day=line.day.replace(month=9, day=1)) for line in LINES_OF_OCTOBER]
    commit_ledger(ledger, all_days(SEP), september, AT)
    commit_values(ledger, "region", "account", all_days(SEP), september, AT)
    commit_export(ledger, OCT, LINES_OF_OCTOBER)
    assert ask(ledger, "region", "month", start=SEP) == {
        ("us-east-1", "2026-09"): 7,
        ("eu-west-1", "2026-09"): 19,
        ("us-east-1", "2026-10"): 7,
        ("eu-west-1", "2026-10"): 19,
    }
    together = Question(SEP, NOV, ("region", "usage_type"), {}, "unblended")
    assert answer(ledger, together).cannot == Cannot("together", lines_from=OCT)
    assert answer(ledger, replace(together, start=OCT)).cannot is None


def test_days_that_were_not_read_are_missing_and_in_no_sum(ledger: Ledger) -> None:
    later = Line(date(2026, 10, 20), A, "EC2", 100)
    commit_export(ledger, OCT, [*LINES_OF_OCTOBER[:3], later], until=date(2026, 10, 15))
    for by in ((), ("region",), ("region", "usage_type")):
        found = answer(ledger, Question(SEP, NOV, by, {}, "unblended"))
        assert sum(found.costs.values()) == 31, by
        assert found.missing == [*all_days(SEP), *all_days(OCT)[14:]]
        assert found.days == all_days(OCT)[:14]
        assert found.cannot is None
    assert answer(ledger, Question(SEP, OCT, ("region", "usage_type"), {}, "unblended")).days == []


def test_an_export_that_begins_within_a_month_answers_from_its_first_day_on(ledger: Ledger) -> None:
    """Before it Cost Explorer was read: by one dimension at a time."""
    begins = date(2026, 10, 2)
    commit_ledger(ledger, all_days(OCT), LINES_OF_OCTOBER, AT)
    commit_values(ledger, "region", "account", [OCT], LINES_OF_OCTOBER[:2], AT)
    commit_export(
        ledger, OCT, LINES_OF_OCTOBER[2:], details={"first_day": "2026-10-02", "last_day": "2026-10-31"}
    )
    commit_ledger(ledger, [OCT], LINES_OF_OCTOBER, AT)
    assert ask(ledger, "region") == {("us-east-1",): 7, ("eu-west-1",): 19}
    assert ask(ledger, "region", "usage_type", start=begins) == {
        ("eu-west-1", "BoxUsage:m6i.large"): 13,
        ("eu-west-1", "Storage"): -5,
    }
    found = answer(ledger, Question(OCT, NOV, ("region", "usage_type"), {}, "unblended"))
    assert found.cannot == Cannot("together", lines_from=begins)


def test_without_duckdb_one_dimension_is_answered_and_the_rest_says_what_to_install(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_export(ledger, OCT, LINES_OF_OCTOBER)
    commit_values(ledger, "region", "account", all_days(OCT), LINES_OF_OCTOBER, AT, source="data_export")
    monkeypatch.setattr(cube_lines, "is_installed", lambda: False)
    assert ask(ledger, "region", account=B) == {("eu-west-1",): 8}
    found = answer(ledger, Question(OCT, NOV, ("region", "usage_type"), {}, "unblended"))
    assert found.cannot == Cannot("no_duckdb")


def test_a_month_without_the_cost_type_or_the_dimension_is_left_out(ledger: Ledger) -> None:
    focus = [
        replace(line, usage_type=None, amounts=(None, None, None, line.units, line.units))
        for line in LINES_OF_OCTOBER
    ]
    commit_export(ledger, OCT, focus, cost_types=NET_COST_TYPES)
    november = [replace(line, day=NOV) for line in LINES_OF_OCTOBER]
    commit_export(ledger, NOV, november, dimensions=("region", "usage_type", "tag:team"))
    asked = Question(OCT, DEC, ("region",), {}, "unblended")
    for by in ((), ("region",)):
        found = answer(ledger, replace(asked, by=by))
        assert found.gaps == [Gap(OCT, "unblended")]
        assert (sum(found.costs.values()), found.days) == (26, all_days(NOV))
    found = answer(ledger, replace(asked, by=("usage_type",), cost_type="net_amortized"))
    assert (found.gaps, sum(found.costs.values())) == ([Gap(OCT, "usage_type")], 26)
    found = answer(ledger, replace(asked, by=("cost_category:unit",), cost_type="net_amortized"))
    assert (found.gaps, found.days) == ([Gap(NOV, "cost_category:unit")], all_days(OCT))
    assert answer(ledger, replace(asked, end=NOV)).cannot == Cannot("not_available", "unblended")


def test_a_filter_says_how_much_of_other_may_match_it(ledger: Ledger) -> None:
    cost = [
        Line(OCT, A, "EC2", 100, usage_type="large"),
        *(Line(OCT, A, "EC2", 1, usage_type=f"small-{number}") for number in range(5)),
    ]
    commit_ledger(ledger, [OCT], cost, AT)
    commit_values(ledger, "usage_type", "account", [OCT], cost, AT, most=2)
    found = answer(
        ledger, Question(OCT, date(2026, 10, 2), (), {"usage_type": frozenset({"large"})}, "unblended")
    )
    assert (dict(found.costs), found.has_other, found.in_other) == ({(): 100}, True, 4)


def test_a_misspelt_value_is_no_zero(ledger: Ledger) -> None:
    commit_export(ledger, OCT, LINES_OF_OCTOBER)
    with pytest.raises(ValueError, match=r"region: found 'eu-wst-1', expected .*; did you mean eu-west-1\?"):
        ask(ledger, region="eu-wst-1")
    assert ask(ledger, region="us-east-1", charge_type="Credit") == {}, "both are there, and nothing is both"


def test_a_misspelt_value_beside_a_right_one_is_no_zero(ledger: Ledger) -> None:
    commit_export(ledger, OCT, LINES_OF_OCTOBER)
    asked = Question(OCT, NOV, (), {"region": frozenset({"eu-west-1", "us-east-1"})}, "unblended")
    assert answer(ledger, asked).costs == {(): 26}
    asked = replace(asked, where={"region": frozenset({"eu-west-1", "us-esat-1"})})
    with pytest.raises(ValueError, match=r"region: found 'us-esat-1', expected .*; did you mean us-east-1\?"):
        answer(ledger, asked)


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE lines; --",
        "x' OR '1'='1",
        'x" OR 1=1 --',
        "/etc/passwd",
        "$1",
        "?",
        "\x00",
    ],
)
def test_no_text_of_a_question_is_sql(text: str, ledger: Ledger, tmp_path: Path) -> None:
    """Each is a value like any other, also as the name of a tag, whose column has to be quoted."""
    tagged = [Line(OCT, A, text, 3, region=text, resource=text, tags={f"tag:{text}": text})]
    named = ("region", "usage_type", "resource", f"tag:{text}")
    if "\x00" in text:
        commit_export(ledger, OCT, LINES_OF_OCTOBER)
        with pytest.raises(ValueError, match="expected a value that has cost"):
            ask(ledger, region=text)
        return
    commit_export(ledger, OCT, [*LINES_OF_OCTOBER, *tagged], dimensions=named)
    key = f"tag:{text.strip()}"
    if key == f"tag:{text}":
        assert ask(ledger, key, "service", region=text) == {(text, text): 3}
        assert ask(ledger, "resource", **{key: text}) == {(text,): 3}
    assert ask(ledger, region=text, usage_type="BoxUsage:m6i.large") == {(): 3}
    found = answer(ledger, Question(OCT, NOV, (f"tag:no{text}",), {}, "unblended"))
    assert found.gaps == [Gap(OCT, f"tag:no{text}".strip())]


@pytest.mark.parametrize("name", ["region=nowhere", "a*[b]?c", "ü 'x\""])
def test_a_folder_of_any_name_is_read_as_it_is(name: str, tmp_path: Path) -> None:
    """DuckDB would take it for a partition, or for a pattern."""
    (tmp_path / name).mkdir()
    with closing(Ledger(tmp_path / name / "ledger.sqlite")) as ledger:
        commit_export(ledger, OCT, LINES_OF_OCTOBER)
        assert ask(ledger, "region", "usage_type", account=A) == {
            ("us-east-1", "BoxUsage:m6i.large"): 7,
            ("eu-west-1", "BoxUsage:m6i.large"): 11,
        }


def test_a_file_that_is_no_part_of_the_question_cannot_be_read(tmp_path: Path) -> None:
    write_lines(str(tmp_path / "a.parquet"), LINES_OF_OCTOBER)
    write_lines(str(tmp_path / "b.parquet"), LINES_OF_OCTOBER)
    with (
        pytest.raises(LinesError, match=r"lines cannot be read: .*b\.parquet"),
        cube_lines._opened([tmp_path / "a.parquet"], 20) as db,
    ):
        db.execute("SELECT COUNT(*) FROM read_parquet(?)", [str(tmp_path / "b.parquet")])
    with (
        pytest.raises(LinesError, match="lines cannot be read"),
        cube_lines._opened([tmp_path / "a.parquet"], 20) as db,
    ):
        db.execute("INSTALL httpfs")


def test_a_month_that_is_replaced_during_a_question_is_asked_again(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader comes with the path of a file that is gone: the answer is of the new one, never half of either."""
    commit_export(ledger, OCT, LINES_OF_OCTOBER)
    doubled = [replace(line, units=2 * line.units) for line in LINES_OF_OCTOBER]
    swaps = iter([lambda: commit_export(ledger, OCT, doubled, version="2")])
    opened = cube_lines._opened

    def open_late(*arguments: object) -> object:
        next(swaps, lambda: None)()
        return opened(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cube_lines, "_opened", open_late)
    assert ask(ledger, "region", "account") == {
        ("us-east-1", A): 14,
        ("eu-west-1", A): 22,
        ("eu-west-1", B): 16,
    }


def test_a_folder_that_is_gone_is_an_error_and_not_a_refusal(ledger: Ledger) -> None:
    commit_export(ledger, OCT, LINES_OF_OCTOBER)
    (path,) = CubeMonths(ledger).folder.glob(f"*/{LINES}")
    path.unlink()
    with pytest.raises(LinesError, match="lines of a month are gone"):
        ask(ledger, "region", "usage_type")


def test_a_question_that_takes_too_long_or_has_too_many_rows_says_how_to_narrow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / LINES
    write_lines(str(path), LINES_OF_OCTOBER)
    chosen = cube_lines.Filter([(OCT, NOV)], {})
    monkeypatch.setattr(cube_lines, "MOST_GROUPS", 3)
    with pytest.raises(LinesError, match="more than 3 rows: ask for fewer days or dimensions"):
        cube_lines.sums([path], ["region", "account", "service"], chosen, "unblended")
    with pytest.raises(LinesError, match=r"no answer within 0.1 s"), cube_lines._opened([path], 0.1) as db:
        db.execute("SELECT SUM(a.range * b.range) FROM range(10000000) a, range(10000000) b")
    with pytest.raises(LinesError, match="needs more than 256MB"), cube_lines._opened([path], 60) as db:
        db.execute("SELECT range, COUNT(*) FROM range(100000000) GROUP BY ALL")


def test_an_end_of_the_process_ends_questions(tmp_path: Path) -> None:
    path = tmp_path / LINES
    write_lines(str(path), LINES_OF_OCTOBER)
    timer = threading.Timer(0.5, cube_lines.interrupt_all)
    timer.start()
    with pytest.raises(LinesError, match="the exporter is stopping"), cube_lines._opened([path], 60) as db:
        db.execute("SELECT SUM(a.range * b.range) FROM range(10000000) a, range(10000000) b")
    timer.join()
    assert cube_lines._open == set()


def test_sums_are_exact_beyond_64_bits(ledger: Ledger) -> None:
    largest = 2**63 - 1
    commit_export(ledger, OCT, [Line(OCT, f"{number:012d}", "EC2", largest) for number in range(1, 4)])
    assert ask(ledger, "region") == {("us-east-1",): 3 * largest}
    assert ask(ledger) == {(): 3 * largest}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("usage-type", "usage_type"),
        ("Account", "account"),
        ("tag:Cost Center", "tag:Cost Center"),
        ("cost-category:Unit", "cost_category:Unit"),
    ],
)
def test_keys_are_found_as_people_write_them(text: str, expected: str) -> None:
    assert parse_key(text) == expected


def test_a_key_that_is_none_names_those_that_are() -> None:
    with pytest.raises(
        ValueError, match="found 'colour', expected one of account, service, hour, day, month, region"
    ):
        parse_key("colour")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("region=eu-west-1", ("region", "eu-west-1")),
        ("tag:team=", ("tag:team", "")),
        ("usage-type=a=b", ("usage_type", "a=b")),
    ],
)
def test_filters_are_parsed(text: str, expected: tuple[str, str]) -> None:
    assert parse_filter(text) == expected


@pytest.mark.parametrize("text", ["region", "day=2026-10-01", "colour=red"])
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="found"):
        parse_filter(text)


# Hours

FIRST = datetime(2026, 11, 20, tzinfo=UTC)
READ = datetime(2026, 11, 21, 6, tzinfo=UTC)


def commit_hours(ledger: Ledger, costs: dict[tuple[int, str, str], int | None], read: range) -> None:
    """Of hours of 2026-11-20 on, every cost type alike."""
    hour = timedelta(hours=1)
    hours.commit(
        ledger,
        "data_export",
        READ,
        [FIRST + number * hour for number in read],
        {(FIRST + number * hour, *key): (units,) * 5 for (number, *key), units in costs.items()},  # type: ignore[misc]
    )


def hourly(ledger: Ledger, *by: str, **where: str) -> Answer:
    filters = {name: frozenset({value}) for name, value in where.items()}
    return answer(ledger, Question(date(2026, 11, 19), date(2026, 11, 22), by, filters, "unblended"))


def test_hours_are_answered_by_account_and_service_and_hours_that_were_not_read_are_missing(
    ledger: Ledger,
) -> None:
    commit_hours(ledger, {(0, A, "EC2"): 5, (0, B, "S3"): 7, (25, A, "EC2"): 11}, range(26))
    found = hourly(ledger, "hour", "service", account=A)
    assert dict(found.costs) == {("2026-11-20T00:00Z", "EC2"): 5, ("2026-11-21T01:00Z", "EC2"): 11}
    assert (found.missing, found.days) == ([date(2026, 11, 19)], [date(2026, 11, 20), date(2026, 11, 21)])
    assert found.missing_hours == [FIRST + timedelta(hours=number) for number in range(26, 48)]
    assert found.read_at == READ
    assert dict(hourly(ledger, "hour", "day", "month", service="S3").costs) == {
        ("2026-11-20T00:00Z", "2026-11-20", "2026-11"): 7
    }


def test_hours_that_are_not_known_so_are_refused_or_left_out(ledger: Ledger) -> None:
    assert hourly(ledger, "hour").cannot == Cannot("no_hours")
    assert hourly(ledger, "hour", "region").cannot == Cannot("hours_alone")
    commit_hours(ledger, {(0, "", "EC2"): 5, (24, "", "EC2"): None}, range(25))
    found = hourly(ledger, "hour")
    assert (dict(found.costs), found.gaps, found.cannot) == (
        {("2026-11-20T00:00Z",): 5},
        [Gap(date(2026, 11, 1), "unblended")],
        None,
    )
    assert hourly(ledger, "hour", "account").cannot == Cannot("whole_hours")


# Any question over any lines

MONTHS = (SEP, OCT, NOV)
KEYS = ("account", "service", "day", "month", "region", "usage_type", "charge_type", "resource", "tag:team")
drawn_lines = st.lists(
    st.builds(
        Line,
        day=st.sampled_from([day for month in MONTHS for day in all_days(month)]),
        account=st.sampled_from([A, B]),
        service=st.sampled_from(["EC2", "S3"]),
        units=st.integers(-(10**14), 10**14),
        region=st.sampled_from(["", "us-east-1", "global"]),
        usage_type=st.sampled_from(["a", "b", "ü'\""]),
        charge_type=st.sampled_from(["Usage", "Tax"]),
        resource=st.sampled_from(["", "i-1", "arn:aws:s3:::b"]),
        tags=st.fixed_dictionaries({"tag:team": st.sampled_from(["", "web"])}),
        listed=st.integers(0, 10**14),
    ),
    max_size=30,
)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    days = [day for month in MONTHS for day in all_days(month)]
    first, last = sorted(draw(st.tuples(st.sampled_from(days), st.sampled_from(days))))
    by = draw(st.lists(st.sampled_from(KEYS), max_size=4, unique=True))
    filters = draw(
        st.dictionaries(
            st.sampled_from([key for key in KEYS if key not in ("day", "month")]),
            st.none(),
            max_size=2,
        )
    )
    where = {
        key: frozenset(draw(st.sets(st.sampled_from(_values(key)), min_size=1, max_size=2)))
        for key in filters
    }
    end = date.fromordinal(last.toordinal() + 1)
    return Question(first, end, tuple(by), where, draw(st.sampled_from(("unblended", "list"))))


def _values(key: str) -> list[str]:
    return {
        "account": [A, B],
        "service": ["EC2", "S3"],
        "region": ["", "us-east-1", "global"],
        "usage_type": ["a", "b", "ü'\""],
        "charge_type": ["Usage", "Tax"],
        "resource": ["", "i-1", "arn:aws:s3:::b"],
        "tag:team": ["", "web"],
    }[key]


def by_hand(found: list[Line], asked: Question) -> dict[tuple[str, ...], int]:
    sums: Counter[tuple[str, ...]] = Counter()
    for line in found:
        if asked.start <= line.day < asked.end and all(
            line.value(key) in wanted for key, wanted in asked.where.items()
        ):
            listed = line.listed if line.charge_type in USAGE_RECORD_TYPES else 0
            units = line.units if asked.cost_type != "list" else listed or 0
            sums[tuple(str(line.value(key)) for key in asked.by)] += units
    return {key: units for key, units in sums.items() if units}


def check_any(found: list[Line], asked: Question, exports: set[date]) -> None:
    """Exports hold every value once at no cost, so that few filters are by a value that is not there."""
    with tempfile.TemporaryDirectory() as folder, closing(Ledger(Path(folder) / "ledger.sqlite")) as ledger:
        # The tag has been active, and read, since the first month.
        tag_months.learn(
            ledger, parse_dimension("tag:team"), [MONTHS[0]], start_of_day(MONTHS[0]), is_active=False
        )
        for month in MONTHS:
            own = [line for line in found if line.day.replace(day=1) == month]
            if month in exports:
                own += _of_every_value(month)
                commit_export(ledger, month, own)
            else:
                commit_ledger(ledger, all_days(month), own, AT)
                for name in KEYS[4:]:
                    if name != "resource":
                        for beside in ("account", "service"):
                            commit_values(ledger, name, beside, all_days(month), own, AT)  # type: ignore[arg-type]
        try:
            answered = answer(ledger, asked)
        except ValueError as error:
            assert "expected a value that has cost" in str(error)  # noqa: PT017
            assert by_hand(found, asked) == {}
            return
        needs_lines = [name for name in asked.keys if name not in ("account", "service")]
        is_simple = (
            len(asked.keys) <= 2
            and len(needs_lines) <= 1
            and "resource" not in needs_lines
            and asked.cost_type != "list"
        )
        first, last = asked.start.replace(day=1), date.fromordinal(asked.end.toordinal() - 1).replace(day=1)
        asked_months = {month for month in MONTHS if first <= month <= last}
        if not is_simple and not asked_months <= exports:
            assert answered.cannot is not None
            return
        assert answered.cannot is None
        assert (answered.missing, answered.gaps) == ([], [])
        assert {key: units for key, units in answered.costs.items() if units} == by_hand(found, asked)


def _of_every_value(month: date) -> list[Line]:
    return [
        Line(
            month, A, "EC2", 0, "global", usage_type, "", "Tax", "AWS", resource, {"tag:team": team}, listed=0
        )
        for usage_type, resource, team in zip(
            _values("usage_type"), _values("resource"), ["", "web", "web"], strict=True
        )
    ]


@pytest.mark.fault("any cost, any question, over months of either source", "as summed by hand, or refused")
@settings(max_examples=20, deadline=None)
@given(found=drawn_lines, asked=questions(), exports=st.sets(st.sampled_from(MONTHS)))
def test_any_question_equals_a_sum_by_hand(found: list[Line], asked: Question, exports: set[date]) -> None:
    check_any(found, asked, exports)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=1500, deadline=None)
@given(found=drawn_lines, asked=questions(), exports=st.sets(st.sampled_from(MONTHS)))
def test_many_questions_equal_a_sum_by_hand(found: list[Line], asked: Question, exports: set[date]) -> None:
    check_any(found, asked, exports)


def test_the_size_of_the_cube_is_known_while_a_month_is_replaced(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_export(ledger, OCT, LINES_OF_OCTOBER)
    months = CubeMonths(ledger)
    size = months.size_bytes()
    old = months.folder / "2026-09-old"
    old.mkdir()
    (old / LINES).write_bytes(b"lines")
    assert months.size_bytes() == size + 5
    walk = os.walk

    def replaced(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for found in walk(folder):
            if found[0] == str(old):
                shutil.rmtree(old)  # as another thread does, between the list and the look
            yield found

    monkeypatch.setattr(os, "walk", replaced)
    assert months.size_bytes() == size

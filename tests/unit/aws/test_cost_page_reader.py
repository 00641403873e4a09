"""Pages of Cost Explorer are read as botocore's parser and Decimal would read them, and refused alike."""

from __future__ import annotations

import copy
import json
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

import botocore.session
import pytest
from botocore.parsers import ResponseParserError, create_parser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.aws import cost_explorer, cost_pages
from exporter.aws.cost_explorer import METRICS
from exporter.aws.errors import AwsError, Kind, classify, reading
from exporter.core.money import parse_units, sum_to_units

pytestmark = pytest.mark.clockless

MODEL = botocore.session.Session().get_service_model("ce").operation_model("GetCostAndUsage")
PARSER = create_parser("json")
Read = tuple[dict[Any, tuple[int, ...]], dict[date, bool], dict[str, str], str | None]


def old_reader(body: bytes, keys: int) -> Read:
    """As it was read before: JSON, botocore's parser, and dictionaries."""
    try:
        whole = json.loads(body)
    except ValueError as error:
        raise ResponseParserError(str(error)) from error
    if not isinstance(whole, dict):
        raise ResponseParserError("not a JSON object")
    answer = PARSER.parse({"status_code": 200, "body": body, "headers": {}}, MODEL.output_shape)
    amounts: dict[Any, tuple[int, ...]] = {}
    estimated: dict[date, bool] = {}
    names: dict[str, str] = {}
    with reading("Cost Explorer's answer"):
        for period in answer["ResultsByTime"]:
            day = date.fromisoformat(period["TimePeriod"]["Start"])
            estimated[day] = estimated.get(day, False) or bool(period["Estimated"])
            for group in period["Groups"]:
                if len(group["Keys"]) != keys:
                    raise ValueError("keys")
                key = (day, *group["Keys"])
                if key in amounts:
                    raise ValueError("twice")
                amounts[key] = old_amounts(group["Metrics"])
        for attributes in answer.get("DimensionValueAttributes", ()):
            if name := attributes.get("Attributes", {}).get("description", ""):
                names[attributes["Value"]] = name
    return amounts, estimated, names, answer.get("NextPageToken")


def old_amounts(metrics: Any) -> tuple[int, ...]:
    values = []
    for metric in METRICS.values():
        amount = Decimal(metrics[metric]["Amount"])
        if not amount.is_finite():
            raise ValueError(metric)
        if metrics[metric].get("Unit") != "USD" and amount:
            raise AwsError(Kind.CURRENCY, metric)
        values.append(sum_to_units(amount))
    return tuple(values)


def new_reader(body: bytes, keys: int) -> Read:
    answered: dict[str, Any] = {"status_code": 200, "body": body, "headers": {}}
    answer: dict[str, Any] = {}
    cost_pages.take_body(response_dict=answered, customized_response_dict=answer)
    assert answered["body"] == b"{}"  # nothing is left to botocore
    collected = cost_explorer._Collected()
    page = cost_pages.page_of(answer)
    cost_explorer._add_page(collected, page, keys)
    units = {key: tuple(each) for key, each in collected.units.items()}
    return units, collected.estimated, collected.descriptions, page.next_page_token


def outcome(reader: Any, body: bytes) -> Read | Kind:
    try:
        found: Read = reader(body, 2)
    except Exception as error:
        return classify(error).kind
    return found


AMOUNTS = (
    st.decimals(-(10**7), 10**7, places=10).map(str)
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**8), max_value=10**8).map(str)
    | st.sampled_from(("0", "-0", "0.0000000000", "1E-7", "12.", ".5", "+1.5", "007.10"))
)
ODD = st.sampled_from(
    ("NaN", "Infinity", "-sNaN", "", "-", ".", "1.5_0", "1_0.5", "٣.٢", "1.5 ", "1,5", "--1", "²")
)
UNIT = st.sampled_from(("USD", "USD", "USD", "EUR", "N/A", None))


def metric(amounts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda amount, unit: {"Amount": amount} | ({"Unit": unit} if unit is not None else {}), amounts, UNIT
    )


GROUP = st.builds(
    lambda keys, metrics: {"Keys": keys, "Metrics": dict(zip(METRICS.values(), metrics, strict=True))},
    st.lists(st.sampled_from(("1", "2", "EC2", "S3", "Tax", "übrig")), min_size=2, max_size=2),
    st.lists(metric(AMOUNTS), min_size=5, max_size=5),
)
PERIOD = st.builds(
    lambda day, estimated, groups: {
        "TimePeriod": {"Start": f"2026-03-{day:02}", "End": f"2026-03-{day + 1:02}"},
        "Estimated": estimated,
        "Total": {},
        "Groups": groups,
    },
    st.integers(1, 9),
    st.booleans(),
    st.lists(GROUP, max_size=3),
)
PAGE = st.builds(
    lambda periods, token, attributes: (
        {"ResultsByTime": periods, "GroupDefinitions": []} | token | attributes
    ),
    st.lists(PERIOD, max_size=3),
    st.sampled_from(({}, {"NextPageToken": "next"}, {"NextPageToken": None})),
    st.sampled_from(
        (
            {},
            {"DimensionValueAttributes": None},
            {
                "DimensionValueAttributes": [
                    {"Value": "1", "Attributes": {"description": "prod"}},
                    {"Value": "2"},
                ]
            },
            {"DimensionValueAttributes": [{"Attributes": {"description": ""}}]},
            {"DimensionValueAttributes": [{"Attributes": {"description": "prod"}}]},
        )
    ),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in a page that is read."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        if key not in ("Total", "GroupDefinitions", "End"):
            found += places(each, (*path, key))
    return found


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A page of which one part is missing, null, or something else."""
    page = copy.deepcopy(draw(PAGE))  # parts of it are shared
    path = draw(st.sampled_from(places(page) or [("ResultsByTime",)]))
    *above, last = path
    holder = page
    for step in above:
        holder = holder[step]
    kind = draw(st.sampled_from(("remove", "null", "odd")))
    if kind == "remove":
        del holder[last]
    elif kind == "null":
        holder[last] = None
    elif isinstance(holder[last], str):
        holder[last] = draw(ODD) if last in ("Amount", "Start") else ["a", "b"]
    else:
        holder[last] = 7
    return page


@settings(max_examples=300, deadline=None)
@given(PAGE)
def test_a_good_page_is_read_alike(page: Any) -> None:
    body = json.dumps(page).encode()
    assert outcome(new_reader, body) == outcome(old_reader, body)


@settings(max_examples=500, deadline=None)
@given(damaged())
def test_a_damaged_page_is_refused_alike(page: Any) -> None:
    body = json.dumps(page).encode()
    new, old = outcome(new_reader, body), outcome(old_reader, body)
    # What botocore made something of by chance may be refused now, and is never read as something else.
    assert new in (old, Kind.MALFORMED_RESPONSE)


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_body_that_is_cut_off_may_be_asked_for_again(cut: int) -> None:
    period = {"TimePeriod": {"Start": "2026-03-01"}, "Estimated": False, "Groups": []}
    body = json.dumps({"ResultsByTime": [period] * 20}).encode()[:-cut]
    with pytest.raises(ResponseParserError):
        new_reader(body, 2)


@pytest.mark.parametrize("body", [b"", b"[]", b'"text"', b"7", b"<html>", b"\xff\xfe{}", b'{"a": "\xff"}'])
def test_what_is_no_json_object_may_be_asked_for_again(body: bytes) -> None:
    with pytest.raises((ResponseParserError, AwsError)) as caught:
        new_reader(body, 2)
    assert classify(caught.value).kind is Kind.MALFORMED_RESPONSE


@settings(max_examples=1000, deadline=None)
@given(
    AMOUNTS
    | ODD
    | st.text("0123456789.-+_eE ٣²", max_size=14)
    | st.from_regex(r"-?\d{1,30}(\.\d{0,30})?", fullmatch=True)
)
@example("9223372036.8547758079")
@example("0.00000000005")
@example("0.00000000015")
@example("9e99999999")
@example("-9E99999999")
@example("9e999900")
@example("1e-99999999")
@example("0e99999")
def test_an_amount_is_rounded_as_decimal_rounds_it(text: str) -> None:
    def units(parse: Any) -> int | str:
        try:
            return int(parse(text))
        except (ValueError, InvalidOperation):
            return "refused"

    assert units(parse_units) == units(lambda each: sum_to_units(Decimal(each)))

"""One page of GetCostAndUsage, read once: from its body into exact integers, past botocore's parser.

botocore turns a body into nested dictionaries, of which an answer of 5,000 groups has 35,000. Here the body
is decoded into the few fields that are used, and everything else in it is skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from botocore.parsers import ResponseParserError

from exporter.aws.errors import AwsError, Kind, reading
from exporter.core.amounts import Units
from exporter.core.money import parse_units

EVENT = "before-parse.cost-explorer.GetCostAndUsage"
"""The event of botocore at which `take_body` reads the page."""

_PAGE = "Page"


class Metric(msgspec.Struct, rename="pascal", gc=False):
    """An amount as AWS sends it."""

    amount: str
    unit: str | None = None


class Metrics(msgspec.Struct, rename="pascal", gc=False):
    """The cost types of a group, in the order of `Units`."""

    unblended_cost: Metric
    blended_cost: Metric
    amortized_cost: Metric
    net_unblended_cost: Metric
    net_amortized_cost: Metric

    def units(self) -> Units:
        """Exact integers of 1e-10 USD; AwsError(currency) for an amount in another currency, ValueError."""
        values = []
        text: str | None = None
        units = 0
        for name, metric in zip(
            self.__struct_encode_fields__,
            (
                self.unblended_cost,
                self.blended_cost,
                self.amortized_cost,
                self.net_unblended_cost,
                self.net_amortized_cost,
            ),
            strict=True,
        ):
            if metric.amount != text:  # most groups cost the same in several types
                text = metric.amount
                units = parse_units(text)
            if metric.unit != "USD" and Decimal(metric.amount):
                raise AwsError(
                    Kind.CURRENCY,
                    f"Cost Explorer reports {name} in {metric.unit!r}, expected USD:"
                    " another currency is never mixed in",
                )
            values.append(units)
        return Units._make(values)


class Group(msgspec.Struct, rename="pascal", gc=False):
    """One line of an answer."""

    keys: tuple[str, ...]
    metrics: Metrics


class TimePeriod(msgspec.Struct, rename="pascal", gc=False):
    """When a period begins and ends; only the beginning is used."""

    start: str


class Period(msgspec.Struct, rename="pascal", gc=False):
    """A day or an hour, or a part of one where a page ends in it."""

    time_period: TimePeriod
    estimated: bool
    groups: list[Group]

    @property
    def first(self) -> date:
        """Its first day, or the moment at which its hour begins; ValueError."""
        start = self.time_period.start
        return datetime.fromisoformat(start) if "T" in start else date.fromisoformat(start)


class Attributes(msgspec.Struct, rename="pascal", gc=False):
    """What describes a value of a key, such as the name of a linked account."""

    value: str | None = None
    attributes: dict[str, str | None] | None = None


class Page(msgspec.Struct, rename="pascal", gc=False):
    """What is used of one answer."""

    results_by_time: list[Period]
    dimension_value_attributes: list[Attributes] | None = None
    next_page_token: str | None = None

    def descriptions(self) -> Iterable[tuple[str, str]]:
        """The described values with their descriptions; ValueError where the value is missing."""
        for each in self.dimension_value_attributes or ():
            if description := (each.attributes or {}).get("description"):
                if each.value is None:
                    raise ValueError(f"the description {description!r} is of no value")
                yield each.value, description


_DECODER = msgspec.json.Decoder(Page)


def take_body(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Read the page of a successful answer, and leave botocore an empty one.

    ResponseParserError if it is no JSON object: then the same request may succeed a moment later.
    """
    if response_dict["status_code"] >= 300:
        return
    body = bytes(response_dict["body"])
    try:
        customized_response_dict[_PAGE] = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        if not body.lstrip().startswith(b"{"):
            raise ResponseParserError("the answer is malformed: not a JSON object") from error
        customized_response_dict[_PAGE] = error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ResponseParserError(f"the answer is malformed: {error}") from error
    response_dict["body"] = b"{}"


def page_of(answer: Mapping[str, Any]) -> Page:
    """The page that `take_body` has read; AwsError(malformed_response) if a field is missing or of another type."""
    with reading("Cost Explorer's answer"):
        page = answer[_PAGE]
        if isinstance(page, msgspec.ValidationError):
            raise ValueError(str(page))
        assert isinstance(page, Page)
        return page

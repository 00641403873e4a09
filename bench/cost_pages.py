"""Rows of Cost Explorer's answers that are read in a CPU second: from the body of a page to exact amounts by key.

python -m bench.cost_pages

Beside it stands what was done before: `json.loads` to refuse what is no JSON, botocore's parser, and Decimals
of nested dictionaries. Both read the same 20 pages of 5,000 groups, made up with ten decimals an amount.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import botocore.session
import click
from botocore.parsers import create_parser

from exporter.aws import cost_explorer, cost_pages
from exporter.aws.cost_explorer import METRICS
from exporter.core.money import to_units

_MODEL = botocore.session.Session().get_service_model("ce").operation_model("GetCostAndUsage")


def make_page(day: date, groups: int, random: Random, *, alike: bool) -> bytes:
    """A page of one day; `alike`: the five cost types of a group are the same, as without commitments."""

    def amount() -> str:
        return str(Decimal(random.randrange(10**13)).scaleb(-10))

    lines = []
    for number in range(groups):
        first = amount()
        lines.append(
            {
                "Keys": [f"{number // 20:012}", f"Amazon Service {number % 20}"],
                "Metrics": {
                    name: {"Amount": first if alike else amount(), "Unit": "USD"} for name in METRICS.values()
                },
            }
        )
    period = {
        "TimePeriod": {"Start": day.isoformat(), "End": day.isoformat()},
        "Total": {},
        "Estimated": True,
    }
    attributes = [
        {"Value": f"{number:012}", "Attributes": {"description": f"account-{number}"}}
        for number in range(groups // 20)
    ]
    answer = {"ResultsByTime": [period | {"Groups": lines}], "DimensionValueAttributes": attributes}
    return json.dumps(answer, separators=(",", ":")).encode()


def read_now(bodies: list[bytes]) -> int:
    """As the exporter reads; returns the rows."""
    collected = cost_explorer._Collected()
    for body in bodies:
        answer: dict[str, Any] = {}
        response = {"status_code": 200, "body": body, "headers": {}}
        cost_pages.take_body(response_dict=response, customized_response_dict=answer)
        cost_explorer._add_page(collected, cost_pages.page_of(answer), 2)
    return len(collected.units)


def read_before(bodies: list[bytes]) -> int:
    """As it was read before; returns the rows."""
    parser = create_parser("json")
    found: dict[Any, tuple[int, ...]] = {}
    for body in bodies:
        json.loads(body)
        answer = parser.parse({"status_code": 200, "body": body, "headers": {}}, _MODEL.output_shape)
        for period in answer["ResultsByTime"]:
            day = date.fromisoformat(period["TimePeriod"]["Start"])
            for group in period["Groups"]:
                amounts = [Decimal(group["Metrics"][name]["Amount"]) for name in METRICS.values()]
                found[(day, *group["Keys"])] = tuple(map(to_units, amounts))
    return len(found)


def rows_a_cpu_second(read: Callable[[list[bytes]], int], bodies: list[bytes]) -> int:
    """The best of three."""
    best = 0.0
    for _ in range(3):
        gc.collect()
        began = time.process_time()
        rows = read(bodies)
        best = max(best, rows / (time.process_time() - began))
    return round(best)


@click.command()
@click.option("--pages", default=20, show_default=True)
@click.option("--groups", default=5000, show_default=True, help="Groups a page.")
@click.option("--json", "as_json", is_flag=True)
def main(pages: int, groups: int, as_json: bool) -> None:
    """Read both ways."""
    figures: dict[str, float] = {}
    for alike in (False, True):
        random = Random(1)
        days = [date(2026, 1, 1) + timedelta(days=number) for number in range(pages)]
        bodies = [make_page(day, groups, random, alike=alike) for day in days]
        name = "equal cost types" if alike else "five different cost types"
        now, before = rows_a_cpu_second(read_now, bodies), rows_a_cpu_second(read_before, bodies)
        figures |= {
            f"{name}: rows a CPU second": now,
            f"{name}: before": before,
            f"{name}: times as fast": round(now / before, 1),
        }
    click.echo(
        json.dumps(figures) if as_json else "\n".join(f"{name}: {value}" for name, value in figures.items())
    )


if __name__ == "__main__":
    main()

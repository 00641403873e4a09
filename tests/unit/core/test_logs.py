"""A log line is a constant event with fields, on one line, as text and as JSON."""

from __future__ import annotations

import ast
import io
import json
import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import exporter
from exporter.aws.errors import Kind
from exporter.core.logs import LogSettings, log_handler

ROOMS = tuple(sorted(path.name for path in Path(next(iter(exporter.__path__))).iterdir() if path.is_dir()))
"""Where each log line is an event with fields."""
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def write(form: str, event: str, **keywords: Any) -> str:
    stream = io.StringIO()
    logger = logging.Logger("exporter.test")  # noqa: LOG001 # without the handlers of the root
    logger.addHandler(log_handler(LogSettings.model_validate({"format": form}), stream))
    logger.warning(event, **keywords)
    return stream.getvalue()


FIELDS = {
    "collector": "cost",
    "kind": Kind.THROTTLED,
    "account": "a name",
    "region": "",
    "accounts": 3,
    "usd": Decimal("0.01"),
    "seconds": 1.5,
    "ok": True,
    "error": ValueError('no "x"\nat=y'),
    "none": None,
    "names": ("a", "b c"),
}


def test_text_ends_in_the_fields_with_quotes_where_they_are_needed() -> None:
    (line,) = write("text", "collection failed", extra=FIELDS).splitlines()
    assert line.split(" ", 1)[1] == (
        'WARNING exporter.test: collection failed collector=cost kind=throttled account="a name" region=""'
        ' accounts=3 usd=0.01 seconds=1.5 ok=true error="no \\"x\\"\\nat=y" none=null'
        ' names="[\\"a\\", \\"b c\\"]"'
    )


def test_json_has_a_key_for_each_field() -> None:
    line = json.loads(write("json", "collection failed", extra=FIELDS))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "exporter.test",
        "message": "collection failed",
        **FIELDS,
        "usd": "0.01",
        "error": 'no "x"\nat=y',
        "names": ["a", "b c"],
    }


def test_a_field_takes_the_place_of_none_of_the_keys_of_a_line() -> None:
    line = json.loads(write("json", "collection failed", extra={"level": "own", "time": "own"}))
    assert (line["level"], line["time"] == "own") == ("warning", False)


@given(st.text(), st.text())
def test_a_record_without_a_traceback_is_one_line(event: str, value: str) -> None:
    for form in ("text", "json"):
        assert write(form, event, extra={"value": value}).count("\n") == 1


def test_a_traceback_follows_the_fields() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        first, *rest = write(
            "text", "collection\nfailed", extra={"kind": "internal"}, exc_info=True
        ).splitlines()
    assert first.endswith(r"collection\nfailed kind=internal")
    assert (rest[0], rest[-1]) == ("Traceback (most recent call last):", "ValueError: why")


@pytest.mark.parametrize("room", ROOMS)
def test_each_event_is_constant(room: str) -> None:
    """What differs from line to line is a field, so that lines of one event can be found and counted."""
    (package,) = exporter.__path__
    found = []
    for path in sorted((Path(package) / room).rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and call.func.attr in LEVELS
                and isinstance(call.func.value, ast.Name)
                and call.func.value.id == "log"
            ):
                (event,) = call.args if len(call.args) == 1 else (None,)
                if not (isinstance(event, ast.Constant) and "%" not in str(event.value)):
                    found.append(f"{path.name}:{call.lineno}")
    assert found == []

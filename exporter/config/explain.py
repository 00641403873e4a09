"""Explains what is wrong with a configuration: the key, what was found, what was expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from exporter.config.model import Config, collectors_model
from exporter.core.yaml_text import cut, shown


def dotted(location: Sequence[str | int]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{cut(part)}" if text else cut(part)
    return text


_ADDED_BY_PYDANTIC = re.compile(r"^(literal\[.*\]|tuple\[.*\]|function-.*|\[key\])$")


def _location(problem: ErrorDetails) -> list[str | int]:
    return [part for part in problem["loc"] if not _ADDED_BY_PYDANTIC.match(str(part))]


def origin(problem: ErrorDetails, variables: Mapping[tuple[str, ...], str], source: str) -> str:
    """The environment variable that the value is from, or `source`."""
    location = tuple(map(str, _location(problem)))
    for key, name in variables.items():
        if location[: len(key)] == key:
            return name
    return source


def explain(problem: ErrorDetails, data: object) -> str:
    """One line: the key, what was found, what was expected."""
    location = _location(problem)
    key = dotted(location)
    found = f"found {shown(problem['input'])}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{key}: found nothing, expected a value"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(cut(str(location[-1])), known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f"{key}: found an unknown key, expected one of {', '.join(known)}{hint}"
    if problem["type"] == "value_error":
        # A rule over several keys names the one that it is about itself.
        inner = re.match(r"([A-Za-z0-9_.]+): (.*)", message)
        if inner and isinstance(problem["input"], BaseModel | dict):
            name = (
                inner[1]
                if inner[1].startswith(("collectors.", "thresholds.")) or not key
                else f"{key}.{inner[1]}"
            )
            value = _lookup(data, name)
            given = "nothing" if value is None else shown(value)
            return f"{name}: found {given}, expected {inner[2]}"
        return f"{key}: {found}, expected {message}"
    expected = _EXPECTED.get(problem["type"], message.removeprefix("Input should be "))
    return f"{key}: {found}, expected {expected}" + _bounds(problem)


_EXPECTED = {
    "string_type": "text (in quotes, if it looks like a number)",
    "invalid_key": "a key that is text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "decimal_type": "an amount in US dollars",
    "finite_number": "an amount in US dollars",
    "decimal_parsing": "an amount in US dollars",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
    "tuple_type": "a list",
    "path_type": "a path",
    "greater_than_equal": "a number",
    "less_than_equal": "a number",
    "string_too_short": "text that is not empty",
}


def _bounds(problem: ErrorDetails) -> str:
    context = problem.get("ctx", {})
    if "ge" in context:
        return f" of at least {context['ge']}"
    return f" of at most {context['le']}" if "le" in context else ""


def _lookup(data: object, dotted: str) -> object:
    for key in dotted.split("."):
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _known_keys(location: Sequence[str | int]) -> list[str]:
    """The keys of the model at a location, to name them in a message."""
    model: type[BaseModel] | None = Config
    for part in location:
        if isinstance(part, int):
            continue
        if model is Config and part == "collectors":
            model = collectors_model()
            continue
        field = model.model_fields.get(part) if model is not None else None
        if field is not None:
            model = _model_in(field.annotation)
    return list(model.model_fields) if model is not None else []


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model inside an annotation such as `dict[str, Model]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if (model := _model_in(inner)) is not None:
            return model
    return None

"""The AWS Query protocol for services of our own: forms in, XML out, both by botocore's model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from botocore.model import ListShape, Shape, StructureShape

from simulated_aws.wire import AwsError


def parse_form(shape: Shape, form: Mapping[str, str], prefix: str = "") -> Any:
    """Members of a flattened form as nested values, None where nothing is given.

    Raises AwsError (ValidationError) for a number that is none. Timestamps stay text.
    """
    if isinstance(shape, StructureShape):
        found = {}
        for name, member in shape.members.items():
            value = parse_form(member, form, f"{prefix}.{name}" if prefix else name)
            if value is not None:
                found[name] = value
        return found if found or not prefix else None
    if isinstance(shape, ListShape):
        pattern = re.compile(rf"{re.escape(prefix)}\.member\.(\d+)(?:\.|$)")
        numbers = sorted({int(match[1]) for name in form if (match := pattern.match(name))})
        items = [parse_form(shape.member, form, f"{prefix}.member.{number}") for number in numbers]
        return items if numbers else None
    text = form.get(prefix)
    if text is None:
        return None
    try:
        if shape.type_name in ("integer", "long"):
            return int(text)
        if shape.type_name in ("double", "float"):
            return float(text)
    except ValueError:
        raise AwsError("ValidationError", f"{prefix} is not a number") from None
    return text.lower() == "true" if shape.type_name == "boolean" else text


def to_xml(shape: Shape, value: Any) -> str:
    """The members of a value as XML, without an element around them; times must be aware datetimes."""
    if isinstance(shape, StructureShape):
        return "".join(
            f"<{name}>{to_xml(member, value[name])}</{name}>"
            for name, member in shape.members.items()
            if value.get(name) is not None
        )
    if isinstance(shape, ListShape):
        return "".join(f"<member>{to_xml(shape.member, item)}</member>" for item in value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape(str(value))

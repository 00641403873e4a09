"""Checks JSON input against botocore's model of the service, as the service itself would."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

from simulated_aws.service_names import service_model
from simulated_aws.wire import AwsError

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
}


def check_input(service: str, operation: str, params: Mapping[str, Any]) -> None:
    """Raise AwsError where `params` break the model of the operation's input.

    A wrong type is a SerializationException; a missing or unknown member and a value outside the enum,
    pattern or length is a ValidationException. Real services ignore unknown members; here they are faults,
    because a misspelt member is a bug of the caller.
    """
    model = service_model(service)
    if model is None or operation not in model.operation_names:
        raise AwsError("UnknownOperationException", f"Operation {operation} is unknown.")
    shape = model.operation_model(operation).input_shape
    if shape is not None:
        _check(shape, params, "")


def _broken(constraint: str, value: Any, path: str) -> AwsError:
    return AwsError(
        "ValidationException",
        f"1 validation error detected: Value '{value}' at '{path}' "
        f"failed to satisfy constraint: {constraint}",
    )


def _check(shape: Shape, value: Any, path: str) -> None:
    if isinstance(shape, StructureShape):
        _check_structure(shape, value, path)
    elif isinstance(shape, ListShape):
        if not isinstance(value, list):
            raise AwsError("SerializationException", f"Expected a list at {path}.")
        _check_length(shape, value, path)
        for index, item in enumerate(value, 1):
            _check(shape.member, item, f"{path}.{index}.member")
    elif isinstance(shape, MapShape):
        if not isinstance(value, Mapping):
            raise AwsError("SerializationException", f"Expected a map at {path}.")
        for key, item in value.items():
            _check(shape.value, item, _join(path, str(key)))
    else:
        _check_scalar(shape, value, path)


def _check_structure(shape: StructureShape, value: Any, path: str) -> None:
    if not isinstance(value, Mapping):
        raise AwsError("SerializationException", f"Expected an object at {path or 'the top'}.")
    for name in shape.required_members:
        if value.get(name) is None:
            raise _broken("Member must not be null", "null", _join(path, name))
    for name, item in value.items():
        if name not in shape.members:
            raise AwsError("ValidationException", f"Unknown member {_join(path, name)}.")
        if item is not None:
            _check(shape.members[name], item, _join(path, name))


def _check_scalar(shape: Shape, value: Any, path: str) -> None:
    expected = _TYPES.get(shape.type_name)
    # Python's booleans are integers, JSON's are none.
    if expected and (not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected)):
        raise AwsError("SerializationException", f"{type(value).__name__} can not be converted at {path}.")
    if isinstance(shape, StringShape):
        _check_string(shape, value, path)
    elif shape.type_name in ("integer", "long"):
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        if low is not None and value < low:
            raise _broken(f"Member must have value greater than or equal to {low}", value, path)
        if high is not None and value > high:
            raise _broken(f"Member must have value less than or equal to {high}", value, path)


def _check_string(shape: StringShape, value: str, path: str) -> None:
    if shape.enum and value not in shape.enum:
        raise _broken(f"Member must satisfy enum value set: [{', '.join(shape.enum)}]", value, path)
    _check_length(shape, value, path)
    pattern = shape.metadata.get("pattern")
    if pattern:
        try:
            matches = re.fullmatch(pattern, value) is not None
        except re.error:  # a pattern in another dialect
            matches = True
        if not matches:
            raise _broken(f"Member must satisfy regular expression pattern: {pattern}", value, path)


def _check_length(shape: Shape, value: Any, path: str) -> None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and len(value) < low:
        raise _broken(f"Member must have length greater than or equal to {low}", value, path)
    if high is not None and len(value) > high:
        raise _broken(f"Member must have length less than or equal to {high}", value, path)


def _join(path: str, name: str) -> str:
    lowered = name[:1].lower() + name[1:]
    return f"{path}.{lowered}" if path else lowered

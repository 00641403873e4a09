"""Reads config.yaml and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exporter.collectors import all_collectors
from exporter.config import CONFIG_VARIABLE
from exporter.config.environment import apply_plain_variables
from exporter.config.explain import explain, origin
from exporter.config.model import Config
from exporter.core.yaml_text import YamlTextError, parse_yaml, read_yaml, shown

ENVIRONMENT_PREFIX = "AWS_SPEND_EXPORTER_"
DEFAULT_FILE = Path("config.yaml")
_MOST_PROBLEMS = 20


class ConfigError(Exception):
    """The configuration cannot be used; the text names each key, what was found and what was expected."""


def load_config(path: Path | None, environment: Mapping[str, str] | None = None) -> Config:
    """Read the configuration; ConfigError in one message naming key, found and expected.

    Without `path`, config.yaml is read if it exists, and defaults apply if it does not.
    """
    environment = os.environ if environment is None else environment
    source = str(path or DEFAULT_FILE)
    data: Any = {}
    if path is not None or DEFAULT_FILE.exists():
        data = _read_yaml(path or DEFAULT_FILE)
    else:
        source = "environment"
    try:
        apply_plain_variables(data, environment, all_collectors())
    except ValueError as error:
        raise ConfigError(str(error)) from None
    variables: dict[tuple[str, ...], str] = {}
    for name, value in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and name != CONFIG_VARIABLE:
            key = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
            _set(data, key, _scalar(value, name), name)
            variables[key] = name
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # A union reports each of its forms: the one that got further knows better.
        deep = {problem["loc"][:1] for problem in problems if problem["type"] != "literal_error"}
        told = [
            problem
            for problem in problems
            if problem["type"] != "literal_error" or len(problem["loc"]) > 2 or problem["loc"][:1] not in deep
        ]
        lines = [
            f"{origin(problem, variables, source)}: {explain(problem, data)}"
            for problem in told[:_MOST_PROBLEMS]
        ]
        if (left := len(told) - _MOST_PROBLEMS) > 0:
            lines.append(f"{source}: {left} more problems like these")
        raise ConfigError("\n".join(lines)) from None


def _read_yaml(path: Path) -> Any:
    try:
        data = read_yaml(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except YamlTextError as error:
        raise ConfigError(f"{path}: is not usable YAML: {error}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: found {shown(data)}, expected a mapping of keys")
    return data


def _scalar(value: str, name: str) -> Any:
    try:
        return parse_yaml(value)
    except YamlTextError:
        raise ConfigError(f"{name}: found {shown(value)}, expected a YAML value") from None


def _set(data: dict[str, Any], path: Sequence[str], value: Any, name: str) -> None:
    for key in path[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{name}: found a value at {key}, expected a mapping")
    data[path[-1]] = value

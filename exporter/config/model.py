"""The configuration: defaults, then config.yaml, then environment variables.

An environment variable overrides one key: `AWS_SPEND_EXPORTER_SERVER__PORT=9000` sets
`server.port`. The variables of `environment.py` are defaults. An unknown key is an error that names its path; nothing is ever guessed.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, Field, ValidationError, create_model, field_validator, model_validator

from exporter.accounts.sharding import ShardSettings
from exporter.accounts.threshold_settings import DayMonth, ThresholdSettings
from exporter.anomalies.settings import AnomalySettings
from exporter.collectors import all_collectors
from exporter.config.environment import apply_plain_variables
from exporter.core.fields import (
    AccountId,
    CollectorSettings,
    Duration,
    ExternalId,
    LabelName,
    Region,
    RoleArn,
    RoleName,
    StrictModel,
    Usd,
)
from exporter.declarations.collector import Collector
from exporter.history.live import LiveWriteSettings
from exporter.history.settings import HistorySettings
from exporter.ledger.snapshot_settings import SnapshotSettings
from exporter.relay.settings import RelaySettings
from exporter.web.client_settings import ClientSettings

ENVIRONMENT_PREFIX = "AWS_SPEND_EXPORTER_"
CONFIG_VARIABLE = "AWS_SPEND_EXPORTER_CONFIG"
DEFAULT_FILE = Path("config.yaml")
_SHORTEST_PAID_INTERVAL = timedelta(hours=1)
# Labels of aws_account_info and of the thresholds, which also carry an account's groups.
_TAKEN_LABELS = (
    *("account_id", "account", "state", "ou", "name", "instance", "job"),
    *("scope", "subject", "period", "service", "group", "group_value", "alertname", "severity", "component"),
    *("kind", "direction", "region", "metric", "change"),
)


class ConfigError(Exception):
    """The configuration cannot be used; the text names each key, what was found and what was expected."""


class ServerSettings(StrictModel):
    """Where metrics are served."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(
        default=9998, ge=0, le=65535, strict=True, description="Port to listen on; 0: any free."
    )
    web_config_file: Path | None = Field(
        default=None,
        description="TLS, basic authentication and headers, as Prometheus' own servers read them.",
    )


class LogSettings(StrictModel):
    """How the exporter logs."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level.")
    format: Literal["text", "json"] = Field(default="text", description="A line of text, or of JSON.")


class AwsSettings(StrictModel):
    """How AWS is reached; the payer's credentials are the ambient ones of any AWS tool."""

    profile: str | None = Field(default=None, min_length=1, description="Profile of ~/.aws/config.")
    region: Region | None = Field(
        default=None, description="Region of STS and Organizations calls; AWS_REGION or us-east-1 if unset."
    )
    role_arn: RoleArn | None = Field(
        default=None,
        description="The payer's role to assume, where the ambient credentials are not the payer's.",
    )
    external_id: ExternalId | None = Field(default=None, description="External id for `role_arn`.")
    endpoint_url: str | None = Field(
        default=None,
        description="Send every AWS request there, e.g. to a simulated AWS; http://127.0.0.1:4566.",
    )
    threads: int = Field(default=16, ge=1, le=128, strict=True, description="Units collected at a time.")
    run_deadline: Duration = Field(
        default=timedelta(minutes=10), description="After this long a run sends nothing more."
    )
    read_timeout: Duration = Field(
        default=timedelta(seconds=15), description="Time to wait for one answer of AWS."
    )

    @field_validator("endpoint_url")
    @classmethod
    def _a_url(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("a URL such as http://127.0.0.1:4566")
        return value

    @property
    def simulated(self) -> bool:
        """Whether requests stay on this machine, where they cost nothing."""
        url = self.endpoint_url or os.environ.get("AWS_ENDPOINT_URL")
        host = urlsplit(url).hostname if url else None
        if host is None:
            return False
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            # A bare name is a neighbour on a container network, never AWS.
            return host == "localhost" or "." not in host


class StaticAccount(StrictModel):
    """One account given by hand."""

    id: AccountId = Field(description="12 digits, in quotes.")
    name: str | None = Field(default=None, min_length=1, description="Name to show instead of AWS's.")
    role_arn: RoleArn | None = Field(default=None, description="Role to assume, instead of `role_name`.")
    external_id: ExternalId | None = Field(default=None, description="External id of that role.")
    regions: tuple[Region, ...] | None = Field(
        default=None, min_length=1, description="Regions, instead of the common ones."
    )
    groups: dict[LabelName, str] = Field(
        default_factory=dict, description="Group labels, e.g. team: platform."
    )


class GroupRule(StrictModel):
    """Accounts that belong to one value of a group label; any match counts, the first rule wins."""

    value: str = Field(min_length=1, description="Value of the label.")
    accounts: tuple[str, ...] = Field(default=(), description="Ids, names or globs of names.")
    ous: tuple[str, ...] = Field(default=(), description="Paths of organisational units or globs of them.")
    tags: dict[str, str] = Field(default_factory=dict, description="Account tags that must all match.")

    @model_validator(mode="after")
    def _selects_something(self) -> Self:
        if not (self.accounts or self.ous or self.tags):
            raise ValueError("at least one of accounts, ous and tags")
        return self


class AccountsSettings(StrictModel):
    """Which accounts there are, and how they are entered."""

    discovery: Literal["payer", "static", "organizations"] = Field(
        default="payer",
        description="payer: only the account of the ambient credentials; static: the accounts listed below;"
        " organizations: every active account of the AWS Organization.",
    )
    role_name: RoleName | None = Field(
        default=None, description="Role to assume in each account other than the payer's."
    )
    external_id: ExternalId | None = Field(default=None, description="External id of those roles.")
    include: tuple[str, ...] = Field(
        default=(), description="Ids, names, or globs of names and OU paths; empty: all."
    )
    exclude: tuple[str, ...] = Field(default=(), description="The same; wins over include.")
    static: tuple[StaticAccount, ...] = Field(
        default=(), description="The accounts (static), or additions and overrides (organizations)."
    )
    groups: dict[LabelName, tuple[GroupRule, ...]] = Field(
        default_factory=dict, description="Labels for teams or environments, by rules."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.discovery == "static" and not self.static:
            raise ValueError("static: at least one account, because discovery is static")
        ids = [account.id for account in self.static]
        if len(set(ids)) != len(ids):
            raise ValueError("static: each account id once")
        if taken := self.group_labels & set(_TAKEN_LABELS):
            raise ValueError(f"groups: label names other than {', '.join(sorted(taken))}")
        return self

    @property
    def group_labels(self) -> frozenset[str]:
        """The labels of every group rule and of the accounts given by hand."""
        return frozenset({*self.groups, *(label for account in self.static for label in account.groups)})


class Ceiling(DayMonth):
    """Dollars for AWS requests a day and a month."""

    day: Usd | None = Field(default=Decimal(1), description="US dollars a UTC day; null: unlimited.")
    month: Usd | None = Field(default=Decimal(10), description="US dollars a month; null: unlimited.")


class CeilingSettings(StrictModel):
    """What the exporter itself may spend on AWS requests; a request that would pass a ceiling is never sent."""

    cost: Ceiling = Field(default=Ceiling(), description="Cost Explorer.")
    usage: Ceiling = Field(default=Ceiling(), description="CloudWatch.")
    first_fill: Usd | None = Field(
        default=Decimal(10), description="The first read of the past months, once; null: unlimited."
    )

    def limits(self, budget: str) -> Mapping[str, Decimal | None]:
        """Limits by period for `cost`, `usage` or `first_fill`."""
        if budget == "first_fill":
            return {"total": self.first_fill}
        ceiling: Ceiling = getattr(self, budget)
        return {"day": ceiling.day, "month": ceiling.month}


@cache
def collectors_model() -> type[StrictModel]:
    """The settings of every declared collector, by its name."""
    fields: dict[str, Any] = {
        collector.name: (
            collector.settings,
            Field(default=collector.settings(), description=collector.help),
        )
        for collector in all_collectors()
    }
    return create_model("CollectorsSettings", __base__=StrictModel, **fields)


class Config(StrictModel):
    """The whole configuration; `collectors` has one key for each declared collector."""

    data_dir: Path = Field(default=Path("data"), description="Folder of the ledger.")
    server: ServerSettings = Field(default=ServerSettings(), description="Where metrics are served.")
    client: ClientSettings = Field(
        default=ClientSettings(), description="How commands ask the running exporter."
    )
    log: LogSettings = Field(default=LogSettings(), description="Logging.")
    aws: AwsSettings = Field(default=AwsSettings(), description="Access to AWS.")
    accounts: AccountsSettings = Field(default=AccountsSettings(), description="Accounts.")
    regions: Literal["discover"] | tuple[Region, ...] = Field(
        default="discover",
        description="Regions of regional collectors: a list, or `discover` for those that each account opted in.",
    )
    shard: ShardSettings = Field(default=ShardSettings(), description="One of several exporters.")
    ceilings: CeilingSettings = Field(default=CeilingSettings(), description="Spend limits of the exporter.")
    thresholds: ThresholdSettings = Field(default=ThresholdSettings(), description="Alert thresholds.")
    anomalies: AnomalySettings = Field(default=AnomalySettings(), description="What counts as an anomaly.")
    history: HistorySettings = Field(default=HistorySettings(), description="Dated cost history.")
    live_write: LiveWriteSettings = Field(
        default=LiveWriteSettings(), description="Current samples by remote write."
    )
    snapshots: SnapshotSettings = Field(default=SnapshotSettings(), description="Copies of the ledger in S3.")
    relay: RelaySettings = Field(
        default=RelaySettings(), description="The Telex relay, a process of its own."
    )

    @field_validator("regions", mode="before")
    @classmethod
    def _regions(cls, value: object) -> object:
        if value == "discover" or (isinstance(value, list) and value):
            return value
        raise ValueError("`discover`, or a list of at least one region")

    collectors: Any = Field(
        default_factory=lambda: collectors_model()(),
        description="Collectors, each with its own settings.",
    )

    @field_validator("collectors", mode="before")
    @classmethod
    def _mounted(cls, value: object) -> BaseModel:
        return collectors_model().model_validate({} if value is None else value)

    @model_validator(mode="after")
    def _affordable(self) -> Self:
        if not self.aws.simulated:
            for collector in all_collectors():
                settings = self.collector(collector)
                if settings.enabled and collector.due and settings.interval < _SHORTEST_PAID_INTERVAL:
                    raise ValueError(
                        f"collectors.{collector.name}.interval: at least 1h, because its requests are paid"
                    )
        return self

    @model_validator(mode="after")
    def _thresholds_of_known_groups(self) -> Self:
        known = self.accounts.group_labels
        if unknown := sorted(set(self.thresholds.groups) - known):
            raise ValueError(
                f"thresholds.groups.{unknown[0]}: a label of accounts.groups ({', '.join(sorted(known)) or 'none'})"
            )
        return self

    def collector(self, collector: Collector) -> CollectorSettings:
        """The settings of one collector."""
        settings = getattr(self.collectors, collector.name)
        assert isinstance(settings, CollectorSettings)
        return settings

    @property
    def ledger_path(self) -> Path:
        """The ledger's file."""
        return self.data_dir / "ledger.sqlite"


# Reading


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, refusing a key that stands twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Called by PyYAML for each mapping."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a plain value", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


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
        lines = [
            f"{_origin(problem, variables, source)}: {_explain(problem, data)}"
            for problem in problems
            if problem["type"] != "literal_error" or len(problem["loc"]) > 2 or problem["loc"][:1] not in deep
        ]
        raise ConfigError("\n".join(lines)) from None


def _read_yaml(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 # a subclass of the safe loader
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: found {_shown(data)}, expected a mapping of keys")
    return data


def _scalar(value: str, name: str) -> Any:
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):  # a date of no calendar is a ValueError
        raise ConfigError(f"{name}: found {value!r}, expected a YAML value") from None


def _set(data: dict[str, Any], path: Sequence[str], value: Any, name: str) -> None:
    for key in path[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{name}: found a value at {key}, expected a mapping")
    data[path[-1]] = value


# Explaining


def _dotted(location: Sequence[str | int]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_ADDED_BY_PYDANTIC = re.compile(r"^(literal\[.*\]|tuple\[.*\]|function-.*|\[key\])$")


def _location(problem: Any) -> list[str | int]:
    return [part for part in problem["loc"] if not _ADDED_BY_PYDANTIC.match(str(part))]


def _origin(problem: Any, variables: Mapping[tuple[str, ...], str], source: str) -> str:
    """The environment variable that the value is from, or `source`."""
    location = tuple(map(str, _location(problem)))
    for key, name in variables.items():
        if location[: len(key)] == key:
            return name
    return source


def _explain(problem: Any, data: Any) -> str:
    """One line: the key, what was found, what was expected."""
    location = _location(problem)
    key = _dotted(location)
    found = f"found {_shown(problem['input'])}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{key}: found nothing, expected a value"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
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
            return f"{name}: found {_shown(_lookup(data, name))}, expected {inner[2]}"
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


def _bounds(problem: Any) -> str:
    context = problem.get("ctx", {})
    if "ge" in context:
        return f" of at least {context['ge']}"
    return f" of at most {context['le']}" if "le" in context else ""


def _lookup(data: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _known_keys(location: Sequence[str | int]) -> list[str]:
    """The keys of the model at a location, to name them in a message."""
    model: Any = Config
    for part in location:
        if isinstance(part, int):
            continue
        if model is Config and part == "collectors":
            model = collectors_model()
            continue
        field = getattr(model, "model_fields", {}).get(part)
        if field is not None:
            model = _model_in(field.annotation)
    fields = getattr(model, "model_fields", {})
    return list(fields)


def _model_in(annotation: Any) -> Any:
    """The model inside an annotation such as `dict[str, Model]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if (model := _model_in(inner)) is not None:
            return model
    return None

"""A bad configuration ends in one message that names the key, what was found and what was expected."""

import copy
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from pydantic import BaseModel

from exporter.cli.main import main
from exporter.collectors.cost import COLLECTOR as COST
from exporter.collectors.ec2_instances import COLLECTOR as EC2_INSTANCES
from exporter.config.model import Config
from exporter.config.read import ConfigError, load_config

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"


def example() -> dict[str, Any]:
    data = yaml.safe_load(EXAMPLE.read_text())
    assert isinstance(data, dict)
    return data


# (path to set, value, the key that the message names, a part of what it expects)
MUTATIONS: list[tuple[tuple[Any, ...], Any, str, str]] = [
    (("colectors",), {}, "colectors", "did you mean collectors?"),
    (("server", "prt"), 1, "server.prt", "did you mean port?"),
    (("server", "port"), "http", "server.port", "a whole number"),
    (("server", "port"), 65536, "server.port", "at most 65535"),
    (("server", "port"), -1, "server.port", "at least 0"),
    (("server", "port"), True, "server.port", "a whole number"),
    (("server", "host"), "", "server.host", "not empty"),
    (("server",), None, "server", "a mapping"),
    (("log", "level"), "loud", "log.level", "'debug', 'info', 'warning' or 'error'"),
    (("log", "format"), 3, "log.format", "'text' or 'json'"),
    (("server", "port"), 100 * "x", "server.port", "xxx..., expected a whole number"),
    (("aws", "threads"), 0, "aws.threads", "at least 1"),
    (("aws", "endpoint_url"), "localhost", "aws.endpoint_url", "a URL"),
    (("aws", "endpoint_url"), "http://:4566", "aws.endpoint_url", "a URL"),
    (("aws", "role_arn"), "arn:aws:iam::1:role/x", "aws.role_arn", "a role ARN"),
    (("aws", "region"), "Frankfurt", "aws.region", "an AWS region"),
    (("aws", "run_deadline"), 600, "aws.run_deadline", "a duration such as"),
    (("accounts",), [], "accounts", "a mapping"),
    (("accounts", "discovery"), "auto", "accounts.discovery", "'payer', 'static' or 'organizations'"),
    (("accounts", "role_name"), "no spaces", "accounts.role_name", "an IAM role name"),
    (("accounts", "external_id"), "x", "accounts.external_id", "2 to 1,224"),
    (("accounts", "include"), "prod", "accounts.include", "a list"),
    (("accounts", "static", 0, "id"), 111122223333, "accounts.static[0].id", "in quotes"),
    (("accounts",), {"discovery": "static"}, "accounts.static", "at least one account"),
    (("shard",), {"index": 2, "count": 2}, "shard.index", "less than count, which is 2"),
    (("accounts", "static"), 2 * [{"id": "111122223333"}], "accounts.static", "each account id once"),
    (("accounts", "static", 0), {"name": "prod"}, "accounts.static[0].id", "found nothing, expected a value"),
    (("accounts", "static", 0, "groups"), {"period": "x"}, "accounts.groups", "other than period"),
    (("accounts", "static", 0, "id"), "123", "accounts.static[0].id", "12-digit"),
    (("accounts", "static", 0, "regions"), ["eu"], "accounts.static[0].regions[0]", "an AWS region"),
    (
        ("accounts", "groups", "my-team"),
        [{"value": "x", "ous": ["/"]}],
        "accounts.groups.my-team",
        "label name",
    ),
    (("accounts", "groups", "team", 0), {"value": "x"}, "accounts.groups.team[0]", "at least one of"),
    (("regions",), "everywhere", "regions", "`discover`"),
    (("regions",), [], "regions", "at least one region"),
    (("regions",), ["Frankfurt"], "regions[0]", "an AWS region"),
    (("ceilings", "cost", "day"), -1, "ceilings.cost.day", "between 0 and"),
    (("ceilings", "cost", "week"), 1, "ceilings.cost.week", "one of day, month"),
    (("thresholds", "organization", "day"), "much", "thresholds.organization.day", "US dollars"),
    (
        ("thresholds", "accounts", "default", "day"),
        float("nan"),
        "thresholds.accounts.default.day",
        "US dollars",
    ),
    (("thresholds", "accounts", "overrides", "prod"), 5, "thresholds.accounts.overrides.prod", "a mapping"),
    (("thresholds", "organization"), {"day": 1, 0: None}, "thresholds.organization[0]", "a key that is text"),
    (("collectors", "costs"), {}, "collectors.costs", "did you mean cost?"),
    (("collectors", "cost", "interval"), "5m", "collectors.cost.interval", "at least 1h"),
    (("collectors", "cost", "interval"), "six hours", "collectors.cost.interval", "a duration such as"),
    (("collectors", "cost", "history_months"), 14, "collectors.cost.history_months", "at most 13"),
    (("collectors", "cost", "enabled"), "perhaps", "collectors.cost.enabled", "true or false"),
    (("collectors", "ec2_instances", "cost_type"), "x", "collectors.ec2_instances.cost_type", "unknown key"),
    (("relay", "port"), "x", "relay.port", "a whole number"),
    (("data_dir",), 7, "data_dir", "a path"),
]


@pytest.mark.parametrize(("path", "value", "key", "expected"), MUTATIONS, ids=lambda item: str(item)[:40])
def test_a_mutation_of_the_example_exits_2_and_names_the_key(
    path: tuple[Any, ...],
    value: Any,
    key: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = example()
    place = data
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(data))
    with socket.create_server(("127.0.0.1", 0)) as aws:
        # Every AWS call would go here.
        for service in ("STS", "ORGANIZATIONS", "COST_EXPLORER", "EC2"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", f"http://127.0.0.1:{aws.getsockname()[1]}")
        refuse(file, key, expected)
        aws.setblocking(False)
        with pytest.raises(BlockingIOError):
            aws.accept()


def refuse(file: Path, key: str, expected: str) -> None:
    for command in (["check", "-c", str(file)], ["run", "-c", str(file)]):
        result = CliRunner().invoke(main, command)

        assert result.exit_code == 2
        lines = result.output.splitlines()
        assert f"{file}: {key}" in lines[0]
        assert "found" in lines[0]
        assert expected in lines[0]


def test_the_example_loads_and_holds_every_key() -> None:
    config = load_config(EXAMPLE, {})

    def missing(model: BaseModel, data: Any, path: str) -> list[str]:
        found = []
        for name in type(model).model_fields:
            if not isinstance(data, dict) or name not in data:
                found.append(f"{path}{name}")
            elif isinstance(value := getattr(model, name), BaseModel):
                found += missing(value, data[name], f"{path}{name}.")
        return found

    assert missing(config, example(), "") == []


def test_the_comments_of_the_example_tell_the_defaults() -> None:
    """What the example shows as a default is one."""
    defaults, shown = Config(), load_config(EXAMPLE, {})
    for key in ("data_dir", "server", "log", "aws", "regions", "ceilings"):
        assert getattr(shown, key) == getattr(defaults, key)
    assert shown.collectors.cost == defaults.collectors.cost


def test_no_file_means_the_payers_cost_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    config = load_config(None, {})

    assert config.accounts.discovery == "payer"
    assert config.settings(COST).enabled
    assert not config.settings(EC2_INSTANCES).enabled


def test_environment_variables_override_single_keys(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("server: {port: 1, host: 127.0.0.2}")

    config = load_config(
        file,
        {
            "AWS_SPEND_EXPORTER_SERVER__PORT": "9000",
            "AWS_SPEND_EXPORTER_THRESHOLDS__ORGANIZATION__DAY": "12.5",
            "AWS_SPEND_EXPORTER_REGIONS": "[eu-west-1]",
        },
    )

    assert (config.server.port, config.server.host) == (9000, "127.0.0.2")
    assert str(config.thresholds.organization.day) == "12.5"
    assert config.regions == ("eu-west-1",)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SERVER__PROT": "1"}, "^AWS_SPEND_EXPORTER_SERVER__PROT: server.prot: found an unknown key"),
        ({"REGIONS": "[eu"}, r"^AWS_SPEND_EXPORTER_REGIONS: found '\[eu', expected a YAML value"),
        ({"AWS__PROFILE": "2026-13-45"}, "^AWS_SPEND_EXPORTER_AWS__PROFILE: found '2026-13-45', expected a YAML"),
        ({"LOG": "debug", "LOG__LEVEL": "debug"}, "^AWS_SPEND_EXPORTER_LOG__LEVEL: found a value at log, expected a"),
    ],
    ids=["no such key", "no YAML", "no date", "two levels"],
)  # fmt: skip
def test_an_environment_variable_that_is_wrong_is_named(
    variables: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        load_config(None, {f"AWS_SPEND_EXPORTER_{name}": value for name, value in variables.items()})


def test_where_the_file_is_is_no_key_of_it(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("")
    assert load_config(file, {"AWS_SPEND_EXPORTER_CONFIG": str(file)}) == Config()


def test_what_is_wrong_is_said_of_the_variable_or_the_file_that_it_is_in(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("server: {host: 1}")
    variables = {"AWS_SPEND_EXPORTER_SERVER__PORT": "x", "AWS_SPEND_EXPORTER_LOG": "{level: loud}"}
    with pytest.raises(ConfigError) as caught:
        load_config(file, variables)
    assert [line.split(": found ")[0] for line in str(caught.value).splitlines()] == [
        f"{file}: server.host",
        "AWS_SPEND_EXPORTER_SERVER__PORT: server.port",
        "AWS_SPEND_EXPORTER_LOG: log.level",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", "the key 'a' stands twice"),
        ("- 1\n", "expected a mapping of keys"),
        ("a: [", "is not usable YAML"),
        ("? [1]\n: 2\n", "a key must be a plain value"),
        ("&a [*a]", "an alias of what it stands in"),
    ],
)
@pytest.mark.fault("config.yaml is not YAML", "refused in a line that names the place")
def test_broken_yaml_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        load_config(file, {})


@pytest.mark.parametrize("content", [b"log: \xff\xfe", b"[" * 5000], ids=["no text", "too deep"])
@pytest.mark.fault("config.yaml is not text", "refused in a line")
def test_what_cannot_be_text_of_ours_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.yaml: (cannot be read|is not usable YAML): "):
        load_config(file, {})


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "nothing.yaml", {})


def test_a_short_cost_interval_is_for_simulated_endpoints_only(tmp_path: Path) -> None:
    data = copy.deepcopy(example())
    data["collectors"]["cost"]["interval"] = "5s"
    data["aws"]["endpoint_url"] = "http://127.0.0.1:4566"
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(data))
    assert load_config(file, {}).collectors.cost.interval.total_seconds() == 5

    data["aws"]["endpoint_url"] = "https://ce.us-east-1.amazonaws.com"
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match=r"collectors\.cost\.interval: found '5s', expected at least 1h"):
        load_config(file, {})


@pytest.mark.parametrize(
    ("cost", "instances"),
    [({"interval": "1h"}, {}), ({"enabled": False, "interval": "5m"}, {}), ({}, {"interval": "1m"})],
    ids=["just long enough", "off", "free"],
)
def test_an_interval_that_costs_nothing_more_may_be_short(
    cost: dict[str, Any], instances: dict[str, Any]
) -> None:
    collectors = {"cost": cost, "ec2_instances": {"enabled": True, **instances}}
    assert Config.model_validate({"collectors": collectors})


@pytest.mark.parametrize(
    ("url", "simulated"),
    [
        (None, False),
        ("http://localhost:4566", True),
        ("http://[::1]:4566", True),
        ("http://127.0.0.2:4566", True),
        ("http://10.0.0.1:4566", False),
        ("http://simulator:4566", True),
        ("https://ce.us-east-1.amazonaws.com", False),
    ],
)
def test_only_what_stays_on_this_machine_or_its_containers_costs_nothing(
    url: str | None, simulated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert Config.model_validate({"aws": {"endpoint_url": url}}).aws.simulated is simulated
    if url is not None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert Config().aws.simulated is simulated


def test_each_budget_has_its_own_ceilings() -> None:
    ceilings = {"cost": {"day": 1, "month": 20}, "usage": {"day": 3, "month": None}, "first_fill": 5}
    limits = Config.model_validate({"ceilings": ceilings}).ceilings.limits
    assert {name: limits(name) for name in ceilings} == {
        "cost": {"day": 1, "month": 20},
        "usage": {"day": 3, "month": None},
        "first_fill": {"total": 5},
    }


def test_groups_are_known_by_rules_of_any_kind_and_by_accounts_given_by_hand() -> None:
    given = {
        "accounts": {
            "static": [{"id": "111122223333", "groups": {"owner": "ann"}}],
            "groups": {
                "team": [{"value": "shop", "tags": {"team": "shop"}}],
                "stage": [{"value": "prod", "ous": ["/Prod"]}, {"value": "dev", "accounts": ["dev"]}],
            },
        },
        "thresholds": {"groups": {"owner": {"default": {"day": 1}}}},
    }
    assert Config.model_validate(given).accounts.group_labels == {"owner", "team", "stage"}


def test_a_section_that_is_left_empty_has_its_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("collectors:\n  # none yet\n")
    assert load_config(file, {}) == Config()

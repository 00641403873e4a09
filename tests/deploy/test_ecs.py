"""The CloudFormation templates: linted, closed, one task at a time, and understood by what they start."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from deploy_files import ROOT, Rendered, binary

from exporter.cli.main import main
from exporter.config.model import Config
from exporter.config.read import load_config
from exporter.generated.iam import remote_write_policy, snapshots_policy

TEMPLATES = ("ecs-fargate", "ecs-sidecar")
OURS = {"ecs-fargate": ["exporter", "relay"], "ecs-sidecar": ["exporter"]}
VALUES = {
    # What the functions of the templates stand for.
    "PayerRoleArn": "arn:aws:iam::111122223333:role/aws-spend-exporter", "Snapshots": "the-bucket", "AWS::Region": "eu-west-1",
    "ExternalId": "secret-handshake", "Thresholds": "{organization: {day: 500}, accounts: {default: {day: 50}}}",
}  # fmt: skip


class _Loader(yaml.SafeLoader):
    """CloudFormation's short functions as single-key mappings."""


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix: value}


_Loader.add_multi_constructor("!", _function)


def template(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((ROOT / "deploy" / f"{name}.yaml").read_text(), _Loader)  # noqa: S506
    return found


def resources(name: str, kind: str) -> list[dict[str, Any]]:
    return [r["Properties"] for r in template(name)["Resources"].values() if r["Type"] == kind]


def containers(name: str) -> dict[str, dict[str, Any]]:
    (task,) = resources(name, "AWS::ECS::TaskDefinition")
    return {container["Name"]: container for container in task["ContainerDefinitions"]}


def resolved(value: Any) -> str:
    if isinstance(value, dict):
        ((function, argument),) = value.items()
        if function == "Ref":
            return VALUES[argument]
        assert function == "Sub"
        text = argument[0] if isinstance(argument, list) else argument
        return re.sub(r"\$\{(.*?)\}", lambda found: VALUES.get(found[1], "x"), text)
    return str(value)


def environment(container: dict[str, Any]) -> dict[str, str]:
    entries = [entry["If"][1] if "If" in entry else entry for entry in container.get("Environment", ())]
    return {entry["Name"]: resolved(entry["Value"]) for entry in entries}


def configuration(name: str, container: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Config:
    monkeypatch.chdir(folder)
    return load_config(None, environment(containers(name)[container]))


@pytest.mark.parametrize("name", TEMPLATES)
def test_cfn_lint_has_nothing_to_say(name: str) -> None:
    answer = subprocess.run(
        [binary("cfn-lint"), "--include-checks", "I", "--", str(ROOT / "deploy" / f"{name}.yaml")],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (answer.returncode, answer.stdout + answer.stderr) == (0, "")


@pytest.mark.parametrize("name", TEMPLATES)
def test_there_is_one_task_at_a_time_in_private(name: str) -> None:
    (service,) = resources(name, "AWS::ECS::Service")
    deployment = service["DeploymentConfiguration"]
    assert (service["DesiredCount"], deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (
        1,
        0,
        100,
    )
    assert service["AvailabilityZoneRebalancing"] == "DISABLED", "it would run a second task beside the first"
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"
    for resource in template(name)["Resources"].values():
        if resource["Type"] == "AWS::EC2::SecurityGroup" and "SecurityGroupIngress" in resource["Properties"]:
            assert resource.get("Condition") == "HasLoadBalancer"
        if resource["Type"] == "AWS::EC2::SecurityGroupIngress":
            assert resource["Condition"] in ("HasLoadBalancer", "HasClients")
            assert "CidrIp" not in resource["Properties"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_container_is_confined_and_ends_in_order(name: str) -> None:
    for container in containers(name).values():
        if container["Name"] == "application":
            continue
        assert container["ReadonlyRootFilesystem"] is True
        assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
        if container["Name"] == "prepare":
            assert container["Essential"] is False
            continue
        assert int(container["User"].split(":")[0]) > 0
        assert container["RestartPolicy"]["Enabled"] is True
        assert 15 <= container["StopTimeout"] <= 120
        assert container["HealthCheck"]["Command"][0] == "CMD"
        assert {"ContainerName": "prepare", "Condition": "SUCCESS"} in container["DependsOn"]
    essential = {n for n, c in containers(name).items() if c["Essential"]}
    assert (
        essential
        == {
            "ecs-fargate": {"exporter", "relay", "prometheus", "alertmanager"},
            "ecs-sidecar": {"application"},
        }[name]
    )


@pytest.mark.parametrize(("name", "container"), [(n, c) for n in TEMPLATES for c in OURS[n]])
def test_the_command_and_the_environment_are_understood(
    name: str, container: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each variable names a key that exists; an unknown command or key would be refused."""
    found = containers(name)[container]
    assert CliRunner().invoke(main, [*found["Command"], "--help"]).exit_code == 0
    config = configuration(name, container, monkeypatch, tmp_path)
    assert config.log.format == "json"
    port = {"exporter": config.server.port, "relay": config.relay.port}[container]
    assert found["HealthCheck"]["Command"][1:] == ["healthcheck", f"http://127.0.0.1:{port}/-/healthy"]
    paths = {"exporter": ["/data"], "relay": ["/data", "/run/relay"]}
    assert [mount["ContainerPath"] for mount in found["MountPoints"]] == paths[container]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_exporter_enters_the_payer_and_keeps_its_ledger(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = configuration(name, "exporter", monkeypatch, tmp_path)
    assert config.aws.role_arn == VALUES["PayerRoleArn"]
    assert config.aws.external_id == config.accounts.external_id == "secret-handshake"
    assert (config.accounts.discovery, config.accounts.role_name) == (
        "organizations",
        "aws-spend-exporter-member",
    )
    assert config.snapshots.bucket == "the-bucket"
    if name == "ecs-fargate":
        assert config.history.write_url == "http://127.0.0.1:9090/api/v1/write"
        assert str(config.thresholds.accounts.default.day) == "50"
    else:
        assert config.live_write.url is not None
        assert config.live_write.url.endswith("/api/v1/remote_write")
        assert config.live_write.sigv4 is not None
        assert (config.live_write.sigv4.region, config.live_write.sigv4.service) == ("eu-west-1", "aps")


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_roles_are_apart_and_hold_the_derived_actions(name: str) -> None:
    roles = {
        n: r["Properties"] for n, r in template(name)["Resources"].items() if r["Type"] == "AWS::IAM::Role"
    }
    found: dict[str, set[str]] = {}
    for role, properties in roles.items():
        for policy in properties["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                actions = statement["Action"]
                found.setdefault(role, set()).update([actions] if isinstance(actions, str) else actions)
                if statement["Resource"] == "*":
                    assert actions == "ecr:GetAuthorizationToken"
    derived = {a for s in snapshots_policy()["Statement"] for a in s["Action"]} | {"sts:AssumeRole"}
    if name == "ecs-sidecar":
        derived |= {a for s in remote_write_policy()["Statement"] for a in s["Action"]}
    assert found["TaskRole"] == derived
    assert not found["ExecutionRole"] & derived
    assert not any("*" in action for actions in found.values() for action in actions)
    trusts = {r["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["Service"] for r in roles.values()}
    assert trusts <= {"ecs-tasks.amazonaws.com", "scheduler.amazonaws.com"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_bucket_is_private_versioned_and_stays(name: str) -> None:
    (bucket,) = [r for r in template(name)["Resources"].values() if r["Type"] == "AWS::S3::Bucket"]
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert bucket["Properties"]["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    (logs,) = resources(name, "AWS::Logs::LogGroup")
    assert logs["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_secrets_come_from_secrets_manager_and_from_nowhere_else() -> None:
    found = {
        n: {s["Name"]: s["ValueFrom"] for s in c.get("Secrets", ())}
        for n, c in containers("ecs-fargate").items()
    }
    assert {name: secrets for name, secrets in found.items() if secrets} == {
        "relay": {"TELEX_WEBHOOK_URL": {"Ref": "TelexWebhookSecretArn"}},
        "grafana": {"GF_SECURITY_ADMIN_PASSWORD": {"Ref": "GrafanaPasswordSecretArn"}},
    }
    relay = environment(containers("ecs-fargate")["relay"])
    assert relay["AWS_SPEND_EXPORTER_RELAY__CHANNELS__DEFAULT__URL_ENV"] == "TELEX_WEBHOOK_URL"
    grafana = environment(containers("ecs-fargate")["grafana"])
    assert not any("PASSWORD" in name for name in grafana)
    assert grafana["GF_AUTH_ANONYMOUS_ENABLED"] == "false"


def test_alertmanager_and_relay_share_a_password_of_the_task(
    prepared: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files, volumes = prepared
    relay = configuration("ecs-fargate", "relay", monkeypatch, tmp_path).relay
    assert relay.auth is not None
    assert relay.auth.basic_auth is not None
    asked = relay.auth.basic_auth
    shown = yaml.safe_load((files / "alertmanager" / "alertmanager.yml").read_text())
    hooks = [hook for receiver in shown["receivers"] for hook in receiver.get("webhook_configs", [])]
    assert [hook["http_config"]["basic_auth"] for hook in hooks] == [
        {"username": asked.username, "password_file": str(asked.password_file)}
    ] * len(hooks)
    volume = volumes / "relay-password"
    assert (volume / Path(str(asked.password_file)).name).stat().st_mode & 0o777 == 0o444
    for name, container in containers("ecs-fargate").items():
        mounts = [mount for mount in container["MountPoints"] if mount["SourceVolume"] == volume.name]
        expected = {"SourceVolume": volume.name, "ContainerPath": "/run/relay", "ReadOnly": True}
        if name in ("relay", "alertmanager"):
            assert mounts == [expected]
        elif name != "prepare":
            assert mounts == []


def test_grafana_is_behind_a_sign_in_or_not_reachable() -> None:
    (listener,) = resources("ecs-fargate", "AWS::ElasticLoadBalancingV2::Listener")
    assert listener["Protocol"] == "HTTPS"
    assert [action["Type"] for action in listener["DefaultActions"]] == ["authenticate-oidc", "forward"]
    assert template("ecs-fargate")["Parameters"]["LoadBalancerScheme"]["Default"] == "internal"
    assert template("ecs-fargate")["Parameters"]["CertificateArn"]["Default"] == ""


def test_the_schedules_start_one_task_and_stop_it() -> None:
    inputs = [
        json.loads(s["Target"]["Input"]["Sub"]) for s in resources("ecs-fargate", "AWS::Scheduler::Schedule")
    ]
    assert [entry["DesiredCount"] for entry in inputs] == [1, 0]
    assert {entry["Service"] for entry in inputs} == {"${Service.Name}"}


def test_the_servers_take_the_flags_of_compose(demo: Rendered) -> None:
    """Which are proven on real servers; only folders and addresses are the task's own."""
    for name in ("prometheus", "alertmanager"):
        service, container = demo["services"][name], containers("ecs-fargate")[name]
        assert container["User"] == service["user"]
        assert container["HealthCheck"]["Command"] == service["healthcheck"]["test"]
        assert (
            template("ecs-fargate")["Parameters"][f"{name.capitalize()}Image"]["Default"] == service["image"]
        )
        ours = [flag.replace("/files/", "/etc/") for flag in container["Command"]]
        assert [flag for flag in ours if not flag.startswith("--web.listen-address=127.0.0.1:")] == service[
            "command"
        ]
    compose = demo["services"]["grafana"]["environment"]
    grafana = environment(containers("ecs-fargate")["grafana"])
    assert (
        template("ecs-fargate")["Parameters"]["GrafanaImage"]["Default"]
        == demo["services"]["grafana"]["image"]
    )
    assert {n: v for n, v in grafana.items() if compose.get(n) != v}.keys() == {
        "GF_PATHS_PROVISIONING", "DASHBOARDS_PATH", "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH", "PROMETHEUS_URL",
    }  # fmt: skip


@pytest.fixture
def prepared(tmp_path: Path) -> tuple[Path, Path]:
    """The folders of files and volumes, after the `prepare` container has ended."""
    source, files, volumes = tmp_path / "source", tmp_path / "files", tmp_path / "volumes"
    for folder in (source, files, volumes):
        folder.mkdir()
    stages = (ROOT / "Dockerfile").read_text()
    for path, target in re.findall(r"^COPY (\S+) /usr/share/aws-spend-exporter/(\S+)$", stages, re.MULTILINE):
        (source / target).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-R", ROOT / path, source / target], check=True)
    mounts = containers("ecs-fargate")["prepare"]["MountPoints"]
    for mount in mounts:
        if mount["ContainerPath"].startswith("/volumes/"):
            (volumes / Path(mount["ContainerPath"]).name).mkdir(mode=0o755)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "make-password").symlink_to(ROOT / "deploy" / "make-password.sh")
    subprocess.run(
        [ROOT / "deploy" / "prepare-task.sh", files, volumes],
        env={"PATH": f"{programs}:{os.environ['PATH']}", "AWS_SPEND_EXPORTER_FILES": str(source)}, check=True, timeout=30,
    )  # fmt: skip
    return files, volumes


def test_what_is_prepared_is_all_that_the_containers_read(prepared: tuple[Path, Path]) -> None:
    files, volumes = prepared
    modes = {path.name: path.stat().st_mode & 0o7777 for path in volumes.iterdir()}
    assert modes.pop("relay-password") == 0o755
    assert set(modes.values()) == {0o1777}
    assert all(path.stat().st_mode & 0o004 for path in files.rglob("*"))
    used = {
        value
        for container in containers("ecs-fargate").values()
        for text in [*container.get("Command", ()), *environment(container).values()]
        if (value := text.rpartition("=")[2]).startswith("/files/")
    }
    assert used == {
        "/files/prometheus/prometheus.yml",
        "/files/alertmanager/alertmanager.yml",
        "/files/grafana/provisioning",
        "/files/grafana/dashboards",
        "/files/grafana/dashboards/overview.json",
    }
    for path in used:
        assert (files / path.removeprefix("/files/")).exists(), path
    prometheus = (files / "prometheus" / "prometheus.yml").read_text()
    targets = re.findall(r"targets: \[(.*)\]", prometheus)
    assert sorted(targets) == [f"127.0.0.1:{port}" for port in (8000, 9090, 9093, 9093, 9998)]
    assert "url: http://127.0.0.1:8000/alerts" in (files / "alertmanager" / "alertmanager.yml").read_text()


@pytest.mark.stack
def test_promtool_and_amtool_accept_what_is_prepared(prepared: tuple[Path, Path]) -> None:
    files, _ = prepared
    for command in (
        ["promtool", "check", "config", files / "prometheus" / "prometheus.yml"],
        ["amtool", "check-config", files / "alertmanager" / "alertmanager.yml"],
    ):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr

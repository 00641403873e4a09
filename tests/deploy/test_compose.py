"""docker-compose.yml: valid for the real Compose, closed to the outside, and never at AWS by accident."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from deploy_files import ROOT, Rendered, binary

from exporter.config.read import load_config
from simulated_aws.identity import PAYER_ACCESS_KEY, PAYER_SECRET_KEY

SERVICES = [
    "alertmanager",
    "exporter",
    "grafana",
    "prometheus",
    "relay",
    "relay-password",
    "simulator",
    "telex",
]
ONCE = "relay-password"
"""The service that ends when it has done its work."""


@pytest.mark.parametrize("profile", [[], ["--profile", "demo"]])
def test_compose_accepts_the_file_without_a_warning(profile: list[str], tmp_path: Path) -> None:
    answer = subprocess.run(
        [binary("docker-compose"), *profile, "config", "-q"],
        cwd=ROOT,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_the_simulated_servers_are_reached_through_loopback_alone(demo: Rendered) -> None:
    modes = {n: s["network_mode"] for n, s in demo["services"].items() if "network_mode" in s}
    assert modes == {"simulator": "service:exporter", "telex": "service:relay", ONCE: "none"}


@pytest.mark.parametrize("name", ["exporter", "relay", "simulator"])
def test_the_command_line_is_accepted(name: str, demo: Rendered) -> None:
    """An unknown command or option fails before --help is looked at."""
    command = [binary("aws-spend-exporter"), *demo["services"][name]["command"], "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr


def test_the_services_are_known(demo: Rendered) -> None:
    assert sorted(demo["services"]) == SERVICES
    assert sorted(n for n, s in demo["services"].items() if s.get("profiles")) == ["simulator", "telex"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_confined(name: str, demo: Rendered) -> None:
    service = demo["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name != ONCE:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert not any("docker.sock" in mount.get("source", "") for mount in service.get("volumes", []))
    binds = [mount for mount in service.get("volumes", []) if mount["type"] == "bind"]
    assert [mount["source"] for mount in binds if not mount.get("read_only")] == []
    user = service.get("user")  # the images of the project name theirs in the Dockerfile
    assert user is None or int(user.split(":")[0]) > 0
    assert user is not None or service["image"].startswith("aws-spend-exporter:")


def test_images_are_pinned(demo: Rendered) -> None:
    for service in demo["services"].values():
        tag = service["image"].partition(":")[2]
        assert tag.count(".") == 2, service["image"]


def test_only_grafana_is_published_and_only_on_loopback(demo: Rendered, own: Rendered) -> None:
    for rendered in (demo, own):
        published = {n: s["ports"] for n, s in rendered["services"].items() if s.get("ports")}
        assert list(published) == ["grafana"]
        assert [(port["host_ip"], port["target"]) for port in published["grafana"]] == [("127.0.0.1", 3000)]
        assert not any(s.get("network_mode") == "host" for s in rendered["services"].values())


def test_what_needs_no_way_outside_has_none(demo: Rendered) -> None:
    assert demo["networks"]["chain"]["internal"] is True
    outside = [n for n, s in demo["services"].items() if "outside" in (s.get("networks") or {})]
    assert sorted(outside) == ["exporter", "grafana", "relay"]


def test_without_a_profile_nothing_reaches_aws(demo: Rendered) -> None:
    """The simulated organisation by configuration and by key, and no ~/.aws."""
    exporter = demo["services"]["exporter"]
    mounts = {mount["target"]: mount for mount in exporter["volumes"]}
    assert mounts["/home/exporter/.aws"]["type"] == "volume"
    config = load_config(Path(mounts["/etc/aws-spend-exporter"]["source"]) / "config.yaml", {})
    assert config.aws.endpoint_url == "http://127.0.0.1:4566"
    assert config.aws.simulated
    assert exporter["environment"]["AWS_ACCESS_KEY_ID"] == PAYER_ACCESS_KEY
    assert exporter["environment"]["AWS_SECRET_ACCESS_KEY"] == PAYER_SECRET_KEY
    assert exporter["environment"]["AWS_PROFILE"] is None


def test_with_a_profile_nothing_is_simulated(own: Rendered) -> None:
    exporter = own["services"]["exporter"]
    mounts = {mount["target"]: mount for mount in exporter["volumes"]}
    assert mounts["/home/exporter/.aws"]["type"] == "bind"
    assert mounts["/home/exporter/.aws"]["source"].endswith("/.aws")
    assert mounts["/home/exporter/.aws"]["read_only"] is True
    assert {name: value for name, value in exporter["environment"].items() if value is not None} == {
        "AWS_PROFILE": "prod",
        "AWS_SPEND_EXPORTER_SERVER__HOST": "0.0.0.0",  # noqa: S104 # inside its container
        "AWS_SPEND_EXPORTER_HISTORY__WRITE_URL": "http://prometheus:9090/api/v1/write",
    }
    assert mounts["/etc/aws-spend-exporter"]["source"] == str(ROOT / "deploy" / "own" / "config")


def test_the_first_versions_variables_are_passed_through(render: Callable[..., Rendered]) -> None:
    """From the shell, or from the `.env` beside the file, which Compose reads itself."""
    given = {
        "AWS_REGION": "eu-west-1",
        "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/payer",
        "CROSS_ACCOUNT_ROLE_NAME": "reader",
        "EXTERNAL_ID": "secret-handshake",
        "COST_ANOMALY_THRESHOLD": "30",
        "DATA_REFRESH_INTERVAL": "600",
        "LOG_LEVEL": "DEBUG",
    }
    environment = render(AWS_PROFILE="prod", **given)["services"]["exporter"]["environment"]
    assert {name: environment[name] for name in given} == given


def test_simulated_and_real_data_never_share_a_volume(demo: Rendered, own: Rendered) -> None:
    names = [{volume["name"] for volume in rendered["volumes"].values()} for rendered in (demo, own)]
    assert len(names[0]) == len(names[1]) == 6
    assert names[0] & names[1] == set()


def test_secrets_are_files_that_git_does_not_see(own: Rendered) -> None:
    files = {name: Path(secret["file"]) for name, secret in own["secrets"].items()}
    assert sorted(files) == ["grafana_admin_password", "telex_webhook_url"]
    for path in files.values():
        assert path.parent == ROOT / "deploy" / "own" / "secrets"
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0
    users = {n: [s["source"] for s in service.get("secrets", [])] for n, service in own["services"].items()}
    assert {name: secrets for name, secrets in users.items() if secrets} == {
        "grafana": ["grafana_admin_password"],
        "relay": ["telex_webhook_url"],
    }


def test_alertmanager_and_relay_share_a_password_that_is_made(
    demo: Rendered, own: Rendered, tmp_path: Path
) -> None:
    """Before either starts, in a volume that both can only read; and what the one presents the other asks for."""
    for rendered in (demo, own):
        services = rendered["services"]
        mounts = {
            name: [mount for mount in service.get("volumes", []) if mount.get("source") == "relay-password"]
            for name, service in services.items()
        }
        assert {name for name, found in mounts.items() if found} == {"alertmanager", "relay", ONCE}
        for name in ("alertmanager", "relay"):
            assert mounts[name][0]["read_only"] is True
            assert mounts[name][0]["target"] == "/run/relay"
            assert services[name]["depends_on"][ONCE]["condition"] == "service_completed_successfully"
        relay = load_config(None, services["relay"]["environment"]).relay
        assert relay.auth is not None
        assert relay.auth.basic_auth is not None
        asked = relay.auth.basic_auth
        shown = yaml.safe_load((ROOT / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
        for receiver in shown["receivers"]:
            for hook in receiver.get("webhook_configs", []):
                assert hook["http_config"]["basic_auth"] == {
                    "username": asked.username, "password_file": str(asked.password_file),
                }  # fmt: skip
        (written,) = services[ONCE]["command"]
        assert written.replace(mounts[ONCE][0]["target"], "/run/relay") == str(asked.password_file)
        assert services[ONCE]["entrypoint"] == ["make-password"]
    folder = tmp_path / "volume"
    folder.mkdir(mode=0o750)
    passwords = []
    for _ in range(2):  # the second start keeps it
        subprocess.run([ROOT / "deploy" / "make-password.sh", folder / "password"], check=True, timeout=60)
        passwords.append((folder / "password").read_text(encoding="utf-8").strip())
    assert passwords[0] == passwords[1]
    assert len(base64.b64decode(passwords[0])) == 32
    assert [path.name for path in folder.iterdir()] == ["password"]
    # For the containers' users, which are not its own.
    assert (folder.stat().st_mode & 0o777, (folder / "password").stat().st_mode & 0o777) == (0o755, 0o444)


@pytest.mark.fault("the start that makes the relay's password is killed at work", "the next start makes it")
def test_a_password_that_is_half_made_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    # Root may write what is read-only: as in the image, another user makes it.
    user = {"user": 10001, "group": 10001, "extra_groups": []} if os.geteuid() == 0 else {}
    if user:
        os.chown(folder, 10001, 10001)
    (folder / "password.new").touch(mode=0o444)
    with (ROOT / "deploy" / "make-password.sh").open() as script:
        # From its folder: other users may not pass through those above it.
        subprocess.run(
            ["/bin/sh", "-s", "password"], stdin=script, cwd=folder, check=True, timeout=60, **user
        )
    assert len(base64.b64decode((folder / "password").read_text(encoding="utf-8"))) == 32
    assert [path.name for path in folder.iterdir()] == ["password"]


def test_the_demo_brings_its_secrets(demo: Rendered) -> None:
    for secret in demo["secrets"].values():
        assert Path(secret["file"]).read_text(encoding="utf-8").strip()


def test_grafana_wants_a_password_and_finds_its_provisioning(demo: Rendered) -> None:
    grafana = demo["services"]["grafana"]
    environment = grafana["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert environment["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana_admin_password"
    mounts = {
        mount["target"]: Path(mount["source"]) for mount in grafana["volumes"] if mount["type"] == "bind"
    }
    assert mounts["/etc/grafana/provisioning"] == ROOT / "grafana" / "provisioning"
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    dashboards = mounts[environment["DASHBOARDS_PATH"]]
    assert (dashboards / Path(home).name).is_file()
    used = {
        name
        for path in mounts["/etc/grafana/provisioning"].rglob("*.yml")
        for name in _variables(yaml.safe_load(path.read_text(encoding="utf-8")))
    }
    assert used == {"PROMETHEUS_URL", "DASHBOARDS_PATH"}
    assert used <= environment.keys()


@pytest.mark.parametrize("name", ["exporter", "relay"])
def test_the_environment_is_understood(name: str, demo: Rendered, own: Rendered) -> None:
    """Each variable names a key that exists, and both listen where the other containers reach them."""
    for rendered in (demo, own):
        environment = {k: v for k, v in rendered["services"][name]["environment"].items() if v is not None}
        empty = load_config(ROOT / "deploy" / "demo" / "config" / "config.yaml", environment)
        listening = {"exporter": empty.server, "relay": empty.relay}[name]
        assert listening.host == "0.0.0.0"  # noqa: S104 # inside its container
        port = {"exporter": 9998, "relay": 8000}[name]
        assert listening.port == port
        assert f":{port}/" in rendered["services"][name]["healthcheck"]["test"][-1]
    relay = load_config(None, demo["services"]["relay"]["environment"]).relay
    assert str(relay.channels["default"].url_file) == "/run/secrets/telex_webhook_url"


def test_hosts_of_the_shipped_configuration_are_services(demo: Rendered) -> None:
    """prometheus.yml and alertmanager.yml name the containers by their service names."""
    prometheus = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    targets = [
        target
        for job in [*prometheus["scrape_configs"], *prometheus["alerting"]["alertmanagers"]]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    assert {target.partition(":")[0] for target in targets} <= demo["services"].keys()
    alertmanager = (ROOT / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
    assert "url: http://relay:8000/alerts" in alertmanager


def test_a_missing_home_directory_is_not_mounted(render: Callable[..., Rendered]) -> None:
    """Without a profile the host's ~/.aws is never named, so Docker never creates it."""
    assert "/.aws:" not in str(render(HOME="/nonexistent"))


def _variables(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {name for item in value.values() for name in _variables(item)}
    if isinstance(value, list):
        return {name for item in value for name in _variables(item)}
    return {value[1:]} if isinstance(value, str) and value.startswith("$") else set()


def test_the_stand_in_for_telex_serves(demo: Rendered, tmp_path: Path) -> None:
    """Its few lines of Python, on another port."""
    service = demo["services"]["telex"]
    assert service["entrypoint"] == ["python", "-c"]
    (code,) = service["command"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "8099" in code
    process = subprocess.Popen([sys.executable, "-c", code.replace("8099", str(port))], cwd=tmp_path)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                page = requests.get(f"http://127.0.0.1:{port}/", timeout=60)
                break
            except requests.ConnectionError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert "No message yet" in page.text
        post = {"event_name": "e", "message": "m", "status": "success", "username": "u"}
        taken = requests.post(f"http://127.0.0.1:{port}/v1/webhooks/demo", json=post, timeout=60)
        assert taken.status_code == 200
    finally:
        process.kill()
        process.wait()

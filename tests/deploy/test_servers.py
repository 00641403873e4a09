"""The containers' commands, health checks and configuration files on the real servers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from deploy_files import ROOT, Rendered

from demo.processes import choose_ports
from demo.telex_sink import TelexSink

pytestmark = pytest.mark.stack


@pytest.fixture
def prometheus() -> str:
    """Path of Prometheus."""
    return _program("prometheus")


@pytest.fixture
def alertmanager() -> str:
    """Path of Alertmanager, under whichever name it is installed."""
    return _program("alertmanager", "prometheus-alertmanager")


def test_prometheus_takes_the_commands_flags_and_the_shipped_configuration(
    prometheus: str, demo: Rendered, tmp_path: Path
) -> None:
    service = demo["services"]["prometheus"]
    port = _free_port()
    command = [
        prometheus,
        *_inside(
            service["command"], {"/etc/prometheus": ROOT / "prometheus", "/prometheus": tmp_path / "data"}
        ),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _running(command, f"http://127.0.0.1:{port}/-/ready", tmp_path / "log"):
        _healthy(service, {"9090": port})
        flags = requests.get(f"http://127.0.0.1:{port}/api/v1/status/flags", timeout=60).json()["data"]
        assert flags["web.enable-remote-write-receiver"] == "true"
        assert flags["storage.tsdb.retention.time"] in {"450d", "1y12w1d"}
        config = requests.get(f"http://127.0.0.1:{port}/api/v1/status/config", timeout=60).json()["data"][
            "yaml"
        ]
        assert "out_of_order_time_window" in config
        groups = requests.get(f"http://127.0.0.1:{port}/api/v1/rules", timeout=60).json()["data"]["groups"]
        assert groups, "the rules of the mounted folder are loaded"


def test_alertmanager_takes_the_commands_flags_and_the_shipped_configuration(
    alertmanager: str, demo: Rendered, tmp_path: Path
) -> None:
    service = demo["services"]["alertmanager"]
    port = _free_port()
    command = [
        alertmanager,
        *_inside(service["command"], {"/etc/alertmanager": ROOT / "alertmanager", "/alertmanager": tmp_path}),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _running(command, f"http://127.0.0.1:{port}/-/ready", tmp_path / "log"):
        _healthy(service, {"9093": port})


@pytest.mark.fault(
    "a stranger posts to the relay of the deployment", "401, and Alertmanager's notification is taken"
)
def test_the_relay_takes_alertmanagers_notification_and_no_strangers(
    alertmanager: str, demo: Rendered, tmp_path: Path
) -> None:
    """The shipped alertmanager.yml and the container's environment, with the password that the script makes."""
    password = tmp_path / "password"
    subprocess.run([ROOT / "deploy" / "make-password.sh", password], check=True, timeout=60)
    ports = choose_ports({"alertmanager": 0, "relay": 0})
    am, relay = (f"http://127.0.0.1:{ports[name]}" for name in ("alertmanager", "relay"))
    shipped = (ROOT / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
    for inside, here in {
        "http://relay:8000": relay, "/run/relay/password": str(password), "group_wait: 30s": "group_wait: 0s",
    }.items():  # fmt: skip
        assert inside in shipped
        shipped = shipped.replace(inside, here)
    (tmp_path / "alertmanager.yml").write_text(shipped, encoding="utf-8")
    with TelexSink() as telex:
        secret = tmp_path / "url"
        secret.write_text(telex.webhook_url, encoding="utf-8")
        given = {k: v for k, v in demo["services"]["relay"]["environment"].items() if v is not None}
        environment = given | {
            "PATH": os.environ["PATH"],
            "AWS_SPEND_EXPORTER_RELAY__STATE_DIR": str(tmp_path / "relay"),
            "AWS_SPEND_EXPORTER_RELAY__CHANNELS__DEFAULT__URL_FILE": str(secret),
            "AWS_SPEND_EXPORTER_RELAY__AUTH__BASIC_AUTH__PASSWORD_FILE": str(password),
            "AWS_SPEND_EXPORTER_RELAY__HOST": "127.0.0.1",
            "AWS_SPEND_EXPORTER_RELAY__PORT": str(ports["relay"]),
        }
        program = [str(Path(sys.executable).parent / "aws-spend-exporter"), "relay"]
        server = [
            alertmanager, f"--config.file={tmp_path / 'alertmanager.yml'}", f"--storage.path={tmp_path / 'am'}",
            f"--web.listen-address=127.0.0.1:{ports['alertmanager']}", "--cluster.listen-address=",
        ]  # fmt: skip
        with (
            _running(program, f"{relay}/-/ready", tmp_path / "relay.log", cwd=tmp_path, env=environment),
            _running(server, f"{am}/-/ready", tmp_path / "am.log"),
        ):
            stranger = {"version": "4", "groupKey": "x", "status": "firing", "alerts": []}
            for auth in (None, ("alertmanager", "guess")):
                assert (
                    requests.post(f"{relay}/alerts", json=stranger, auth=auth, timeout=60).status_code == 401
                )
            alerts = [{"labels": {"alertname": "Spend", "account_id": "111111111111"}}]
            assert requests.post(f"{am}/api/v2/alerts", json=alerts, timeout=60).ok
            message = telex.wait_for(timeout=60)
            assert message is not None, (tmp_path / "am.log").read_text(encoding="utf-8")
            assert "111111111111" in message.message
            assert len(telex.messages) == 1


def test_the_health_checks_fail_when_nothing_runs(demo: Rendered) -> None:
    for name, port in {"prometheus": "9090", "alertmanager": "9093", "simulator": "4566"}.items():
        command = _health_command(demo["services"][name], {port: _free_port()})
        assert subprocess.run(command, capture_output=True, timeout=30, check=False).returncode != 0, name


def test_the_stand_in_for_telex_shows_what_is_posted_to_the_relays_url(
    demo: Rendered, tmp_path: Path
) -> None:
    """The inline program of the `telex` service, at the URL of the demo's secret."""
    service = demo["services"]["telex"]
    port = _free_port()
    url = Path(demo["secrets"]["telex_webhook_url"]["file"]).read_text(encoding="utf-8").strip()
    assert ":8099/" in url
    program = service["command"][0].replace("8099", str(port))
    log = tmp_path / "log"
    with _running([sys.executable, "-c", program], f"http://127.0.0.1:{port}/", log):
        _healthy(service, {"8099": port})
        message = {"event_name": "alert", "message": "prod is over", "status": "error", "username": "relay"}
        answer = requests.post(url.replace("8099", str(port)), json=message, timeout=60)
        assert answer.status_code == 200
        assert "prod is over" in log.read_text(encoding="utf-8")


def test_exporter_and_relay_start_as_in_their_containers(demo: Rendered, tmp_path: Path) -> None:
    """Entry point, command and environment of the container; only /data can be written; both turn healthy."""
    for name in ("exporter", "relay"):
        service = demo["services"][name]
        port = _free_port()
        data = tmp_path / name
        data.mkdir()
        secret = tmp_path / "url"
        secret.write_text("http://127.0.0.1:1/v1/webhooks/x", encoding="utf-8")
        password = tmp_path / "password"
        password.write_text("made-by-relay-password", encoding="utf-8")
        section = {"exporter": "SERVER", "relay": "RELAY"}[name]
        environment = {key: value for key, value in service["environment"].items() if value is not None} | {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "AWS_SPEND_EXPORTER_DATA_DIR": str(data),
            "AWS_SPEND_EXPORTER_RELAY__STATE_DIR": str(data / "relay"),
            "AWS_SPEND_EXPORTER_RELAY__CHANNELS__DEFAULT__URL_FILE": str(secret),
            f"AWS_SPEND_EXPORTER_{section}__HOST": "127.0.0.1",
            f"AWS_SPEND_EXPORTER_{section}__PORT": str(port),
            # There is no simulated AWS here: the exporter is healthy all the same.
            "AWS_SPEND_EXPORTER_AWS__ENDPOINT_URL": "http://127.0.0.1:1",
        }
        if name == "relay":
            environment["AWS_SPEND_EXPORTER_RELAY__AUTH__BASIC_AUTH__PASSWORD_FILE"] = str(password)
        command = [str(Path(sys.executable).parent / "aws-spend-exporter"), *service["command"]]
        health = f"http://127.0.0.1:{port}/-/healthy"
        workdir = ROOT / "deploy" / "demo" / "config"
        with _running(command, health, tmp_path / f"{name}.log", cwd=workdir, env=environment):
            _healthy(service, {"9998": port, "8000": port})
        assert sorted(path.name for path in workdir.iterdir()) == ["config.yaml"]


def test_the_demos_configuration_collects_from_the_simulated_aws(demo: Rendered, tmp_path: Path) -> None:
    """With the keys and the config.yaml that `--profile demo` mounts: cost, accounts and instances arrive."""
    simulator, port = _free_port(), _free_port()
    serve = [sys.executable, "-m", "simulated_aws", "--port", str(simulator)]
    given = demo["services"]["exporter"]["environment"]
    environment = {key: value for key, value in given.items() if value is not None} | {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_SPEND_EXPORTER_DATA_DIR": str(tmp_path / "data"),
        "AWS_SPEND_EXPORTER_SERVER__HOST": "127.0.0.1",
        "AWS_SPEND_EXPORTER_SERVER__PORT": str(port),
        "AWS_SPEND_EXPORTER_AWS__ENDPOINT_URL": f"http://127.0.0.1:{simulator}",
    }
    wanted = (
        "aws_cost_month_to_date_usd{",
        "aws_cost_yesterday_usd{",
        "aws_account_info{",
        "aws_ec2_instances{",
    )
    with _running(serve, None, tmp_path / "simulator.log"):
        _until(lambda: _health_of(demo["services"]["simulator"], {"4566": simulator}).returncode == 0)
        command = [str(Path(sys.executable).parent / "aws-spend-exporter"), "run"]
        workdir = ROOT / "deploy" / "demo" / "config"
        health = f"http://127.0.0.1:{port}/-/healthy"
        with _running(command, health, tmp_path / "exporter.log", cwd=workdir, env=environment):
            seen: list[str] = []

            def all_there() -> bool:
                text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
                seen[:] = [name for name in wanted if name in text]
                return len(seen) == len(wanted)

            _until(all_there, lambda: f"{seen}: {(tmp_path / 'exporter.log').read_text(encoding='utf-8')}")


def _program(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"{names[0]} is not on the PATH")
    return found


def _inside(command: list[str], folders: dict[str, Path]) -> list[str]:
    """The command with the container's folders replaced by these, the longest first."""
    replaced = []
    for argument in command:
        flag, equals, value = argument.partition("=")
        for inside in sorted(folders, key=len, reverse=True):
            if value == inside or value.startswith(f"{inside}/"):
                value = str(folders[inside]) + value.removeprefix(inside)
                break
        replaced.append(f"{flag}{equals}{value}")
    return replaced


def _health_command(service: Rendered, ports: dict[str, int]) -> list[str]:
    kind, *command = service["healthcheck"]["test"]
    assert kind == "CMD"
    programs = {"healthcheck": str(ROOT / "deploy" / "healthcheck.py"), "python": sys.executable}
    for inside, port in ports.items():
        command = [argument.replace(inside, str(port)) for argument in command]
    return [programs.get(command[0], command[0]), *command[1:]]


def _health_of(service: Rendered, ports: dict[str, int]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _health_command(service, ports), capture_output=True, text=True, timeout=30, check=False
    )


def _until(done: Callable[[], bool], state: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, state()
        time.sleep(0.2)


def _healthy(service: Rendered, ports: dict[str, int]) -> None:
    answer = _health_of(service, ports)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def _free_port() -> int:
    return choose_ports({"a server": 0})["a server"]


@contextmanager
def _running(
    command: list[str],
    url: str | None,
    log: Path,
    *,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> Iterator[None]:
    """The command, once the URL (if any) answers 2xx; ended by SIGTERM, which must take less than ten seconds."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=cwd, env=env)
    try:
        deadline = time.monotonic() + 90
        while url is not None:
            text = log.read_text(encoding="utf-8", errors="replace")
            assert process.poll() is None, f"{json.dumps(command)} ended:\n{text}"
            assert time.monotonic() < deadline, f"{url} did not answer:\n{text}"
            try:
                if requests.get(url, timeout=10).ok:
                    break
            except requests.RequestException:
                pass
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)

"""The images: linted, unprivileged, and without the simulator in production."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from deploy_files import ROOT, binary, stages
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEMO_PROJECT = tomllib.loads((ROOT / "demo" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEALTHCHECK = ROOT / "deploy" / "healthcheck.py"


STAGES = stages()


def test_hadolint_has_nothing_to_say() -> None:
    answer = subprocess.run(
        [binary("hadolint"), "--failure-threshold", "style", str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (answer.returncode, answer.stdout + answer.stderr) == (0, "")


def test_the_default_target_is_runtime() -> None:
    assert list(STAGES)[-1] == "runtime"


def test_the_base_is_pinned_to_a_patch_release() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^ARG PYTHON_TAG=3\.\d+\.\d+-slim-\w+$", text, flags=re.MULTILINE)
    outside = [line for line in text.splitlines() if line.startswith("FROM ") and ":" in line]
    assert {line.split()[1] for line in outside} == {"python:${PYTHON_TAG}"}


@pytest.mark.parametrize("target", ["runtime", "demo"])
def test_an_image_runs_unprivileged_and_by_exec(target: str) -> None:
    instructions = STAGES[target]
    assert [line for line in instructions if line.startswith("USER ")] == ["USER 10001:10001"]
    assert instructions[-1].startswith("USER "), "what follows would not be owned by root"
    entry = next(line for line in instructions if line.startswith("ENTRYPOINT "))
    assert json.loads(entry.removeprefix("ENTRYPOINT ")) == ["aws-spend-exporter"]
    command = next(line for line in instructions if line.startswith("CMD "))
    assert json.loads(command.removeprefix("CMD ")) == ["run"]
    assert "VOLUME /data" in instructions
    health = next(line for line in instructions if line.startswith("HEALTHCHECK "))
    assert json.loads(health.partition(" CMD ")[2]) == ["healthcheck", "http://127.0.0.1:9998/-/healthy"]


def test_the_labels_say_the_projects_version() -> None:
    assert f"ARG VERSION={PROJECT['version']}" in STAGES["runtime"]
    label = next(line for line in STAGES["runtime"] if line.startswith("LABEL "))
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in label


def test_runtime_is_built_without_the_simulator() -> None:
    assert "COPY --from=build-runtime /opt/app /opt/app" in STAGES["runtime"]
    built = " ".join(STAGES["build-runtime"])
    assert "COPY exporter exporter" in built
    assert "demo" not in built
    assert "simulated_aws" not in built
    assert "rm " not in built  # what is not copied need not be deleted


def test_moto_is_in_the_demo_and_not_in_runtime() -> None:
    """What pip installs for each target, resolved from pyproject.toml over the installed distributions."""
    runtime = closure(PROJECT["dependencies"])
    demo = closure(DEMO_PROJECT["dependencies"])
    assert {"boto3", "botocore", "pydantic", "prometheus-client"} <= runtime
    assert runtime & {"moto", "cheroot", "werkzeug", "flask", "docker", "cryptography"} == set()
    assert {"moto", "cheroot"} <= demo


def closure(requirements: list[str]) -> set[str]:
    """Canonical names of all distributions that the requirements bring in here."""
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    pending = [(Requirement(text), "") for text in requirements]
    while pending:
        requirement, extra = pending.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        found.add(name)
        try:
            below = requires(requirement.name) or []
        except PackageNotFoundError:
            pytest.fail(f"{requirement.name} is not installed; run `make setup`")
        pending += [(Requirement(text), extra) for text in below for extra in ("", *requirement.extras)]
    return found


def test_the_context_holds_what_is_copied_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    allowed = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    copied = {
        source
        for instructions in STAGES.values()
        for line in instructions
        if line.startswith("COPY ") and "--from=" not in line
        for source in [word for word in line.split()[1:-1] if not word.startswith("--")]
    }
    assert copied == allowed
    assert all((ROOT / path).exists() for path in copied)


def test_the_commands_start_without_the_simulator_and_moto(tmp_path: Path) -> None:
    """As in `runtime`; a moto that cannot be imported stands for one that is not there."""
    shutil.copytree(
        ROOT / "exporter", tmp_path / "exporter", ignore=shutil.ignore_patterns("simulator", "__pycache__")
    )
    (tmp_path / "moto.py").write_text("raise ModuleNotFoundError(name='moto')", encoding="utf-8")
    for command in ([], ["run"], ["relay"], ["check"]):
        answer = subprocess.run(
            [sys.executable, "-c", "from exporter.cli.main import main; main()", *command, "--help"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        assert "Usage:" in answer.stdout


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answers the status that the path names; none at all without one."""
        if self.path == "/":
            return
        self.send_response(int(self.path[1:]))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keeps quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    """A server that answers /<status> with that status."""
    with http.server.HTTPServer(("127.0.0.1", 0), _Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(("path", "code"), [("/200", 0), ("/401", 0), ("/503", 1), ("/404", 1), ("/", 1)])
def test_the_healthcheck_tells_by_its_exit_code(server: str, path: str, code: int) -> None:
    """Also where a proxy is configured that leads nowhere."""
    environment = {"http_proxy": "http://127.0.0.1:9", "PATH": os.environ["PATH"]}
    answer = subprocess.run(
        [sys.executable, str(HEALTHCHECK), server + path],
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == code


def test_the_healthcheck_fails_when_nothing_listens() -> None:
    answer = subprocess.run(
        [sys.executable, str(HEALTHCHECK), "http://127.0.0.1:1/"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 1
    assert HEALTHCHECK.stat().st_mode & 0o111

"""The images: linted, unprivileged, and without the simulator in production."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from deploy_files import DEMO_PROJECT, PROJECT, ROOT, admitted, binary, closure, stages

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


def test_the_context_holds_what_is_copied_and_no_more() -> None:
    copied = {
        source
        for instructions in STAGES.values()
        for line in instructions
        if line.startswith("COPY ") and "--from=" not in line
        for source in [word for word in line.split()[1:-1] if not word.startswith("--")]
    }
    assert copied == set(admitted())
    assert all((ROOT / path).exists() for path in copied)


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

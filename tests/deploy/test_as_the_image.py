"""Exporter and relay as the image starts them: its entry point, user, environment and folders, and nothing to write to but /data.

The image's file system is laid out in a folder by the Dockerfile's own instructions. As root, the whole
file system is made read-only for the processes, which run as the image's user without any capability.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from deploy_files import ROOT, stages

pytestmark = pytest.mark.stack

RUNTIME = stages()["runtime"]


def instruction(name: str) -> str:
    """The last instruction of this name in the runtime image."""
    return [line for line in RUNTIME if line.startswith(f"{name} ")][-1].removeprefix(f"{name} ")


@dataclass(frozen=True)
class Image:
    """A laid out image; `data` is its /data."""

    root: Path
    data: Path
    environment: dict[str, str]

    @property
    def workdir(self) -> Path:
        return self.root / instruction("WORKDIR").lstrip("/")


@pytest.fixture
def image() -> Iterator[Image]:
    """Not below pytest's own folder, which is closed to other users."""
    root = Path(tempfile.mkdtemp(prefix="aws-spend-exporter-image-"))
    root.chmod(0o755)
    app = root / "opt" / "app"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", app], check=True, timeout=60)
    (site,) = (app / "lib").glob("python*/site-packages")
    # The dependencies are those of this environment; the package is the image's, without the simulator.
    here = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text(f"{here}\n")
    shutil.copytree(ROOT / "exporter", site / "exporter", ignore=shutil.ignore_patterns("__pycache__"))
    entry = app / "bin" / "aws-spend-exporter"
    entry.write_text(
        f"#!{app}/bin/python\nimport sys\nfrom exporter.cli.main import main\nsys.exit(main())\n"
    )
    entry.chmod(0o755)
    shutil.copy(ROOT / "deploy" / "healthcheck.py", app / "bin" / "healthcheck")
    data = root / "data"
    data.mkdir()
    for folder in ("home/exporter", instruction("WORKDIR").lstrip("/")):
        (root / folder).mkdir(parents=True)
    if os.geteuid() == 0:
        shutil.chown(data, *map(int, instruction("USER").split(":")))
        data.chmod(0o2770)
    variables = dict(pair.split("=", 1) for pair in instruction("ENV").split())
    environment = {name: value.replace("/data", str(data)) for name, value in variables.items()}
    environment["PATH"] = f"{app}/bin:{os.environ['PATH']}"
    environment["HOME"] = str(root / "home/exporter")
    yield Image(root, data, environment)
    subprocess.run(["chmod", "-R", "u+w", root], check=False)
    shutil.rmtree(root)


def confined(image: Image, command: list[str]) -> list[str]:
    """The command as the container runtime would start it."""
    if os.geteuid() != 0:
        subprocess.run(
            ["chmod", "-R", "a-w", image.root / "opt", image.workdir, image.root / "home"], check=True
        )
        return command
    user, group = instruction("USER").split(":")
    mounts = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"'
    drop = [
        "setpriv",
        "--reuid",
        user,
        "--regid",
        group,
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
    ]
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        return [*drop, "--", *command]
    return ["unshare", "-m", "sh", "-c", mounts, str(image.data), *drop, "--", *command]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def listing(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.mark.parametrize(("command", "inside"), [(None, 9998), (["relay"], 8000)])
def test_it_is_healthy_and_writes_to_data_alone(
    command: list[str] | None, inside: int, image: Image, tmp_path: Path
) -> None:
    port = free_port()
    section = "SERVER" if command is None else "RELAY"
    environment = {
        **image.environment,
        f"AWS_SPEND_EXPORTER_{section}__PORT": str(port),
        "AWS_SPEND_EXPORTER_AWS__ENDPOINT_URL": "http://127.0.0.1:1",  # no AWS: healthy all the same
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SPEND_EXPORTER_RELAY__CHANNELS__DEFAULT__URL_ENV": "TELEX_URL",
        "TELEX_URL": "http://127.0.0.1:1/v1/webhooks/planted",
    }
    words = [*json.loads(instruction("ENTRYPOINT")), *(command or json.loads(instruction("CMD")))]
    before = listing(image.root)
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            confined(image, [shutil.which(words[0], path=image.environment["PATH"]) or words[0], *words[1:]]),
            cwd=image.workdir, env=environment, stdout=output, stderr=output,
        )  # fmt: skip

    health = json.loads(instruction("HEALTHCHECK").partition(" CMD ")[2])
    assert health[1] == "http://127.0.0.1:9998/-/healthy"
    check = [shutil.which(health[0], path=image.environment["PATH"]), health[1].replace("9998", str(port))]
    try:
        deadline = time.monotonic() + 90
        while subprocess.run(check, env=environment, capture_output=True, timeout=60, check=False).returncode:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        status = Path(f"/proc/{process.pid}/status").read_text()
        fields = dict(re.findall(r"^(\w+):\s*(.*)$", status, re.MULTILINE))
        assert int(fields["Uid"].split()[0]) != 0
        if os.geteuid() == 0:
            assert fields["Uid"].split() == [instruction("USER").split(":")[0]] * 4
            mounts = Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()
            options = {mount.split()[4]: mount.split()[5].split(",") for mount in mounts}
            if str(image.data) in options:  # where a mount namespace could be had
                assert "ro" in options["/"]
                assert "rw" in options[str(image.data)]
            assert (int(fields["CapEff"], 16), int(fields["CapBnd"], 16), fields["NoNewPrivs"]) == (0, 0, "1")
        assert "aws_spend_exporter" in requests.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    written = listing(image.root) - before
    assert {path.split("/")[0] for path in written} == {"data"}
    assert {"data/ledger.sqlite"} <= written or {"data/relay"} <= written
    assert inside in {int(port) for port in instruction("EXPOSE").split()}


def test_it_ends_with_a_message_where_data_cannot_be_written(image: Image) -> None:
    """No traceback: the folder is named."""
    environment = {**image.environment, "AWS_SPEND_EXPORTER_DATA_DIR": str(image.workdir / "data")}
    entry = str(image.root / "opt" / "app" / "bin" / "aws-spend-exporter")
    answer = subprocess.run(
        confined(image, [entry, "run"]),
        cwd=image.workdir, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert answer.returncode == 1
    assert f"data_dir: found {image.workdir / 'data'}, expected a folder that we can write" in answer.stderr
    assert "Traceback" not in answer.stderr

"""Starts exporter and relay as processes, without AWS, and waits until they listen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LISTENS = {
    "run": re.compile(r"listening\W+url\W+(https?)://\S+?:(\d+)"),
    "relay": re.compile(r"relay listens.*?(port)\W+(\d+)"),
}


@dataclass(frozen=True)
class Served:
    """A listening process."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]


def configuration(folder: Path, **more: Any) -> Path:
    """A configuration of both that reaches no AWS; JSON is YAML."""
    secret = folder / "telex-url"
    secret.write_text("http://127.0.0.1:1/v1/webhooks/planted-webhook-id")
    whole: dict[str, Any] = {
        "data_dir": str(folder / "data"),
        "aws": {"endpoint_url": "http://127.0.0.1:1", "region": "us-east-1"},
        "server": {"port": 0, **more.pop("server", {})},
        "relay": {
            "port": 0,
            "state_dir": str(folder / "relay"),
            "channels": {"default": {"url_file": str(secret)}},
            **more.pop("relay", {}),
        },
        **more,
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(whole))
    return path


def command(name: str, config: Path, program: Path | None = None) -> list[str]:
    """The entry point, as in the image; `program` is one that is installed elsewhere."""
    return [str(program or Path(sys.executable).parent / "aws-spend-exporter"), name, "-c", str(config)]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """No AWS but what is given."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "AWS_ACCESS_KEY_ID": "AKIAPLANTED000000000",
        "AWS_SECRET_ACCESS_KEY": "planted-secret-access-key-00000000000000",
        "AWS_EC2_METADATA_DISABLED": "true",
        **more,
    }


@contextmanager
def serving(
    name: str, config: Path, env: Mapping[str, str] | None = None, program: Path | None = None
) -> Iterator[Served]:
    """`aws-spend-exporter run` or `relay`, once it listens; ended by SIGTERM with exit code 0."""
    folder = config.parent
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(name, config, program),
            stdout=output,
            stderr=output,
            cwd=folder,
            env=dict(env or environment(folder)),
        )
    try:
        deadline = time.monotonic() + 90
        while (found := _LISTENS[name].search(log.read_text())) is None:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield Served(int(found[2]), log, process)
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()

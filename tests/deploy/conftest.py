"""The compose file as the real Compose renders it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest
from deploy_files import ROOT, Rendered, binary


@pytest.fixture(scope="session")
def render(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Rendered]:
    """Renders docker-compose.yml, with the demo's services, in an environment that holds only what is given."""
    home = tmp_path_factory.mktemp("home")

    def run(**environment: str) -> Rendered:
        answer = subprocess.run(
            [binary("docker-compose"), "--profile", "demo", "config", "--format", "json"],
            cwd=ROOT,
            env={"HOME": str(home), "PATH": "/usr/bin:/bin", **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        rendered: Rendered = json.loads(answer.stdout)
        return rendered

    return run


@pytest.fixture(scope="session")
def demo(render: Callable[..., Rendered]) -> Rendered:
    """What runs when no AWS profile is named."""
    return render()


@pytest.fixture(scope="session")
def own(render: Callable[..., Rendered]) -> Rendered:
    """What runs with AWS_PROFILE=prod."""
    return render(AWS_PROFILE="prod")

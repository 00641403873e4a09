"""The wheels: built from what an image is built from, installed into empty environments, and used there.

An environment holds the declared dependencies of what is installed, as links, and nothing else of this one.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import pytest
import requests
from deploy_files import DEMO_PROJECT, PROJECT, ROOT, admitted, closure
from served import configuration, environment, serving

from simulated_aws import OrganizationSpec, SimulatedAws

pytestmark = pytest.mark.stack

_PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
_OFFLINE = ["--no-deps", "--no-index"]
_LARGEST = 1_000_000
HOW_TO_GET_IT = "get it with: pip install aws-spend-exporter-demo"


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Installed:
    """An environment with a wheel; `folder` is the home of a user who has nothing else."""

    python: Path
    folder: Path

    @property
    def program(self) -> Path:
        return self.python.with_name("aws-spend-exporter")

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.python.parent}:/usr/bin:/bin", "HOME": str(self.folder)}

    def run(self, *words: str | Path, program: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program or self.program), *map(str, words)],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels by the name of their distribution."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in admitted():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    _run(*_PIP, "wheel", *_OFFLINE, "--no-build-isolation", "--wheel-dir", built, source, source / "demo")
    found = {path.name.split("-")[0].replace("_", "-"): path for path in built.glob("*.whl")}
    assert found.keys() == {PROJECT["name"], DEMO_PROJECT["name"]}
    return found


def _install(folder: Path, requirements: list[str], *wheels: Path) -> Installed:
    """An environment with the wheels, and the closure of the requirements as links."""
    home = folder / "home"
    home.mkdir()
    _run(sys.executable, "-m", "venv", "--without-pip", folder / "env")
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    for name in closure(requirements) - {PROJECT["name"]}:
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(str(found.locate_file(top)))
    python = folder / "env" / "bin" / "python"
    _run(*_PIP, "--python", python, "install", *_OFFLINE, *wheels)
    _run(*_PIP, "--python", python, "check")
    return Installed(python, home)


@pytest.fixture(scope="module")
def product(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The product's wheel alone."""
    return _install(tmp_path_factory.mktemp("product"), PROJECT["dependencies"], wheels[PROJECT["name"]])


@pytest.fixture(scope="module")
def with_demo(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The product's wheel and the demo's."""
    requirements = PROJECT["dependencies"] + DEMO_PROJECT["dependencies"]
    return _install(tmp_path_factory.mktemp("with-demo"), requirements, *wheels.values())


@pytest.fixture(scope="module")
def aws() -> Iterator[SimulatedAws]:
    """A small organization, outside of what is tested."""
    with SimulatedAws(OrganizationSpec(seed=5, accounts=3, services=3, days=60, instances=1)) as aws:
        yield aws


def _top_names(wheel: Path) -> set[str]:
    names = zipfile.ZipFile(wheel).namelist()
    return {name.split("/")[0] for name in names if ".dist-info/" not in name}


def test_the_products_wheel_holds_one_import_name_and_nothing_of_the_simulator(
    wheels: dict[str, Path],
) -> None:
    wheel = wheels[PROJECT["name"]]
    assert _top_names(wheel) == {"exporter"}
    assert [name for name in zipfile.ZipFile(wheel).namelist() if re.search("simulat|demo|tests", name)] == []


def test_the_demos_wheel_holds_the_demo_and_the_simulator(wheels: dict[str, Path]) -> None:
    wheel = wheels[DEMO_PROJECT["name"]]
    assert _top_names(wheel) == {"demo", "simulated_aws"}
    modules = {
        str(path.relative_to(ROOT)) for name in _top_names(wheel) for path in (ROOT / name).rglob("*.py")
    }
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert shipped == modules - {"demo/hatch_build.py"}


def test_an_editable_install_of_the_demo_copies_nothing(tmp_path: Path) -> None:
    """A copy in site-packages would be found before the checkout, and grow old."""
    build = f"from hatchling.build import build_editable; print(build_editable({str(tmp_path)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", build],
        cwd=ROOT / "demo", capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    wheel = zipfile.ZipFile(tmp_path / done.stdout.strip())
    (path,) = (name for name in wheel.namelist() if ".dist-info/" not in name)
    assert path.endswith(".pth")
    assert Path(wheel.read(path).decode()) == ROOT


def test_the_wheels_are_small(wheels: dict[str, Path]) -> None:
    for name, wheel in wheels.items():
        print(f"{name}: a wheel of {wheel.stat().st_size:,} bytes")
        assert wheel.stat().st_size < _LARGEST


@pytest.mark.parametrize("name", ["demo", "simulated_aws", "moto"])
def test_the_product_has_neither_the_demo_nor_the_simulator(product: Installed, name: str) -> None:
    done = product.run("-c", f"import {name}", program=product.python)
    assert done.returncode == 1
    assert f"ModuleNotFoundError: No module named '{name}'" in done.stderr


def test_help_lists_every_command(product: Installed) -> None:
    done = product.run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    listed = set(re.findall(r"^  ([a-z-]+)  +\S", done.stdout, re.MULTILINE))
    assert {"run", "relay", "check", "plan", "costs", "demo"} <= listed


@pytest.mark.parametrize("words", [(), ("--check",), ("simulator", "--port", "1"), ("--help",)])
def test_the_demo_is_asked_for_in_one_line(product: Installed, words: tuple[str, ...]) -> None:
    done = product.run("demo", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert HOW_TO_GET_IT in done.stderr


def test_plan_and_check_need_nothing_else(product: Installed) -> None:
    config = configuration(product.folder)
    planned = product.run("plan", "--json", "-c", config)
    assert (planned.returncode, planned.stderr) == (0, "")
    assert json.loads(planned.stdout)
    checked = product.run("check", "-c", config)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_exporter_runs_and_costs_asks_it(product: Installed, aws: SimulatedAws, tmp_path: Path) -> None:
    config = configuration(tmp_path, aws={"region": "us-east-1"})
    env = environment(tmp_path, **aws.environment())
    with serving("run", config, env, product.program) as exporter:
        url = f"http://127.0.0.1:{exporter.port}"
        assert requests.get(f"{url}/-/healthy", timeout=60).status_code == 200
        deadline = time.monotonic() + 60
        while requests.get(f"{url}/-/ready", timeout=60).status_code != 200:
            assert time.monotonic() < deadline, exporter.log.read_text()
            time.sleep(0.1)
        done = product.run("costs", "--days", "7", "--by-account", "--json", "--url", url)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["rows"]) == 3


def test_the_relay_runs(product: Installed, tmp_path: Path) -> None:
    config = configuration(tmp_path)
    with serving("relay", config, environment(tmp_path), product.program) as relay:
        assert requests.get(f"http://127.0.0.1:{relay.port}/-/healthy", timeout=60).status_code == 200


def test_the_demo_is_found_where_it_is_installed(with_demo: Installed) -> None:
    done = with_demo.run("demo", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "simulator" in done.stdout


def test_the_demo_needs_a_checkout_and_says_so_in_one_line(with_demo: Installed) -> None:
    done = with_demo.run("demo", "--no-grafana")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.fullmatch(r"demo: the demo needs .+\n", done.stderr)


def test_the_simulator_serves_from_a_wheel(with_demo: Installed) -> None:
    process = subprocess.Popen(
        [with_demo.program, "demo", "simulator", "--accounts", "2", "--services", "2", "--days", "10"],
        env=with_demo.environment,
        cwd=with_demo.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        shown = ""
        while (found := re.search(r"Simulated AWS on (http\S+);", shown)) is None:
            line = process.stdout.readline()
            assert line, shown
            shown += line
        assert "export AWS_ENDPOINT_URL=" in shown
        assert requests.get(f"{found[1]}/_simulator/organization", timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()

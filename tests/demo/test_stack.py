"""The whole chain with real servers: it starts, carries a spike to a message, and leaves nothing behind."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from time import monotonic, sleep

import fake_grafana
import moments
import pytest
import requests

from demo.configs import project_folder

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

DEMO = [sys.executable, "-m", "exporter", "demo"]
SMALL = ["--no-grafana", "--no-inventory", "--days", "60", "--regions", "us-east-1"]


class Demo:
    """A demo as a user starts it, in separate temporary folders."""

    def __init__(self, popen: "subprocess.Popen[str]", folder: Path) -> None:
        self.popen = popen
        self.folder = folder

    def state(self) -> dict[str, str]:
        """The URLs of the demo, once it is up."""
        deadline = monotonic() + 150
        while not (found := list(self.folder.glob("run/aws-spend-exporter/demo-*.json"))):
            assert self.popen.poll() is None, self.popen.stdout and self.popen.stdout.read()
            assert monotonic() < deadline
            sleep(0.1)
        urls: dict[str, str] = json.loads(found[0].read_text())["urls"]
        return urls

    def processes(self) -> list[int]:
        """Every process whose command line or environment names the demo's temporary folder."""
        marker = f"TMPDIR={self.folder / 'tmp'}".encode()
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if marker in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
            except OSError:
                continue  # it has ended, or is not ours
        return found

    def process_of(self, text: str) -> int:
        """The process whose command line holds the text."""
        found = [
            pid for pid in self.processes() if text.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        assert len(found) == 1, found
        return found[0]

    def files(self) -> list[Path]:
        return [path for part in ("tmp", "run") for path in (self.folder / part).rglob("*") if path.is_file()]

    def is_gone(self) -> bool:
        deadline = monotonic() + 8
        while self.processes() or self.files():
            if monotonic() > deadline:
                return False
            sleep(0.1)
        return True


def environment(folder: Path) -> dict[str, str]:
    for part in ("tmp", "run", "home"):
        (folder / part).mkdir(exist_ok=True)
    return os.environ | {
        "TMPDIR": str(folder / "tmp"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "HOME": str(folder / "home"),
        # A demo must not even try to use what an AWS user has set.
        "AWS_PROFILE": "does-not-exist",
    }


@contextmanager
def start(folder: Path, *arguments: str, **variables: str) -> Iterator[Demo]:
    with subprocess.Popen(
        [*DEMO, *SMALL, *arguments],
        env=environment(folder) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as popen:
        try:
            yield Demo(popen, folder)
        finally:
            if popen.poll() is None:
                popen.kill()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    with start(tmp_path) as demo:
        yield demo


def test_check_prints_the_seconds_from_spike_to_message(tmp_path: Path) -> None:
    began = monotonic()
    done = subprocess.run(
        [*DEMO, "--check"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    took = monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    figure = re.fullmatch(r"spike to Telex message: (\d+\.\d) s\n", done.stdout)
    assert figure, done.stdout
    assert 0 < float(figure[1]) < took
    assert Demo(None, tmp_path).is_gone()  # type: ignore[arg-type]


@pytest.mark.long
@pytest.mark.parametrize("source", ["cost_explorer", "data_export"])
def test_check_speaks_json_and_repeats(tmp_path: Path, source: str) -> None:
    done = subprocess.run(
        [*DEMO, *SMALL, "--check", "--json", "--repeat", "2", "--cost-source", source],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert set(result) == {"ok", "seconds", "median", "start_seconds", "grafana"}
    assert result["ok"] is True
    assert len(result["seconds"]) == 2


def test_a_user_injects_a_spike_sees_the_message_and_ends_the_demo(demo: Demo) -> None:
    urls = demo.state()
    assert requests.get(urls["telex"] + "/messages.json", timeout=60).json() == []
    inject = ["inject", "spike", "--account", "prod", "--service", "Amazon EC2", "--factor", "3"]
    done = subprocess.run(
        [*DEMO, *inject], env=environment(demo.folder), capture_output=True, text=True, timeout=90, check=True
    )
    assert "Amazon Elastic Compute Cloud - Compute" in done.stdout
    messages = requests.get(urls["telex"] + "/messages.json?wait=90", timeout=100).json()
    assert "prod" in messages[0]["message"]
    assert messages[0]["status"] == "error"
    demo.popen.send_signal(signal.SIGINT)
    output, _ = demo.popen.communicate(timeout=60)
    assert demo.popen.returncode == 0, output
    for expected in (*urls.values(), "month_to_date", "Telex, ", "The demo has ended."):
        assert expected in output
    assert demo.is_gone()


def test_a_demo_starts_in_the_first_minutes_of_a_month(tmp_path: Path) -> None:
    """AWS has booked nothing of the month then."""
    (tmp_path / "programs").mkdir()
    first = moments.at(date(datetime.now(UTC).year + 1, 1, 1), "00:05")
    with start(tmp_path, **moments.moved_servers(tmp_path / "programs", first)) as demo:
        demo.state()


def test_a_server_that_dies_is_reported_and_ends_the_demo(demo: Demo) -> None:
    demo.state()
    os.kill(demo.process_of("--web.enable-remote-write-receiver"), signal.SIGKILL)
    output, _ = demo.popen.communicate(timeout=60)
    assert demo.popen.returncode == 1, output
    assert "demo: prometheus has died (signal SIGKILL). Its last lines:" in output
    assert "Server is ready to receive web requests." in output
    assert demo.is_gone()


def test_a_killed_demo_leaves_nothing_behind(demo: Demo) -> None:
    demo.state()
    assert len(demo.processes()) > 5
    demo.popen.kill()
    assert demo.is_gone()


def test_a_deaf_server_does_not_outlive_the_demo(demo: Demo) -> None:
    demo.state()
    os.kill(demo.process_of("alertmanager.yml"), signal.SIGSTOP)  # a stopped process handles no SIGTERM
    demo.popen.send_signal(signal.SIGTERM)
    demo.popen.communicate(timeout=60)
    assert demo.popen.returncode == 0
    assert demo.is_gone()


def test_a_port_of_the_users_choice_is_used_and_a_taken_one_is_refused(tmp_path: Path) -> None:
    with start(tmp_path, "--telex-port", "0") as first:
        taken = first.state()["relay"].rpartition(":")[2]
        done = subprocess.run(
            [*DEMO, "--relay-port", taken],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        first.popen.send_signal(signal.SIGTERM)
        first.popen.communicate(timeout=60)
    assert (done.returncode, done.stderr) == (
        1,
        f"demo: port {taken} for relay cannot be used: Address already in use\n",
    )


@pytest.fixture
def grafana_path(tmp_path: Path) -> str:
    """A PATH with a Grafana in its archive's folders; GF_PATHS_HOME is not needed."""
    return f"{fake_grafana.install(tmp_path / 'grafana').parent}:{os.environ['PATH']}"


def test_a_grafana_on_the_path_is_started_with_what_its_provisioning_reads(
    tmp_path: Path, grafana_path: str
) -> None:
    """A stand-in shows how it was started; the real one is not installable everywhere."""
    theirs = {"GF_SERVER_PROTOCOL": "https", "GF_DATABASE_URL": "mysql://grafana@grafana.example/grafana"}
    with start(tmp_path, "--grafana", PATH=grafana_path, **theirs) as demo:
        urls = demo.state()
        started = requests.get(urls["grafana"] + "/fake/started", timeout=60).json()
        demo.popen.send_signal(signal.SIGTERM)
        output, _ = demo.popen.communicate(timeout=60)
    assert urls["grafana"] in output
    assert started["arguments"] == ["server", "--homepath", str(tmp_path / "grafana")]
    settings = started["environment"]
    assert not theirs.items() & settings.items()
    assert settings["PROMETHEUS_URL"] == urls["prometheus"]
    provisioning, dashboards = Path(settings["GF_PATHS_PROVISIONING"]), Path(settings["DASHBOARDS_PATH"])
    assert sorted(path.name for path in provisioning.iterdir()) == ["dashboards", "datasources"]
    assert list(dashboards.glob("*.json"))
    assert Path(settings["GF_PATHS_DATA"]).is_relative_to(tmp_path / "tmp")


def test_check_looks_at_a_grafana_that_is_on_the_path(tmp_path: Path, grafana_path: str) -> None:
    done = subprocess.run(
        [*DEMO, *SMALL, "--grafana", "--check", "--json"],
        env=environment(tmp_path) | {"PATH": grafana_path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = json.loads(done.stdout)["grafana"]
    provisioned = len(list((project_folder() / "grafana" / "dashboards").glob("*.json")))
    assert re.fullmatch(rf"{provisioned} dashboards; Collection: \d+", shown), shown
    assert f"Grafana: {shown}" in done.stderr


def test_the_patience_for_a_message_begins_with_its_spike(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, *SMALL, "--check", "--timeout", "0.01"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(r"demo: no Telex message about \d{12}: not within 0.01 s\n", done.stderr), done.stderr


@pytest.mark.fault("a Grafana on the PATH does not start", "the demo says so in one line and goes on")
def test_a_grafana_that_does_not_start_does_not_end_the_demo(tmp_path: Path, grafana_path: str) -> None:
    program = tmp_path / "grafana" / "bin" / "grafana"
    program.write_text("#!/bin/sh\necho starting\necho 'Error: the database is locked'\nexit 1\n")
    with start(tmp_path, "--grafana", PATH=grafana_path) as demo:
        assert "grafana" not in demo.state()
        demo.popen.send_signal(signal.SIGTERM)
        output, _ = demo.popen.communicate(timeout=60)
    assert demo.popen.returncode == 0
    reason = "grafana has died (exit status 1): Error: the database is locked"
    assert output.splitlines().count(f"The demo goes on without grafana: {reason}") == 1, output
    assert "Grafana is not on the PATH" not in output


@pytest.mark.fault("the demo's Grafana is killed", "the rest of the demo goes on")
def test_a_grafana_that_dies_does_not_end_the_demo(tmp_path: Path, grafana_path: str) -> None:
    with start(tmp_path, "--grafana", PATH=grafana_path) as demo:
        urls = demo.state()
        os.kill(demo.process_of("--homepath"), signal.SIGKILL)
        assert demo.popen.stdout is not None
        line = next(line for line in demo.popen.stdout if "goes on without" in line)
        assert line == "The demo goes on without grafana: grafana has died (signal SIGKILL)\n"
        assert requests.get(urls["relay"] + "/-/ready", timeout=60).ok
        demo.popen.send_signal(signal.SIGTERM)
        demo.popen.communicate(timeout=60)
    assert demo.popen.returncode == 0
    assert demo.is_gone()


def test_a_grafana_without_a_home_folder_does_not_end_the_demo(tmp_path: Path, grafana_path: str) -> None:
    (tmp_path / "grafana" / "conf" / "defaults.ini").unlink()
    with start(tmp_path, "--grafana", PATH=grafana_path) as demo:
        assert "grafana" not in demo.state()
        demo.popen.send_signal(signal.SIGTERM)
        output, _ = demo.popen.communicate(timeout=60)
    assert demo.popen.returncode == 0
    (line,) = (line for line in output.splitlines() if "goes on without" in line)
    assert line.endswith("; GF_PATHS_HOME can name it")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_demo_of_300_accounts_starts_and_carries_a_spike(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--no-grafana", "--check", "--json", "--accounts", "300", "--timeout", "300"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["ok"] is True


def test_inject_without_a_demo_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, "inject", "spike", "--account", "prod", "--service", "ec2"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("demo: no demo is running; start one with `aws-spend-exporter demo`")

"""Children and files never outlive the demo, however it ends. Stand-in programs play the servers."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest
from waiting import wait_for

from demo.processes import DemoError, Processes, Stopped, choose_ports

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('deaf', flush=True)
time.sleep(60)
"""
WITH_GRANDCHILD = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)
time.sleep(60)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_leaving_the_context_ends_the_deaf_the_grandchildren_and_the_folder() -> None:
    with Processes(Event(), grace_seconds=0.5) as processes:
        folder = processes.folder
        deaf = processes.start("deaf", python(STUBBORN))
        parent = processes.start("parent", python(WITH_GRANDCHILD))
        processes.wait_until("output", lambda: deaf.last_lines() or None, 5)
        grandchild = int(processes.wait_until("a pid", lambda: parent.last_lines() or None, 5))
        assert is_running(deaf.pid)
        assert is_running(grandchild)
    assert not is_running(deaf.pid)
    wait_for("it is gone", lambda: not is_running(grandchild))
    assert not folder.exists()


def test_a_killed_demo_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import sys, time
from threading import Event
from demo.processes import Processes
with Processes(Event()) as processes:
    child = processes.start("deaf", [sys.executable, "-c", {STUBBORN!r}])
    processes.wait_until("output", lambda: child.last_lines() or None, 5)
    print(child.pid, processes.folder, processes._janitor.pid, flush=True)
    time.sleep(60)
"""
    )
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        pid, folder, janitor = demo.stdout.readline().split()
        assert is_running(int(pid))
        demo.send_signal(signal.SIGKILL)
    wait_for("it is gone", lambda: not is_running(int(pid)))
    wait_for("it is gone", lambda: not Path(folder).exists())
    wait_for("it is gone", lambda: not is_running(int(janitor)))


def test_a_child_that_dies_is_named_with_its_last_lines() -> None:
    with Processes(Event()) as processes:
        processes.start("exporter", python("print('one'); print('the reason'); raise SystemExit(3)"))
        with pytest.raises(DemoError) as error:
            processes.wait_until("never", lambda: None, 5)
    assert str(error.value) == "exporter has died (exit status 3). Its last lines:\none\nthe reason"


def test_the_death_of_one_child_while_another_is_awaited_is_told_once() -> None:
    with Processes(Event(), grace_seconds=0.5) as processes:
        alive = processes.start("relay", python("import time; time.sleep(60)"))
        processes.start("exporter", python("raise SystemExit('the reason')"))
        with pytest.raises(DemoError) as error:
            processes.wait_ready(alive, "http://127.0.0.1:9/", timeout=5)
    assert str(error.value) == "exporter has died (exit status 1). Its last lines:\nthe reason"


def test_a_child_that_never_gets_ready_is_named_with_its_last_lines() -> None:
    with Processes(Event(), grace_seconds=0.5) as processes:
        child = processes.start("relay", python("import time; print('thinking', flush=True); time.sleep(60)"))
        processes.wait_until("output", lambda: child.last_lines() or None, 5)
        with pytest.raises(
            DemoError, match=r"relay is not ready .*: not within 0.2 s. Its last .*\nthinking"
        ):
            processes.wait_ready(child, "http://127.0.0.1:9/", timeout=0.2)


def test_the_death_of_an_optional_child_is_reported_once_and_ends_nothing() -> None:
    lost: list[str] = []
    with Processes(Event()) as processes:
        processes.on_lost = lambda child: lost.append(f"{child.name}: {child.death()}")
        processes.start("grafana", python("raise SystemExit(3)"), optional=True)
        answers = iter([None, None, None, "done"])

        def probe() -> str | None:
            return next(answers) if lost else None

        assert processes.wait_until("the loss is seen", probe, 60) == "done"
    assert lost == ["grafana: exit status 3"]


def test_an_optional_child_that_dies_is_not_waited_for() -> None:
    with Processes(Event()) as processes:
        child = processes.start("grafana", python("raise SystemExit(3)"), optional=True)
        with pytest.raises(DemoError, match=r"^grafana has died \(exit status 3\)$"):
            processes.wait_ready(child, "http://127.0.0.1:9/", timeout=200)


def test_patience_lasts_as_long_as_there_is_progress() -> None:
    """Ten times the patience, and then it stands still."""
    stop, patience = Event(), 0.4
    with Processes(stop) as processes:
        seen = iter(range(40))
        read: list[int] = []

        def progress() -> int:
            read.append(next(seen, 40))
            return read[-1]

        assert processes.wait_until(
            "ready", lambda: read[-40:] == list(range(40)) or None, patience, progress
        )
        with pytest.raises(DemoError, match=r"^ready: no progress within 0.4 s$"):
            processes.wait_until("ready", lambda: None, patience, progress)


def test_a_program_that_is_missing_is_a_clear_error() -> None:
    with Processes(Event()) as processes, pytest.raises(DemoError, match="prometheus cannot be started"):
        processes.start("prometheus", ["/nonexistent/prometheus"])


def test_a_request_to_stop_ends_every_wait() -> None:
    stop = Event()
    with Processes(stop) as processes:
        stop.set()
        with pytest.raises(Stopped):
            processes.wait_until("never", lambda: None, 5)


def test_ports_differ_and_a_taken_one_is_refused() -> None:
    ports = choose_ports(dict.fromkeys(("a", "b", "c"), 0))
    assert len(set(ports.values())) == 3
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=rf"port {port} for relay cannot be used: {os.strerror(98)}"):
            choose_ports({"relay": port, "exporter": 0})


def test_a_chosen_port_is_given_to_no_one_else_and_can_be_listened_on() -> None:
    """Of two demos that start together, each has its own."""
    port = choose_ports({"here": 0})["here"]
    program = (
        "from demo import processes\n"
        f"processes._FREE_PORTS = range({port}, {port + 1})\n"
        "processes.choose_ports({'there': 0})"
    )
    done = subprocess.run(python(program), capture_output=True, text=True, check=False, timeout=60)
    assert "there is no free port for there" in done.stderr
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()

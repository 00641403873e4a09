"""A running demo is found by `demo inject`, a dead one is not, and only its owner can read where it is."""

import json
import stat
import threading
from pathlib import Path

import pytest

from demo import running
from demo.processes import DemoError


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "aws-spend-exporter"


def test_what_is_published_is_found_and_private(runtime: Path) -> None:
    path = running.publish({"simulator": "http://127.0.0.1:1"})
    assert running.find() == {"simulator": "http://127.0.0.1:1"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700


def test_the_folder_goes_with_the_last_demo(runtime: Path) -> None:
    path = running.publish({})
    running.tidy()
    assert path.exists()
    path.unlink()
    running.tidy()
    assert not runtime.exists()


def test_a_demo_that_ends_takes_no_folder_from_one_that_begins(runtime: Path) -> None:
    ended = threading.Event()

    def end_others() -> None:
        while not ended.is_set():
            running.tidy()

    other = threading.Thread(target=end_others)
    other.start()
    try:
        for _ in range(300):
            running.publish({}).unlink()
    finally:
        ended.set()
        other.join()


def test_a_dead_demo_is_not_found_and_its_file_goes(runtime: Path) -> None:
    runtime.mkdir(mode=0o700)
    stale = runtime / "demo-1.json"
    stale.write_text(json.dumps({"pid": 2**22 + 1, "urls": {}}))
    with pytest.raises(DemoError, match="no demo is running"):
        running.find()
    assert not stale.exists()


def test_a_folder_that_others_can_read_is_refused(runtime: Path) -> None:
    runtime.mkdir(mode=0o755)
    runtime.chmod(0o755)
    with pytest.raises(DemoError, match="not a private folder"):
        running.find()


def test_a_shared_temporary_folder_serves_where_there_is_no_runtime_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert running.runtime_folder().parent == tmp_path

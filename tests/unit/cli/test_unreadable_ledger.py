"""Commands beside a ledger that they cannot read, or cannot write."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from exporter.cli.main import main
from exporter.ledger.file import Ledger
from exporter.ledger.pending import Origin


def a_folder(path: Path) -> None:
    path.mkdir(parents=True)


def a_schema_that_is_no_text(path: Path) -> None:
    """SQLite's error names the table, in bytes that are not UTF-8."""
    Ledger(path).close()
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE T\xd1BLE"))


@pytest.mark.parametrize("ledger", [a_folder, a_schema_that_is_no_text])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("plan",), 1),
        (("check",), 0),
        (("refresh", "--from", "2026-01-01", "--to", "2026-01-02", "--yes"), 1),
        (("costs",), 1),
    ],
    ids=["plan", "check", "refresh", "costs"],
)
@pytest.mark.fault("commands beside a ledger that cannot be read", "one line says so")
def test_a_ledger_that_cannot_be_read_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ledger: Callable[[Path], None],
    arguments: tuple[str, ...],
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(yaml.safe_dump({"data_dir": "data", "server": {"port": 1}}))
    ledger(Path("data/ledger.sqlite"))
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, type(result.exception)) == (code, SystemExit if code else type(None))
    (line,) = [line for line in result.output.splitlines() if "cannot be read" in line]
    assert "data/ledger.sqlite cannot be read: " in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_ledger_at_rest_in_a_folder_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    Ledger(folder / "ledger.sqlite").close()
    folder.chmod(0o500)
    try:
        ledger = Ledger(folder / "ledger.sqlite", read_only=True)
        assert ledger.pending.of(Origin.REQUEST) == []
        ledger.close()
    finally:
        folder.chmod(0o700)

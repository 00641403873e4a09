"""The process of a fold: what it may do, and what its end is for those who wait for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from export_lines import cur2_line as line
from export_lines import write_parquet
from month_folds import fold_in_process, query, settings
from waiting import wait_for

from exporter.exports.folding import FoldError, MonthFold
from exporter.exports.month_tables import MonthTables

pytestmark = pytest.mark.clockless


def children(parent: int) -> set[int]:
    """The processes that `parent` has started."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        if int(fields[1]) == parent and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found


def processes_of(folder: Path) -> Iterator[int]:
    """The processes that have something open below `folder`."""
    for opened in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(opened.readlink()).startswith(str(folder)) and int(opened.parts[2]) != os.getpid():
                yield int(opened.parts[2])
        except OSError:
            continue


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    return write_parquet(tmp_path / "a.parquet", [line(unblended=1.0)])


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file that is opened and never read: a pipe that no one writes to."""
    path = tmp_path / "endless.parquet"
    os.mkfifo(path)
    return path


def test_a_killed_process_is_an_error_in_words(tmp_path: Path, lines: Path):
    with MonthFold(settings(tmp_path)) as month:
        month.add(lines, "a.parquet")
        before = children(os.getpid())
        for child in processes_of(tmp_path / "spill"):
            os.kill(child, signal.SIGKILL)
        with pytest.raises(
            FoldError,
            match=r"^b\.parquet was not folded: the process of the fold was killed, as Linux does when memory",
        ):
            month.add(lines, "b.parquet")
        with pytest.raises(FoldError, match="the fold has ended already"):
            month.finish(tmp_path / "out")
    assert before
    assert list((tmp_path / "spill").iterdir()) == []


def test_a_process_that_dies_while_it_folds_is_an_error(tmp_path: Path, endless: Path):
    with MonthFold(settings(tmp_path)) as month:
        timer = threading.Timer(0.3, month.cancel)
        timer.start()
        with pytest.raises(
            FoldError, match=r"^endless\.parquet was not folded: the process of the fold was killed"
        ):
            month.add(endless, "endless.parquet")
    assert list((tmp_path / "spill").iterdir()) == []


PARENT = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from month_folds import settings
from exporter.exports.folding import MonthFold
month = MonthFold(settings(Path({folder!r}))).__enter__()
print("ready", flush=True)
month.add(Path({file!r}), "endless.parquet")
"""


def test_the_process_ends_with_its_parent_in_the_middle_of_a_file(tmp_path: Path, endless: Path):
    script = PARENT.format(path=[str(Path(__file__).parent)], folder=str(tmp_path), file=str(endless))
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent:
        assert parent.stdout.readline() == "ready\n"
        wait_for("the file is folded", lambda: list((tmp_path / "spill").glob("fold-*/lines")))
        (child,) = children(parent.pid)
        parent.kill()
    wait_for("the end of the process", lambda: _is_over(child))
    wait_for("the end of its folder", lambda: not list((tmp_path / "spill").glob("fold-*")))


def _is_over(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_more_memory_than_allowed_is_an_error_that_says_so(tmp_path: Path):
    path = tmp_path / "a.parquet"
    with duckdb.connect() as db:
        db.execute(
            "CREATE TABLE lines AS SELECT TIMESTAMP '2026-11-01' AS line_item_usage_start_date, '1' AS"
            " line_item_usage_account_id, 'AmazonS3' AS line_item_product_code, 'Usage' AS line_item_line_item_type,"
            " 1.0::DOUBLE AS line_item_unblended_cost, md5(number::VARCHAR) AS line_item_resource_id"
            " FROM range(100000) AS numbers(number)"
        )
        db.table("lines").write_parquet(str(path))
    words = r"^a\.parquet needs more than the 10 MB that the fold may use: Out of Memory Error: [^\n]{,200}$"
    with pytest.raises(FoldError, match=words):
        fold_in_process(tmp_path, {"a.parquet": path}, memory_mb=10)


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data[:100] + b"\0" * 400 + data[500:]],
    ids=["truncated", "empty", "overwritten"],
)  # fmt: skip
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, lines: Path, damage):
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(damage(lines.read_bytes()))
    with pytest.raises(FoldError, match=r"^b\.parquet cannot be folded: "):
        fold_in_process(tmp_path, {"a.parquet": lines, "b.parquet": damaged})
    assert list((tmp_path / "spill").iterdir()) == []


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(FoldError, match=r"^a\.parquet cannot be folded: No such file"):
        fold_in_process(tmp_path, {"a.parquet": tmp_path / "a.parquet"})


def test_quotes_in_names_and_keys_are_no_sql(tmp_path: Path):
    odd = 'o\'dd "key"'
    path = write_parquet(tmp_path / "it's.parquet", [line(unblended=1.0, tags={f"user_{odd}": "it's"})])
    folder = tmp_path / "it's" / "tags=1"  # no partition either, whose column would hide one of the file
    result = fold_in_process(folder, {"it's.[ab]*.parquet": path}, tags=(odd,))
    assert query(result.paths["lines"], "SELECT COLUMNS('tag:.*') FROM lines") == [("it's",)]


def test_a_file_is_folded_once(tmp_path: Path, lines: Path):
    with MonthFold(settings(tmp_path)) as month:
        assert month.add(lines, "a.parquet") == 1
        with pytest.raises(FoldError, match=r"^a\.parquet has been folded already"):
            month.add(lines, "a.parquet")


def test_what_a_killed_parent_has_left_is_removed_and_what_another_fold_uses_is_not(
    tmp_path: Path, lines: Path
):
    left = tmp_path / "spill" / "fold-left"
    left.mkdir(parents=True)
    (left / "lock").touch()
    (left / "fold.duckdb").write_bytes(b"data")
    with MonthFold(settings(tmp_path)) as one:
        assert not left.exists()
        with MonthFold(settings(tmp_path)) as other:
            other.add(lines, "a.parquet")
            other.finish(tmp_path / "other")
        one.add(lines, "a.parquet")
        assert one.finish(tmp_path / "one").rows == 1
    assert list((tmp_path / "spill").iterdir()) == []


def test_the_process_has_no_secrets_and_ends_first_when_memory_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("TELEX_TOKEN", "planted")
    with MonthFold(settings(tmp_path)):
        children = set(processes_of(tmp_path / "spill"))
        found = {Path(f"/proc/{child}/environ").read_bytes() for child in children}
        scores = {Path(f"/proc/{child}/oom_score_adj").read_text().strip() for child in children}
    assert found
    assert scores == {"500"}  # Linux kills it before the exporter
    assert not any(b"planted" in environment for environment in found)


def test_the_database_reads_and_writes_its_own_folder_only(tmp_path: Path, lines: Path):
    folder = tmp_path / "own"
    folder.mkdir()
    db = MonthTables(settings(tmp_path), folder).db
    for refused in (
        f"FROM read_parquet('{lines}')",
        f"COPY lines TO '{tmp_path / 'out.csv'}'",
        f"ATTACH '{tmp_path / 'other.duckdb'}'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
    ):
        with pytest.raises(duckdb.Error):
            db.execute(refused)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "own"]


def test_without_duckdb_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)  # as if it were not installed
    with pytest.raises(FoldError, match=r"duckdb is missing; pip install 'aws-spend-exporter\[export\]'"):
        MonthFold(settings(tmp_path)).__enter__()


def test_whoever_folds_does_not_load_duckdb():
    script = (
        "import sys, exporter.exports.folding; sys.exit('duckdb' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_what_is_folded_is_written_and_does_not_stay_in_memory(tmp_path: Path, lines: Path):
    """Without it, a month of a hundred files takes a gigabyte: the log of the database has what memory has."""
    folder = tmp_path / "own"
    folder.mkdir()
    tables = MonthTables(settings(tmp_path), folder)
    sizes = []
    for number in range(10):
        tables.add(lines, f"{number}.parquet")
        log = folder / "fold.duckdb.wal"
        sizes.append(log.stat().st_size if log.exists() else 0)
    assert min(sizes[:5]) == sizes[4] < max(sizes)
    assert sizes[9] == sizes[4]


def test_the_order_of_files_changes_nothing(tmp_path: Path):
    files = {}
    for number in range(4):
        lines = [
            line(
                start=datetime(2026, 11, 1 + each, number, tzinfo=UTC), resource=f"i-{each}", unblended=0.1 * (number + 1),
                line_item_usage_amount=0.1 * each, code=f"code{each}", product={"product_name": f"Name {number}"},
            )
            for each in range(20)
        ]  # fmt: skip
        files[f"{number}.parquet"] = write_parquet(tmp_path / f"{number}.parquet", lines)
    rows = [
        query(
            fold_in_process(tmp_path, dict(order), into=f"out-{place}", resources=5).paths["lines"],
            "SELECT * FROM lines",
        )
        for place, order in enumerate((sorted(files.items()), sorted(files.items(), reverse=True)))
    ]
    assert rows[0] == rows[1]
    assert rows[0] == sorted(rows[0], key=lambda row: row[:9])

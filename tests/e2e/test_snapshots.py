"""The ledger in S3: a killed task comes back on an empty disk and pays nothing again; failures are seen and harm nothing."""

from __future__ import annotations

import gzip
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from prometheus_client import CollectorRegistry
from running_exporter import Exporter, MakeAws, MakeExporter, ShiftedClock, collectors
from waiting import wait_for

from exporter.app.service import make_snapshots
from exporter.aws.errors import AwsError
from exporter.config.model import Config
from exporter.ledger.file import Ledger
from exporter.ledger.schema import SCHEMA_VERSION
from exporter.ledger.snapshots import SnapshotError, Snapshots
from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack

BUCKET = "snapshots-of-the-ledger"
TAKEN = "aws_spend_exporter_snapshot_last_success_timestamp_seconds"
KEY = "aws-spend-exporter/ledger.sqlite.gz"
CONFIG: dict[str, Any] = {
    "accounts": {"discovery": "payer"},
    "ceilings": {"cost": {"day": None, "month": None}, "first_fill": None},
    "collectors": collectors(cost={"history_months": 2}),
    "snapshots": {"bucket": BUCKET, "interval": "1s", "restore_timeout": "2s"},
}


@pytest.fixture
def aws(make_aws: MakeAws) -> SimulatedAws:
    return make_aws(accounts=3, services=3, days=70)


@pytest.fixture
def s3(aws: SimulatedAws) -> Iterator[Any]:
    """A client as the payer, with the bucket made."""
    client = boto3.session.Session().client("s3", endpoint_url=aws.url)
    client.create_bucket(Bucket=BUCKET)
    yield client
    for found in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=found["Key"])
    client.delete_bucket(Bucket=BUCKET)
    client.close()


def ledger_of(exporter: Exporter) -> Path:
    return exporter.folder / "data" / "ledger.sqlite"


def content(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of what was paid for, and of the charges."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {
            table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()  # noqa: S608
            for table in ("cost", "series", "charges", "day_totals")
        }


def paid(aws: SimulatedAws) -> int:
    return aws.requests.count("ce")


def snapshot(s3: Any, folder: Path) -> Path:
    """The ledger that is in S3, unpacked."""
    path = folder / "from-s3.sqlite"
    path.write_bytes(gzip.decompress(s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()))
    return path


def wait_for_snapshot(exporter: Exporter, s3: Any, folder: Path) -> None:
    """Until what is in S3 is what is in the ledger."""

    def same() -> bool:
        if not exporter.is_ready() or not s3.list_objects_v2(Bucket=BUCKET).get("Contents"):
            return False
        return content(snapshot(s3, folder)) == content(ledger_of(exporter))

    wait_for("the ledger is in S3", same)


@pytest.mark.fault("the ledger's disk is lost", "the snapshot is restored, nothing is paid again")
def test_killed_and_back_on_an_empty_disk_it_pays_nothing_again(
    aws: SimulatedAws, s3: Any, make_exporter: MakeExporter, tmp_path: Path
) -> None:
    exporter = make_exporter(aws, CONFIG).start()
    wait_for_snapshot(exporter, s3, tmp_path)
    exporter.kill()
    before, requests = content(ledger_of(exporter)), paid(aws)
    assert requests > 0
    assert len(before["charges"]) == requests
    shutil.rmtree(exporter.folder / "data")
    exporter.start()
    wait_for("it is ready", exporter.is_ready)
    assert "the ledger is restored from its snapshot" in exporter.log()
    assert exporter.value("aws_spend_exporter_snapshot_restored") == 1
    assert exporter.value("aws_spend_exporter_snapshot_success") == 1
    assert exporter.samples()["aws_cost_yesterday_usd"]
    exporter.stop()
    assert paid(aws) == requests, "what was paid for was paid for again"
    assert content(ledger_of(exporter)) == before
    assert ledger_of(exporter).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in ledger_of(exporter).parent.glob(".snapshot-*")] == []


def test_a_ledger_that_is_there_is_never_replaced(
    aws: SimulatedAws, s3: Any, make_exporter: MakeExporter, tmp_path: Path
) -> None:
    """Even where S3 holds another one; and what S3 holds follows the one that is there."""
    exporter = make_exporter(aws, CONFIG).start()
    wait_for_snapshot(exporter, s3, tmp_path)
    exporter.stop()
    with closing(sqlite3.connect(ledger_of(exporter))) as db:
        db.execute("INSERT INTO facts VALUES ('planted', 42)")
        db.commit()
    exporter.start()
    wait_for_snapshot(exporter, s3, tmp_path)
    assert exporter.value("aws_spend_exporter_snapshot_restored") == 0
    exporter.stop()
    for path in (ledger_of(exporter), snapshot(s3, tmp_path)):
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT value FROM facts WHERE name = 'planted'").fetchall() == [(42,)]


def test_what_was_committed_last_is_copied_when_it_ends(
    aws: SimulatedAws, s3: Any, make_exporter: MakeExporter, tmp_path: Path
) -> None:
    """SIGTERM, long before the next snapshot would be due."""
    exporter = make_exporter(aws, {**CONFIG, "snapshots": {"bucket": BUCKET, "interval": "1h"}}).start()
    wait_for(
        "a first snapshot",
        lambda: exporter.value(TAKEN),
    )
    wait_for("it is ready", exporter.is_ready)
    time.sleep(0.1)
    assert content(snapshot(s3, tmp_path)) != content(ledger_of(exporter)), "the test came too late"
    exporter.stop()
    assert content(snapshot(s3, tmp_path)) == content(ledger_of(exporter))


def test_each_shard_keeps_its_own(aws: SimulatedAws, s3: Any, make_exporter: MakeExporter) -> None:
    for index in range(2):
        config = {**CONFIG, "shard": {"index": index, "count": 2}, "collectors": collectors()}
        exporter = make_exporter(aws, config, f"shard-{index}").start()
        wait_for("a snapshot", lambda exporter=exporter: exporter.value(TAKEN))
        exporter.stop()
    found = {entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert found == {f"aws-spend-exporter/shard-{index}/ledger.sqlite.gz" for index in range(2)}


def task(folder: Path, clock: ShiftedClock | None = None, **settings: Any) -> tuple[Snapshots, Path]:
    """The snapshots of a task and its ledger, of which nothing runs by itself."""
    config = Config.model_validate({"data_dir": folder, "snapshots": {"bucket": BUCKET, **settings}})
    made = make_snapshots(config, clock or ShiftedClock(), CollectorRegistry())
    assert made is not None
    return made, config.ledger_path


def note(path: Path, fact: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO facts VALUES (?, 1)", (fact,))
        db.commit()


def facts(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as db:
        return {name for (name,) in db.execute("SELECT name FROM facts")}


@pytest.mark.fault("two exporters put snapshots to one place", "neither overwrites the other unseen")
def test_of_two_that_overlap_neither_overwrites_the_other_unseen(
    aws: SimulatedAws, s3: Any, tmp_path: Path
) -> None:
    """As when a deployment starts the next task before the last one has ended."""
    clock = ShiftedClock()
    (last, last_ledger), (next_, next_ledger) = (
        task(tmp_path / name, clock, bucket=BUCKET) for name in ("last", "next")
    )
    assert not last.restore()
    Ledger(last_ledger).close()
    note(last_ledger, "first")
    last.take()
    assert next_.restore()
    note(last_ledger, "read by the last")
    last.take()
    note(next_ledger, "read by the next")
    for wait in (timedelta(0), timedelta(minutes=5), timedelta(minutes=6)):
        clock.advance(wait)
        with pytest.raises(SnapshotError, match="another exporter has put a snapshot there"):
            next_.take()
        assert "read by the last" in facts(snapshot(s3, tmp_path))
    # As long as the last one goes on, it has not ended.
    note(last_ledger, "still here")
    last.take()
    for wait in (timedelta(0), timedelta(minutes=9), timedelta(minutes=2)):
        clock.advance(wait)
        with pytest.raises(SnapshotError, match="another exporter has put a snapshot there"):
            next_.take()
        assert "still here" in facts(snapshot(s3, tmp_path))
    # The last one has written nothing for ten minutes: it has ended, and the next one carries on.
    next_.take()
    assert "read by the next" in facts(snapshot(s3, tmp_path))
    note(last_ledger, "came back")
    with pytest.raises(SnapshotError, match="another exporter"):
        last.take()

    s3.delete_object(Bucket=BUCKET, Key=KEY)
    note(next_ledger, "moved away")
    with pytest.raises(AwsError):
        next_.take()
    next_.take()
    assert "moved away" in facts(snapshot(s3, tmp_path))


def test_what_a_ledger_that_is_gone_left_behind_is_not_applied_to_the_restored_one(
    aws: SimulatedAws, s3: Any, tmp_path: Path
) -> None:
    """SQLite would take the log of another file for this one's."""
    first, ledger = task(tmp_path / "first")
    assert not first.restore()
    Ledger(ledger).close()
    note(ledger, "taken")
    first.take()
    second, restored = task(tmp_path / "second")
    restored.parent.mkdir()
    left = [restored.with_name(restored.name + end) for end in ("-wal", "-shm")]
    for path in left:
        path.write_bytes(b"left behind")
    assert second.restore()
    assert [path.exists() for path in left] == [False, False]
    assert "taken" in facts(restored)


def test_a_snapshot_of_a_newer_version_is_neither_read_nor_replaced(
    aws: SimulatedAws, s3: Any, tmp_path: Path
) -> None:
    """An older version that is started again by mistake."""
    newer, ledger = task(tmp_path / "newer")
    Ledger(ledger).close()
    newer.take()
    plain = snapshot(s3, tmp_path)
    with closing(sqlite3.connect(plain)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    held = gzip.compress(plain.read_bytes())
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=held)
    older, own = task(tmp_path / "older")
    assert not older.restore()
    Ledger(own).close()
    with pytest.raises(SnapshotError, match="broken and kept for inspection"):
        older.take()
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == held


@pytest.mark.fault("the ledger is damaged when a snapshot is due", "the whole snapshot stays")
def test_a_damaged_ledger_does_not_replace_a_whole_snapshot(
    aws: SimulatedAws, s3: Any, tmp_path: Path
) -> None:
    snapshots, ledger = task(tmp_path / "task")
    Ledger(ledger).close()
    snapshots.take()
    held = s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
    pages = ledger.read_bytes()
    ledger.write_bytes(pages[:8192] + b"\xff" * 8192 + pages[16384:])
    with pytest.raises((SnapshotError, sqlite3.DatabaseError)):
        snapshots.take()
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == held


def test_it_is_encrypted_with_the_key_that_is_asked_for(aws: SimulatedAws, s3: Any, tmp_path: Path) -> None:
    key = "arn:aws:kms:us-east-1:111122223333:key/ledger"
    for name, settings, expected in (("own", {}, "AES256"), ("kms", {"kms_key_id": key}, "aws:kms")):
        snapshots, ledger = task(tmp_path / name, prefix=f"{name}/", **settings)
        Ledger(ledger).close()
        snapshots.take()
        head = s3.head_object(Bucket=BUCKET, Key=f"{name}/ledger.sqlite.gz")
        assert head.get("ServerSideEncryption", "AES256") == expected
        assert head.get("SSEKMSKeyId") == settings.get("kms_key_id")


@pytest.mark.fault("S3 fails for a while at the start", "the start waits and restores")
def test_a_start_waits_for_an_s3_that_fails_for_a_while(aws: SimulatedAws, s3: Any, tmp_path: Path) -> None:
    first, ledger = task(tmp_path / "first")
    Ledger(ledger).close()
    note(ledger, "taken")
    first.take()
    # More than one call tries by itself.
    aws.faults.add("server_error", service="s3", count=6)
    second, restored = task(tmp_path / "second", restore_timeout="2m")
    assert second.restore()
    assert "taken" in facts(restored)


@pytest.mark.fault("S3 answers a snapshot so: {kind}", "the start goes on without it, in time, and keeps it")
@pytest.mark.parametrize("kind", ["drip_body", "stall", "endless_length"])
def test_a_snapshot_that_does_not_come_to_its_end_holds_no_start(
    aws: SimulatedAws, s3: Any, tmp_path: Path, kind: str
) -> None:
    aws.faults.add(kind, service="s3", operation="GetObject", seconds=100)
    snapshots, ledger = task(tmp_path / "task", restore_timeout="2s")
    began = time.monotonic()
    assert not snapshots.restore()
    assert time.monotonic() - began < 60
    assert list(ledger.parent.glob(".snapshot-*")) == []
    aws.faults.clear()
    Ledger(ledger).close()
    with pytest.raises(SnapshotError, match="there is a snapshot in S3 that was not read"):
        snapshots.take()


def test_a_start_does_not_wait_for_what_time_does_not_mend(
    aws: SimulatedAws, s3: Any, tmp_path: Path
) -> None:
    aws.faults.add("access_denied", service="s3")
    snapshots, ledger = task(tmp_path / "task", restore_timeout="2m")
    assert not snapshots.restore()
    assert aws.requests.count("s3", "GetObject") == 1
    aws.faults.clear()
    Ledger(ledger).close()
    with pytest.raises(SnapshotError, match="there is a snapshot in S3 that was not read"):
        snapshots.take()


@pytest.mark.parametrize("damage", ["no gzip", "no ledger", "cut off"])
@pytest.mark.fault("the snapshot in S3 is broken: {damage}", "it is reported and kept, collection goes on")
def test_a_broken_snapshot_is_seen_and_kept_and_collection_goes_on(
    damage: str, aws: SimulatedAws, s3: Any, make_exporter: MakeExporter
) -> None:
    whole = gzip.compress(b"SQLite format 3\0" + b"no such thing" * 1000)
    body = {"no gzip": b"x" * 100, "no ledger": whole, "cut off": whole[:40]}[damage]
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=body)
    exporter = make_exporter(aws, CONFIG).start()
    wait_for("it is ready", exporter.is_ready)
    assert exporter.samples()["aws_cost_yesterday_usd"]
    assert exporter.value("aws_spend_exporter_snapshot_success") == 0
    assert exporter.value("aws_spend_exporter_snapshot_failures_total")
    assert "the ledger's snapshot is broken, an empty ledger begins" in exporter.log()
    exporter.stop()
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == body


@pytest.mark.fault("S3 refuses snapshots", "it is reported, collection goes on")
def test_s3_that_refuses_is_seen_and_harms_nothing(
    aws: SimulatedAws, s3: Any, make_exporter: MakeExporter, tmp_path: Path
) -> None:
    """At the start, where the snapshot in S3 is spared; and later, until it takes snapshots again."""
    exporter = make_exporter(aws, CONFIG).start()
    wait_for_snapshot(exporter, s3, tmp_path)
    aws.faults.add("access_denied", service="s3")
    with closing(sqlite3.connect(ledger_of(exporter))) as db:
        db.execute("INSERT INTO facts VALUES ('planted', 42)")
        db.commit()
    wait_for("a failure", lambda: exporter.value("aws_spend_exporter_snapshot_failures_total"))
    assert exporter.value("aws_spend_exporter_snapshot_success") == 0
    aws.faults.clear()
    wait_for("success", lambda: exporter.value("aws_spend_exporter_snapshot_success") == 1)
    wait_for_snapshot(exporter, s3, tmp_path)
    exporter.kill()
    held = s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
    shutil.rmtree(exporter.folder / "data")
    aws.faults.add("server_error", service="s3")
    exporter.start()
    aws.faults.clear()
    wait_for("it is ready", exporter.is_ready)
    assert exporter.value("aws_spend_exporter_snapshot_success") == 0
    wait_for("it has tried", lambda: "there is a snapshot in S3 that was not read" in exporter.log())
    exporter.stop()
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == held


@contextmanager
def empty_prometheus(folder: Path) -> Iterator[str]:
    """A real Prometheus without a past, as each task has it; its address."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not on the PATH")
    folder.mkdir()
    (folder / "prometheus.yml").write_text("storage: {tsdb: {out_of_order_time_window: 450d}}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = {
        "config.file": folder / "prometheus.yml", "storage.tsdb.path": folder / "tsdb", "storage.tsdb.retention.time": "450d",
        "web.listen-address": f"127.0.0.1:{port}", "log.level": "warn",
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "--web.enable-remote-write-receiver", *(f"--{name}={value}" for name, value in flags.items())],
            stdout=log, stderr=log,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return requests.get(f"{url}/-/ready", timeout=10).ok
        except requests.RequestException:
            return False

    try:
        wait_for("Prometheus is ready", ready)
        yield url
    finally:
        process.kill()
        process.wait()


def test_the_next_tasks_prometheus_is_filled_from_the_restored_ledger(
    aws: SimulatedAws, s3: Any, make_exporter: MakeExporter, tmp_path: Path
) -> None:
    """Task, disk and Prometheus are gone at once: the next task has every day again, and has paid nothing for it."""

    def held(url: str) -> float:
        """The sum of all days that Prometheus holds, each as it was written last."""
        query = "sum(sum_over_time(last_over_time(aws_cost_daily_usd[1d])[100d:1d] offset -1ms))"
        result = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=60).json()["data"][
            "result"
        ]
        return float(result[0]["value"][1]) if result else 0.0

    exporter = make_exporter(aws, CONFIG)
    with empty_prometheus(tmp_path / "first") as url:
        exporter.configure({**CONFIG, "history": {"write_url": f"{url}/api/v1/write"}})
        exporter.start()
        wait_for_snapshot(exporter, s3, tmp_path)
        with closing(sqlite3.connect(ledger_of(exporter))) as db:
            today = aws.clock.now().date().toordinal()
            (units,) = db.execute("SELECT SUM(total_unblended) FROM cost WHERE day < ?", (today,)).fetchone()
        total = pytest.approx(units / 10**10, rel=1e-9)
        wait_for("the history is written", lambda: held(url) == total)
        wait_for_snapshot(exporter, s3, tmp_path)
        exporter.kill()
    requests_paid = paid(aws)
    shutil.rmtree(exporter.folder / "data")
    with empty_prometheus(tmp_path / "second") as url:
        exporter.configure({**CONFIG, "history": {"write_url": f"{url}/api/v1/write"}})
        exporter.start()
        wait_for("every day is there again", lambda: held(url) == total)
        exporter.stop()
    assert paid(aws) == requests_paid

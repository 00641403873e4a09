"""A folder of state that cannot be used is no reason to refuse alerts."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hostile_server import Caller, HostileServer, whole
from relay_harness import Relay, Telex, notification
from waiting import wait_for

StartRelay = Callable[..., Relay]
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
_IDENTITY = (
    b"<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::111111111111:user/x</Arn>"
    b"<UserId>x</UserId><Account>111111111111</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
)
IDENTITY = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
    len(_IDENTITY),
    _IDENTITY,
)
NOT_ON_DISK = "memory of deliveries is not on disk, messages may come twice after a restart"


def in_namespace(folder: Path, commands: str, size: str = "64k") -> list[str]:
    """What runs a program with a file system of this size at `folder`, after the commands of a shell."""
    mount = f'mount -t tmpfs -o size={size} tmpfs "$0" && {commands} && exec "$@"'
    prefix = ["unshare", "-rm", "sh", "-c", mount, str(folder)]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no namespace for mounts can be had here")
    return prefix


def metric(relay: Relay, name: str) -> float:
    lines = relay.get("/metrics").text.splitlines()
    return next(
        float(line.split()[-1]) for line in lines if line.startswith(f"aws_spend_exporter_relay_{name} ")
    )


def tick(telex: Telex, **values: Any) -> dict[str, Any]:
    given = {"threshold": "100", "frequency": "Daily", **values}
    return {
        "return_url": telex.url,
        "settings": [{"label": label, "default": value} for label, value in given.items()],
    }


@pytest.mark.parametrize(
    ("state", "commands"),
    [
        ("is full", 'head -c 99999 /dev/zero >"$0/filler" 2>/dev/null; true'),
        ("is read-only", 'mount -o remount,ro "$0"'),
    ],
)
@pytest.mark.fault(
    "the disk of the relay's state {state} at the start",
    "alerts are delivered, a retry is not repeated, no paid request is sent that could not be booked",
)
def test_alerts_are_taken_without_a_disk(state: str, commands: str, tmp_path: Path, telex: Telex) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    with HostileServer(whole(REFUSAL)) as aws:
        integration = {"enabled": True, "return_hosts": [urlsplit(telex.url).netloc]}
        relay = Relay(tmp_path, telex.url, aws_url=aws.url, integration=integration)
        relay.prefix = in_namespace(folder, commands)
        try:
            relay.start()
            answers = [relay.post(notification()).json()["detail"] for _ in range(2)]
            assert answers == ["delivered", "delivered before"]
            assert len(telex.accepted) == 1
            assert relay.get("/-/ready").status_code == 200
            assert metric(relay, "memory_on_disk") == 0
            assert metric(relay, "memory_errors_total") >= 1
            # What is not booked could pass the ceiling.
            keys = {"aws_access_key_id": "AKIAPLANTED000000001", "aws_secret_access_key": "x" * 40}
            assert relay.post(tick(telex, **keys), "/tick").status_code == 202
            wait_for("the tick is answered", lambda: len(telex.accepted) == 2)
            assert "Problem: the relay cannot keep its book of charges" in telex.messages[1]
            text = relay.get("/metrics").text
            assert "api_charges_usd_total{" not in text
            assert "integration_ceiling_remaining_usd{" not in text
            assert aws.calls == 0
            assert relay.end() == 0
        finally:
            if relay.process is not None and relay.process.poll() is None:
                relay.process.kill()
                relay.process.wait()
    log = relay.log.read_text()
    assert log.count(NOT_ON_DISK) == 1
    assert "Traceback" not in log


@pytest.mark.fault(
    "the disk of the relay's state becomes full at work",
    "alerts are delivered, what was delivered before is not repeated",
)
def test_a_disk_that_becomes_full_is_read_for_the_last_time(tmp_path: Path, telex: Telex) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    relay = Relay(tmp_path, telex.url)
    relay.prefix = in_namespace(folder, "true", "256k")
    try:
        relay.start()
        assert relay.post(notification()).json() == {"detail": "delivered"}
        assert metric(relay, "memory_on_disk") == 1
        assert relay.process is not None
        filler = Path(f"/proc/{relay.process.pid}/root{folder}/filler")
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(1024)):
                pass
        numbers = range(40)  # until the file has to grow
        answers = [relay.post(notification(groupKey=f"group {number}")).status_code for number in numbers]
        assert answers == [200] * 40
        assert metric(relay, "memory_on_disk") == 0
        assert relay.post(notification()).json() == {"detail": "delivered before"}
        assert relay.end() == 0
    finally:
        if relay.process is not None and relay.process.poll() is None:
            relay.process.kill()
            relay.process.wait()
    assert len(telex.accepted) == 41
    assert relay.log.read_text().count(NOT_ON_DISK) == 1


def other_bytes(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"no database" * 2000)


def a_schema_that_is_no_text(path: Path) -> None:
    """SQLite's error names the table, in bytes that are not UTF-8."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE judged (channel TEXT)")
    path.write_bytes(path.read_bytes().replace(b"TABLE", b"T\xd1BLE").replace(b"judged", b"j\xd1dged"))


@pytest.mark.parametrize("damage", [other_bytes, a_schema_that_is_no_text])
@pytest.mark.fault(
    "the file of the relay's memory holds something else at the start",
    "alerts are delivered, it is set aside",
)
def test_a_damaged_file_is_set_aside_at_the_start(
    damage: Callable[[Path], None], start_relay: StartRelay, telex: Telex, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    damage(tmp_path / "state" / "deliveries.sqlite")
    relay = start_relay()
    assert [relay.post(notification()).json()["detail"] for _ in range(2)] == [
        "delivered",
        "delivered before",
    ]
    assert len(telex.accepted) == 1
    assert (metric(relay, "memory_on_disk"), metric(relay, "memory_errors_total")) == (1, 1)
    assert relay.log.read_text().count("memory of deliveries is damaged, it begins empty") == 1


@pytest.mark.fault(
    "the folder of the relay's state is removed at work",
    "/metrics leaves out what is left to spend, alerts are delivered, nothing paid is asked",
)
def test_a_book_of_charges_that_is_lost_is_left_out_of_the_metrics(
    start_relay: StartRelay, telex: Telex, tmp_path: Path
) -> None:
    asked: list[bytes] = []

    def identity(caller: Caller) -> None:
        asked.append(caller.request)
        caller.send(IDENTITY)

    with HostileServer(identity) as aws:
        relay = start_relay(
            aws_url=aws.url, integration={"enabled": True, "return_hosts": [urlsplit(telex.url).netloc]}
        )
        assert "integration_ceiling_remaining_usd{" in relay.get("/metrics").text
        shutil.rmtree(tmp_path / "state")
        metrics = relay.get("/metrics")
        assert metrics.status_code == 200
        assert "integration_ceiling_remaining_usd{" not in metrics.text
        assert relay.post(notification()).status_code == 200
        keys = {"aws_access_key_id": "AKIAPLANTED000000001", "aws_secret_access_key": "x" * 40}
        assert relay.post(tick(telex, **keys), "/tick").status_code == 202
        wait_for("the tick is answered", lambda: len(telex.accepted) == 2)
        assert "Problem: " in telex.messages[1]
        metrics = relay.get("/metrics")
        assert metrics.status_code == 200
        charged = [line for line in metrics.text.splitlines() if "api_charges_usd_total{" in line]
        assert sum(float(line.split()[-1]) for line in charged) == 0
    # What is paid could not be booked: no more than the free question whose keys they are.
    assert len(asked) == 1
    assert b"X-Amz-Target" not in asked[0]


@pytest.mark.fault(
    "the book of the relay's charges is damaged at the start", "alerts are delivered, nothing paid is asked"
)
@pytest.mark.parametrize("damage", [other_bytes, a_schema_that_is_no_text])
def test_a_damaged_book_of_charges_keeps_no_alert(
    damage: Callable[[Path], None], start_relay: StartRelay, telex: Telex, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    book = tmp_path / "state" / "charges.sqlite"
    damage(book)
    before = book.read_bytes()
    with HostileServer(whole(REFUSAL)) as aws:
        relay = start_relay(
            aws_url=aws.url, integration={"enabled": True, "return_hosts": [urlsplit(telex.url).netloc]}
        )
        assert relay.post(notification()).status_code == 200
        keys = {"aws_access_key_id": "AKIAPLANTED000000001", "aws_secret_access_key": "x" * 40}
        assert relay.post(tick(telex, **keys), "/tick").status_code == 202
        wait_for("the tick is answered", lambda: len(telex.accepted) == 2)
        assert "Problem: the relay cannot keep its book of charges" in telex.messages[1]
        assert "api_charges_usd_total{" not in relay.get("/metrics").text
        assert aws.calls == 0
    assert book.read_bytes() == before, "what was spent is not known from another file"

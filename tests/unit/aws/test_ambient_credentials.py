"""Where the ambient credentials come from may be missing, unreadable, hostile or slow: a kind for each, and no hang."""

from __future__ import annotations

import json
import os
import pwd
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_server import Answer, HostileServer, drip, endless, stall, whole
from prometheus_client import CollectorRegistry

from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import Aws
from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import Meter
from exporter.aws.settings import CeilingSettings
from exporter.core.moments import utc_now

pytestmark = pytest.mark.clockless

ROLE = "arn:aws:iam::111122223333:role/exporter"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_PATIENCE_SECONDS = 60.0
"""Without a limit, a drip would last for ever; the providers of botocore try some times."""


@pytest.fixture(autouse=True)
def _no_other_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Aws]]:
    made: list[Aws] = []
    yield made
    for each in made:
        each.close()


def failure(made: list[Aws], endpoint_url: str = "http://127.0.0.1:9") -> AwsError:
    meter = Meter(MemoryCharges(), CeilingSettings(), utc_now, CollectorRegistry())
    made.append(Aws(meter, endpoint_url=endpoint_url, simulated=True, read_timeout=0.5))
    began = time.monotonic()
    with pytest.raises(AwsError) as caught:
        made[-1].call(None, "sts", "GetCallerIdentity", "us-east-1")
    assert time.monotonic() - began < _PATIENCE_SECONDS
    return caught.value


def web_identity(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.mark.fault("the web identity token file is missing", "no_credentials that names the file")
def test_a_missing_token_file_is_missing_credentials(
    monkeypatch: pytest.MonkeyPatch, aws: list[Aws], tmp_path: Path
) -> None:
    web_identity(monkeypatch, tmp_path / "token")
    error = failure(aws)
    assert error.kind is Kind.NO_CREDENTIALS, error
    assert str(tmp_path / "token") in str(error)


@pytest.mark.fault("the web identity token file is {what}", "no_credentials")
@pytest.mark.parametrize("what", ["a directory", "not text"])
def test_an_unreadable_token_file_is_missing_credentials(
    monkeypatch: pytest.MonkeyPatch, aws: list[Aws], tmp_path: Path, what: str
) -> None:
    file = tmp_path / "token"
    if what == "a directory":
        file.mkdir()
    else:
        file.write_bytes(b"\xff\xfe\x80")
    web_identity(monkeypatch, file)
    error = failure(aws)
    assert error.kind is Kind.NO_CREDENTIALS, error


_HOSTILE: dict[str, Answer] = {
    "drips its headers": drip(b"X-More: 1\r\n", head=_HEAD),
    "drips its body": drip(b" ", head=_HEAD + b"Content-Length: 1000000\r\n\r\n"),
    "stalls in its body": stall(_HEAD + b"Content-Length: 10\r\n\r\n{"),
    "never ends": endless(
        b"10000\r\n%s\r\n" % (b" " * 65536), head=_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    ),
}


@pytest.mark.fault("the credentials endpoint of a container {what}", "no_credentials, and no hang")
@pytest.mark.parametrize("what", ["drips its body", "stalls in its body", "never ends"])
def test_a_hostile_container_endpoint_hangs_nothing(
    monkeypatch: pytest.MonkeyPatch, aws: list[Aws], what: str
) -> None:
    with HostileServer(_HOSTILE[what]) as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/creds")
        error = failure(aws)
        assert server.calls > 0
    assert error.kind in (Kind.NO_CREDENTIALS, Kind.MALFORMED_RESPONSE), error


@pytest.mark.fault("the credentials endpoint of an instance {what}", "no_credentials, and no hang")
@pytest.mark.parametrize("what", ["drips its headers"])
def test_a_hostile_instance_endpoint_hangs_nothing(
    monkeypatch: pytest.MonkeyPatch, aws: list[Aws], what: str
) -> None:
    with HostileServer(_HOSTILE[what]) as server:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{server.url}/")
        error = failure(aws)
        assert server.calls > 0
    assert error.kind is Kind.NO_CREDENTIALS, error


@pytest.mark.fault("STS drips its answer to a web identity", "timeout, and no hang")
def test_a_dripping_sts_hangs_no_web_identity(
    monkeypatch: pytest.MonkeyPatch, aws: list[Aws], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("token")
    web_identity(monkeypatch, tmp_path / "token")
    with HostileServer(_HOSTILE["drips its headers"]) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        error = failure(aws)
        assert server.calls > 0
    assert error.kind is Kind.TIMEOUT, error


@pytest.mark.fault("a credential process prints no JSON", "no_credentials")
def test_a_process_that_prints_no_json_has_no_credentials(
    monkeypatch: pytest.MonkeyPatch, aws: list[Aws], tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("[profile p]\ncredential_process = echo no-json\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "p")
    error = failure(aws)
    assert error.kind is Kind.NO_CREDENTIALS, error


@pytest.mark.fault("the container's user has neither HOME nor an entry in passwd", "it works all the same")
def test_a_user_without_home_and_entry_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, aws: list[Aws]
) -> None:
    def no_entry(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    body = json.dumps({}).encode()
    answer = whole(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    with HostileServer(answer) as server:
        assert failure(aws, server.url).kind is Kind.THROTTLED

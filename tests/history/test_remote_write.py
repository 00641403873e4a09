"""A failing server never loses a sample, and secrets stay secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import certificate
from recording_endpoint import Answer, RecordingEndpoint, Request

from exporter.history.endpoint import BatchRefusedError, EndpointError, RemoteWriteEndpoint
from exporter.history.isolation import Written
from exporter.history.request import Point, encode_labels
from exporter.history.settings import HistorySettings

LABELS = encode_labels("m", {"a": "1"})
Make = Callable[..., RemoteWriteEndpoint]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[RemoteWriteEndpoint] = []

    def endpoint(server: RecordingEndpoint, **more: Any) -> RemoteWriteEndpoint:
        made.append(
            RemoteWriteEndpoint(
                HistorySettings.model_validate({"write_url": server.write_url, "timeout": "60s", **more})
            )
        )
        return made[-1]

    yield endpoint
    for one in made:
        one.close()


def points(count: int) -> list[Point]:
    return [(LABELS, 1_000 + index, float(index)) for index in range(count)]


@pytest.mark.fault(
    "remote write answers {status}", "it is left for later, and no sample is marked as refused"
)
@pytest.mark.parametrize(
    "status", [301, 400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 500, 502, 503, 504]
)
def test_what_is_not_the_samples_fault_is_left_for_later(
    endpoint: RecordingEndpoint, make: Make, status: int
) -> None:
    endpoint.answer = lambda request: (status, "no", {"Retry-After": "7", "Location": endpoint.write_url})
    with pytest.raises(EndpointError, match=f"answered {status}: no") as caught:
        make(endpoint).write(points(500))
    assert endpoint.taken == []
    of_the_batch = status in (400, 409, 413, 422, 500)
    assert isinstance(caught.value, BatchRefusedError) == of_the_batch
    # The batch, then eight samples at several places; 413: the first half of what is refused, eight times.
    assert len(endpoint.requests) == (9 if of_the_batch else 1)
    assert caught.value.retry_after == (0 if of_the_batch else 7)


@pytest.mark.fault("remote write refuses connections, or hangs", "it is left for later")
def test_a_refused_or_hanging_connection_is_left_for_later(make: Make, endpoint: RecordingEndpoint) -> None:
    endpoint.close()
    with pytest.raises(EndpointError, match="refused"):
        make(endpoint).write(points(1))
    with RecordingServer() as slow:
        slow.answer = hang
        with pytest.raises(EndpointError, match="did not come within"):
            make(slow, timeout="1s").write(points(1))


def hang(_: Request) -> Answer:
    time.sleep(1.5)
    return 204, ""


class RecordingServer(RecordingEndpoint):
    def __enter__(self) -> RecordingServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# Who we are


@pytest.mark.fault(
    "the password is replaced, then its file is missing",
    "the next request has the new one; without one none is sent",
)
def test_basic_authentication_reads_the_password_anew(
    endpoint: RecordingEndpoint, make: Make, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    writer = make(endpoint, basic_auth={"username": "us", "password_file": str(secret)})
    for password in ("pässword\n", "next"):
        secret.write_text(password)
        writer.write(points(1))
        given = endpoint.requests[-1].headers["Authorization"].removeprefix("Basic ")
        assert base64.b64decode(given).decode() == f"us:{password.strip()}"
    secret.unlink()
    with pytest.raises(EndpointError, match="password"):
        writer.write(points(1))


@pytest.mark.fault("the endpoint redirects elsewhere", "the token does not go there")
def test_a_bearer_token_goes_along_and_not_to_another_place(
    endpoint: RecordingEndpoint,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("TOKEN", "s3cret-t0ken")
    with RecordingServer() as other, caplog.at_level(logging.DEBUG):
        writer = make(endpoint, bearer={"token_env": "TOKEN"}, headers={"X-Scope-OrgID": "finance"})
        writer.write(points(1))
        headers = endpoint.requests[-1].headers
        assert (headers["Authorization"], headers["X-Scope-OrgID"]) == ("Bearer s3cret-t0ken", "finance")
        assert headers["Content-Encoding"] == "snappy"
        assert headers["X-Prometheus-Remote-Write-Version"] == "0.1.0"
        endpoint.answer = lambda request: (307, "", {"Location": other.write_url})
        with pytest.raises(EndpointError) as caught:
            writer.write(points(1))
        assert other.requests == []
    assert "s3cret" not in caplog.text + str(caught.value)
    monkeypatch.delenv("TOKEN")
    with pytest.raises(EndpointError, match="empty or not set: TOKEN"):
        writer.write(points(1))


def test_requests_are_signed_for_aws(
    endpoint: RecordingEndpoint, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret/of/ours")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    endpoint.answer = lambda request: (200, '{"status": "success", "data": {"result": []}}')
    writer = make(endpoint, sigv4={"region": "eu-west-1"})
    writer.write(points(3))
    writer.query("sum(x) + on () vector(1)", 5.5)
    assert [request.path for request in endpoint.requests] == ["/api/v1/write", "/api/v1/query"]
    for request in endpoint.requests:
        assert request.headers["X-Amz-Security-Token"] == "session"
        assert_signed(request, "secret/of/ours", "eu-west-1", "aps")


def assert_signed(request: Request, secret: str, region: str, service: str) -> None:
    """Computes the signature as AWS documents it."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    fields = dict(
        part.strip().split("=", 1)
        for part in headers["authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(",")
    )
    signed = fields["SignedHeaders"].split(";")
    assert {"host", "x-amz-date", "x-amz-security-token"} <= set(signed)
    canonical = "\n".join(
        [
            "POST",
            request.path,
            "",
            *(f"{name}:{headers[name]}" for name in signed),
            "",
            ";".join(signed),
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    day = headers["x-amz-date"][:8]
    scope = f"{day}/{region}/{service}/aws4_request"
    text = "\n".join(
        ["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    assert fields["Signature"] == key.hex()


# Certificates


@pytest.mark.fault("the endpoint's certificate is not from the given authority", "nothing is sent")
def test_tls_trusts_the_given_authority_and_shows_our_certificate(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, server_key = certificate(tmp_path, "server")
    ours, our_key = certificate(tmp_path, "ours")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server, server_key)
    context.load_verify_locations(ours)
    context.verify_mode = ssl.CERT_REQUIRED
    # What the environment says must not win over the configuration.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ours))
    with RecordingServer(context) as endpoint:
        tls = {"ca_file": str(server), "cert_file": str(ours), "key_file": str(our_key)}
        assert make(endpoint, tls=tls).write(points(3)) == Written()
        with pytest.raises(EndpointError, match="certificate"):
            make(endpoint, tls={"cert_file": str(ours), "key_file": str(our_key)}).write(points(3))
        with pytest.raises(EndpointError):
            make(endpoint, tls={"ca_file": str(server)}).write(points(3))
        with pytest.raises(EndpointError):
            make(endpoint, tls={"ca_file": str(tmp_path / "none")}).write(points(3))
    assert len(endpoint.taken) == 3


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"write_url": "ftp://x/"}, "a URL such as"),
        ({"write_url": "http://user:word@x/"}, "without user name"),
        ({"bearer": {}}, "exactly one of token_file and token_env"),
        (
            {"basic_auth": {"username": "a", "password_env": "A", "password_file": "b"}},
            "exactly one of password",
        ),
        ({"bearer": {"token_env": "A"}, "sigv4": {"region": "eu-west-1"}}, "at most one of"),
        ({"tls": {"key_file": "a"}}, "cert_file as well"),
        ({"tls": {"insecure_skip_verify": True}}, "Extra inputs"),
        ({"window": "20h"}, "between 1d and 3650d"),
    ],
)
def test_settings_that_cannot_work_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HistorySettings.model_validate(bad)


@pytest.mark.parametrize(
    ("settings", "base"),
    [
        ({"write_url": "http://p:9090/api/v1/write"}, "http://p:9090"),
        ({"write_url": "http://p/prom/api/v1/write?x=1"}, "http://p/prom"),
        ({"write_url": "http://mimir/api/v1/push"}, None),
        (
            {"write_url": "http://mimir/api/v1/push", "query_url": "http://mimir/prometheus/"},
            "http://mimir/prometheus",
        ),
    ],
)
def test_the_query_api_is_found_beside_the_write_api(settings: dict[str, Any], base: str | None) -> None:
    assert HistorySettings.model_validate(settings).query_base == base

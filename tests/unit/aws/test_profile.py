"""`aws.profile` brings its endpoint, CA bundle and region over the wire as `AWS_PROFILE` does."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from certificates import certificate
from prometheus_client import CollectorRegistry

from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import Aws, Backoff
from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import Meter
from exporter.aws.settings import AwsSettings, CeilingSettings, make_aws
from exporter.core.moments import utc_now
from simulated_aws import OrganizationSpec, SimulatedAws

_COST = {
    "TimePeriod": {"Start": "2026-03-01", "End": "2026-03-02"},
    "Granularity": "DAILY",
    "Metrics": ["UnblendedCost"],
}


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedAws]:
    now = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
    with SimulatedAws(
        OrganizationSpec(seed=29, accounts=2, services=3, days=60, instances=1, now=now)
    ) as aws:
        yield aws


class TlsFront:
    """The simulated AWS behind TLS on 127.0.0.1."""

    def __init__(self, aws: SimulatedAws, certificate: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._aws_port = aws.port
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        try:
            with (
                self._context.wrap_socket(raw, server_side=True) as client,
                socket.create_connection(("127.0.0.1", self._aws_port)) as aws,
            ):
                back = threading.Thread(target=_copy, args=(aws, client), daemon=True)
                back.start()
                _copy(client, aws)
                back.join(5)
        except OSError:
            return  # who does not trust the certificate hangs up

    def close(self) -> None:
        self._listener.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        return


def written_profile(
    folder: Path, monkeypatch: pytest.MonkeyPatch, aws: SimulatedAws, settings: dict[str, str], rest: str = ""
) -> None:
    """`~/.aws` with the profile `finance`, and an environment without anything of AWS."""
    for name in (*aws.environment(), "AWS_PROFILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    keys = aws.environment()
    lines = [
        "[profile finance]",
        f"aws_access_key_id = {keys['AWS_ACCESS_KEY_ID']}",
        f"aws_secret_access_key = {keys['AWS_SECRET_ACCESS_KEY']}",
        *(f"{name} = {value}" for name, value in settings.items()),
    ]
    (folder / "config").write_text("\n".join(lines) + f"\n{rest}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))


def access(by: str, monkeypatch: pytest.MonkeyPatch, charges: MemoryCharges | None = None) -> Aws:
    """AWS by the profile's name in the configuration or in the environment."""
    meter = Meter(charges or MemoryCharges(), CeilingSettings(), utc_now, CollectorRegistry())
    if by == "environment":
        monkeypatch.setenv("AWS_PROFILE", "finance")
        return make_aws(AwsSettings(), meter)
    return make_aws(AwsSettings(profile="finance"), meter)


BY = pytest.mark.parametrize("by", ["configuration", "environment"])


@BY
def test_the_endpoint_and_the_region_of_a_profile_are_used(
    simulated: SimulatedAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    written_profile(tmp_path, monkeypatch, simulated, {"endpoint_url": simulated.url, "region": "eu-west-1"})
    simulated.requests.clear()
    aws = access(by, monkeypatch)
    assert aws.region == "eu-west-1"
    assert aws.call(None, "sts", "GetCallerIdentity", aws.region)["Account"] == simulated.payer_id
    aws.close()
    (sent,) = simulated.requests.entries()
    assert (sent.operation, sent.region) == ("GetCallerIdentity", "eu-west-1")


@BY
def test_a_section_of_services_has_an_endpoint_for_one_service(
    simulated: SimulatedAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """The other services stay at the endpoint of the profile, where no one listens."""
    services = f"[services here]\nsts =\n  endpoint_url = {simulated.url}\n"
    settings = {"endpoint_url": "http://127.0.0.1:9", "services": "here"}
    written_profile(tmp_path, monkeypatch, simulated, settings, services)
    aws = access(by, monkeypatch)
    aws._backoff = Backoff(0.01)
    assert aws.call(None, "sts", "GetCallerIdentity", "us-east-1")["Account"] == simulated.payer_id
    with pytest.raises(AwsError) as caught:
        aws.call(None, "organizations", "ListRoots", "us-east-1")
    assert caught.value.kind is Kind.CONNECTION
    aws.close()


@BY
@pytest.mark.fault(
    "AWS endpoint with a certificate that only the profile's ca_bundle knows",
    "the bundle of aws.profile is trusted, and without it nothing is sent or billed",
)
def test_the_ca_bundle_of_a_profile_is_what_is_trusted(
    simulated: SimulatedAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    trusted, key = certificate(tmp_path, "trusted")
    other, _ = certificate(tmp_path, "other")
    front = TlsFront(simulated, trusted, key)
    try:
        settings = {"endpoint_url": front.url, "region": "us-east-1"}
        before = simulated.requests.count("ce")
        charges = MemoryCharges()
        for bundle in (str(other), None):  # None: those of the system
            more = {} if bundle is None else {"ca_bundle": bundle}
            written_profile(tmp_path, monkeypatch, simulated, settings | more)
            aws = access(by, monkeypatch, charges)
            aws._backoff = Backoff(0.01)
            with pytest.raises(AwsError, match="certificate verify failed") as caught:
                aws.call(None, "sts", "GetCallerIdentity", "us-east-1")
            assert caught.value.kind is Kind.CONNECTION
            aws.close()
        assert simulated.requests.count("ce") == before
        assert charges.charged_since("cost", None) == 0
        written_profile(tmp_path, monkeypatch, simulated, settings | {"ca_bundle": str(trusted)})
        aws = access(by, monkeypatch, charges)
        aws.call(None, "ce", "GetCostAndUsage", "us-east-1", _COST)
        aws.close()
        assert simulated.requests.count("ce") == before + 1
        assert charges.charged_since("cost", None) == Decimal("0.01")
    finally:
        front.close()


@pytest.mark.parametrize(
    ("ignores", "endpoint_url", "expected"),
    [("", None, True), ("true", None, False), ("TRUE", None, False), ("true", "http://127.0.0.1:9", True)],
)
def test_an_endpoint_that_is_ignored_simulates_nothing(
    monkeypatch: pytest.MonkeyPatch, ignores: str, endpoint_url: str | None, expected: bool
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", ignores)
    assert AwsSettings(endpoint_url=endpoint_url).simulated is expected


@pytest.mark.parametrize(
    ("profile", "variables", "expected"),
    [
        ("endpoint_url = http://127.0.0.1:4566", {}, True),
        ("endpoint_url = https://vpce.example.com", {}, False),
        # Environment variables come before the profile, and those of a service before that of all.
        ("endpoint_url = https://vpce.example.com", {"AWS_ENDPOINT_URL": "http://localhost:4566"}, True),
        ("endpoint_url = http://127.0.0.1:4566", {"AWS_ENDPOINT_URL": "https://vpce.example.com"}, False),
        ("", {"AWS_ENDPOINT_URL": "http://aws:4566"}, True),
        (
            "",
            {
                "AWS_ENDPOINT_URL": "http://aws:4566",
                "AWS_ENDPOINT_URL_COST_EXPLORER": "https://ce.us-east-1.amazonaws.com",
            },
            False,
        ),
        ("", {"AWS_ENDPOINT_URL_COST_EXPLORER": "http://aws:4566"}, False),
        ("ignore_configured_endpoint_urls = true", {"AWS_ENDPOINT_URL": "http://aws:4566"}, False),
        (None, {"AWS_ENDPOINT_URL": "http://aws:4566"}, False),
    ],
)
def test_requests_are_paid_unless_what_is_paid_goes_to_this_machine(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    profile: str | None,
    variables: dict[str, str],
    expected: bool,
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "config"
    config.write_text("" if profile is None else f"[profile finance]\n{profile}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    assert AwsSettings(profile="finance").simulated is expected

"""One client a service goes to the host, and signs for the region, that a client of each region would."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import EndpointProviderError

from exporter.aws.credentials import acting_as
from exporter.aws.service_clients import ServiceClients, in_region
from exporter.collectors import all_collectors
from exporter.resources import all_resource_files

REGIONS = ("us-east-1", "eu-west-1", "me-central-1", "cn-north-1", "us-gov-west-1")
PAYER = (
    "ce",
    "organizations",
    "budgets",
    "pricing",
    "bcm-data-exports",
    "cost-optimization-hub",
    "sts",
    "iam",
    "cloudwatch",
    "s3",
)
SERVICES = sorted({*PAYER, "resourcegroupstaggingapi", *(file.service for file in all_resource_files())})
KEYS = Credentials("AKIA0123456789", "secret", "token")
_CONFIG = Config(retries={"total_max_attempts": 1, "mode": "standard"}, connect_timeout=3, read_timeout=5)
_PLAIN = botocore.session.Session()
_VERBS = ("List", "Describe", "Get")


def operation_of(client: Any) -> tuple[str, dict[str, Any]]:
    """An operation that only reads and needs no parameters, or those that are harmless."""
    known = client.meta.service_model
    for name in sorted(known.operation_names, key=lambda name: (not name.startswith(_VERBS), name)):
        shape = known.operation_model(name).input_shape
        if shape is None or not shape.required_members:
            return name, {}
    return {
        "ce": ("GetTags", {"TimePeriod": {"Start": "2026-01-01", "End": "2026-01-02"}}),
        "budgets": ("DescribeBudgets", {"AccountId": "111122223333"}),
    }[known.service_name]


def sent(client: Any, operation: str, params: dict[str, Any]) -> tuple[str, str]:
    """URL and credential scope of what a client would send."""
    seen: list[Any] = []

    def catch(request: Any, **_: Any) -> AWSResponse:
        seen.append(request)
        return AWSResponse(request.url, 400, {}, _Raw())

    client.meta.events.register("before-send", catch, unique_id="catch")
    with pytest.raises(Exception):  # noqa: B017, PT011 # each service has its own errors
        getattr(client, xform_name(operation))(**params)
    client.meta.events.unregister("before-send", unique_id="catch")
    (request,) = seen
    authorization = request.headers["Authorization"]
    text = authorization if isinstance(authorization, str) else authorization.decode()
    scope = re.search(r"Credential=[^/]+/\d+/([^,]+),", text)
    assert scope is not None, text
    return request.url, scope[1]


class _Raw:
    def stream(self) -> Iterator[bytes]:
        yield b""


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module", params=[None, "http://127.0.0.1:9"], ids=["aws", "endpoint_url"])
def shared(request: pytest.FixtureRequest) -> ServiceClients:
    return ServiceClients(_CONFIG, "us-east-1", request.param)


@pytest.mark.parametrize("service", SERVICES)
def test_a_request_is_that_of_a_client_of_its_region(
    no_environment: None, shared: ServiceClients, service: str
) -> None:
    operation, params = operation_of(shared.of(service))
    for region in REGIONS:
        own = _PLAIN.create_client(
            service,
            region_name=region,
            endpoint_url=shared.endpoint_url,
            config=_CONFIG,
            aws_access_key_id="AKIA0123456789",
            aws_secret_access_key="secret",
        )
        with acting_as(KEYS), in_region(region):
            assert sent(shared.of(service), operation, params) == sent(own, operation, params), region


PROFILES = {
    "fips": "use_fips_endpoint = true\n",
    "dualstack": "use_dualstack_endpoint = true\n",
    "legacy sts": "sts_regional_endpoints = legacy\nregion = us-east-1\n",
    "endpoint": "endpoint_url = http://127.0.0.1:9\n",
    "services": "services = local\n\n[services local]\nsts =\n  endpoint_url = http://127.0.0.1:9\n"
    "ec2 =\n  endpoint_url = http://127.0.0.1:8\n",
    "ignored": "endpoint_url = http://127.0.0.1:9\nignore_configured_endpoint_urls = true\n",
}


def named(client: Any, operation: str, params: dict[str, Any]) -> object:
    """What a client would send, or why it has no endpoint for it."""
    try:
        return sent(client, operation, params)
    except ValueError:  # nothing was sent
        with pytest.raises(EndpointProviderError) as caught:
            getattr(client, xform_name(operation))(**params)
        return str(caught.value)


@pytest.mark.parametrize("service", ["sts", "ce", "organizations", "ec2", "s3", "cloudwatch", "lambda"])
@pytest.mark.parametrize("settings", PROFILES.values(), ids=PROFILES)
def test_a_profile_by_name_is_that_of_the_environment(
    no_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: str, service: str
) -> None:
    """`aws.profile: finance` and `AWS_PROFILE=finance` send to the same hosts and sign for the same regions."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "config").write_text(f"[profile finance]\n{settings}")
    ours = ServiceClients(_CONFIG, "us-east-1", None, "finance")
    operation, params = operation_of(ours.of(service))
    regions = ("us-east-1",) if "legacy" in settings else REGIONS
    found = {}
    for region in regions:
        with acting_as(KEYS), in_region(region):
            found[region] = named(ours.of(service), operation, params)
    monkeypatch.setenv("AWS_PROFILE", "finance")
    session = botocore.session.Session()
    for region in regions:
        own = session.create_client(
            service,
            region_name=region,
            config=_CONFIG,
            aws_access_key_id="AKIA0123456789",
            aws_secret_access_key="secret",
        )
        assert found[region] == named(own, operation, params), region


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ("fips", "https://sts-fips.us-east-1.amazonaws.com/"),
        ("dualstack", "https://sts.us-east-1.api.aws/"),
        ("legacy sts", "https://sts.amazonaws.com/"),
        ("endpoint", "http://127.0.0.1:9/"),
        ("services", "http://127.0.0.1:9/"),
        ("ignored", "https://sts.us-east-1.amazonaws.com/"),
    ],
)
def test_the_settings_of_a_profile_choose_the_host(
    no_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: str, host: str
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "config").write_text(f"[profile finance]\n{PROFILES[settings]}")
    clients = ServiceClients(_CONFIG, "us-east-1", None, "finance")
    with acting_as(KEYS), in_region("us-east-1"):
        assert sent(clients.of("sts"), "GetCallerIdentity", {})[0] == host


def test_every_collector_asks_only_services_that_are_compared_here() -> None:
    signed = {action.partition(":")[0] for collector in all_collectors() for action in collector.iam_actions}
    known = {_PLAIN.get_service_model(service).signing_name for service in SERVICES}
    # IAM's prefixes that are not what is signed with: of CloudWatch and of the Tagging API, which are compared.
    assert signed - known == {"cloudwatch", "tag"}


def without_documentation(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: "" if key == "documentation" and isinstance(value, str) else without_documentation(value)
            for key, value in node.items()
        }
    return [without_documentation(value) for value in node] if isinstance(node, list) else node


@pytest.mark.parametrize("service", ["apigateway", "s3", "cloudwatch"])
def test_a_description_is_as_botocore_has_it_without_documentation_and_changes(service: str) -> None:
    small = ServiceClients(_CONFIG, "us-east-1", None).of(service).meta.service_model
    whole = _PLAIN.get_service_model(service)
    assert len(whole.documentation) > len(small.documentation) == 0
    left_out = set(whole.operation_names) - set(small.operation_names)
    assert left_out
    assert not any(name.startswith((*_VERBS, "Put", "Head", "Assume", "Start")) for name in left_out)
    for name in small.operation_names:
        for shape in ("input_shape", "output_shape"):
            ours, theirs = (getattr(each.operation_model(name), shape) for each in (small, whole))
            assert described(ours, set()) == described(theirs, set())
    description = without_documentation(whole._service_description)
    for name, shape in small._service_description["shapes"].items():
        assert shape == description["shapes"][name]


@pytest.mark.parametrize("service", [*SERVICES, "neptune"])
def test_every_shape_can_be_read_as_a_refusal_needs_it(service: str) -> None:
    """botocore reads all of them to find the one of an error."""
    small = ServiceClients(_CONFIG, "us-east-1", None).of(service).meta.service_model
    assert small.error_shapes is not None
    for name in small.shape_names:
        assert small.shape_for(name).name == name


def described(shape: Any, above: set[str]) -> Any:
    """A shape and all that it is made of."""
    if shape is None or shape.name in above:
        return shape and shape.name
    inner = above | {shape.name}
    parts = getattr(shape, "members", None) or {
        name: getattr(shape, name) for name in ("member", "key", "value") if hasattr(shape, name)
    }
    parts = parts if isinstance(parts, dict) else dict(parts)
    return shape.name, shape.type_name, {name: described(part, inner) for name, part in parts.items()}


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b"<GetCallerIdentityResponse><GetCallerIdentityResult/></GetCallerIdentityResponse>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class _Counting(ThreadingHTTPServer):
    connections = 0

    def get_request(self) -> tuple[Any, Any]:
        self.connections += 1
        return super().get_request()


def test_connections_are_kept_however_many_hosts_there_are(no_environment: None) -> None:
    servers = [_Counting(("127.0.0.1", 0), _Answer) for _ in range(15)]
    for server in servers:
        threading.Thread(
            target=socketserver.BaseServer.serve_forever, args=(server, 0.05), daemon=True
        ).start()
    clients = ServiceClients(_CONFIG, "us-east-1", None)
    client = clients.of("sts")
    places = iter([server.server_port for server in servers] * 3)

    def elsewhere(params: dict[str, Any], **_: Any) -> None:
        params["url"] = f"http://127.0.0.1:{next(places)}/"

    client.meta.events.register("before-call", elsewhere)
    try:
        for _ in range(3 * len(servers)):
            with acting_as(KEYS), in_region("us-east-1"):
                client.get_caller_identity()
        assert [server.connections for server in servers] == [1] * len(servers)
    finally:
        clients.close()
        for server in servers:
            server.shutdown()
            server.server_close()


def test_a_proxy_is_chosen_by_the_host_of_each_region(
    no_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = _Counting(("127.0.0.1", 0), _Answer)
    threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
    monkeypatch.setenv("no_proxy", "sts.eu-west-1.amazonaws.com")
    clients = ServiceClients(_CONFIG, "us-east-1", None)
    client = clients.of("sts")
    client.meta.events.register(
        "before-call", lambda params, **_: params.update(url=params["url"].replace("https", "http"))
    )
    try:
        with acting_as(KEYS), in_region("us-west-2"):
            client.get_caller_identity()
        assert proxy.connections == 1
        monkeypatch.setattr("socket.getaddrinfo", _no_names)
        with acting_as(KEYS), in_region("eu-west-1"), pytest.raises(Exception, match=r"sts\.eu-west-1"):
            client.get_caller_identity()
        assert proxy.connections == 1
    finally:
        clients.close()
        proxy.shutdown()
        proxy.server_close()


def _no_names(host: str, *_: Any, **__: Any) -> Any:
    raise OSError(f"no name is looked up here: {host}")

"""Any SDK's signature is checked over the headers that were sent, also over those that WSGI keeps apart."""

from __future__ import annotations

import gzip
import json
from urllib.parse import urlencode

import pytest
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from simulated_aws import SimulatedAws
from simulated_aws.service_names import Marks, ServiceNames

_JSON = {"Content-Type": "application/x-amz-json-1.1"}
_FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
# What Go's SDK sends and signs with each request.
_LIKE_GO = {
    "Accept-Encoding": "identity",
    "Amz-Sdk-Invocation-Id": "1f4b7f4e-65a5-4e1c-8a3f-3f6d1f0a9f55",
    "Amz-Sdk-Request": "attempt=1; max=3",
}


def ask(
    aws: SimulatedAws,
    signing_name: str,
    headers: dict[str, str],
    body: bytes,
    method: str = "POST",
    path: str = "/",
    pretended_length: int | None = None,
) -> tuple[int, bytes, list[str]]:
    """A call of the payer with its length among the signed headers: status, body, and the names that were signed."""
    environment = aws.environment()
    keys = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    length = {"Content-Length": str(len(body) if pretended_length is None else pretended_length)}
    request = AWSRequest(
        method, aws.url + path, headers={**_LIKE_GO, **headers, **(length if body else {})}, data=body
    )
    SigV4Auth(keys, signing_name, "us-east-1").add_auth(request)
    sent = dict(request.headers)
    signed = sent["Authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    sent.pop("Content-Length", None)  # the client of this test counts by itself
    with urllib3.PoolManager() as pool:
        answer = pool.request(method, aws.url + path, body=body or None, headers=sent, retries=False)
    return answer.status, answer.data, signed


IDENTITY = urlencode({"Action": "GetCallerIdentity", "Version": "2011-06-15"}).encode()
ACCOUNTS = {**_JSON, "X-Amz-Target": "AWSOrganizationsV20161128.ListAccounts"}


@pytest.mark.parametrize(
    ("signing_name", "headers", "body"),
    [
        ("sts", _FORM, IDENTITY),
        ("organizations", ACCOUNTS, b"{}"),
        ("organizations", {**ACCOUNTS, "Content-Encoding": "gzip"}, gzip.compress(b"{}")),
    ],
    ids=["form", "json", "compressed"],
)
def test_a_signature_over_the_length_and_type_of_the_body_is_right(
    aws: SimulatedAws, signing_name: str, headers: dict[str, str], body: bytes
) -> None:
    status, answer, signed = ask(aws, signing_name, headers, body)
    assert {"content-length", "content-type", "accept-encoding", "host"} <= set(signed)
    assert status == 200, answer


def test_a_request_without_a_body_signs_no_length(aws: SimulatedAws) -> None:
    status, answer, signed = ask(aws, "eks", {}, b"", "GET", "/clusters")
    assert not {"content-length", "content-type"} & set(signed)
    assert status == 200, answer
    assert "clusters" in json.loads(answer)


def test_a_signature_over_another_length_is_refused(aws: SimulatedAws) -> None:
    status, answer, _ = ask(aws, "sts", _FORM, IDENTITY, pretended_length=len(IDENTITY) + 1)
    assert (status, b"SignatureDoesNotMatch" in answer) == (403, True)


NAMES = ServiceNames(("cloudwatch", "docdb", "elb", "elbv2", "opensearch", "rds"))


@pytest.mark.parametrize(
    ("signed", "marks", "service"),
    [
        ("es", Marks(), "opensearch"),
        ("monitoring", Marks(), "cloudwatch"),
        ("elasticloadbalancing", Marks(version="2012-06-01"), "elb"),
        ("elasticloadbalancing", Marks(version="2015-12-01"), "elbv2"),
        ("rds", Marks(version="2014-10-31"), "rds"),  # as DocumentDB's
        ("not-simulated", Marks(), "not-simulated"),
        ("", Marks(), ""),
    ],
)
def test_a_service_is_known_by_what_it_signs_with_and_the_version_of_its_api(
    signed: str, marks: Marks, service: str
) -> None:
    assert NAMES.find(signed, marks) == service


def test_tags_are_answered_in_the_protocol_that_they_are_asked_in(aws: SimulatedAws) -> None:
    headers = {"Content-Type": "application/cbor", "Smithy-Protocol": "rpc-v2-cbor"}
    path = "/service/ResourceGroupsTaggingAPI_20170126/operation/GetResources"
    status, answer, _ = ask(aws, "tagging", headers, b"\xa0", path=path)
    assert status == 200
    assert answer[:1] in (b"\xa2", b"\xbf")  # a map, not a JSON object

"""Checks Signature Version 4, so that a caller who mixes accounts' keys is found out."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from simulated_aws.wire import AwsCall

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/]+/(?P<scope>[^,]+),\s*SignedHeaders=(?P<headers>[^,]+),\s*Signature=(?P<sign>\w+)"
)


def signature_matches(
    call: AwsCall, secret: str, method: str, raw_path: str, raw_body: bytes, headers: Mapping[str, str]
) -> bool:
    """Whether the Authorization header was made with `secret`; presigned requests are taken as they are.

    `raw_path` is the path as sent, without the query; `headers` have lower-case names.
    """
    given = _AUTHORIZATION.match(headers.get("authorization", ""))
    if given is None:
        return "X-Amz-Signature=" in call.query
    signed = given["headers"].split(";")
    body_hash = headers.get("x-amz-content-sha256") or hashlib.sha256(raw_body).hexdigest()
    pairs = [part.partition("=") for part in call.query.split("&") if part]
    query = sorted((quote(unquote(name), "-_.~"), quote(unquote(value), "-_.~")) for name, _, value in pairs)
    canonical = "\n".join(
        [
            method,
            raw_path if call.service == "s3" else quote(raw_path, "/-_.~"),
            "&".join(f"{name}={value}" for name, value in query),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in signed),
            "",
            ";".join(signed),
            body_hash,
        ]
    )
    date, *scope = given["scope"].split("/")
    to_sign = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            headers.get("x-amz-date", ""),
            given["scope"],
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = hmac.digest(b"AWS4" + secret.encode(), date.encode(), "sha256")
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    expected = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return hmac.compare_digest(expected, given["sign"])

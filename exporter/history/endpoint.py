"""The endpoint that keeps the dated history: writes samples into it and asks it what it holds.

It answers a request whole: one sample that it refuses takes its whole request along, so a refused
request is halved until what is refused stands alone.
"""

from __future__ import annotations

import base64
import logging
import os
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError
from requests.auth import AuthBase, HTTPBasicAuth

from exporter.aws.connections import AmbientSession
from exporter.core.redaction import keep_secret, redacted
from exporter.history.request import HEADERS, Point, compress, encode_points
from exporter.history.settings import HistorySettings
from exporter.web.client_settings import SigV4
from exporter.web.outgoing import OutgoingSession

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 5.0
_REQUESTS_WITHOUT_SUCCESS = 64  # after so many, a batch of which nothing is taken is not halved any further
_BAD_SAMPLE = re.compile(r"out of (order|bounds)|too[ -]old|duplicate sample", re.IGNORECASE)
_TOO_OLD = re.compile(r"out of bounds|too[ -]old", re.IGNORECASE)
# Not the samples' fault: credentials, a wrong path, a receiver that is not enabled, too many requests.
_NOT_THE_SAMPLES = frozenset({401, 403, 404, 405, 407, 408, 425, 429})


class EndpointError(Exception):
    """The endpoint cannot be used now; the same request may succeed later.

    `retry_after` are the seconds that it asked to be left alone for, if it said so.
    """

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class _Answer(Enum):
    TAKEN = "taken"
    REFUSED = "refused"  # because of its samples
    TOO_OLD = "too old"  # because of the oldest of them, at least
    FAULT = "fault"  # 500: of a sample, or of the server


class _Bearer(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        r.headers["Authorization"] = f"Bearer {self._token}"
        return r


class _Signature(AuthBase):
    """AWS Signature Version 4 by botocore's signer."""

    def __init__(self, settings: SigV4) -> None:
        session = AmbientSession(profile=settings.profile)
        credentials = session.get_credentials()
        if credentials is None:
            raise EndpointError("there are no AWS credentials to sign with")
        if settings.role_arn is not None:
            fetcher = AssumeRoleCredentialFetcher(
                partial(session.create_client, region_name=settings.region),
                credentials,
                settings.role_arn,
                extra_args={"RoleSessionName": "aws-spend-exporter"},
            )
            credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
        self._signer = SigV4Auth(credentials, settings.service, settings.region)

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        # The signer reads the keys each time, so that refreshed ones are used.
        request = AWSRequest(method=r.method, url=r.url, data=r.body)
        self._signer.add_auth(request)
        r.headers.update(dict(request.headers))
        return r


def _secret(file: Path | None, variable: str | None) -> str:
    text = file.read_text(encoding="utf-8") if file is not None else os.environ.get(variable or "", "")
    if not text.strip():
        raise EndpointError(f"the secret of history is empty or not set: {file or variable}")
    keep_secret([text.strip()])
    return text.strip()


class RemoteWriteEndpoint:
    """One endpoint; used by one thread at a time."""

    def __init__(self, settings: HistorySettings) -> None:
        """`settings` must have a `write_url` to write, and a `query_base` to query."""
        self._settings = settings
        self._session = OutgoingSession()
        self._signature: _Signature | None = None
        self._verify: bool | str = str(settings.tls.ca_file) if settings.tls.ca_file else True
        pair = [str(file) for file in (settings.tls.cert_file, settings.tls.key_file) if file is not None]
        self._certificate = (pair[0], pair[1]) if len(pair) == 2 else pair[0] if pair else None

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    # Writing

    def write(self, points: Sequence[Point]) -> frozenset[int]:
        """Write the samples; the indices of those that the endpoint refuses for good.

        EndpointError if it cannot be used now: any of the samples may then be stored or not.
        """
        refused: set[int] = set()
        suspected: set[int] = set()  # answered 500, which only the success of others makes their own fault
        taken_any = False
        failures = 0
        rest = [range(len(points))] if points else []
        while rest:
            part = rest.pop()
            answer, message = self._post(points, part)
            if answer is _Answer.TAKEN:
                taken_any = True
                continue
            failures += 1
            if answer is _Answer.FAULT and not taken_any and failures > 2 * len(points).bit_length():
                raise EndpointError(message)
            if not taken_any and failures > _REQUESTS_WITHOUT_SUCCESS:
                refused.update(part, *rest)
                break
            if len(part) == 1:
                (suspected if answer is _Answer.FAULT else refused).add(part[0])
                log.debug("a sample is refused", extra={"error": message})
            elif answer is _Answer.TOO_OLD and self._newest_is_too_old(points, part):
                refused.update(part)
            else:
                middle = len(part) // 2
                rest += [part[middle:], part[:middle]]
        if suspected and not taken_any:
            raise EndpointError("answered 500 to every sample")
        return frozenset(refused | suspected)

    def _newest_is_too_old(self, points: Sequence[Point], part: range) -> bool:
        newest = max(part, key=lambda index: points[index][1])
        return self._post(points, range(newest, newest + 1))[0] is _Answer.TOO_OLD

    def _post(self, points: Sequence[Point], part: range) -> tuple[_Answer, str]:
        assert self._settings.write_url is not None
        body = compress(encode_points(points[part.start : part.stop]))
        response = self._request(self._settings.write_url, body, HEADERS)
        status = response.status_code
        if 200 <= status < 300:
            return _Answer.TAKEN, ""
        message = f"{self._settings.write_url} answered {status}: {_shown(response)}"
        if status in (400, 500) and _TOO_OLD.search(response.text):
            return _Answer.TOO_OLD, message
        if status == 500 and not _BAD_SAMPLE.search(response.text):
            return _Answer.FAULT, message
        if status == 500 or (400 <= status < 500 and status not in _NOT_THE_SAMPLES):
            return _Answer.REFUSED, message
        raise EndpointError(message, _retry_after(response))

    # Reading

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The matrix of a range query; EndpointError if there is none."""
        return self._query("query_range", {"query": expression, "start": start, "end": end, "step": step})

    def query(self, expression: str, at: float) -> list[dict[str, Any]]:
        """The vector or matrix of an instant query; EndpointError if there is none."""
        return self._query("query", {"query": expression, "time": at})

    def _query(self, path: str, parameters: Mapping[str, str | float]) -> list[dict[str, Any]]:
        url = f"{self._settings.query_base}/api/v1/{path}"
        # A form instead of a query string: it signs the same everywhere. VictoriaMetrics knows nocache.
        response = self._request(url, {**parameters, "nocache": "1"}, {})
        try:
            answer = response.json()
            if response.status_code == 200 and answer["status"] == "success":
                return list(answer["data"]["result"])
        except (ValueError, KeyError, TypeError):
            pass
        raise EndpointError(
            f"{url} answered {response.status_code}: {_shown(response)}", _retry_after(response)
        )

    def _request(
        self, url: str, body: bytes | Mapping[str, str | float], headers: Mapping[str, str]
    ) -> requests.Response:
        timeout = self._settings.timeout.total_seconds()
        try:
            return self._session.post(
                url,
                data=body,
                headers={"User-Agent": "aws-spend-exporter", **headers, **self._settings.headers},
                auth=self._authentication(),
                timeout=(min(_CONNECT_SECONDS, timeout), timeout),
                verify=self._verify,
                cert=self._certificate,
            )
        except (requests.RequestException, BotoCoreError, ClientError, OSError, UnicodeError) as error:
            raise EndpointError(f"{url}: {error}") from error

    def _authentication(self) -> AuthBase | None:
        """Read for each request, because secrets in files are replaced while we run."""
        settings = self._settings
        if settings.basic_auth is not None:
            basic = settings.basic_auth
            password = _secret(basic.password_file, basic.password_env)
            # As it travels: an endpoint that repeats the request in its error would have us log it.
            keep_secret([base64.b64encode(f"{basic.username}:{password}".encode()).decode()])
            return HTTPBasicAuth(basic.username.encode(), password.encode())
        if settings.bearer is not None:
            return _Bearer(_secret(settings.bearer.token_file, settings.bearer.token_env))
        if settings.sigv4 is not None:
            self._signature = self._signature or _Signature(settings.sigv4)
            return self._signature
        return None


def _shown(response: requests.Response) -> str:
    # Before it is cut: half a secret would not be recognised.
    return " ".join(redacted(response.text[:10_000])[:300].split())


def _retry_after(response: requests.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), 3600.0) if text.isdigit() else 0.0

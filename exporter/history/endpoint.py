"""The endpoint that keeps the dated history: writes samples into it and asks it what it holds.

It is written to in remote write 2.0, or in 1.0 where it does not confirm 2.0: `isolation` finds what is refused.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Mapping, Sequence
from enum import IntEnum
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
from exporter.history.isolation import Answer, NothingTakenError, TooLargeError, Verdict, Written, isolate
from exporter.history.refusals import is_limit, reason_of
from exporter.history.request import (
    HEADERS,
    HEADERS_2,
    WRITTEN_HEADER,
    Point,
    compress,
    encode_points,
    encode_points_2,
)
from exporter.history.settings import HistorySettings
from exporter.web.client_settings import SigV4
from exporter.web.outgoing import OutgoingSession

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 5.0
# Neither the samples' nor the batch's fault: credentials, a wrong path, a receiver that is not enabled, too many requests.
_NOT_THE_BATCH = frozenset({401, 403, 404, 405, 407, 408, 425, 429})
_FAILURES = 2  # parts of a batch that are refused whole, before the rest of it is not tried
_GROW_AFTER = 64  # batches in smaller requests, before larger ones are tried again


class EndpointError(Exception):
    """The endpoint cannot be used now; the same request may succeed later.

    `retry_after` are the seconds that it asked to be left alone for, if it said so.
    """

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BatchRefusedError(EndpointError):
    """The endpoint refuses this batch by words that are not about its samples; it may take another one now.

    `taken` is how many samples of other batches it took meanwhile.
    """

    taken = 0


class _Version(IntEnum):
    """Of remote write."""

    UNKNOWN = 0
    ONE = 1
    TWO = 2


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
        self._version = _Version.UNKNOWN
        self._most: int | None = None
        """The samples of the largest request that the endpoint takes; None: any."""
        self._batches_of_most = 0
        self._in_doubt = False
        """Whether nothing of the last batch was taken."""
        self._certificate = (pair[0], pair[1]) if len(pair) == 2 else pair[0] if pair else None

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    # Writing

    def write(self, points: Sequence[Point]) -> Written:
        """Write the samples, which are sorted by series and time; those that were not taken.

        BatchRefusedError if the endpoint takes none of them and says nothing of samples; another EndpointError if it
        cannot be used now. Any of the samples may then be stored or not.
        """
        refused: set[int] = set()
        left: set[int] = set()
        parts = [range(len(points))] if points else []
        failures = 0
        self._batches_of_most += 1
        if self._batches_of_most > _GROW_AFTER:
            self._most = None
        while parts:
            part = parts.pop()
            if self._most is not None and len(part) > self._most:
                parts += _halves(part)
                continue
            nothing_taken = len(refused) + len(left) == part.start  # the parts come in their order
            try:
                written = isolate(points[part.start : part.stop], self._post, self._in_doubt)
            except TooLargeError as error:
                if len(part) > 1:
                    parts += _halves(part)
                    continue
                if nothing_taken:
                    raise BatchRefusedError(str(error)) from None
                left.update(part)
                continue
            except NothingTakenError as error:
                failures += 1
                self._in_doubt = True
                if nothing_taken or failures > _FAILURES:
                    raise BatchRefusedError(str(error)) from None
                left.update(part)
                continue
            self._in_doubt = False
            refused.update(part[index] for index in written.refused)
            left.update(part[index] for index in written.left)
            if self._most is None and len(part) < len(points):
                self._most, self._batches_of_most = len(part), 0
        return Written(frozenset(refused), frozenset(left))

    def _post(self, points: Sequence[Point]) -> Answer:
        if self._version is not _Version.ONE:
            answer = self._post_2(points)
            if answer is not None:
                return answer
        answer = self._read_answer(self._send(encode_points(points), HEADERS), None)
        if answer.verdict in (Verdict.TAKEN, Verdict.REFUSED):
            self._version = _Version.ONE
        return answer

    def _post_2(self, points: Sequence[Point]) -> Answer | None:
        """Send by 2.0; None if the endpoint does not confirm 2.0, or not this time."""
        response = self._send(encode_points_2(points), HEADERS_2)
        status = response.status_code
        written = _written(response, len(points))
        if written is not None and not (200 <= status < 300 and written < len(points)):
            self._version = _Version.TWO
            return self._read_answer(response, written)
        if 200 <= status < 300 or status == 415:
            # A receiver of 1.0 takes the request for an empty one, and answers that it has written it.
            self._version = _Version.ONE
            return None
        if self._version is _Version.TWO:
            return self._read_answer(response, None)
        self._raise_unless_refused(response)
        return None  # it may be the body that it cannot read

    def _send(self, request: bytes, headers: Mapping[str, str]) -> requests.Response:
        assert self._settings.write_url is not None
        return self._request(self._settings.write_url, compress(request), headers)

    def _raise_unless_refused(self, response: requests.Response) -> None:
        status = response.status_code
        if status != 500 and not (400 <= status < 500 and status not in _NOT_THE_BATCH):
            raise EndpointError(self._described(response), _retry_after(response))

    def _described(self, response: requests.Response) -> str:
        return f"{self._settings.write_url} answered {response.status_code}: {_shown(response)}"

    def _read_answer(self, response: requests.Response, written: int | None) -> Answer:
        status = response.status_code
        if 200 <= status < 300:
            return Answer(verdict=Verdict.TAKEN)
        self._raise_unless_refused(response)
        if status >= 500:
            written = None  # nothing was kept, whichever sample was the reason
        if status == 413:
            return Answer(verdict=Verdict.TOO_LARGE, text=self._described(response))
        reason = reason_of(status, response.text)
        if reason is None:
            # The receiver may use words that are not listed: where it took some, the others are refused one by one.
            refused = status == 400 and bool(written) and not is_limit(response.text)
            return Answer(
                verdict=Verdict.REFUSED if refused else Verdict.LATER,
                text=self._described(response),
                written=written if refused else None,
            )
        log.debug("samples are refused", extra={"error": self._described(response)})
        return Answer(verdict=Verdict.REFUSED, text=response.text, reason=reason, written=written)

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


def _halves(part: range) -> list[range]:
    """The second half first, so that the first one is popped first."""
    middle = len(part) // 2
    return [part[middle:], part[:middle]]


def _written(response: requests.Response, sent: int) -> int | None:
    """How many of the samples were taken, as a receiver of remote write 2.0 has to say; None if it does not."""
    text = response.headers.get(WRITTEN_HEADER, "")
    return min(int(text), sent) if _is_number(text) else None


def _shown(response: requests.Response) -> str:
    # Before it is cut: half a secret would not be recognised.
    return " ".join(redacted(response.text[:10_000])[:300].split())


def _retry_after(response: requests.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), 3600.0) if _is_number(text) else 0.0


def _is_number(text: str) -> bool:
    # Python reads no more than some thousand digits, and other digits not at all.
    return text.isascii() and text.isdigit() and len(text) < 20

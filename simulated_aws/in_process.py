"""boto3 clients whose requests go to moto without a network: what fills the simulated accounts."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

APPLICATION = DomainDispatcherApplication(create_backend_app)
"""moto behind one WSGI application; the header X-Moto-Account-Id says whose backends answer."""

_SESSION = botocore.session.Session()  # one, because it keeps the models that it has parsed
_creating = threading.Lock()
_account: ContextVar[str] = ContextVar("account")


class _Body:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._body


def _answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
    url = urlsplit(request.url)
    body: Any = request.body or b""
    if hasattr(body, "read"):
        body = body.read()
    body = body.encode() if isinstance(body, str) else bytes(body)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(url.path),
        "QUERY_STRING": url.query,
        "RAW_URI": url.path + (f"?{url.query}" if url.query else ""),
        "SERVER_NAME": url.hostname,
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": url.netloc,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        text = value.decode() if isinstance(value, bytes) else str(value)
        if key == "CONTENT_TYPE":
            environ[key] = text
        elif key not in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
            environ[f"HTTP_{key}"] = text
    environ["HTTP_X_MOTO_ACCOUNT_ID"] = _account.get()
    started: list[Any] = []
    parts = APPLICATION(environ, lambda line, headers, _=None: started.extend((line, headers)))
    answer = b"".join(parts)
    headers = HTTPHeaders()
    for name, value in started[1]:
        headers[name] = value
    return AWSResponse(request.url, int(started[0].split(" ", 1)[0]), headers, _Body(answer))


@cache
def _client(service: str, region: str) -> Any:
    with _creating:  # a session is not made for threads
        client = _SESSION.create_client(
            service,
            region_name=region,
            endpoint_url=f"https://{service}.{region}.amazonaws.com",
            aws_access_key_id="simulated",
            aws_secret_access_key="simulated",  # noqa: S106 - opens nothing but the simulation
            config=Config(retries={"total_max_attempts": 1}),
        )
    client.meta.events.register("before-send", _answer)
    return client


class AccountClient:
    """Calls one service of one account in one region, e.g. `client.create_queue(QueueName=...)`."""

    def __init__(self, account_id: str, service: str, region: str) -> None:
        self._account_id = account_id
        self._client = _client(service, region)

    def __getattr__(self, operation: str) -> Any:
        def call(**params: Any) -> Any:
            token = _account.set(self._account_id)
            try:
                return getattr(self._client, operation)(**params)
            finally:
                _account.reset(token)

        return call

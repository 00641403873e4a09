"""Outgoing HTTP: requests whose whole answer has a deadline and a bound on its size."""

from __future__ import annotations

from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from exporter.core.answer_limits import answer_within, limited_pool

MAX_ANSWER_BYTES = 128 << 20
"""No answer that is asked for is larger, before or after it is unpacked."""

_PIECE_BYTES = 1 << 14
_POOLS = {
    "http": limited_pool(urllib3.HTTPConnectionPool),
    "https": limited_pool(urllib3.HTTPSConnectionPool),
}


class TooLargeError(requests.RequestException):
    """The answer holds more than is read."""


class LimitedAdapter(HTTPAdapter):
    """requests' own adapter, with connections that heed a limit on the whole answer."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Called by requests when an adapter is made."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Called by requests for each request that goes through a proxy."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class OutgoingSession(requests.Session):
    """A session of requests for which a time-out is of the whole answer.

    `timeout` must be given with each request, as (seconds to connect, seconds for the answer) or one number.
    No redirect is followed: credentials and messages go where they were meant to.
    """

    def __init__(self, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        """`max_bytes` is the largest body that is read."""
        super().__init__()
        self._max_bytes = max_bytes
        # What is not packed cannot burst.
        self.headers["Accept-Encoding"] = "identity"
        self.mount("http://", LimitedAdapter())
        self.mount("https://", LimitedAdapter())

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """The answer with its body; requests.Timeout or TooLargeError where a limit is passed.

        Where the header has come, such an error has it as its `response`.
        """
        timeout = kwargs.get("timeout")
        if timeout is None:
            raise ValueError("a request needs a time-out")
        seconds = sum(timeout) if isinstance(timeout, tuple) else timeout
        response: requests.Response | None = None
        with answer_within(seconds, self._max_bytes) as limit:
            try:
                response = super().send(request, **{**kwargs, "stream": True, "allow_redirects": False})
                _read(response, self._max_bytes)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                if limit.exceeded == "bytes":
                    raise TooLargeError(limit.reason, request=request, response=response) from error
                # requests takes a read of a body that times out for a lost connection.
                stalled = any(isinstance(cause, urllib3.exceptions.ReadTimeoutError) for cause in error.args)
                if limit.exceeded == "seconds" or stalled:
                    raise requests.ReadTimeout(limit.reason, request=request, response=response) from error
                raise
        return response


def _read(response: requests.Response, max_bytes: int) -> None:
    body = bytearray()
    try:
        if "," in response.headers.get("Content-Encoding", ""):
            raise TooLargeError("the answer is packed more than once", response=response)
        for piece in response.iter_content(_PIECE_BYTES):
            body += piece
            if len(body) > max_bytes:
                raise TooLargeError(f"the answer is larger than {max_bytes} bytes", response=response)
    except BaseException:
        response.close()
        raise
    response._content = bytes(body)  # where requests keeps what it has read
    response._content_consumed = True  # type: ignore[attr-defined]

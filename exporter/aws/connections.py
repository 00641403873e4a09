"""Connections to AWS: the whole of each answer has a deadline and a bound, and none stays open that AWS has closed."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

import botocore.session
import urllib3
from botocore.awsrequest import AWSHTTPConnectionPool, AWSHTTPSConnectionPool
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session
from botocore.parsers import ResponseParserError
from botocore.utils import get_environ_proxies
from urllib3.util.connection import is_connection_dropped

from exporter.core.answer_limits import answer_within, limited_pool

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 32 << 20
"""Several times what the largest pages of AWS have, of thousands of groups or instances."""

_HOSTS = 1000  # each service in each region is one; urllib3 would keep ten
_POOLS = {
    "http": limited_pool(AWSHTTPConnectionPool),
    "https": limited_pool(AWSHTTPSConnectionPool),
}
_LEAST_UPLOAD_BYTES_A_SECOND = 128 << 10
_IDLE_CHECK_SECONDS = 10.0
_SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)


class LimitedSession:
    """An HTTP session of botocore, whose answers must have come whole within twice its time-out of one read.

    A body that is streamed is read after `send`, with the time-out of one read alone.
    """

    def __init__(self, session: URLLib3Session) -> None:
        """`session` must not have been used."""
        session._pool_classes_by_scheme = _POOLS
        session._manager.pool_classes_by_scheme = _POOLS
        self._session = session

    def send(self, request: Any) -> Any:
        """The answer; ReadTimeoutError or ResponseParserError where it passes a limit."""
        with answer_within(self._seconds(request), MAX_ANSWER_BYTES) as limit:
            try:
                return self._session.send(request)
            except Exception as error:
                if limit.exceeded == "bytes":
                    raise ResponseParserError(limit.reason) from error
                if limit.exceeded == "seconds":
                    raise ReadTimeoutError(endpoint_url=request.url, error=limit.reason) from error
                raise

    def _seconds(self, request: Any) -> float:
        timeout: Any = self._session._timeout  # a number is of connecting, and of each read
        connect, read = (
            getattr(timeout, "connect_timeout", timeout),
            getattr(timeout, "read_timeout", timeout),
        )
        seconds = float(connect) + 2 * float(read)
        sent = int(request.headers.get("Content-Length") or 0)
        return seconds + sent / _LEAST_UPLOAD_BYTES_A_SECOND

    def close(self) -> None:
        """Close what is idle."""
        self._session.close()

    def close_dropped(self) -> int:
        """Close the idle connections that the other side has closed; returns how many."""
        count = 0
        for manager in (self._session._manager, *self._session._proxy_managers.values()):
            with manager.pools.lock:
                pools = list(manager.pools._container.values())
            count += sum(map(_close_dropped, pools))
        return count


class _ManyHosts(URLLib3Session):  # type: ignore[misc] # botocore ships no types
    def _get_pool_manager_kwargs(self, **extra: Any) -> dict[str, Any]:
        return {**super()._get_pool_manager_kwargs(**extra), "num_pools": _HOSTS}


class Connections:
    """The connections of all clients, in place of botocore's HTTP session; thread-safe."""

    def __init__(
        self,
        config: Config,
        verify: str | bool,
        idle_check_seconds: float = _IDLE_CHECK_SECONDS,
    ) -> None:
        """`verify` is a file of certificates, or whether there is to be one.

        Every `idle_check_seconds`, idle connections that AWS has closed are closed here.
        """
        self._config = config
        self._verify = verify
        self._idle_check_seconds = idle_check_seconds
        self._lock = threading.Lock()
        self._proxies: dict[str, tuple[tuple[str, str], ...]] = {}
        self._sessions: dict[tuple[tuple[str, str], ...], LimitedSession] = {}
        self._closed: threading.Event | None = None
        """Ends the thread that looks after idle connections; None while there is none."""

    def send(self, request: Any) -> Any:
        """Send one request, through the proxy that the environment names for its host."""
        host = request.url[: request.url.find("/", 8)]
        proxies = self._proxies.get(host)
        if proxies is None:
            proxies = self._proxies[host] = tuple(sorted(get_environ_proxies(request.url).items()))
        return self._session(proxies).send(request)

    def _session(self, proxies: tuple[tuple[str, str], ...]) -> LimitedSession:
        with self._lock:
            if self._closed is None:
                self._closed = threading.Event()
                threading.Thread(
                    target=self._look_after_idle, args=(self._closed,), name="aws-idle", daemon=True
                ).start()
            session = self._sessions.get(proxies)
            if session is None:
                session = self._sessions[proxies] = LimitedSession(
                    _ManyHosts(
                        verify=self._verify,
                        proxies=dict(proxies),
                        timeout=(self._config.connect_timeout, self._config.read_timeout),
                        max_pool_connections=self._config.max_pool_connections,
                        socket_options=list(_SOCKET_OPTIONS),
                    )
                )
            return session

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            if self._closed is not None:
                self._closed.set()
                self._closed = None
            for session in self._sessions.values():
                session.close()

    def _look_after_idle(self, closed: threading.Event) -> None:
        while not closed.wait(self._idle_check_seconds):
            try:
                self.close_dropped()
            except Exception:
                log.exception("idle connections cannot be looked after")

    def close_dropped(self) -> int:
        """Close the idle connections that the other side has closed; returns how many."""
        with self._lock:
            sessions = list(self._sessions.values())
        return sum(session.close_dropped() for session in sessions)


def _close_dropped(pool: urllib3.HTTPConnectionPool) -> int:
    count = 0
    queue: Any = pool.pool
    if queue is None:  # the pool has been closed
        return 0
    with queue.mutex:  # what is in it is idle, and no thread takes it now
        for connection in queue.queue:
            if connection is not None and connection.sock is not None and is_connection_dropped(connection):
                connection.close()  # it stays in its place, and connects again when it is used
                count += 1
    return count


_IMPATIENT = Config(connect_timeout=3, read_timeout=15, retries={"total_max_attempts": 2, "mode": "standard"})

# Of botocore's providers of credentials: the attribute that holds what asks.
_FETCHERS = {"container-role": "_fetcher", "iam-role": "_role_fetcher"}


class AmbientSession(botocore.session.Session):  # type: ignore[misc] # botocore ships no types
    """A session whose providers of credentials ask STS, SSO, containers and instances over limited connections."""

    def __init__(self, profile: str | None = None, *, config: Config = _IMPATIENT) -> None:
        """`config` is of the clients that the providers make."""
        super().__init__(profile=profile)
        self.set_default_client_config(config)

    def create_client(self, *args: Any, **kwargs: Any) -> Any:
        """As botocore's."""
        client = super().create_client(*args, **kwargs)
        client._endpoint.http_session = LimitedSession(client._endpoint.http_session)
        return client

    def get_credentials(self) -> Any:
        """As botocore's; None if no provider has any."""
        resolver = self.get_component("credential_provider")
        for name, attribute in _FETCHERS.items():
            fetcher = getattr(resolver.get_provider(name), attribute)
            if not isinstance(fetcher._session, LimitedSession):
                fetcher._session = LimitedSession(fetcher._session)
        return super().get_credentials()

"""A web configuration file in force: TLS, passwords and headers around an application.

It applies to every path. Users, headers and certificates are read again when their files change, so that
they can be rotated; everything else about TLS is fixed at the start.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporter.web.certificates import load_certificate, make_context
from exporter.web.config import WebConfigError, read_web_file
from exporter.web.passwords import Passwords, TooManyGuessesError

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


class WebConfig:
    """A web configuration file in force; `guard` an application with it. WebConfigError if it is bad."""

    def __init__(
        self, path: Path, *, passwords: Passwords | None = None, look_seconds: float = _LOOK_SECONDS
    ) -> None:
        """Read the file and everything that it names; look for changes every `look_seconds` at most."""
        self.path = path
        self._look_seconds = look_seconds
        self._file = read_web_file(path)
        tls = self._file.tls_server_config
        self._context = make_context(path, tls) if tls is not None else None
        if self._context is not None:
            self._context.sni_callback = self._before_handshake
        self._lock = threading.Lock()
        self._seen = self._fingerprint()
        self._looked = time.monotonic()
        self._passwords = passwords or Passwords()

    @property
    def users(self) -> Mapping[str, str]:
        """Hashes by user; empty: no authentication."""
        return self._file.basic_auth_users

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of every answer."""
        return self._file.http_server_config.headers

    def ssl_context(self) -> ssl.SSLContext | None:
        """For the listener; None: no TLS."""
        return self._context

    def guard(self, app: Any) -> Any:
        """`app` behind basic authentication, with the file's headers."""
        return _Guard(app, self)

    async def admits(self, authorization: str) -> bool:
        """Whether a request with this Authorization header may pass; TooManyGuessesError."""
        users = self.users
        return not users or await self._passwords.fit(users, authorization)

    # Rotation

    def _fingerprint(self) -> tuple[tuple[int, int, int], ...]:
        tls = self._file.tls_server_config
        found = []
        for path in (self.path, *(tls.files if tls is not None else ())):
            try:
                state = path.stat()
                found.append((state.st_mtime_ns, state.st_size, state.st_ino))
            except OSError:
                found.append((0, 0, 0))
        return tuple(found)

    def _before_handshake(self, *_: Any) -> None:
        # The context is this one's: what is loaded into it counts for this handshake's successors.
        self.refresh()

    def refresh(self) -> None:
        """Read what has changed, looking once a second at most; a bad file leaves the old one in force."""
        if time.monotonic() - self._looked < self._look_seconds or not self._lock.acquire(blocking=False):
            return
        try:
            self._looked = time.monotonic()
            now = self._fingerprint()
            if now == self._seen:
                return
            self._seen = now
            try:
                new = read_web_file(self.path)
                if (new.tls_server_config is None) != (self._context is None):
                    raise WebConfigError(
                        f"{self.path}: tls_server_config: came or went, expected a restart for that"
                    )
                if new.tls_server_config is not None and self._context is not None:
                    make_context(self.path, new.tls_server_config)  # whole or not at all
                    load_certificate(self.path, new.tls_server_config, self._context)
            except WebConfigError as error:
                log.error("web configuration refused, the old one stays", extra={"error": str(error)})
                return
            self._file = new
            self._seen = self._fingerprint()
            log.info("web configuration read again", extra={"file": str(self.path)})
        finally:
            self._lock.release()


class _Guard:
    """ASGI: nothing of the application is reached by who is not admitted."""

    def __init__(self, app: Any, web: WebConfig) -> None:
        self._app = app
        self._web = web

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served")
        self._web.refresh()
        extra = [(name.lower().encode(), text.encode()) for name, text in self._web.headers.items()]

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start" and extra:
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        given = [value for name, value in scope["headers"] if name == b"authorization"]
        authorization = given[0].decode("latin-1") if len(given) == 1 else ""
        try:
            if await self._web.admits(authorization):
                await self._app(scope, receive, send_with_headers)
                return
            status, body, header = 401, b"Unauthorized\n", (b"www-authenticate", b"Basic")
        except TooManyGuessesError:
            status, body, header = 503, b"Too many passwords to check\n", (b"retry-after", b"10")
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            header,
        ]
        await send_with_headers({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def open_web_config(path: Path | None) -> WebConfig | None:
    """The web configuration of a setting, None where there is none; WebConfigError if it is bad."""
    return WebConfig(path) if path is not None else None

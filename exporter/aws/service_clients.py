"""One botocore client a service for every region: the region is of the request, as the credentials are.

Clients of further regions would cost 0.2 to 1.4 MiB each and hold connections, TLS contexts and parsed shapes
again. Host and signature follow the region by botocore's events, and the rules of each service's
endpoints decide as they would for a client of that region: see tests/unit/aws/test_service_clients.py.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from botocore.config import Config

from exporter.aws import cost_pages
from exporter.aws.connections import Connections
from exporter.aws.credentials import context_resolver
from exporter.aws.parsing import StrictParsers, refuse_malformed_body
from exporter.aws.service_models import session_with_small_models

_region: ContextVar[str] = ContextVar("current_region")


@contextmanager
def in_region(region: str) -> Iterator[None]:
    """Send every request of this thread to `region` while inside."""
    token = _region.set(region)
    try:
        yield
    finally:
        _region.reset(token)


class ServiceClients:
    """Clients by service, made when they are first needed; thread-safe."""

    def __init__(
        self, config: Config, region: str, endpoint_url: str | None, profile: str | None = None
    ) -> None:
        """`region` is any of the partition, whose endpoints the clients begin with.

        `profile` is that of the AWS tools whose endpoints, CA bundle, FIPS and dual-stack settings hold.
        """
        self._config = config
        self._region = region
        self.endpoint_url = endpoint_url
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._session = session = session_with_small_models(profile)
        session.register_component("credential_provider", context_resolver())
        session.register_component("response_parser_factory", StrictParsers())
        events = session.get_component("event_emitter")
        events.register("before-parse", refuse_malformed_body)
        events.register(cost_pages.EVENT, cost_pages.take_body)  # the more specific event comes first
        verify = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE") or True
        self._connections = Connections(config, verify)

    def __len__(self) -> int:
        return len(self._clients)

    def of(self, service: str) -> Any:
        """The client of a service; its requests are to be sent `in_region`."""
        client = self._clients.get(service)
        if client is None:
            with self._lock:
                client = self._clients.get(service)
                if client is None:
                    client = self._clients[service] = self._make(service)
        return client

    def _make(self, service: str) -> Any:
        client = self._session.create_client(
            service, region_name=self._region, endpoint_url=self.endpoint_url, config=self._config
        )
        events, name = client.meta.events, client.meta.service_model.service_id.hyphenize()
        # First, so that botocore's own handlers win, such as that of a bucket in another region.
        events.register_first(f"before-endpoint-resolution.{name}", _resolve_in_region)
        events.register_first(f"before-sign.{name}", _sign_for_region)
        client._endpoint.http_session = self._connections  # botocore lets no one choose it
        return client

    def paginator_config(self, service: str, operation: str) -> Any:
        """How an operation is paged; ValueError if botocore has no pages for it."""
        return self._session.get_paginator_model(service).get_paginator(operation)

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            self._connections.close()
            self._clients.clear()


def _resolve_in_region(builtins: dict[str, Any], **_: Any) -> None:
    if region := _region.get(None):
        builtins["AWS::Region"] = region


def _sign_for_region(request: Any, **_: Any) -> None:
    """Sign for the region, unless the endpoint's rules name another, as those of global services do."""
    if region := _region.get(None):
        request.context.setdefault("signing", {}).setdefault("region", region)

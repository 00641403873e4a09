"""Where results may be posted, and a post that goes to exactly the address that was checked."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from exporter.core.answer_limits import answer_within, limited_pool
from exporter.relay.channel import DeliveryResult, DeliveryStatus, Timeout
from exporter.relay.integration_settings import ReturnHost
from exporter.relay.webhook import classify
from exporter.web.addresses import is_public

_HTTPS = 443
_MAX_HEADER_BYTES = 1 << 20  # with what of the body comes along

Resolver = Callable[[str, int], Sequence[str]]
"""The IP addresses of a host, as text; OSError if it has none."""


class RefusedUrlError(Exception):
    """A return_url that nothing is posted to; the text does not repeat the URL, which is a secret."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A checked return_url: what to ask for, whom to name, and the one address to connect to."""

    scheme: str
    host: str
    port: int
    path: str
    address: str


def check_url(url: str, allowed: Sequence[ReturnHost]) -> tuple[SplitResult, bool]:
    """The parts of an allowed return_url, and whether it may be private; RefusedUrlError otherwise."""
    if len(url) > 2048 or re.search(r"[^!-~]|\\", url):
        raise RefusedUrlError("return_url: not a usable URL")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        raise RefusedUrlError("return_url: not a usable URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise RefusedUrlError("return_url: must be an https URL")
    if parts.username is not None or parts.password is not None:
        raise RefusedUrlError("return_url: must not hold a user name or password")
    port = (_HTTPS if parts.scheme == "https" else 80) if port is None else port
    if ReturnHost(host, port) in allowed:
        return parts, True
    if parts.scheme != "https":
        raise RefusedUrlError("return_url: must be https; http is for hosts that are listed with their port")
    if port == _HTTPS and any(entry.port is None and entry.covers(host) for entry in allowed):
        return parts, False
    raise RefusedUrlError("return_url: its host is not among relay.integration.return_hosts")


def resolve(url: str, allowed: Sequence[ReturnHost], resolver: Resolver | None = None) -> Destination:
    """Look the host up once and check what it is; RefusedUrlError, or OSError if it cannot be looked up."""
    parts, may_be_private = check_url(url, allowed)
    host = (parts.hostname or "").removesuffix(".")
    port = parts.port or (_HTTPS if parts.scheme == "https" else 80)
    addresses = (resolver or _addresses)(host, port)
    # One private address among public ones is an attempt: none of them is used.
    if not may_be_private and not all(is_public(address) for address in addresses):
        raise RefusedUrlError("return_url: its host has a private address, which is not listed with its port")
    if not addresses:
        raise OSError("the host has no address")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination(parts.scheme, host, port, path, addresses[0])


def post(
    destination: Destination, body: bytes, timeout: Timeout, ca_file: str = DEFAULT_CA_BUNDLE_PATH
) -> DeliveryResult:
    """Post JSON once to the address that was checked, although the host's name may mean another by now.

    Redirects are not followed. Certificates are checked against the host's name, and the authorities of
    `ca_file`. Raises nothing of urllib3.
    """
    limits = urllib3.Timeout(connect=timeout[0], read=timeout[1])
    pool: urllib3.HTTPConnectionPool
    if destination.scheme == "https":
        pool = limited_pool(urllib3.HTTPSConnectionPool)(
            destination.address,
            destination.port,
            timeout=limits,
            ssl_context=ssl.create_default_context(cafile=ca_file),
            server_hostname=destination.host,
            assert_hostname=destination.host,
        )
    else:
        pool = limited_pool(urllib3.HTTPConnectionPool)(destination.address, destination.port, timeout=limits)
    default_port = destination.port == (_HTTPS if destination.scheme == "https" else 80)
    shown = f"[{destination.host}]" if ":" in destination.host else destination.host
    try:
        with answer_within(sum(timeout), _MAX_HEADER_BYTES):
            answer = pool.urlopen(
                "POST",
                destination.path,
                body=body,
                headers={
                    "Host": shown if default_port else f"{shown}:{destination.port}",
                    "Content-Type": "application/json; charset=utf-8",
                },
                redirect=False,
                retries=False,
                preload_content=False,  # an endless body must not hold the thread
            )
        answer.close()
        return classify(answer.status)
    except urllib3.exceptions.NewConnectionError as error:  # which is a timeout by its class
        return DeliveryResult(DeliveryStatus.UNREACHABLE, type(error).__name__)
    except urllib3.exceptions.TimeoutError as error:
        return DeliveryResult(DeliveryStatus.TIMEOUT, type(error).__name__)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        return DeliveryResult(DeliveryStatus.UNREACHABLE, type(error).__name__)
    finally:
        pool.close()


def lookup_within(seconds: float) -> Resolver:
    """A resolver that gives up: the system's own can take a minute, and cannot be interrupted."""

    def look_up(host: str, port: int) -> Sequence[str]:
        found: list[Sequence[str]] = []
        failed: list[OSError] = []

        def work() -> None:
            try:
                found.append(_addresses(host, port))
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=work, name="lookup", daemon=True)
        thread.start()
        thread.join(seconds)
        if failed:
            raise failed[0]
        if not found:
            raise TimeoutError("the host's name was not resolved in time")
        return found[0]

    return look_up


def _addresses(host: str, port: int) -> Sequence[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that IDNA refuses
        raise OSError("the host's name cannot be resolved") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))

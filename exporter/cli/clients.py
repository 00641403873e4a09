"""The clients with which commands reach the exporter and the relay of a configuration."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from exporter.config.model import Config
from exporter.web.client import Client, RefusedError
from exporter.web.client_settings import Tls
from exporter.web.config import WebConfigError, read_web_file
from exporter.web.credentials import CallerAuth, CredentialsError, read_auth

_FIRST_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # compared, not bound


def exporter_client(config: Config, url: str | None = None) -> Client:
    """The exporter at `url`, at `client.url`, or where `server` listens; RefusedError if that cannot be told."""
    if (url := url or config.client.url) is not None:
        signs_in = urlsplit(url).username is not None
        auth = None if signs_in else _auth(config)
        return Client(
            url.rstrip("/"), auth, config.client.tls, setting="the URL" if signs_in else _setting(config)
        )
    server = config.server
    own = _own(server.host, server.port, server.web_config_file, config.client.tls)
    return replace(own, auth=_auth(config), setting=_setting(config))


def _setting(config: Config) -> str:
    return f"client.{config.client.scheme}"


def _auth(config: Config) -> CallerAuth | None:
    try:
        return read_auth("client", config.client, os.environ)
    except CredentialsError as error:
        raise RefusedError(str(error)) from None


def relay_client(config: Config) -> Client:
    """The relay of the same configuration; the exporter's password is not shown to it."""
    relay = config.relay
    return _own(relay.host, relay.port, relay.web_config_file, config.client.tls)


def _own(host: str, port: int, web_file: Path | None, tls: Tls) -> Client:
    """A server of this configuration, as seen from this machine."""
    host = _EVERYWHERE.get(host, host)
    netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if web_file is None:
        return Client(f"http://{netloc}", None, tls)
    try:
        web = read_web_file(web_file).tls_server_config
        if web is None:
            return Client(f"http://{netloc}", None, tls)
        # The file that the server reads is known here: no authority has to vouch for it.
        fingerprint = _fingerprint(web.cert_file) if tls.ca_file is None else None
    except (WebConfigError, OSError, ValueError) as error:
        raise RefusedError(
            f"{error}: set client.url and client.tls.ca_file to do without that file"
        ) from None
    return Client(
        f"https://{netloc}",
        None,
        tls,
        fingerprint,
        wants_certificate=web.client_auth_type == "RequireAndVerifyClientCert",
    )


def _fingerprint(certificate: Path) -> str:
    found = _FIRST_CERTIFICATE.search(certificate.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{certificate} holds no certificate")
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(found[0])).hexdigest()

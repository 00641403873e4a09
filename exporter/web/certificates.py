"""Certificates, versions and ciphers: what OpenSSL makes of `tls_server_config`."""

from __future__ import annotations

import ssl
from pathlib import Path

from exporter.web.ciphers import CIPHERS
from exporter.web.config import TlsServer, WebConfigError

_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}


def make_context(path: Path, tls: TlsServer) -> ssl.SSLContext:
    """The context of a listener from `tls_server_config` of the file at `path`; WebConfigError if it is bad."""
    where = f"{path}: tls_server_config"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    load_certificate(path, tls, context)
    if tls.client_ca_file is not None:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise WebConfigError(
                f"{where}.client_ca_file: cannot use {tls.client_ca_file}: {error}"
            ) from None
        required = tls.client_auth_type == "RequireAndVerifyClientCert"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    # Those of TLS 1.3 cannot be chosen, neither here nor in Go.
    ciphers = [CIPHERS[name] for name in tls.cipher_suites if name in CIPHERS]
    if ciphers:
        try:
            context.set_ciphers(":".join(ciphers))
        except ssl.SSLError as error:
            raise WebConfigError(f"{where}.cipher_suites: OpenSSL knows none of them: {error}") from None
    if not tls.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    for curve in tls.curve_preferences:
        context.set_ecdh_curve(_CURVES[curve])
    return context


def load_certificate(path: Path, tls: TlsServer, context: ssl.SSLContext) -> None:
    """Take certificate and key into a context, also into one that is in use; WebConfigError if they are bad."""

    def no_password() -> str:
        raise ValueError("the key is encrypted")  # OpenSSL would ask the terminal

    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, no_password)
    except (OSError, ValueError) as error:
        raise WebConfigError(
            f"{path}: tls_server_config: cannot use {tls.cert_file} with {tls.key_file}: {error}"
        ) from None

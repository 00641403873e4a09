"""Credentials have one shape wherever a request presents them, and each error names the key, never the secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from exporter.history.live_settings import LiveWriteSettings
from exporter.history.settings import HistorySettings
from exporter.relay.integration_settings import IntegrationSettings
from exporter.relay.settings import RelaySettings
from exporter.web.client_settings import ClientSettings, ExporterSettings
from exporter.web.credentials import (
    BasicAuth,
    Bearer,
    CredentialsError,
    Demanded,
    Presented,
    authorized,
    read_auth,
)

BASIC = {"username": "ops", "password_env": "SECRET"}
BEARER = {"token_env": "SECRET"}


@pytest.mark.parametrize(
    "model", [ClientSettings, ExporterSettings, HistorySettings, LiveWriteSettings, Demanded]
)
def test_credentials_have_one_shape(model: Any) -> None:
    fields = model.model_fields
    assert (fields["basic_auth"].annotation, fields["bearer"].annotation) == (BasicAuth | None, Bearer | None)
    with pytest.raises(ValidationError, match="at most one of basic_auth"):
        model.model_validate({"basic_auth": BASIC, "bearer": BEARER})


def test_callers_of_alerts_and_ticks_present_the_same() -> None:
    demanded = [RelaySettings.model_fields["auth"], IntegrationSettings.model_fields["auth"]]
    assert [field.annotation for field in demanded] == [Demanded | None] * 2
    with pytest.raises(ValidationError, match="basic_auth or bearer"):
        Demanded()


@pytest.mark.parametrize(
    ("given", "header", "scheme"),
    [
        ({}, None, "basic_auth"),
        ({"basic_auth": BASIC}, "Basic b3BzOnMzY3JldA==", "basic_auth"),
        ({"bearer": BEARER}, "Bearer s3cret", "bearer"),
    ],
    ids=["nothing", "basic", "bearer"],
)
def test_what_is_presented(given: dict[str, Any], header: str | None, scheme: str) -> None:
    settings = Presented.model_validate(given)
    auth = read_auth("client", settings, {"SECRET": " s3cret\n"})
    assert (auth and auth.header(), settings.scheme) == (header, scheme)
    if auth is not None and header is not None:
        assert authorized(auth, header)
        assert not authorized(auth, header + "x")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"basic_auth": BASIC}, "client.basic_auth.password_env: environment variable SECRET is empty"),
        ({"bearer": BEARER}, "client.bearer.token_env: environment variable SECRET is empty or not set"),
        ({"bearer": {"token_file": "none"}}, "client.bearer.token_file: cannot read none: No such file"),
        (
            {"basic_auth": {"username": "ops", "password_file": "binary"}},
            "client.basic_auth.password_file: binary is not UTF-8 text",
        ),
    ],
    ids=["no password", "no token", "no file", "not text"],
)
def test_what_cannot_be_read_is_named_by_its_key(
    given: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("binary").write_bytes(b"\xff")
    with pytest.raises(CredentialsError) as raised:
        read_auth("client", Presented.model_validate(given), {})
    assert str(raised.value).startswith(said)

"""Secrets come from files and the environment only, and what is wrong is named without showing it."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from exporter.relay.main import serve
from exporter.relay.settings import RelayConfigError, RelaySecrets, RelaySettings
from exporter.web.credentials import Secret


def secrets_of(url: str, **settings: Any) -> RelaySecrets:
    return RelaySecrets(
        RelaySettings(channels={"default": {"url_env": "U"}}, **settings), {"U": url, "T": "t0ken-value"}
    )


def test_every_setting_is_described() -> None:
    schema = RelaySettings.model_json_schema()
    for model in [schema, *schema["$defs"].values()]:
        assert all("description" in field for field in model["properties"].values())


@pytest.mark.parametrize(
    "url",
    ["https://ping.telex.im/v1/webhooks/x", "http://127.0.0.1:8080/x", "http://[::1]/x", "http://localhost/x", " https://a.example/x\n"],
)  # fmt: skip
def test_usable_urls(url: str) -> None:
    assert secrets_of(url).channels["default"].url.reveal() == url.strip()


@pytest.mark.parametrize(
    "url",
    ["", "http://ping.telex.im/s3cret", "ftp://a.example/s3cret", "s3cret", "https://", "https://u:s3cret@a.example/",
     "https://a.example:port/s3cret", "https://a.example/s3c ret", "http://127.0.0.1.evil.example/s3cret", "https://[s3cret"],
)  # fmt: skip
def test_unusable_urls_are_refused_without_being_shown(url: str) -> None:
    with pytest.raises(RelayConfigError, match=r"relay\.channels\.default") as refused:
        secrets_of(url)
    assert "s3c" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": {"default": {}}},
        {"channels": {"default": {"url_env": "A", "url_file": "b"}}},
        {"channels": {"default": {"url": "https://ping.telex.im/x"}}},
        {"channels": {"default": {"url_env": "A", "kind": "pigeon"}}},
        {"channels": {"UPPER": {"url_env": "A"}}},
        {"default_channel": "absent"},
        {"auth": {}},
        {"auth": {"basic_auth": {"username": "u"}}},
        {"auth": {"bearer": {"token_env": "A"}, "basic_auth": {"username": "u", "password_env": "B"}}},
        {"exporter": {"bearer": {"token_env": "A"}, "basic_auth": {"username": "u", "password_env": "B"}}},
        {"exporter": {"auth": {"username": "u", "password_env": "B"}}},
        {"auth": {"basic_auth": {"username": "a:b", "password_env": "B"}}},
        {"max_message_bytes": 5000},
        {"dashboard_url": "javascript:x"},
        {"prot": 1},
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RelaySettings(**settings)


def test_default_channel() -> None:
    source = {"url_env": "A"}
    assert RelaySettings().default_channel_name() is None
    assert RelaySettings(channels={"one": source}).default_channel_name() == "one"
    assert RelaySettings(channels={"one": source, "default": source}).default_channel_name() == "default"
    assert RelaySettings(channels={"one": source, "two": source}).default_channel_name() is None
    assert (
        RelaySettings(channels={"one": source, "two": source}, default_channel="two").default_channel_name()
        == "two"
    )


def test_without_a_channel_or_its_secret_the_relay_does_not_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert serve(RelaySettings(), environ={}) == 2
    assert serve(RelaySettings(channels={"a": {"url_file": str(tmp_path / "none")}}), environ={}) == 2
    assert serve(RelaySettings(channels={"a": {"url_env": "NONE"}}), environ={}) == 2
    assert [vars(record)["reason"] for record in caplog.records] == [
        "relay.channels: no channel is configured",
        f"relay.channels.a.url_file: cannot read {tmp_path / 'none'}: No such file or directory",
        "relay.channels.a.url_env: environment variable NONE is empty or not set",
    ]


def test_a_secret_does_not_show_itself() -> None:
    assert "s3cret" not in repr(Secret("s3cret")) + str(Secret("s3cret")) + repr([Secret("s3cret")])


@pytest.mark.parametrize(
    "url", [f"https://telex.example/v1/webhooks/planted-id{end}" for end in ("", "/", "?a=b", "/?a=b")]
)
def test_the_id_of_a_webhook_is_secret_however_its_url_ends(url: str) -> None:
    settings = RelaySettings(channels={"default": {"url_env": "U"}})
    assert "planted-id" in RelaySecrets(settings, {"U": url}).values()

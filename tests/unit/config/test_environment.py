"""Variables of AWS tools and of the first version: what they set, what wins over them, and what paid calls never heed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from exporter.collectors import all_collectors
from exporter.config.read import ConfigError, load_config

ROLE = "arn:aws:iam::111122223333:role/payer"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_they_are_defaults() -> None:
    variables = {
        "AWS_ROLE_ARN": ROLE,
        "CROSS_ACCOUNT_ROLE_NAME": "reader",
        "EXTERNAL_ID": "secret-handshake",
        "LOG_LEVEL": "WARN",
        "DATA_REFRESH_INTERVAL": "300",
        "COST_ANOMALY_THRESHOLD": "30",
    }
    config = load_config(None, variables)
    assert config.anomalies.percentage == 30
    assert (config.aws.role_arn, config.aws.external_id) == (ROLE, "secret-handshake")
    assert (config.accounts.role_name, config.accounts.external_id) == ("reader", "secret-handshake")
    assert config.log.level == "warning"
    Path("config.yaml").write_text(
        "aws: {role_arn: null}\naccounts: {role_name: other, external_id: null}\nlog: {level: error}\n"
        "collectors: {ec2_instances: {interval: 2h}}\n"
    )
    config = load_config(None, variables)
    assert (config.aws.role_arn, config.aws.external_id) == (None, None)
    assert (config.accounts.role_name, config.accounts.external_id) == ("other", None)
    assert config.log.level == "error"
    specific = {**variables, "AWS_SPEND_EXPORTER_LOG__LEVEL": "debug"}
    Path("config.yaml").unlink()
    assert load_config(None, specific).log.level == "debug"


def test_the_refresh_interval_hastens_what_is_free_and_nothing_else() -> None:
    before, after = load_config(None, {}), load_config(None, {"DATA_REFRESH_INTERVAL": "300"})
    changed = {c.name for c in all_collectors() if before.settings(c).interval != after.settings(c).interval}
    hourly = {c.name for c in all_collectors() if before.settings(c).interval <= timedelta(hours=1)}
    assert changed == {collector.name for collector in all_collectors() if collector.is_free} & hourly
    assert changed
    paid = {"cost", "forecast"}
    assert not changed & paid
    assert {after.settings(c).interval.total_seconds() for c in all_collectors() if c.name in changed} == {
        300
    }
    assert {after.settings(c).enabled == before.settings(c).enabled for c in all_collectors()} == {True}


@pytest.mark.parametrize("seconds", [60, 300, 900, 3600, 7200, 21_600, 86_400])
@pytest.mark.parametrize("enabled", [False, True], ids=["off", "on"])
def test_every_refresh_interval_of_the_first_version_works(seconds: int, enabled: bool) -> None:
    Path("config.yaml").write_text(f"collectors: {{ec2_running: {{enabled: {str(enabled).lower()}}}}}")
    config = load_config(None, {"DATA_REFRESH_INTERVAL": str(seconds)})
    for collector in all_collectors():
        if collector.is_free and collector.settings().interval <= timedelta(hours=1):
            longest = collector.settings.longest_interval or timedelta.max
            assert config.settings(collector).interval == min(timedelta(seconds=seconds), longest)
    assert getattr(config.collectors, "ec2_running").interval <= timedelta(minutes=45)  # noqa: B009 # found by being there


def test_a_limit_of_a_collector_stops_it_alone_and_only_where_it_is_on() -> None:
    Path("config.yaml").write_text("collectors: {ec2_running: {interval: 2h}}")
    load_config(None, {})
    with pytest.raises(
        ConfigError,
        match=r"collectors\.ec2_running\.interval: found '2h', expected at most 45m, because terminated instances",
    ):
        load_config(None, {"AWS_SPEND_EXPORTER_COLLECTORS__EC2_RUNNING__ENABLED": "true"})


def test_a_threshold_that_nothing_reaches_is_taken_as_the_highest() -> None:
    assert load_config(None, {"COST_ANOMALY_THRESHOLD": "1000000%"}).anomalies.percentage == 10_000
    with pytest.raises(ConfigError, match=r"anomalies\.percentage: found nan, expected"):
        load_config(None, {"COST_ANOMALY_THRESHOLD": "nan"})


def test_a_role_of_a_web_identity_is_left_to_botocore() -> None:
    config = load_config(None, {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": "/token"})
    assert config.aws.role_arn is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LOG_LEVEL", "loud", "LOG_LEVEL: found 'loud', expected DEBUG, INFO, WARNING or ERROR"),
        (
            "DATA_REFRESH_INTERVAL",
            "often",
            "DATA_REFRESH_INTERVAL: found 'often', expected seconds such as 300",
        ),
        ("DATA_REFRESH_INTERVAL", "0", "interval: found '0s', expected a duration between 1s and 366d"),
        ("EXTERNAL_ID", "x", "accounts.external_id: found 'x', expected an external id"),
    ],
)
def test_a_wrong_one_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(None, {name: value})
    assert message in str(raised.value)


def test_an_empty_one_is_none() -> None:
    names = ("AWS_ROLE_ARN", "CROSS_ACCOUNT_ROLE_NAME", "EXTERNAL_ID", "LOG_LEVEL", "DATA_REFRESH_INTERVAL")
    names += ("COST_ANOMALY_THRESHOLD",)
    assert load_config(None, dict.fromkeys(names, "")) == load_config(None, {})

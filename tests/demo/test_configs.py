"""The demo's server configurations are the shipped ones with local addresses and no waiting."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from demo import configs
from demo.errors import DemoError

PORTS = {"exporter": 1, "relay": 2, "prometheus": 3, "alertmanager": 4}
PROJECT = configs.project_folder()


def shipped_prometheus() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((PROJECT / "prometheus" / "prometheus.yml").read_text())
    return config


def test_prometheus_keeps_the_shipped_jobs_and_scrapes_the_demo() -> None:
    config = configs.prometheus_config(PROJECT / "prometheus" / "prometheus.yml", PORTS, Path("/r"))
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert jobs == {
        "aws-spend-exporter": ["127.0.0.1:1"],
        "aws-spend-exporter-relay": ["127.0.0.1:2"],
        "prometheus": ["127.0.0.1:3"],
        "alertmanager": ["127.0.0.1:4"],
    }
    assert list(jobs) == [job["job_name"] for job in shipped_prometheus()["scrape_configs"]]
    assert config["alerting"]["alertmanagers"][0]["static_configs"] == [{"targets": ["127.0.0.1:4"]}]
    assert config["global"]["scrape_interval"] == config["global"]["evaluation_interval"] == "1s"
    assert config["rule_files"] == ["/r/*.yml"]
    assert config["storage"]["tsdb"]["out_of_order_time_window"] == "450d"


def test_alertmanager_keeps_the_shipped_routes_and_never_waits() -> None:
    path = PROJECT / "alertmanager" / "alertmanager.yml"
    config = configs.alertmanager_config(path, PORTS, Path("/password"))
    shipped = yaml.safe_load(path.read_text())
    urls = {hook["url"] for receiver in config["receivers"] for hook in receiver.get("webhook_configs", [])}
    assert urls == {"http://127.0.0.1:2/alerts"}
    hooks = [hook for receiver in config["receivers"] for hook in receiver.get("webhook_configs", [])]
    presented = {"basic_auth": {"username": "alertmanager", "password_file": "/password"}}
    assert [hook["http_config"] for hook in hooks] == [presented] * 2
    assert config["inhibit_rules"] == shipped["inhibit_rules"]
    for route, before in zip(config["route"]["routes"], shipped["route"]["routes"], strict=True):
        assert route == before | {"group_wait": "0s", "group_interval": "1s"}


def test_a_host_that_the_demo_does_not_know_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    path.write_text("scrape_configs: [{job_name: x, static_configs: [{targets: ['pushgateway:9091']}]}]")
    with pytest.raises(DemoError, match="names pushgateway:9091, which the demo does not know"):
        configs.prometheus_config(path, PORTS, Path("/r"))


def test_a_job_for_a_server_that_does_not_run_here_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    path.write_text("scrape_configs: [{job_name: g, static_configs: [{targets: ['grafana:3000']}]}]")
    assert configs.prometheus_config(path, PORTS, Path("/r"))["scrape_configs"] == []


def test_written_files_are_private(tmp_path: Path) -> None:
    path = configs.write_yaml(tmp_path / "config.yaml", {"a": 1})
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_scrape_may_take_the_time_between_two() -> None:
    config = configs.prometheus_config(
        PROJECT / "prometheus" / "prometheus.yml", PORTS, Path("/r"), scrape_seconds=5
    )
    for section in (config["global"], *config["scrape_configs"]):
        assert (section["scrape_interval"], section["scrape_timeout"]) == ("5s", "5s")

"""The configuration files of the demo's servers, derived from the ones that the project ships.

Addresses, intervals and paths are replaced, everything else stays, so that the demo shows the real rules and
the real routing. A host that is not known here is an error: the demo would otherwise watch nothing, silently.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml

from demo.errors import DemoError

# What the shipped rules record every few minutes would not be seen by a user who looks for one minute.
_RECORDED_EVERY = "10s"
# What the hosts of the shipped files are called here; the first that a host contains counts.
_HOSTS = ("alertmanager", "relay", "grafana", "prometheus", "exporter")


def project_folder() -> Path:
    """The checkout that holds the shipped prometheus/, alertmanager/ and grafana/ folders."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / "prometheus" / "prometheus.yml").is_file():
        raise DemoError(
            "the demo needs the project's prometheus/ and alertmanager/ folders: "
            "install from a checkout (`make setup`), not from a wheel"
        )
    return folder


def prometheus_config(
    shipped: Path, ports: Mapping[str, int], rules: Path, scrape_seconds: int = 1
) -> dict[str, Any]:
    """prometheus.yml with the demo's addresses, an evaluation each second, room for 450 days.

    `scrape_seconds` is the time between two scrapes, and what one may take.
    """
    scrapes = {"scrape_interval": f"{scrape_seconds}s", "scrape_timeout": f"{scrape_seconds}s"}
    config = _load(shipped)
    config.setdefault("global", {}).update({**scrapes, "evaluation_interval": "1s"})
    config["rule_files"] = [f"{rules}/*.yml"]
    config.setdefault("storage", {}).setdefault("tsdb", {})["out_of_order_time_window"] = "450d"
    jobs = [job for job in config.get("scrape_configs", []) if _replace_targets(job, ports)]
    for job in jobs:
        job.update(scrapes)
    config["scrape_configs"] = jobs
    for alertmanager in config.get("alerting", {}).get("alertmanagers", []):
        _replace_targets(alertmanager, ports)
    return config


def write_rules(shipped: Path, folder: Path) -> Path:
    """The shipped rules, all of them recorded at least every ten seconds; the folder that holds them."""
    folder.mkdir()
    for path in sorted(shipped.glob("*.yml")):
        rules = _load(path)
        for group in rules["groups"]:
            if "interval" in group:
                group["interval"] = _RECORDED_EVERY
        write_yaml(folder / path.name, rules)
    return folder


def alertmanager_config(shipped: Path, ports: Mapping[str, int], password_file: Path) -> dict[str, Any]:
    """alertmanager.yml with the demo's relay and its password, and no waiting before a notification."""
    config = _load(shipped)
    _hurry(config.get("route", {}))
    for receiver in config.get("receivers", []):
        for webhook in receiver.get("webhook_configs", []):
            if "url" in webhook:
                webhook["url"] = local_url(webhook["url"], ports)
            if "basic_auth" in webhook.get("http_config", {}):
                user = webhook["http_config"]["basic_auth"]["username"]
                credentials = {"username": user, "password_file": str(password_file)}
                webhook["http_config"] = {"basic_auth": credentials}
    return config


def _hurry(route: dict[str, Any]) -> None:
    route.update({"group_wait": "0s", "group_interval": "1s"})
    for child in route.get("routes", []):
        _hurry(child)


def local_url(url: str, ports: Mapping[str, int]) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"127.0.0.1:{_port_of(parts.netloc, ports)}"))


def write_yaml(path: Path, value: Any) -> Path:
    """Writes a file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    return path


def _load(path: Path) -> dict[str, Any]:
    value = yaml.safe_load(path.read_text())
    if not isinstance(value, dict):
        raise DemoError(f"{path} does not hold a mapping")
    return value


def _replace_targets(job: dict[str, Any], ports: Mapping[str, int]) -> bool:
    """Points a job at the demo's servers; False when none of its targets runs in this demo."""
    found = False
    for group in job.get("static_configs", []):
        local = [_port_of(target, ports, optional=True) for target in group.get("targets", [])]
        group["targets"] = [f"127.0.0.1:{port}" for port in local if port]
        found = found or bool(group["targets"])
    return found


def _port_of(netloc: str, ports: Mapping[str, int], *, optional: bool = False) -> int:
    host = netloc.rpartition("@")[2].rpartition(":")[0] or netloc
    for name in _HOSTS:
        if name in host:
            if name in ports:
                return ports[name]
            if optional:
                return 0
    raise DemoError(f"the shipped configuration names {netloc}, which the demo does not know")

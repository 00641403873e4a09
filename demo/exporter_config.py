"""The configuration of the demo's exporter and relay."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.options import EXPORT_NAME, Options
from demo.thresholds import Thresholds


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the demo's servers listen, and where their files lie."""

    folder: Path
    ports: Mapping[str, int]
    urls: Mapping[str, str]
    telex_url_file: Path
    relay_password_file: Path
    telex_host: str
    """Host and port of the sink that plays Telex."""


def exporter_config(options: Options, thresholds: Thresholds, places: Places) -> dict[str, Any]:
    """The members of config.yaml."""
    return {
        "data_dir": str(places.folder / "data"),
        "server": {"host": "127.0.0.1", "port": places.ports["exporter"]},
        "aws": {"region": options.regions[0], "endpoint_url": places.urls["simulator"]},
        "accounts": {"discovery": "organizations", "role_name": "aws-spend-exporter-member"},
        "regions": list(options.regions),
        # Few accounts, and dashboards that are to show each service and resource.
        "series": {"per_account": 2000},
        "collectors": _cost(options) | _others(options),
        # Simulated requests cost nothing, and the demo asks every few seconds.
        "ceilings": {
            "cost": {"day": None, "month": None},
            "usage": {"day": None, "month": None},
            "first_fill": None,
        },
        "thresholds": thresholds.as_config(),
        "history": {"write_url": f"{places.urls['prometheus']}/api/v1/write"},
        "relay": _relay(places),
    }


def _cost(options: Options) -> dict[str, Any]:
    """The collectors of cost, by day, dimension and hour."""
    interval = f"{options.cost_seconds()}s"
    breakdowns = {
        "enabled": True,
        "by": ["region", "usage_type", "charge_type"],
        "tags": ["team", "environment"],
        "cost_categories": ["CostCenter"],
    }
    if options.is_exported:
        return {
            "cost": {"source": "data_export"},
            # A spike is in the export once that has been delivered again.
            "cost_export": {"export": EXPORT_NAME, "interval": interval},
            "cost_breakdowns": breakdowns,
        }
    return {
        # An injected spike begins some days ago: each refresh reads all of both months.
        "cost": {"interval": interval, "refresh": "full"},
        # Older days are read again once a day at most; `plan` counts each read of a month.
        "cost_breakdowns": breakdowns | {"interval": "1h", "untagged": True},
        "cost_hours": {"enabled": True},
    }


def _others(options: Options) -> dict[str, Any]:
    units = options.units_seconds()
    return {
        "anomaly_causes": {"enabled": True},  # due after each read of cost
        "commitments": {"enabled": True},
        "savings_opportunities": {"enabled": True},
        "budgets": {"enabled": True, "interval": "30s"},
        "cost_anomaly_detection": {"enabled": True, "interval": "30s"},
        "ec2_instances": {"enabled": True, "interval": f"{units}s"},
        "ec2_running": {"enabled": True, "interval": f"{units}s"},
        # Enough whole days for the unit costs of a week.
        "usage": {"enabled": True, "interval": f"{2 * units}s", "first_read_days": 8},
        "inventory": {
            "enabled": options.inventory,
            "interval": f"{2 * units}s",
            "required_tags": ["team", "environment"],
            "info_tags": ["team"],
        },
        "prices": {"enabled": options.inventory},
    }


def _relay(places: Places) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": places.ports["relay"],
        "state_dir": str(places.folder / "relay"),
        "channels": {"default": {"url_file": str(places.telex_url_file)}},
        "auth": {
            "basic_auth": {
                "username": "alertmanager",
                "password_file": str(places.relay_password_file),
            }
        },
        "exporter": {"url": places.urls["exporter"]},
        # The sink plays Telex on this machine: its address is private, and plain http.
        "integration": {
            "enabled": True,
            "base_url": places.urls["relay"],
            "return_hosts": [places.telex_host],
        },
    }

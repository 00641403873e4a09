"""The controls of exports over HTTP: everything below /_simulator/exports, in JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from typing import Any

from simulated_aws.exports.data_exports import DataExports
from simulated_aws.exports.definition import Export

Handler = Callable[[dict[str, str], dict[str, Any]], Any]


def export_routes(exports: DataExports) -> dict[tuple[str, str], Handler]:
    """The handlers by method and path; each takes the query and the members of the body."""

    def listed(_: dict[str, str], __: dict[str, Any]) -> Any:
        return [_shown(exports, export) for export in exports.all()]

    def create(_: dict[str, str], members: dict[str, Any]) -> Any:
        return _shown(exports, exports.create(**_read(members)))

    def change(_: dict[str, str], members: dict[str, Any]) -> Any:
        settings = _read(members)
        return _shown(exports, exports.change(settings.pop("name"), **settings))

    def deliver(_: dict[str, str], members: dict[str, Any]) -> Any:
        exports.deliver(force=bool(members.get("force", False)))
        return listed({}, {})

    def release(_: dict[str, str], members: dict[str, Any]) -> Any:
        exports.release(members["name"])
        return {}

    def hold(_: dict[str, str], members: dict[str, Any]) -> Any:
        exports.hold(bool(members.get("held", True)))
        return {}

    def objects(query: dict[str, str], _: dict[str, Any]) -> Any:
        export = exports.find(query["name"])
        found = exports.buckets.list(export.bucket)
        return [{"key": key, "size": each.size, "modified": each.modified.isoformat()} for key, each in found]

    return {
        ("GET", "exports"): listed,
        ("POST", "exports"): create,
        ("POST", "exports/change"): change,
        ("POST", "exports/deliver"): deliver,
        ("POST", "exports/release"): release,
        ("POST", "exports/hold"): hold,
        ("GET", "exports/objects"): objects,
    }


def _shown(exports: DataExports, export: Export) -> dict[str, Any]:
    refreshed = exports.refreshed(export.name)
    settings = {each.name: getattr(export, each.name) for each in fields(export)}
    return {
        "arn": export.arn,
        "refreshed": refreshed.isoformat() if refreshed else None,
        **{
            name: value.total_seconds() if isinstance(value, timedelta) else value
            for name, value in settings.items()
        },
    }


def _read(members: dict[str, Any]) -> dict[str, Any]:
    """The fields of an export as they come in JSON: days and moments in ISO 8601, durations in seconds."""
    found: dict[str, Any] = {}
    for name, value in members.items():
        if name == "columns_from":
            found[name] = {key: date.fromisoformat(day) for key, day in value.items()}
        elif name == "hourly_from":
            found[name] = date.fromisoformat(value) if value else None
        elif name in ("manifest_delay", "data_delay"):
            found[name] = timedelta(seconds=float(value))
        elif name == "created":
            moment = datetime.fromisoformat(value)
            found[name] = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        else:
            found[name] = value
    return found

"""The controls over HTTP: everything below /_simulator/, in JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from simulated_aws.athena.control import athena_routes
from simulated_aws.cost_truth import METRICS
from simulated_aws.exports.control import Handler, export_routes
from simulated_aws.generated_costs import Change
from simulated_aws.wire import Response
from simulated_aws.world import World


class Control:
    """Maps paths to the methods of a simulated organisation."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", "health"): self._health,
            ("GET", "organization"): self._organization,
            ("GET", "truth"): self._truth,
            ("GET", "clock"): self._clock,
            ("POST", "clock"): self._set_clock,
            ("GET", "requests"): self._requests,
            ("DELETE", "requests"): self._clear_requests,
            ("GET", "faults"): self._faults,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._clear_faults,
            ("POST", "spike"): self._spike,
            ("POST", "service"): self._service,
            ("POST", "stop"): self._stop,
            ("POST", "restate"): self._restate,
            ("DELETE", "injected"): self._clear_injected,
            ("POST", "tag-activation"): self._activate,
            ("POST", "tag-backfill"): self._backfill,
            ("POST", "cost-category"): self._category,
            ("GET", "settings"): self._settings,
            ("POST", "settings"): self._set_settings,
            **athena_routes(world.athena),
            **export_routes(world.exports),
        }

    def answer(self, method: str, path: str, query: str, body: bytes) -> Response:
        """200 with the result, 400 with what is wrong, 404 with the list of what exists."""
        handler = self._routes.get((method, path.removeprefix("/_simulator").strip("/")))
        if handler is None:
            known = sorted(f"{verb} /_simulator/{name}" for verb, name in self._routes)
            return _json(404, {"error": f"no {method} {path}", "known": known})
        try:
            asked = {key: values[-1] for key, values in parse_qs(query).items()}
            members = json.loads(body) if body else {}
            return _json(200, handler(asked, members))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            text = error.args[0] if error.args else error
            return _json(400, {"error": str(text), "kind": type(error).__name__})

    def _health(self, _: dict[str, str], __: dict[str, Any]) -> Any:
        return {"status": "ok", "now": self._world.clock.now().isoformat(), "payer": self._world.payer_id}

    def _organization(self, _: dict[str, str], __: dict[str, Any]) -> Any:
        aws = self._world
        accounts = [
            {
                "id": account.id,
                "name": account.name,
                "ou": account.ou,
                "state": account.state,
                "joined": account.joined.isoformat(),
                "tags": dict(account.tags),
            }
            for account in aws.accounts
        ]
        return {
            "id": aws.organization.id,
            "payer": aws.payer_id,
            "accounts": accounts,
            "regions": list(aws.spec.regions),
            "member_role": aws.spec.member_role,
        }

    def _truth(self, query: dict[str, str], _: dict[str, Any]) -> Any:
        by = tuple(name for name in query.get("by", "account,service").split(",") if name)
        metric = query.get("metric", METRICS[0])
        at = _moment(query["at"]) if "at" in query else self._world.clock.now()
        start, end = date.fromisoformat(query["start"]), date.fromisoformat(query["end"])
        totals = self._world.truth.totals(start, end, at, by, metric)
        rows = [{"keys": list(keys), "amount": f"{amount:f}"} for keys, amount in sorted(totals.items())]
        return {"at": at.isoformat(), "by": by, "metric": metric, "totals": rows}

    def _clock(self, _: dict[str, str], __: dict[str, Any]) -> Any:
        return {"now": self._world.clock.now().isoformat()}

    def _set_clock(self, _: dict[str, str], members: dict[str, Any]) -> Any:
        if "now" in members:
            self._world.clock.set(_moment(members["now"]), running=bool(members.get("running", False)))
        elif "advance_seconds" in members:
            self._world.clock.advance(float(members["advance_seconds"]))
        else:
            self._world.clock.reset()
        return self._clock({}, {})

    def _requests(self, query: dict[str, str], _: dict[str, Any]) -> Any:
        return self._world.requests.describe(int(query.get("since", "0")))

    def _clear_requests(self, _: dict[str, str], __: dict[str, Any]) -> Any:
        self._world.requests.clear()
        return {}

    def _faults(self, _: dict[str, str], __: dict[str, Any]) -> Any:
        return [fault.describe() for fault in self._world.faults.active()]

    def _add_fault(self, _: dict[str, str], members: dict[str, Any]) -> Any:
        return self._world.faults.add(**members).describe()

    def _clear_faults(self, query: dict[str, str], _: dict[str, Any]) -> Any:
        self._world.faults.clear(int(query["id"]) if "id" in query else None)
        return {}

    def _spike(self, _: dict[str, str], members: dict[str, Any]) -> Any:
        return _change(self._world.inject_spike(**_with_days(members)))

    def _service(self, _: dict[str, str], members: dict[str, Any]) -> Any:
        return _change(self._world.inject_service(**_with_days(members)))

    def _stop(self, _: dict[str, str], members: dict[str, Any]) -> Any:
        return _change(self._world.stop_service(**_with_days(members)))

    def _restate(self, _: dict[str, str], members: dict[str, Any]) -> Any:
        return _change(self._world.restate(**_with_days(members)))

    def _clear_injected(self, _: dict[str, str], __: dict[str, Any]) -> Any:
        self._world.clear_injected()
        return {}

    def _activate(self, _: dict[str, str], members: dict[str, Any]) -> Any:
        self._world.cost_allocation.activate_tag(members["key"], date.fromisoformat(members["first"]))
        return {}

    def _backfill(self, _: dict[str, str], members: dict[str, Any]) -> Any:
        made = self._world.cost_allocation.request_backfill(**_with_times(members))
        return {"start": made.start.isoformat(), "status": made.status}

    def _category(self, _: dict[str, str], members: dict[str, Any]) -> Any:
        made = self._world.cost_allocation.change_category(**_with_times(members))
        return {"arn": made.arn, "name": made.name, "effective_start": made.effective_start.isoformat()}

    def _settings(self, _: dict[str, str], __: dict[str, Any]) -> Any:
        settings = asdict(self._world.cost_explorer.settings)
        return settings | {"disabled": sorted(settings["disabled"])}

    def _set_settings(self, _: dict[str, str], members: dict[str, Any]) -> Any:
        settings = self._world.cost_explorer.settings
        for name, value in members.items():
            current = getattr(settings, name, None)
            if current is None:
                raise KeyError(f"no setting {name!r}; there are {', '.join(asdict(settings))}")
            value = set(value) if isinstance(current, set) else value
            if not isinstance(value, type(current)):
                raise TypeError(f"{name} must be of type {type(current).__name__}")
            setattr(settings, name, value)
        return self._settings({}, {})


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace(" ", "+"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _with_days(members: dict[str, Any]) -> dict[str, Any]:
    return {
        name: date.fromisoformat(value) if name in ("since", "day") and value is not None else value
        for name, value in members.items()
    }


def _with_times(members: dict[str, Any]) -> dict[str, Any]:
    """Members with `start` and `effective_start` as days; `takes_seconds` becomes `takes`."""
    found: dict[str, Any] = {
        name: date.fromisoformat(value) if name in ("start", "effective_start") and value else value
        for name, value in members.items()
    }
    if "takes_seconds" in found:
        found["takes"] = timedelta(seconds=found.pop("takes_seconds"))
    return found


def _change(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "account": change.account_id,
        "service": change.service,
        "first": change.first.isoformat(),
        "last": None if change.last == date.max else change.last.isoformat(),
        "visible_from": change.visible_from.isoformat(),
    }


def _json(status: int, value: Any) -> Response:
    body = json.dumps(value, default=str).encode()
    return Response(status, {"Content-Type": "application/json"}, body)

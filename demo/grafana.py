"""The demo's Grafana: where it is installed, how it is set up, and whether it shows what is provisioned."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from demo import http
from demo.errors import DemoError

_DEBIAN_HOME = Path("/usr/share/grafana")
# Of docker-compose.yml's variables: the place of a secret that only a container has.
_ONLY_THERE = {"GF_SECURITY_ADMIN_PASSWORD__FILE"}
_HOME_DASHBOARD = "overview.json"
_CHECKED_DASHBOARD = "aws-spend-exporter"


Wait = Callable[[str, Callable[[], Any], float], Any]
"""`Processes.wait_until`: what is awaited, the probe, seconds."""


class GrafanaError(DemoError):
    """Why the demo goes on without Grafana; one line."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A program, and the folder of the files that it serves."""

    program: Path
    home: Path

    @classmethod
    def of(cls, program: str, environ: Mapping[str, str] = os.environ, system: Path = _DEBIAN_HOME) -> Self:
        """The installation that the program belongs to; raises GrafanaError.

        Archives and images have `<home>/bin/grafana`, packages `<prefix>/share/grafana` beside `<prefix>/bin`.
        """
        called = Path(program)
        found = called.resolve()
        named = environ.get("GF_PATHS_HOME")
        homes = [
            *([Path(named)] if named else []),
            *(path.parent.parent for path in (found, called)),
            *(path.parent.parent / "share" / "grafana" for path in (found, called)),
            system,
        ]
        for home in homes:
            if (home / "conf" / "defaults.ini").is_file():
                return cls(called, home.absolute())
        raise GrafanaError(
            f"no home folder with conf/defaults.ini belongs to {program}; GF_PATHS_HOME can name it"
        )

    def command(self) -> list[str]:
        """What starts the server; older installations have a program for it alone."""
        server = [] if self.program.name == "grafana-server" else ["server"]
        return [str(self.program), *server, "--homepath", str(self.home)]


def environment(project: Path, data: Path, port: int, prometheus: str) -> dict[str, str]:
    """The variables of docker-compose.yml, so that both run the same Grafana, with the demo's places.

    Whoever reaches it is its administrator: it listens on loopback, and is gone with the demo.
    """
    compose = yaml.safe_load((project / "docker-compose.yml").read_text(encoding="utf-8"))
    shipped = compose["services"]["grafana"]["environment"]
    grafana = project / "grafana"
    return {name: value for name, value in shipped.items() if name not in _ONLY_THERE} | {
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_PATHS_DATA": str(data),
        "GF_PATHS_LOGS": str(data / "log"),
        "GF_PATHS_PLUGINS": str(data / "plugins"),
        "GF_PATHS_PROVISIONING": str(grafana / "provisioning"),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Admin",
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(grafana / "dashboards" / _HOME_DASHBOARD),
        # What grafana/provisioning reads.
        "PROMETHEUS_URL": prometheus,
        "DASHBOARDS_PATH": str(grafana / "dashboards"),
    }


def provisioned_dashboards(project: Path) -> set[str]:
    """The uids of the dashboards in the checkout."""
    files = (project / "grafana" / "dashboards").glob("*.json")
    return {json.loads(path.read_text(encoding="utf-8"))["uid"] for path in files}


def data_source(project: Path) -> str:
    """The uid of the provisioned data source."""
    (path,) = (project / "grafana" / "provisioning" / "datasources").glob("*.yml")
    uid: str = yaml.safe_load(path.read_text(encoding="utf-8"))["datasources"][0]["uid"]
    return uid


def check(url: str, project: Path, wait_until: Wait) -> str:
    """See that the server at `url` shows the dashboards and asks Prometheus; returns what was seen.

    `wait_until` is that of `Processes`. Raise DemoError if it answers otherwise.
    """
    health = http.get(f"{url}/api/health")
    if health.get("database") != "ok":
        raise DemoError(f"Grafana is not healthy: {health}")
    wanted = provisioned_dashboards(project)

    def missing() -> set[str]:
        found = http.get(f"{url}/api/search", type="dash-db", tag="aws-spend", limit="100")
        return wanted - {each["uid"] for each in found}

    def all_there() -> bool | None:
        return True if not missing() else None

    try:
        wait_until("dashboards are missing in Grafana", all_there, 30)
    except DemoError as error:
        raise DemoError(f"{error}: {', '.join(sorted(missing()))}") from error
    dashboard = http.get(f"{url}/api/dashboards/uid/{_CHECKED_DASHBOARD}")["dashboard"]
    title, expression = _panel_without_variables(dashboard["panels"])
    uid = data_source(project)

    def value() -> float | None:
        return _first_value(instant_query(url, uid, expression))

    shown = wait_until(f"the panel {title!r} is empty in Grafana", value, 30)
    return f"{len(wanted)} dashboards; {title}: {shown:g}"


def instant_query(url: str, data_source: str, expression: str) -> list[dict[str, Any]]:
    """The frames that Grafana answers to a query of now: `schema.fields` and, as columns, `data.values`."""
    query = {
        "refId": "A",
        "datasource": {"type": "prometheus", "uid": data_source},
        "expr": expression,
        "instant": True,
        "range": False,
        "intervalMs": 60_000,
        "maxDataPoints": 100,
    }
    answer = http.post(f"{url}/api/ds/query", {"queries": [query], "from": "now-1h", "to": "now"})
    result = answer["results"]["A"]
    if error := result.get("error"):
        raise DemoError(f"Grafana answers {error}")
    frames: list[dict[str, Any]] = result.get("frames", [])
    return frames


def _first_value(frames: Sequence[Mapping[str, Any]]) -> float | None:
    for frame in frames:
        for field, values in zip(frame["schema"]["fields"], frame["data"]["values"], strict=True):
            if field["type"] == "number" and values:
                return float(values[0])
    return None


def _panel_without_variables(panels: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Title and expression of the first query of now that needs no choice of a viewer."""
    for panel in panels:
        for target in panel.get("targets", []):
            if target.get("instant") and "$" not in target["expr"]:
                return panel["title"], target["expr"]
    raise DemoError(f"the dashboard {_CHECKED_DASHBOARD} has no query without variables")

"""A stand-in for `grafana server`, over the wire: Grafana itself is not installable everywhere.

It reads the same files and variables, keeps Grafana's rules for provisioning and the shapes of its documented HTTP
API, asks a real Prometheus, and draws a page that is marked as Grafana's is. What it cannot show is how Grafana
draws. `POST /fake/fault` with {"kind": ..., "panel": title} breaks one panel, as `KINDS` says.
"""

from __future__ import annotations

import json
import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
import yaml

Json = dict[str, Any]

TESTS = Path(__file__).parent
KINDS = {
    "error": "its query is answered with an error",
    "empty": "its query is answered with nothing",
    "wrong": "its values are not those of Prometheus",
    "cut": "its columns are too narrow for their texts",
    "blank": "it draws nothing",
}
_MOST_POINTS = 1000
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def install(folder: Path) -> Path:
    """Make an installation in the folder as Grafana's archive does; returns the program, in its `bin`."""
    (folder / "conf").mkdir(parents=True)
    (folder / "conf" / "defaults.ini").write_text("")
    program = folder / "bin" / "grafana"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path[:0] = {[str(TESTS), str(TESTS / 'grafana'), str(TESTS / 'grafana_server')]!r}\n"
        "import fake_grafana\nfake_grafana.main()\n"
    )
    program.chmod(0o755)
    return program


def main() -> None:
    """Serve until it is ended; exits with 1 and Grafana's own words where Grafana does not start."""
    arguments = sys.argv[1:]
    home = Path(arguments[arguments.index("--homepath") + 1]) if "--homepath" in arguments else Path.cwd()
    if not (home / "conf" / "defaults.ini").is_file():
        sys.exit("Grafana-server Init Failed: Could not find config defaults, make sure homepath is set")
    database = Path(os.environ["GF_PATHS_DATA"]) / "database.json"
    database.parent.mkdir(parents=True, exist_ok=True)
    state: Json = json.loads(database.read_text()) if database.exists() else {"sources": [], "folders": []}
    try:
        dashboards = provision(state, Path(os.environ["GF_PATHS_PROVISIONING"]))
    except ValueError as error:
        sys.exit(f"Error: ✗ *provisioning.ProvisioningServiceImpl run error: {error}")
    database.write_text(json.dumps(state))
    address = (os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"]))
    server = ThreadingHTTPServer(address, Handler)
    server.state, server.dashboards, server.faults = state, dashboards, {}  # type: ignore[attr-defined]
    server.serve_forever()


def provision(state: Json, folder: Path) -> dict[str, Json]:
    """Bring the database up to the files, by Grafana's rules; returns the dashboards by uid.

    Raise ValueError where Grafana does not start.
    """
    files = [yaml.safe_load(path.read_text()) for path in sorted((folder / "datasources").glob("*.y*ml"))]
    wanted = [source for file in files for source in file.get("datasources") or []]
    if sum(source.get("isDefault", False) for source in wanted) > 1:
        raise ValueError(
            "Datasource provisioning error: datasource.yaml config is invalid. "
            "Only one datasource per organization can be marked as default"
        )
    for file in files:
        for gone in file.get("deleteDatasources") or []:
            state["sources"] = [each for each in state["sources"] if each["name"] != gone["name"]]
    for source in wanted:
        _provision_source(state, source)
    dashboards: dict[str, Json] = {}
    for path in sorted((folder / "dashboards").glob("*.y*ml")):
        for provider in yaml.safe_load(path.read_text())["providers"]:
            title, uid = provider["folder"], provider.get("folderUid")
            known = [each for each in state["folders"] if each["uid" if uid else "title"] == (uid or title)]
            if not known:
                if any(each["title"] == title for each in state["folders"]):
                    raise ValueError(
                        "Failed to provision dashboards: a folder with the same name already exists "
                        "in the current location"
                    )
                state["folders"].append({"title": title, "uid": uid or f"made-{len(state['folders'])}"})
            for file in sorted(Path(os.path.expandvars(provider["options"]["path"])).glob("*.json")):
                dashboard = json.loads(file.read_text())
                dashboards[dashboard["uid"]] = dashboard | {"folder": title}
    return dashboards


def _provision_source(state: Json, source: Json) -> None:
    kept = {
        "name": source["name"],
        "uid": source["uid"],
        "url": os.path.expandvars(source["url"]),
        "isDefault": source.get("isDefault", False),
        "readOnly": not source.get("editable", False),
    }
    by_name = [each for each in state["sources"] if each["name"] == source["name"]]
    if by_name and by_name[0]["uid"] != source["uid"]:
        raise ValueError("Datasource provisioning error: data source not found")
    if not by_name and any(each["uid"] == source["uid"] for each in state["sources"]):
        raise ValueError("Datasource provisioning error: data source with the same uid already exists")
    if kept["isDefault"]:
        for each in state["sources"]:
            each["isDefault"] = False
    state["sources"] = [each for each in state["sources"] if each["name"] != source["name"]] + [kept]


class Handler(BaseHTTPRequestHandler):
    """Grafana's paths, as far as the demo and the tests ask them."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        dashboards: dict[str, Json] = self.server.dashboards  # type: ignore[attr-defined]
        state: Json = self.server.state  # type: ignore[attr-defined]
        last = url.path.rpartition("/")[2]
        if url.path == "/api/health":
            self._json({"database": "ok", "version": "0.0.0-fake", "commit": "none"})
        elif url.path == "/api/search":
            tags = parse_qs(url.query).get("tag", [])
            self._json(
                [
                    {"uid": uid, "title": each["title"], "type": "dash-db", "folderTitle": each["folder"]}
                    for uid, each in dashboards.items()
                    if set(tags) <= set(each.get("tags", []))
                ]
            )
        elif url.path == "/api/dashboards/home":
            home = Path(os.environ["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
            self._json({"dashboard": json.loads(home.read_text()), "meta": {}})
        elif url.path.startswith("/api/dashboards/uid/") and last in dashboards:
            dashboard = dashboards[last]
            meta = {"provisioned": True, "folderTitle": dashboard["folder"]}
            self._json({"dashboard": dashboard, "meta": meta})
        elif url.path == "/api/datasources":
            self._json(state["sources"])
        elif url.path == "/fake/started":
            self._json({"arguments": sys.argv[1:], "environment": dict(os.environ)})
        elif url.path.startswith("/fake/panels/"):
            limits = parse_qs(url.query)
            self._json(self._panels(dashboards[last], limits["from"][0], limits["to"][0]))
        elif url.path.startswith("/d/"):
            self._send(200, "text/html", PAGE.encode())
        elif url.path == "/favicon.ico":
            self._send(200, "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
        else:
            self._json({"message": "Not found"}, 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        faults: dict[str, str] = self.server.faults  # type: ignore[attr-defined]
        if self.path == "/fake/fault":
            faults.clear()
            if body:
                faults[body["panel"]] = body["kind"]
            self._json({})
        elif urlsplit(self.path).path == "/api/ds/query":
            panel = self._title(self.headers.get("X-Dashboard-Uid"), self.headers.get("X-Panel-Id"))
            results = {
                query["refId"]: self._answer(query, body, faults.get(panel)) for query in body["queries"]
            }
            failed = any("error" in result for result in results.values())
            self._json({"results": results}, 400 if failed else 200)
        else:
            self._json({"message": "Not found"}, 404)

    def _title(self, dashboard: str | None, panel: str | None) -> str:
        dashboards: dict[str, Json] = self.server.dashboards  # type: ignore[attr-defined]
        found = [
            each["title"]
            for each in dashboards.get(dashboard or "", {}).get("panels", [])
            if str(each["id"]) == panel
        ]
        return found[0] if found else ""

    def _panels(self, dashboard: Json, start: str, end: str) -> list[Json]:
        """Titles, kinds and queries, with every variable at its widest, and what is broken."""
        import grafana_lint as lint
        from judging import of_the_range

        values = lint.everything(dashboard) | {"datasource": "aws-spend"}
        faults: dict[str, str] = self.server.faults  # type: ignore[attr-defined]
        return [
            {
                "id": panel["id"],
                "title": panel["title"],
                "type": panel["type"],
                "fault": faults.get(panel["title"]),
                "queries": [
                    target
                    | {
                        "expr": lint.resolve(of_the_range(target["expr"], start, end), values),
                        "datasource": {"type": "prometheus", "uid": values["datasource"]},
                        "intervalMs": 60_000,
                        "utcOffsetSec": 0,
                    }
                    for target in panel.get("targets", [])
                ],
            }
            for panel in lint.panels(dashboard)
        ]

    def _answer(self, query: Json, body: Json, fault: str | None) -> Json:
        state: Json = self.server.state  # type: ignore[attr-defined]
        source = next((each for each in state["sources"] if each["uid"] == query["datasource"]["uid"]), None)
        if source is None or fault == "error":
            return {"error": "bad_data: it is broken", "status": 400}
        if fault == "empty":
            return {"status": 200, "frames": []}
        start, end = (_moment(body[name]) for name in ("from", "to"))
        expression = query["expr"]
        if query.get("instant"):
            arguments: Json = {"time": end}
            path, step = "query", 0.0
        else:
            least = _seconds(query.get("interval")) or query["intervalMs"] / 1000
            # As many points as fit, at steps of whole multiples.
            step = least * max(1, -(-(end - start) // (least * _MOST_POINTS)))
            arguments = {"start": start // step * step, "end": end // step * step, "step": step}
            path = "query_range"
        answer = requests.post(
            f"{source['url']}/api/v1/{path}", data={"query": expression} | arguments, timeout=30
        ).json()
        if answer["status"] != "success":
            return {"error": f"{answer['errorType']}: {answer['error']}", "status": 400}
        wrong = 1.5 if fault == "wrong" else 1.0
        meta = {"executedQueryString": f"Expr: {expression}\nStep: {step:g}s"}
        return {
            "status": 200,
            "frames": [
                {
                    "schema": {
                        "refId": query["refId"],
                        "meta": meta,
                        "fields": [
                            {"name": "Time", "type": "time"},
                            {"name": "Value", "type": "number", "labels": series["metric"]},
                        ],
                    },
                    "data": {
                        "values": [
                            [int(float(at) * 1000) for at, _ in _samples(series)],
                            [_number(value, wrong) for _, value in _samples(series)],
                        ]
                    },
                }
                for series in _series(answer["data"])
            ],
        }

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _series(data: Json) -> list[Json]:
    if data["resultType"] == "scalar":
        return [{"metric": {}, "value": data["result"]}]
    result: list[Json] = data["result"]
    return result


def _samples(series: Json) -> list[list[Any]]:
    samples: list[list[Any]] = series["values"] if "values" in series else [series["value"]]
    return samples


def _number(text: str, factor: float) -> float | None:
    """JSON has no NaN and no infinity; Grafana sends null."""
    value = float(text) * factor
    return value if abs(value) < float("inf") else None


def _seconds(interval: str | None) -> float:
    found = re.fullmatch(r"(\d+)([smhd])", interval or "")
    return float(found[1]) * _SECONDS[found[2]] if found else 0.0


def _moment(text: str) -> float:
    import time

    if text.startswith("now"):
        back = re.fullmatch(r"now(?:-(\d+)([smhd]))?", text)
        assert back, text
        return time.time() - (int(back[1]) * _SECONDS[back[2]] if back[1] else 0)
    return int(text) / 1000


PAGE = """<!doctype html>
<meta charset="utf-8">
<style>
  body { margin: 0; font: 14px sans-serif }
  section { height: 320px; overflow: hidden; border: 1px solid #ccc; box-sizing: border-box }
  h2 { font-size: 14px; margin: 4px }
  [role=row] { display: flex }
  [role=gridcell], [role=columnheader] {
    box-sizing: border-box; padding: 0 6px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
  }
</style>
<main></main>
<script type="module">
const uid = location.pathname.split('/')[2];
const asked = new URLSearchParams(location.search);
const range = { from: asked.get('from'), to: asked.get('to') };
for (const name of ['from', 'to']) {
  const back = /^now(?:-(\\d+)([smhdM]))?(\\/d)?$/.exec(range[name]);
  if (back) {
    const seconds = { s: 1, m: 60, h: 3600, d: 86400, M: 30 * 86400 };
    const moment = Date.now() - (back[1] ? back[1] * seconds[back[2]] * 1000 : 0);
    range[name] = String(back[3] ? Math.floor(moment / 86400000) * 86400000 : moment);
  }
}
const panels = await (await fetch(`/fake/panels/${uid}?${new URLSearchParams(range)}`)).json();
const add = (parent, name, attributes, text) => {
  const element = parent.appendChild(document.createElement(name));
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
  element.textContent = text ?? '';
  return element;
};
async function draw(panel, content, section) {
  if (panel.type === 'text') {
    content.textContent = 'A text.';
    return;
  }
  const answer = await fetch('/api/ds/query?ds_type=prometheus', {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-dashboard-uid': uid, 'x-panel-id': String(panel.id) },
    body: JSON.stringify({ queries: panel.queries, ...range }),
  });
  const { results } = await answer.json();
  if (!answer.ok) {
    add(section, 'button', { 'data-testid': 'data-testid Panel status error' });
    return;
  }
  if (panel.fault === 'blank') {
    return;
  }
  const frames = Object.values(results).flatMap((result) => result.frames ?? []);
  const rows = frames.map(({ schema, data }) => [
    Object.values(schema.fields[1].labels)[0] ?? 'value', String(data.values[1].at(-1)),
  ]);
  const widths = panel.fault === 'cut' ? ['20px', '20px'] : ['max-content', 'max-content'];
  for (const cells of rows.length ? rows.slice(0, 8) : [['No data', '']]) {
    const row = add(content, 'div', { role: 'row' });
    cells.forEach((text, at) => { add(row, 'div', { role: 'gridcell', style: `width: ${widths[at]}` }, text); });
  }
}
// A panel is drawn when it comes into view, as in Grafana.
const main = document.querySelector('main');
const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
  if (!entry.isIntersecting || entry.target.dataset.drawn) return;
  entry.target.dataset.drawn = 'yes';
  const panel = panels[Number(entry.target.dataset.at)];
  entry.target.setAttribute('data-testid', `data-testid Panel header ${panel.title}`);
  add(entry.target, 'h2', {}, panel.title);
  const content = add(entry.target, 'div', { 'data-testid': 'data-testid panel content' });
  draw(panel, content, entry.target);
}));
panels.forEach((panel, at) => seen.observe(add(main, 'section', { 'data-at': String(at) })));
</script>
"""

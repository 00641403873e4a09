"""An installation that reads cost and nothing else: a real Prometheus on what the demo's exporter serves of cost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import requests
from waiting import wait_for

from demo.processes import choose_ports
from exporter.collectors import all_collectors
from exporter.cube.dimensions import DATED_KINDS
from exporter.generated.reference import family_rows

ROOT = Path(__file__).parents[2]
OFF = frozenset(collector.name for collector in all_collectors()) - {"cost"}
BY_DIMENSION = {f"aws_cost_daily_by_{kind}_usd" for kind in DATED_KINDS}
_FROM_OTHERS = {
    "aws_unit_cost": "usage",
    "aws_cost_anomaly_cause": "anomaly_causes",
    **dict.fromkeys(BY_DIMENSION - {"aws_cost_daily_by_resource_usd"}, "cost_breakdowns"),
    "aws_cost_daily_untagged": "cost_breakdowns",
    "aws_cost_hourly": "cost_hours",
}
"""What the cost collector serves, or the history writes, of what others have read, by how it begins."""
OWNERS = {
    family["name"]: next(
        (owner for start, owner in _FROM_OTHERS.items() if family["name"].startswith(start)),
        family["collector"],
    )
    for family in family_rows()
}
_SUFFIXES = "_bucket", "_count", "_sum"
_CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}/*.yml"]
scrape_configs:
  - job_name: aws-spend-exporter
    static_configs: [{{targets: ["127.0.0.1:{exporter}"]}}]
"""


def without_others(exposition: str) -> str:
    """The lines that an exporter serves whose other collectors are off."""
    return "".join(line for line in exposition.splitlines(keepends=True) if not _is_of_another(line))


def _is_of_another(line: str) -> bool:
    name = line.split(" ", 3)[2] if line.startswith("#") else line.partition(" ")[0].partition("{")[0]
    for suffix in _SUFFIXES:
        name = name if name in OWNERS else name.removesuffix(suffix)
    return OWNERS.get(name) in OFF or any(
        f'collector="{collector}"' in line or f'collector="{collector}_' in line for collector in OFF
    )


@contextmanager
def prometheus(exposition: str, folder: Path) -> Iterator[str]:
    """The address of a Prometheus, with the product's rules, that scrapes this text."""

    class Exporter(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(exposition.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    Thread(target=server.serve_forever, daemon=True).start()
    port = choose_ports({"prometheus": 0})["prometheus"]
    config = folder / "prometheus.yml"
    config.write_text(
        _CONFIG.format(rules=ROOT / "prometheus" / "rules", exporter=server.server_port), encoding="utf-8"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"

    def scraped() -> bool:
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")[-2000:]
        try:
            answer = requests.get(f"{url}/api/v1/query", {"query": "aws_cost_yesterday_usd"}, timeout=10)
        except requests.ConnectionError:
            return False
        return answer.status_code == 200 and bool(answer.json()["data"]["result"])

    try:
        wait_for("cost is scraped", scraped)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)
        server.shutdown()
        server.server_close()

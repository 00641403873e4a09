"""Write grafana/dashboards/*.json from the modules in grafana/builder/dashboards."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder.dashboards import all_dashboards
from grafana.builder.frame import DERIVED
from grafana.builder.promql import RANKED

_RANGE = "&${__url_time_range}"
OUTPUT = Path(__file__).parent / "dashboards"


def render() -> dict[str, str]:
    """File name to text of every dashboard."""
    return {f"{name}.json": _text(dashboard) for name, dashboard in all_dashboards()}


def _text(dashboard: Dashboard) -> str:
    """The document as Grafana's published schema wants it; the SDK writes four things too many."""
    for number, panel in enumerate(dashboard.panels or [], start=1):
        panel.id_val = number
    document = json.loads(json.dumps(dashboard, cls=JSONEncoder))
    for variable in document["templating"]["list"]:
        for key in ("auto", "auto_count", "auto_min"):  # of interval variables
            variable.pop(key, None)
        # What follows from the others is not theirs to hand on: it would stand for what has been chosen before.
        variable["skipUrlSync"] = variable["name"] in DERIVED or variable["name"].startswith(RANKED)
    for link in document["links"]:
        link.pop("placement")  # the SDK can only hide them in a menu, which Grafana 12 does not show
    for annotation in document["annotations"].get("list", []):
        # Where Grafana itself keeps the query since it has one editor for all datasources.
        annotation["target"] = {
            "refId": "Anno",
            "expr": annotation.pop("expr"),
            "interval": annotation.pop("step"),
        }
    for panel in document["panels"]:
        panel.get("options", {}).pop("footer", None)  # of tables before Grafana 12.2
        if "repeat" not in panel:
            panel.pop("repeatDirection", None)
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    # A range of hours shows nothing of what is counted in days: links leave it, those above the panels and in tables.
    return text if all(link["keepTime"] for link in document["links"]) else text.replace(_RANGE, "")


def main() -> None:
    """Write what is built and remove what no longer is."""
    files = render()
    OUTPUT.mkdir(exist_ok=True)
    for stale in {path.name for path in OUTPUT.glob("*.json")} - files.keys():
        (OUTPUT / stale).unlink()
    for name, text in files.items():
        (OUTPUT / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{OUTPUT.name}/{name}\n")


if __name__ == "__main__":
    main()

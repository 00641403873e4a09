"""What the exporter shows in a browser, without scripts and without anything from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib.metadata import version
from typing import Any

from exporter.api.source import AnyEndpoint

_STYLE = (
    "body{font-family:system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "td,th{text-align:left;vertical-align:top;padding:.2rem 1rem .2rem 0}"
)
_LINKS = (
    ("metrics", "Metrics", "what Prometheus scrapes"),
    ("-/ready", "Readiness", "whether every collector has finished a first run, and which fail"),
    ("api/v1/status", "Status", "collectors, their last outcomes and the spend on AWS requests, as JSON"),
    ("docs", "API", "the answers behind the commands, as JSON"),
)


def landing_page(unready: Sequence[str], failing: Sequence[str], denied: Sequence[str] = ()) -> str:
    """Where to go from here, and whether anything is wrong."""
    links = "".join(f'<li><a href="{path}">{text}</a>: {what}</li>' for path, text, what in _LINKS)
    state = (_list("Not ready", unready) if unready else "") + (
        _list("Failing", failing) if failing else ""
    ) or "<p>Every collector has run, and none fails.</p>"
    state += _list("Denied by a service control policy, asked again each day", denied) if denied else ""
    return _page(
        f"aws-spend-exporter {version('aws-spend-exporter')}",
        f"<p>What AWS costs, what runs there and what is used, as metrics.</p><ul>{links}</ul>{state}",
    )


def api_page(endpoints: Iterable[AnyEndpoint]) -> str:
    """The questions of the JSON API with their parameters, from their declarations."""
    parts = [
        "<p>GET, JSON, money in US dollars as text, days in UTC. No answer calls AWS. What is wrong with a question is"
        ' answered as JSON with status 400 or 422. The same for programs: <a href="openapi.json">openapi.json</a>.</p>'
    ]
    for endpoint in endpoints:
        path = f"api/v1/{endpoint.name}"
        parts.append(f'<h2><a href="{path}">/{path}</a></h2><p>{escape(endpoint.help)}.</p>')
        rows = "".join(
            f"<tr><td><code>{escape(name)}</code><td>{escape(schema.get('description', ''))}"
            f"<td>{escape(_default(schema))}"
            for name, schema in endpoint.query.model_json_schema().get("properties", {}).items()
        )
        if rows:
            parts.append(f"<table><tr><th>Parameter<th>Meaning<th>Default{rows}</table>")
    return _page("API of aws-spend-exporter", "".join(parts))


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    if isinstance(default, list):
        return ", ".join(str(value) for value in default)
    return "" if default is None else default if isinstance(default, str) else json.dumps(default)


def _list(title: str, lines: Iterable[str]) -> str:
    return f"<h2>{title}</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>{body}</html>\n"
    )

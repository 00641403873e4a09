"""The JSON schema of config.yaml, so that editors complete and check it; from the models themselves."""

from __future__ import annotations

import json
from typing import Any

from exporter.config.model import Config, collectors_model
from exporter.core.fields import StrictModel

_DURATION = {
    "type": "string",
    "pattern": r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$",
    "minLength": 2,
    "examples": ["30s", "5m", "6h", "1d"],
}
# Not every release of pydantic gives one for a decimal that is written as text.
_DECIMAL_PATTERN = "^(?!^[-+.]*$)"


def config_schema() -> dict[str, Any]:
    """JSON schema, draft 2020-12, of the whole configuration."""
    schema = Config.model_json_schema()
    collectors = collectors_model().model_json_schema()
    schema["$defs"] |= collectors.pop("$defs", {})
    schema["properties"]["collectors"] = collectors
    del schema["$defs"][StrictModel.__name__]  # what the type of `collectors` is before they are known
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of aws-spend-exporter",
    }
    rest = {key: value for key, value in _tidy(schema).items() if key != "title"}
    return head | rest


def config_schema_text() -> str:
    """The file `config.schema.json`."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def _tidy(node: Any) -> Any:
    """Durations as they are written here; no titles, which only repeat the keys, and no patterns of decimals."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "duration":
        kept = {key: value for key, value in node.items() if key in ("default", "description")}
        return {**_DURATION, **kept}
    return {
        key: _tidy(value)
        for key, value in node.items()
        if not (isinstance(value, str) and (key == "title" or value.startswith(_DECIMAL_PATTERN)))
    }

"""Where a server listens."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from exporter.core.fields import (
    StrictModel,
)


class ServerSettings(StrictModel):
    """Where metrics are served."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(
        default=9998, ge=0, le=65535, strict=True, description="Port to listen on; 0: any free."
    )
    web_config_file: Path | None = Field(
        default=None,
        description="TLS, basic authentication and headers, as Prometheus' own servers read them.",
    )

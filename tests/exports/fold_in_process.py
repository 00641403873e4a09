"""The fold of a month without its process, which takes a second to start, and where a test cannot put a fault."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Self

from exporter.exports.fold_process import FoldFailedError, answer
from exporter.exports.folding import FoldError, FoldResult, FoldSettings
from exporter.exports.month_tables import MonthTables


class InProcessFold:
    """What MonthFold promises, over the same answers in JSON."""

    def __init__(self, settings: FoldSettings) -> None:
        self._settings = settings

    def __enter__(self) -> Self:
        self._settings.spill.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(dir=self._settings.spill))
        self._tables = MonthTables(FoldSettings.from_json(self._settings.to_json()), self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._tables.db.close()
        shutil.rmtree(self._folder)

    def add(self, path: Path, name: str) -> int:
        return int(self._ask(name, {"add": str(path), "name": name})["lines"])

    def finish(self, folder: Path) -> FoldResult:
        return FoldResult.from_json(self._ask("The month", {"finish": str(folder)})["result"])

    def _ask(self, subject: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return json.loads(json.dumps(answer(self._tables, request)))
        except FoldFailedError as failed:
            raise FoldError(f"{subject} {failed}") from failed

"""The fenced blocks, headings and links of the project's pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")


@dataclass(frozen=True)
class Block:
    """One fenced block; `not_run` is the reason that stands right above it, if one does."""

    page: Path
    line: int
    language: str
    text: str
    heading: str
    not_run: str | None

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page."""
    heading, reason, inside, start, language = "", None, None, 0, ""
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        stripped = line.strip()
        if inside is None:
            if stripped.startswith("```"):
                inside, start, language = [], number, stripped[3:]
            elif line.startswith("#"):
                heading = line.lstrip("# ")
            elif found := _NOT_RUN.fullmatch(stripped):
                reason = found[1]
            elif stripped:
                reason = None
        elif stripped == "```":
            yield Block(page, start, language, "\n".join(inside), heading, reason)
            inside, reason = None, None
        else:
            inside.append(stripped if language == "console" else line)
    assert inside is None, f"{page}: a block is not closed"


def all_blocks(language: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language == language]


def anchors(page: Path) -> set[str]:
    """The fragments that a page's headings can be linked by."""
    found = set()
    for line in re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL).splitlines():
        if line.startswith("#"):
            text = re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower())
            found.add(text.replace(" ", "-"))
    return found


def links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)

"""What the pages say can be typed works, what they show as configuration loads, and their links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from doc_pages import PAGES, ROOT, Block, all_blocks, anchors, links
from running_demo import RunningDemo

from exporter.config.read import load_config

CONSOLE = all_blocks("console")
COMMAND = "aws-spend-exporter"


def _commands(block: Block) -> list[str]:
    """What is typed in a block: the lines after a prompt, comments cut off, continuations joined."""
    joined = block.text.replace("\\\n", " ")
    return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    broken = []
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        if not target.exists() or (
            parts.fragment and target.suffix == ".md" and parts.fragment not in anchors(target)
        ):
            broken.append(link)
    assert broken == []


def test_every_console_block_types_something_or_says_why_it_is_not_run() -> None:
    assert [block.where for block in CONSOLE if not block.not_run and not _commands(block)] == []


@pytest.mark.stack
@pytest.mark.parametrize(
    "block", [block for block in CONSOLE if not block.not_run], ids=lambda block: block.where
)
def test_commands_do_what_they_are_shown_to_do(demo: RunningDemo, block: Block) -> None:
    for line in _commands(block):
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]  # which profile a person has is theirs
        program, *arguments = words
        if Path(program).name == COMMAND:
            done = subprocess.run(
                [sys.executable, "-m", "exporter", *arguments],
                env=demo.environment,
                cwd=demo.folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=110,
            )
            # 1: a plan over its ceiling or a check that found something is an answer, too.
            assert done.returncode == 0 or (done.returncode == 1 and done.stdout), (line, done.stderr)
        elif program == "make":
            for target in arguments:
                assert re.search(rf"(?m)^{target}:", (ROOT / "Makefile").read_text()), line
        else:
            pytest.fail(f"{block.where}: {line!r} is neither run here nor marked as not run")


@pytest.mark.parametrize(
    "block",
    [block for block in all_blocks("yaml") if not block.not_run],
    ids=lambda block: block.where,
)
def test_configuration_that_is_shown_loads(block: Block, tmp_path: Path) -> None:
    """Blocks of other files than config.yaml say so above them."""
    file = tmp_path / "config.yaml"
    file.write_text(block.text)
    load_config(file, {})

"""Every question of the cookbook is answered by the demo's own data."""

from __future__ import annotations

import time

import pytest
from doc_pages import ROOT, blocks
from running_demo import RunningDemo

pytestmark = pytest.mark.stack

QUESTIONS = list(blocks(ROOT / "docs" / "cookbook.md"))

# Right to be empty on a demo that nobody has spiked, with the reason.
EMPTY = {
    "Which accounts are above their daily threshold?": "no account is, until a spike is injected",
    "What is off the expectation on the assessed day?": "nothing is, until a spike is injected",
    "Which services are new in the last 30 days?": "no service began in the simulated month",
    "Is this month more expensive than the last, over the same days?": "no day is complete on the 1st and 2nd",
    "What cannot be read, and why?": "nothing fails",
    "How much may it still spend?": "simulated requests are free, and the demo lifts the ceilings",
}


def test_there_are_thirty_questions_each_with_one_query() -> None:
    headings = [block.heading for block in QUESTIONS]
    assert len(set(headings)) == len(headings) >= 30
    assert {block.language for block in QUESTIONS} == {"promql"}
    assert set(EMPTY) <= set(headings)


def _days(heading: str) -> int:
    """Of the graph; 0: asked at this moment."""
    if "a graph of 13 months" in heading:
        return 396
    return 14 if "a graph" in heading else 0


@pytest.mark.parametrize("block", QUESTIONS, ids=lambda block: block.heading)
def test_the_question_is_answered(demo: RunningDemo, block) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 60  # recording rules and usage come some seconds later
    while True:
        found = demo.query(block.text, days=_days(block.heading))
        assert len(found) <= 200
        if found or block.heading in EMPTY or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert bool(found) or block.heading in EMPTY, block.text

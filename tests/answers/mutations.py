"""Answers of AWS as no one has ordered them: values of other types, members that miss, numbers beyond all bounds."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from simulated_aws.cbor import decode_cbor, encode_cbor
from simulated_aws.wire import AwsCall, Response

_DEEP = 3_000
_RAW = {
    "1e400": "1e400",
    "5,000 digits": "9" * 5_000,
    "NaN": "NaN",
    "deep": "[" * _DEEP + "]" * _DEEP,
    "lone surrogate": '"\\ud83d"',
}
"""What JSON can hold and Python's encoder does not write; put in by its name."""
ODD_TEXT = "\u202e\U0001f4b8\u0000\ufffe e\u0301 \uff15"
_AMOUNT = re.compile(r"-?\d+\.\d+")

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Mutation:
    """What was done to an answer, in words."""

    text: str
    is_typed: bool
    """Whether a number was replaced by what is none: then no number may come of it."""


class Unchanged(Exception):  # noqa: N818 # it is an outcome
    """There is nothing in the answer to change."""


def mutate(call: AwsCall, answer: Response, draw: random.Random) -> Mutation:
    """Change an answer in place."""
    kind = draw.random()
    if kind < 0.15:
        return _break_body(answer, draw)
    if answer.body.lstrip()[:1] == b"{":
        return _mutate_json(answer, draw)
    if answer.body.lstrip()[:1] == b"<":
        return _mutate_xml(answer, draw)
    if call.protocol == "smithy-rpc-v2-cbor":
        return _mutate_cbor(answer, draw)
    raise Unchanged


def _break_body(answer: Response, draw: random.Random) -> Mutation:
    body = answer.body
    choices: dict[str, Callable[[], bytes]] = {
        "cut short": lambda: body[: draw.randrange(1, max(2, len(body)))],
        "empty": lambda: b"",
        "a page of a proxy": lambda: b"<html><body>Sign in</body></html>",
        "no text": lambda: b"\xff\xfe" + body,
        "null": lambda: b"null",
        "a list": lambda: b"[1]",
        "twice": lambda: body + body,
    }
    name = draw.choice(sorted(choices))
    answer.body = choices[name]()
    if name == "a page of a proxy":
        answer.headers["Content-Type"] = "text/html"
    # Text that is cut within white space at its end is whole.
    return Mutation(f"the body is {name}", is_typed=False)


def _paths(node: Any, at: Path = ()) -> Iterator[Path]:
    if at:
        yield at
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _paths(value, (*at, key))
    elif isinstance(node, list):
        for index, value in enumerate(node[:20]):
            yield from _paths(value, (*at, index))


def _mutate_tree(tree: Any, values: list[Any], draw: random.Random) -> tuple[Mutation, Any]:
    paths = list(_paths(tree))
    if not paths:
        raise Unchanged
    path = draw.choice(paths)
    tree = copy.deepcopy(tree)
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    before = parent[path[-1]]
    where = ".".join(map(str, path))
    if draw.random() < 0.2:
        del parent[path[-1]]
        return Mutation(f"{where} is missing", is_typed=False), tree
    value = draw.choice([each for each in values if type(each) is not type(before)] or values)
    if isinstance(before, str) and _AMOUNT.fullmatch(before):
        value = draw.choice(
            ["NaN", "Infinity", "1e400", "9" * 5_000, "1.0 USD", "", ODD_TEXT, "0x10", 3, None, []]
        )
    parent[path[-1]] = value
    was_number = (isinstance(before, int | float) and not isinstance(before, bool)) or (
        isinstance(before, str) and _AMOUNT.fullmatch(before) is not None
    )
    text = f"{where} is {repr(value)[:40]} instead of {repr(before)[:40]}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Mutation(text, is_typed=was_number and value is not None and not is_number), tree


def _mutate_json(answer: Response, draw: random.Random) -> Mutation:
    values: list[Any] = [None, True, 12.5, "", "x", ODD_TEXT, [], [[]], {}, {"x": 1}, -(10**30)]
    values += [f"@{name}@" for name in _RAW]
    mutation, tree = _mutate_tree(json.loads(answer.body), values, draw)
    text = json.dumps(tree)
    for name, raw in _RAW.items():
        text = text.replace(f'"@{name}@"', raw)
    answer.body = text.encode()
    return mutation


def _mutate_cbor(answer: Response, draw: random.Random) -> Mutation:
    values: list[Any] = [
        None,
        True,
        12,
        12.5,
        float("nan"),
        float("inf"),
        1e308,
        "",
        ODD_TEXT,
        [],
        {},
        {"x": 1},
    ]
    mutation, tree = _mutate_tree(decode_cbor(answer.body), values, draw)
    answer.body = encode_cbor(tree)
    return mutation


_XML_TEXTS = ("", "x", "NaN", "1e400", "-1", "9" * 5_000, "true", "\u202e\U0001f4b8 \uff15", "1_0")


def _mutate_xml(answer: Response, draw: random.Random) -> Mutation:
    root = ElementTree.fromstring(answer.body)  # noqa: S314 # of the simulated AWS
    pairs = [(parent, child) for parent in root.iter() for child in parent]
    if not pairs:
        raise Unchanged
    parent, child = draw.choice(pairs)
    tag, before = child.tag.rpartition("}")[2], (child.text or "").strip()
    kind = draw.choice(["text", "text", "text", "missing", "twice", "children", "renamed", "deep"])
    value = ""
    match kind:
        case "text":
            value = draw.choice(_XML_TEXTS)
            for each in list(child):
                child.remove(each)
            child.text = value
        case "missing":
            parent.remove(child)
        case "twice":
            parent.append(copy.deepcopy(child))
        case "children":
            ElementTree.SubElement(child, "x").text = "1"
        case "renamed":
            child.tag = "x"
        case "deep":
            at = child
            for _ in range(200):
                at = ElementTree.SubElement(at, "x")
    answer.body = ElementTree.tostring(root)
    was_number = before.replace(".", "", 1).isdigit() and "." in before
    return Mutation(f"<{tag}> {kind} {value[:20]!r}", is_typed=was_number and kind == "text")

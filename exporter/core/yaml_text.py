"""YAML from files and the environment, with bounds: a few hundred bytes can describe gigabytes.

Aliases and merge keys are followed as far as what they stand for stays small, when it is written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 4 << 20
_MOST_NODES = 100_000  # 10,000 accounts with their names and roles are 70,000
_MOST_ALIASED_NODES = 10_000
_DEEPEST = 40
_LONGEST_NUMBER = 100
_MERGE = "tag:yaml.org,2002:merge"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")


class YamlTextError(ValueError):
    """The text is not YAML, or more than is read; the text of the error shows what is around it, shortened."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        """`line` counts from 1."""
        super().__init__(reason)
        self.line = line


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with bounds, refusing a key that stands twice in one mapping."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0
        self._aliased = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Called by PyYAML for each node, with an event that is an alias or begins one."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._nodes += 1
        self._depth += 1
        try:
            if self._nodes > _MOST_NODES:
                raise _refused(f"more than {_MOST_NODES:,} values", event.start_mark)
            if self._depth > _DEEPEST:
                raise _refused(f"nested more than {_DEEPEST} deep", event.start_mark)
            node: yaml.Node | None = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        if node is None:
            return None
        if isinstance(event, yaml.AliasEvent):
            if node not in self._sizes:
                raise _refused("an alias of what it stands in", event.start_mark)
            self._aliased += self._sizes[node]
            if self._aliased > _MOST_ALIASED_NODES:
                raise _refused(
                    f"aliases of more than {_MOST_ALIASED_NODES:,} values, written out", event.start_mark
                )
        else:
            self._sizes[node] = 1 + sum(self._sizes[inner] for inner in _inside(node))
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Called by PyYAML for each mapping."""
        seen: set[Any] = set()
        # A tag can call anything a mapping; PyYAML refuses that below.
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict | set):
                raise _refused("a key must be a plain value", key_node.start_mark)
            if key in seen:
                raise _refused(f"the key {shown(key)} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Called by PyYAML for each node."""
        # Python takes as long as the square of its digits for one, and cannot print it.
        if node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
            raise _refused(f"a number of more than {_LONGEST_NUMBER} characters", node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (
            IndexError,
            KeyError,
            AttributeError,
            TypeError,
        ):  # of PyYAML, for `!!bool maybe` or `!!int ""`
            raise _refused(
                f"found {shown(node.value)}, which its tag does not allow", node.start_mark
            ) from None


def _refused(reason: str, mark: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, reason, mark)


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [inner for pair in node.value for inner in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def parse_yaml(text: str) -> Any:
    """The value of a document; YamlTextError."""
    if len(text) > MOST_BYTES:
        raise YamlTextError(f"more than {MOST_BYTES:,} bytes")
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        parts = (part for part in (error.context, error.problem) if part)
        raise YamlTextError(f"{_cut(' '.join(parts))}{where}", mark.line + 1 if mark else None) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # A character that YAML does not have, a date of no calendar.
        raise YamlTextError(_cut(" ".join(str(error).split()))) from None


def read_yaml(path: Path) -> Any:
    """The value of a file; OSError, UnicodeDecodeError, YamlTextError."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)  # a device or a pipe has no end
    if len(content) > MOST_BYTES:
        raise YamlTextError(f"more than {MOST_BYTES:,} bytes")
    return parse_yaml(content.decode("utf-8"))


# Showing what was found

_LONGEST_SHOWN = 60
_LONGEST_ERROR = 300
_MOST_BITS = 1024


def shown(value: object) -> str:
    """A value for a message, on a line; it takes no longer for a large one."""
    text = ""
    for part in _parts(value):
        text += part
        if len(text) > _LONGEST_SHOWN:
            return f"{text[: _LONGEST_SHOWN - 3]}..."
    return text


def cut(text: str) -> str:
    """A name for a message."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_ERROR else f"{text[: _LONGEST_ERROR - 3]}..."


def _parts(value: object) -> Iterator[str]:
    """`repr(value)` in pieces, of which only as many are made as are asked for."""
    if isinstance(value, dict):
        yield "{"
        for number, (key, inner) in enumerate(value.items()):
            yield ", " if number else ""
            yield from _parts(key)
            yield ": "
            yield from _parts(inner)
        yield "}"
    elif type(value) in (list, tuple):
        assert isinstance(value, list | tuple)
        yield "[" if isinstance(value, list) else "("
        for number, inner in enumerate(value):
            yield ", " if number else ""
            yield from _parts(inner)
        yield "]" if isinstance(value, list) else ",)" if len(value) == 1 else ")"
    elif isinstance(value, str | bytes):
        yield repr(value[: _LONGEST_SHOWN + 1])
    elif isinstance(value, int) and value.bit_length() > _MOST_BITS:
        yield "a number that is too large"  # Python refuses to print some
    else:
        yield repr(value)

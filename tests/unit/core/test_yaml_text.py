"""Small files that describe much are refused in time and in words, wherever YAML is read."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.read import ConfigError, load_config
from exporter.core.yaml_text import MOST_BYTES, YamlTextError, parse_yaml, shown
from exporter.web.config import WebConfigError, read_web_file

pytestmark = pytest.mark.clockless

_MIB = 1 << 20


def bomb(*, merge: bool = False) -> str:
    """Some 480 bytes that stand for a thousand million values."""
    lines = [
        "a0: &a0 {k: [x, x, x, x, x, x, x, x, x, x]}" if merge else "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"
    ]
    for level in range(1, 9):
        names = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} {{<<: [{names}]}}" if merge else f"a{level}: &a{level} [{names}]")
    return "\n".join(lines)


TOO_MUCH: Mapping[str, tuple[str, str]] = {
    "aliases": (bomb(), "aliases of more than 10,000 values, written out"),
    "merge keys": (bomb(merge=True), "aliases of more than 10,000 values, written out"),
    "an alias of itself": ("a: &a [*a]", "an alias of what it stands in"),
    "lists in lists": ("[" * 5000, "nested more than 40 deep"),
    "mappings in mappings": ("{a: " * 5000, "nested more than 40 deep"),
    "blocks in blocks": ("\n".join(" " * n + "a:" for n in range(1000)), "nested more than 40 deep"),
    "a number of a million digits": (f"a: {'9' * 1_000_000}", "a number of more than 100 characters"),
    "a hexadecimal number": (f"a: 0x{'f' * 1_000_000}", "a number of more than 100 characters"),
    "a number to the base of 60": (f"a: 1{':59' * 300_000}", "a number of more than 100 characters"),
    "a tag that is long": (f"a: !{'x' * 1_000_000} 1", "could not determine a constructor for the tag '!xxx"),
    "a key twice, and long": (f"? {'k' * 1000}\n: 1\n? {'k' * 1000}\n: 2", "stands twice"),
    "values without end": ("-\n" * 100_001, "more than 100,000 values"),
    "text without end": ("a: " + "x" * MOST_BYTES, f"more than {MOST_BYTES:,} bytes"),
    "a control character": ("a: \x00", "special characters are not allowed"),
}


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=pytest.mark.fault(f"config.yaml holds {what}", "refused in one short line"))
        for what in TOO_MUCH
    ],
)
def test_too_much_is_refused_in_a_short_line(what: str, tmp_path: Path) -> None:
    text, expected = TOO_MUCH[what]
    with pytest.raises(YamlTextError) as refused:
        parse_yaml(text)
    assert expected in str(refused.value)
    assert len(str(refused.value)) < 400
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(file, {})
    assert len(str(error.value)) < 500 + len(str(file))
    assert "\n" not in str(error.value)
    with pytest.raises(WebConfigError) as web:
        read_web_file(file)
    assert len(str(web.value)) < 200 + len(str(file))


def test_the_environment_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inner = "&a [x,x,x,x,x,x,x,x,x,x]"
    for level in "bcdefgh":
        inner = f"&{level} [{inner}, {', '.join([f'*{chr(ord(level) - 1)}'] * 9)}]"
    with pytest.raises(ConfigError) as error:
        load_config(None, {"AWS_SPEND_EXPORTER_REGIONS": inner})
    assert str(error.value).endswith("expected a YAML value")
    assert len(str(error.value)) < 200


def test_aliases_and_merge_keys_that_stand_for_little_are_followed() -> None:
    text = "base: &base {a: 1, b: [2]}\nother: {<<: *base, a: 3}\nlist: [*base, *base]"
    assert parse_yaml(text) == yaml.safe_load(text)


def test_many_problems_are_a_few_lines(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("\n".join(f"{'k' * 100}{number}: 1" for number in range(10_000)))
    with pytest.raises(ConfigError) as error:
        load_config(file, {})
    lines = str(error.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == f"{file}: 9980 more problems like these"
    assert max(map(len, lines)) < 1000 + len(str(file))


@pytest.mark.parametrize(
    "what", ["aliases", "a hexadecimal number", "a number to the base of 60", "values without end"]
)
def test_a_command_refuses_them_in_bounded_memory_and_time(what: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(TOO_MUCH[what][0])
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "check", "-c", str(file)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1200 * _MIB, 1200 * _MIB)),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert TOO_MUCH[what][1] in done.stderr
    assert len(done.stderr) < 1000


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_not_too_much_is_read_as_it_was(value: Any) -> None:
    text = yaml.safe_dump(value)
    assert parse_yaml(text) == yaml.safe_load(text)


@given(VALUES)
def test_what_is_shown_is_how_the_value_is_written_cut(value: Any) -> None:
    text = shown(value)
    assert len(text) <= 60
    whole = repr(value)
    if len(whole) <= 60:
        assert text == whole
    else:
        assert text.endswith("...")


@given(st.text(alphabet="[]{}&*a: ,-\n!<'\"0|>#?%", max_size=200))
def test_no_text_ends_in_another_error(text: str) -> None:
    reason = ""
    try:
        parse_yaml(text)
    except YamlTextError as error:
        reason = str(error)
    assert len(reason) < 400


_TAGS = ("null", "bool", "int", "float", "binary", "timestamp", "omap", "pairs", "set", "str", "seq", "map", "merge", "value")  # fmt: skip
_TAGGED = ('""', "maybe", "'0x'", "-", "':'", "'_'", "2001-01-01", "[]", "[1]", "[[1]]", "{}", "{a: 1}", "[{a: 1}, {a: 2}]")  # fmt: skip


@pytest.mark.parametrize("tag", _TAGS)
@pytest.mark.fault("config.yaml calls a value by a tag that it does not fit", "refused in one short line")
def test_a_tag_that_does_not_fit_is_refused(tag: str) -> None:
    for value in _TAGGED:
        for text in (f"a: !!{tag} {value}", f"? !!{tag} {value}\n: 1", f"[!!{tag} {value}]"):
            reason = ""
            try:
                assert parse_yaml(text) == yaml.safe_load(text)
            except YamlTextError as error:
                reason = str(error)
            assert len(reason) < 400


def test_a_tag_that_does_not_fit_is_shown_with_its_line() -> None:
    with pytest.raises(
        YamlTextError, match=r"^found 'maybe', which its tag does not allow, line 2, column 4$"
    ):
        parse_yaml("b: 1\na: !!bool maybe")

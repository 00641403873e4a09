"""Harmless text from labels and annotations, which are chosen by others."""

from __future__ import annotations

import re
import unicodedata

MAX_FIELD_CHARS = 1000


class Neutral(str):
    """Text that is harmless already: amounts, moments, checked links."""

    __slots__ = ()


_LINE_MARKS = str.maketrans({"#": "＃", "-": "‐", "+": "＋", "=": "＝"})
_LOOKALIKE = str.maketrans({"<": "‹", ">": "›", "`": "'", "*": "∗", "~": "∼", "@": "＠"})


def neutralise(text: str, max_chars: int = MAX_FIELD_CHARS) -> Neutral:
    """
    One line of harmless text from a label or annotation.

    Account names are chosen by whoever owns the account; they must not become links, mentions, emphasis, HTML
    or extra lines. Look-alikes rather than escapes, because an escape shows where a client prints plain text.
    """
    # What is far too long is cut first: the rest is linear, but a megabyte of it is not worth reading.
    text = text[: max_chars * 4]
    text = "".join(" " if unicodedata.category(char) in {"Cc", "Zl", "Zp"} else char for char in text)
    text = "".join(char for char in text if unicodedata.category(char) not in {"Cf", "Cs", "Co", "Cn"})
    text = re.sub(r"\s+", " ", text).strip().translate(_LOOKALIKE)
    text = re.sub(r"(?<![^\W_])_+|_+(?![^\W_])", lambda match: "ˍ" * len(match[0]), text)  # snake_case stays
    text = re.sub(r"\](?=[(\[:])", "] ", text)  # [text](address), [text][reference] and [reference]:
    text = text.replace("://", ": //")  # of whichever scheme: to look for its name is quadratic
    text = re.sub(r"(?i)\b(javascript|data|vbscript|mailto):", r"\1 :", text)
    text = re.sub(r"(?i)\bwww\.", "www ", text)
    text = re.sub(r"&(?=#?\w+;)", "＆", text)
    text = text.replace("|", "¦")
    # What makes a heading, a list or a rule of the line that it begins, or of the line above.
    text = re.sub(r"^(?:#+|[-+]+|=+)(?=\s|$)", lambda match: match[0].translate(_LINE_MARKS), text)
    return Neutral(text if len(text) <= max_chars else text[: max_chars - 1] + "…")


def link(text: str) -> Neutral:
    """An http(s) address that cannot end early or open markup where it is shown; else nothing."""
    text = text.strip()
    if len(text) > MAX_FIELD_CHARS or not re.fullmatch(r"https?://[^\s\x00-\x20\x7f-\x9f]+", text):
        return Neutral("")
    if not text.isprintable():
        return Neutral("")
    return Neutral(re.sub(r"[<>\"'`()\[\]*\\|^{}]", lambda match: f"%{ord(match[0]):02X}", text))

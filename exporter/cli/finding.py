"""One finding of a check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One line of the table; `error` is None where all is well."""

    subject: str
    account_id: str
    account: str
    region: str
    result: str
    error: str | None = None
    advice: str = ""

"""What makes a difference a finding; without numpy, for settings that are read by every command."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a finding takes, in the unit of the values where it is an amount.

    `score` in robust deviations, `ratio` of the expectation (0.2: a fifth), `amount` a day; `new_amount`
    is the least of a day of a new service; `least` is the amount below which differences are noise.
    """

    score: float = 5.0
    ratio: float = 0.2
    amount: float = 25.0
    new_amount: float = 10.0
    least: float = 1.0

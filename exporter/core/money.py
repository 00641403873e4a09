"""Money as the ledger stores it: integers of 1e-10 USD, because SQLite sums text as floats."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

_EXACT = Context(prec=40, rounding=ROUND_HALF_EVEN)
_LARGEST = 2**63 - 1
_MOST_EXPONENT = 8  # of 2^63 units of 1e-10
_DECIMALS = 10
_SAFE_DIGITS = 8  # so many before the point always fit
_UNITS_PER_USD = Decimal(10**_DECIMALS)


def to_units(usd: Decimal) -> int:
    """USD to whole units of 1e-10 USD; ValueError if it is not a number that fits."""
    if usd.is_finite() and usd and usd.adjusted() > _MOST_EXPONENT:
        # Before it is an integer: one of 1e999999 takes seconds to make.
        raise ValueError(f"{usd} USD in one row is more than the ledger holds")
    scaled = _EXACT.multiply(usd, _UNITS_PER_USD)
    if not scaled.is_finite():
        raise ValueError(f"{usd} is not an amount of money")
    units = int(scaled)
    if units != scaled:
        units = int(_EXACT.to_integral_value(scaled))
    if abs(units) > _LARGEST:
        raise ValueError(f"{usd} USD in one row is more than the ledger holds")
    return units


def parse_units(text: str) -> int:
    """`to_units(Decimal(text))`, several times as fast for what AWS usually sends; ValueError or InvalidOperation."""
    whole, _, fraction = text.partition(".")
    if (
        len(fraction) <= _DECIMALS
        and len(whole) <= _SAFE_DIGITS
        and text.isascii()  # other scripts have digits, too
        and whole.removeprefix("-").isdigit()
        and (fraction.isdigit() or not fraction)
    ):
        return int(whole + fraction.ljust(_DECIMALS, "0"))
    return to_units(Decimal(text))


def to_usd(units: int) -> Decimal:
    """Units of 1e-10 USD to exact USD."""
    return _EXACT.scaleb(Decimal(units), -10)

"""Money as the ledger stores it: integers of 1e-10 USD, because SQLite sums text as floats."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

_EXACT = Context(prec=40, rounding=ROUND_HALF_EVEN)
_LARGEST = 2**63 - 1
_MOST_EXPONENT_OF_A_ROW = 8  # of 2^63 units of 1e-10
_MOST_EXPONENT_OF_A_SUM = 15
_DECIMALS = 10
_SAFE_DIGITS = 8  # so many before the point always fit
_UNITS_PER_USD = Decimal(10**_DECIMALS)
_LOW_BITS = 32


def to_units(usd: Decimal) -> int:
    """USD to whole units of 1e-10 USD; ValueError if it is not a number that fits into one row of the ledger."""
    return row_units(_whole_units(usd, _MOST_EXPONENT_OF_A_ROW))


def row_units(units: int) -> int:
    """The same units; ValueError if they are more than one row of the ledger holds."""
    if abs(units) > _LARGEST:
        raise ValueError(f"{to_usd(units)} USD in one row is more than the ledger holds")
    return units


def sum_to_units(usd: Decimal) -> int:
    """USD to whole units of 1e-10 USD, of what may be the sum of many rows; ValueError if it is no amount of money."""
    return _whole_units(usd, _MOST_EXPONENT_OF_A_SUM)


def stored_sum(units: int) -> int | float:
    """A sum of many rows as a column keeps it: a float, exact to a millionth of a dollar, where 64 bits are not enough."""
    return units if abs(units) <= _LARGEST else float(units)


def _whole_units(usd: Decimal, most_exponent: int) -> int:
    if usd.is_finite() and usd and usd.adjusted() > most_exponent:
        # Before it is an integer: one of 1e999999 takes seconds to make.
        raise ValueError(f"{usd} USD is more than the ledger holds")
    scaled = _EXACT.multiply(usd, _UNITS_PER_USD)
    if not scaled.is_finite():
        raise ValueError(f"{usd} is not an amount of money")
    units = int(scaled)
    if units != scaled:
        units = int(_EXACT.to_integral_value(scaled))
    return units


def parse_amount(text: str) -> Decimal:
    """A number that AWS sends as text; ValueError or InvalidOperation for what is none, or beyond any money or time."""
    amount = Decimal(text)
    if not amount.is_finite() or (amount and amount.adjusted() > _MOST_EXPONENT_OF_A_SUM):
        raise ValueError(f"{text[:100]} is not an amount")
    return amount


def parse_units(text: str) -> int:
    """`sum_to_units(Decimal(text))`, several times as fast for what AWS usually sends; ValueError or InvalidOperation."""
    whole, _, fraction = text.partition(".")
    if (
        len(fraction) <= _DECIMALS
        and len(whole) <= _SAFE_DIGITS
        and text.isascii()  # other scripts have digits, too
        and whole.removeprefix("-").isdigit()
        and (fraction.isdigit() or not fraction)
    ):
        return int(whole + fraction.ljust(_DECIMALS, "0"))
    return sum_to_units(Decimal(text))


def to_usd(units: int | float) -> Decimal:
    """Units of 1e-10 USD to exact USD; a float is what `stored_sum` has made of them."""
    return _EXACT.scaleb(Decimal(units), -10)


def usd_text(usd: Decimal) -> str:
    """An exact amount with all of its digits and without an exponent; zero is `0`, never `0E-10`."""
    return f"{usd:f}" if usd else "0"


def exact_sum(column: str) -> str:
    """SQL of two aggregates that `joined` makes the sum of an integer column of; in one, 64 bits end at $922 million."""
    return f"SUM({column} >> {_LOW_BITS}), SUM({column} & {(1 << _LOW_BITS) - 1})"


def exact_sum_of_sums(column: str) -> str:
    """The same for a column of `stored_sum`s, some of which may be floats."""
    high = f"CAST({column} / {1 << _LOW_BITS}.0 AS INTEGER)"
    mask = (1 << _LOW_BITS) - 1
    return (
        f"SUM(CASE TYPEOF({column}) WHEN 'real' THEN {high} ELSE {column} >> {_LOW_BITS} END),"
        f" SUM(CASE TYPEOF({column}) WHEN 'real' THEN CAST({column} - {high} * {1 << _LOW_BITS}.0 AS INTEGER)"
        f" ELSE {column} & {mask} END)"
    )


def joined(high: int | None, low: int | None) -> int:
    """The exact sum of what `exact_sum` has selected; 0 of no rows."""
    return ((high or 0) << _LOW_BITS) + (low or 0)

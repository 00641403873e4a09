"""Charge types as Cost Explorer reports them (RECORD_TYPE), from the line types of an export."""

from __future__ import annotations

_SUPPORT_CODES = ("AWSSupport", "AWSPremiumSupport", "OCBPremiumSupport")
_FEES = ("Fee", "Usage")
_RECORD_TYPES = {
    "Usage": "Usage",
    "DiscountedUsage": "DiscountedUsage",
    "SavingsPlanCoveredUsage": "SavingsPlanCoveredUsage",
    "SavingsPlanNegation": "SavingsPlanNegation",
    "SavingsPlanRecurringFee": "SavingsPlanRecurringFee",
    "SavingsPlanUpfrontFee": "SavingsPlanUpfrontFee",
    "RIFee": "RIFee",
    "Fee": "Fee",
    "FlatRateSubscription": "FlatRateSubscription",
    "Tax": "Tax",
    "Credit": "Credit",
    "Refund": "Refund",
    # Cost Explorer spells out the discounts.
    "BundledDiscount": "Bundled Discount",
    "Discount": "Discount",
    "DistributorDiscount": "Distributor Discount",
    "EdpDiscount": "Enterprise Discount Program Discount",
    "PrivateRateDiscount": "Private Rate Card Discount",
    "SppDiscount": "Solution Provider Program Discount",
}

KNOWN_LINE_TYPES = frozenset(_RECORD_TYPES)
"""Line types of which it is known how they count in each cost type; others count as unblended."""


def record_type(line_type: str, product_code: str) -> str:
    """Cost Explorer's charge type of a line; an unknown line type keeps its name."""
    if line_type in _FEES and product_code.startswith(_SUPPORT_CODES):
        return "Support"
    return _RECORD_TYPES.get(line_type, line_type)

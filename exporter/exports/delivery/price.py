"""What AWS charges for requests to the bucket of an export, in US dollars of us-east-1."""

from __future__ import annotations

from decimal import Decimal

from exporter.declarations.calls import FreeCall

S3_READ_USD = Decimal("0.0000004")
S3_WRITE_USD = Decimal("0.000005")
KMS_REQUEST_USD = Decimal("0.000003")


def decrypt_call(objects: Decimal) -> FreeCall:
    """What S3 asks of KMS in a 30-day month in which so many objects are read: an upper bound."""
    return FreeCall(
        service="kms",
        operation="Decrypt",
        per_month=objects,
        note="by S3, only where a key of KMS encrypts the bucket; less with an S3 bucket key",
        usd_each=KMS_REQUEST_USD,
        is_request=False,
    )

"""The one boundary at which foreign exceptions become `AwsError` with a kind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import InvalidOperation
from enum import StrEnum

import botocore.exceptions as bce
import urllib3.exceptions
from botocore.eventstream import NoInitialResponseError
from botocore.parsers import ResponseParserError


class Kind(StrEnum):
    """Why a unit of collection failed; the value of the label `kind`."""

    ACCESS_DENIED = "access_denied"
    NO_CREDENTIALS = "no_credentials"
    EXPIRED_CREDENTIALS = "expired_credentials"
    THROTTLED = "throttled"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    SERVER_ERROR = "server_error"
    MALFORMED_RESPONSE = "malformed_response"
    REGION_DISABLED = "region_disabled"
    REGION_DENIED = "region_denied"
    NOT_OFFERED = "not_offered"
    DATA_UNAVAILABLE = "data_unavailable"
    NOT_ENROLLED = "not_enrolled"
    INVALID_REQUEST = "invalid_request"
    CURRENCY = "currency"
    CEILING_REACHED = "ceiling_reached"
    PLAN_OVER_CEILING = "plan_over_ceiling"
    DEADLINE = "deadline"
    LEDGER = "ledger"
    STOPPED = "stopped"
    INTERNAL = "internal"


RETRIED = frozenset(
    {Kind.THROTTLED, Kind.TIMEOUT, Kind.CONNECTION, Kind.SERVER_ERROR, Kind.MALFORMED_RESPONSE}
)


class AwsError(Exception):
    """A classified failure; `str()` says what was asked of whom and what came back."""

    def __init__(self, kind: Kind, message: str, *, request: str = "", code: str = "") -> None:
        """`request` names service, operation, account and region; `code` is AWS's error code."""
        super().__init__(f"{request}: {message}" if request else message)
        self.kind = kind
        self.code = code

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.kind in RETRIED


@contextmanager
def reading(answer: str) -> Iterator[None]:
    """Raise AwsError(MALFORMED_RESPONSE) where an answer lacks what is read of it, or holds something odd.

    `answer` names it in the message, e.g. "a budget".
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, InvalidOperation) as error:
        raise AwsError(
            Kind.MALFORMED_RESPONSE, f"{answer} is malformed: {type(error).__name__}: {error}"
        ) from error


_CODES: dict[str, Kind] = {
    **dict.fromkeys(
        (
            "AccessDenied",
            "AccessDeniedException",
            "AuthorizationError",
            "AuthorizationErrorException",
            "AWSOrganizationsNotInUseException",
            "UnauthorizedOperation",
            "UnauthorizedException",
            "UnauthorizedAccess",
            "NotAuthorized",
            "Forbidden",
            "403",
        ),
        Kind.ACCESS_DENIED,
    ),
    **dict.fromkeys(
        (
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
            "TokenRefreshRequired",
        ),
        Kind.EXPIRED_CREDENTIALS,
    ),
    **dict.fromkeys(
        (
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidAccessKeyId",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
        ),
        Kind.NO_CREDENTIALS,
    ),
    **dict.fromkeys(
        (
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "RequestLimitExceeded",
            "LimitExceededException",
            "TooManyRequestsException",
            "ProvisionedThroughputExceededException",
            "TransactionInProgressException",
            "BandwidthLimitExceeded",
            "PriorRequestNotComplete",
            "SlowDown",
            "EC2ThrottledException",
            "429",
        ),
        Kind.THROTTLED,
    ),
    **dict.fromkeys(
        ("AuthFailure", "OptInRequired", "RegionDisabledException", "InvalidRegionException"),
        Kind.REGION_DISABLED,
    ),
    **dict.fromkeys(("DataUnavailableException", "BillExpirationException"), Kind.DATA_UNAVAILABLE),
    **dict.fromkeys(
        (
            "InternalError",
            "InternalFailure",
            "InternalServiceError",
            "InternalServerError",
            "InternalServerException",
            "ServiceUnavailable",
            "ServiceUnavailableException",
            "Unavailable",
            "RequestTimeout",
            "RequestTimeoutException",
        ),
        Kind.SERVER_ERROR,
    ),
}

# Tried in order, the special before the general; a test holds every class of botocore against it.
_EXCEPTIONS: tuple[tuple[Kind, tuple[type[Exception], ...]], ...] = (
    (
        Kind.TIMEOUT,
        (bce.ConnectTimeoutError, bce.ReadTimeoutError, urllib3.exceptions.TimeoutError, TimeoutError),
    ),
    (
        # Whoever signed in has to do so again.
        Kind.EXPIRED_CREDENTIALS,
        (bce.UnauthorizedSSOTokenError, bce.TokenRetrievalError, bce.LoginRefreshRequired),
    ),
    (
        Kind.NO_CREDENTIALS,
        (
            bce.NoCredentialsError,
            bce.PartialCredentialsError,
            bce.CredentialRetrievalError,
            bce.ProfileNotFound,
            bce.InvalidConfigError,
            bce.ConfigNotFound,
            bce.ConfigParseError,
            bce.UnknownCredentialError,
            bce.UnknownTokenProviderError,
            bce.SSOError,
            bce.NoAuthTokenError,
            bce.LoginError,
            bce.RefreshWithMFAUnsupportedError,
            bce.MetadataRetrievalError,
            bce.InvalidIMDSEndpointError,
            bce.InvalidIMDSEndpointModeError,
            bce.MissingDependencyException,
        ),
    ),
    (
        Kind.MALFORMED_RESPONSE,
        (
            ResponseParserError,
            NoInitialResponseError,
            bce.PaginationError,
            bce.IncompleteReadError,
            bce.ChecksumError,
            bce.FlexibleChecksumError,
            urllib3.exceptions.DecodeError,
        ),
    ),
    (Kind.INVALID_REQUEST, (urllib3.exceptions.LocationValueError,)),
    (Kind.INTERNAL, (sqlite3.IntegrityError, sqlite3.ProgrammingError)),
    (Kind.LEDGER, (sqlite3.DatabaseError,)),  # a disk that is full, read-only or broken
    (
        Kind.CONNECTION,
        (bce.HTTPClientError, bce.ConnectionError, urllib3.exceptions.HTTPError, ConnectionError),
    ),
)


def _kind_of_client_error(error: bce.ClientError) -> tuple[Kind, str]:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _CODES:
        return _CODES[code], code
    if code.startswith("AccessDenied"):
        return Kind.ACCESS_DENIED, code
    if status == 429:
        return Kind.THROTTLED, code
    if status >= 500:
        return Kind.SERVER_ERROR, code
    return Kind.INVALID_REQUEST, code


def classify(error: Exception, request: str = "") -> AwsError:
    """Map any exception that a request can raise to an `AwsError`; anything unforeseen is `internal`."""
    if isinstance(error, AwsError):
        return error
    if isinstance(error, bce.ClientError):
        kind, code = _kind_of_client_error(error)
        message = str(error.response.get("Error", {}).get("Message", "")) or "no message"
        return AwsError(kind, f"{code}: {message}", request=request, code=code)
    for kind, types in _EXCEPTIONS:
        if isinstance(error, types):
            return AwsError(kind, str(error) or type(error).__name__, request=request)
    # What botocore refuses before it sends; not all of it is a BotoCoreError.
    kind = Kind.INVALID_REQUEST if type(error).__module__.startswith("botocore.") else Kind.INTERNAL
    return AwsError(kind, f"{type(error).__name__}: {error}", request=request)

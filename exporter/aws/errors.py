"""The one boundary at which foreign exceptions become `AwsError` with a kind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any
from xml.etree.ElementTree import ParseError

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
    CLOCK_SKEW = "clock_skew"
    REGION_DISABLED = "region_disabled"
    REGION_DENIED = "region_denied"
    NOT_OFFERED = "not_offered"
    DATA_UNAVAILABLE = "data_unavailable"
    NOT_ENROLLED = "not_enrolled"
    INVALID_REQUEST = "invalid_request"
    EXPORT = "export"
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
        self.request = request

    def of_kind(self, kind: Kind) -> AwsError:
        """The same failure, classified by what else is known."""
        found = AwsError(kind, str(self), code=self.code)
        found.request = self.request
        return found

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.kind in RETRIED


class PlainAnswerError(Exception):
    """An error answer in no service's form, such as the text of a load balancer or the page of a proxy."""

    def __init__(self, status: int, text: str) -> None:
        """`status` is that of HTTP, `text` how the answer begins."""
        super().__init__(f"HTTP status {status}: {text or 'no text'}")
        self.status = status
        self.text = text


@contextmanager
def reading(answer: str) -> Iterator[None]:
    """Raise AwsError(MALFORMED_RESPONSE) where an answer lacks what is read of it, or holds something odd.

    `answer` names it in the message, e.g. "a budget".
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
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
            "UnauthorizedOperation",
            "UnauthorizedException",
            "UnauthorizedAccess",
            "NotAuthorized",
            "Forbidden",
            "ForbiddenException",
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
            "AuthFailure",
            "IDPRejectedClaim",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidIdentityToken",
            "InvalidIdentityTokenException",
            "InvalidSignatureException",
            "InvalidToken",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ),
        Kind.NO_CREDENTIALS,
    ),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestInTheFuture"), Kind.CLOCK_SKEW),
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
    **dict.fromkeys(("RegionDisabledException", "InvalidRegionException"), Kind.REGION_DISABLED),
    **dict.fromkeys(
        (
            "AWSOrganizationsNotInUseException",
            "NotSignedUp",
            "OptInRequired",
            "SubscriptionRequiredException",
        ),
        Kind.NOT_ENROLLED,
    ),
    **dict.fromkeys(("DataUnavailableException", "BillExpirationException"), Kind.DATA_UNAVAILABLE),
    **dict.fromkeys(
        (
            "IDPCommunicationError",
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

_OF_IDENTITY = frozenset({Kind.NO_CREDENTIALS, Kind.EXPIRED_CREDENTIALS})

# Keys that are valid elsewhere are unknown in a region that the account has not opted in to: EC2, JSON services,
# query services and S3 each say it in their own way.
_UNKNOWN_HERE = frozenset(
    {
        "AuthFailure",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "OptInRequired",
        "UnrecognizedClientException",
    }
)
_ENABLED_BY_DEFAULT = frozenset(
    {
        *("us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1"),
        *("eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3"),
        *("ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1"),
        *("ap-southeast-1", "ap-southeast-2"),
    }
)
"""Those from before March 2019; every later region of the commercial partition is to be opted in to."""

# What a code alone does not say, in lower case.
_OF_THE_CLOCK = ("signature expired", "signature not yet current", "timestamp is too", "is not yet valid")
_OF_ENROLLMENT = ("not enrolled", "not enabled for cost explorer", "has not been activated")
_SKEW = timedelta(minutes=4, seconds=30)  # most services refuse five minutes

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
            ParseError,  # botocore reads some XML beside its parsers
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


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked where, for errors that mean something else elsewhere."""

    region: str = ""
    is_session: bool = True
    """Whether it was signed with the keys of a session, which ends; others do not expire."""


def needs_opt_in(region: str) -> bool:
    """Whether accounts have to opt in to a region before they can use it."""
    is_commercial = region.count("-") == 2 and not region.startswith(("cn-", "us-iso", "eu-iso", "eusc-"))
    return is_commercial and region not in _ENABLED_BY_DEFAULT


def _kind_of_client_error(error: bce.ClientError, asked: Asked) -> tuple[Kind, str]:
    code = str(error.response.get("Error", {}).get("Code") or "")
    message = str(error.response.get("Error", {}).get("Message") or "").lower()
    metadata = error.response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 0)
    kind = _CODES.get(code)
    if kind is None:
        return _kind_of_unknown_code(code, status), code
    if kind in _OF_IDENTITY and (
        any(text in message for text in _OF_THE_CLOCK)
        or (code == "RequestExpired" and not asked.is_session)
        or _clocks_differ(metadata.get("HTTPHeaders", {}))
    ):
        return Kind.CLOCK_SKEW, code
    if code in _UNKNOWN_HERE and needs_opt_in(asked.region):
        return Kind.REGION_DISABLED, code
    if kind is Kind.ACCESS_DENIED and any(text in message for text in _OF_ENROLLMENT):
        return Kind.NOT_ENROLLED, code
    return kind, code


def _kind_of_unknown_code(code: str, status: int) -> Kind:
    if code.startswith("AccessDenied"):
        return Kind.ACCESS_DENIED
    if status == 429:
        return Kind.THROTTLED
    return Kind.SERVER_ERROR if status >= 500 else Kind.INVALID_REQUEST


def _clocks_differ(headers: Mapping[str, Any]) -> bool:
    """Whether AWS's clock, of the answer's date, is so far from ours that signatures are refused."""
    try:
        moment = parsedate_to_datetime(str(headers.get("date", "")))
    except (TypeError, ValueError):
        return False
    # Signatures bear the time of the machine, not of the clock that the exporter was given.
    return moment.tzinfo is not None and abs(datetime.now(UTC) - moment) > _SKEW


def _kind_of_plain_answer(error: PlainAnswerError) -> Kind:
    text = error.text.lower()
    if error.status == 429 or (error.status == 503 and ("slow down" in text or "rate exceeded" in text)):
        return Kind.THROTTLED
    return Kind.SERVER_ERROR if error.status >= 500 else Kind.MALFORMED_RESPONSE


def classify(error: Exception, request: str = "", asked: Asked = Asked()) -> AwsError:  # frozen
    """Map any exception that a request can raise to an `AwsError`; anything unforeseen is `internal`."""
    if isinstance(error, AwsError):
        return error
    if isinstance(error, bce.ClientError):
        kind, code = _kind_of_client_error(error, asked)
        message = str(error.response.get("Error", {}).get("Message", "")) or "no message"
        return AwsError(kind, f"{code}: {message}", request=request, code=code)
    if isinstance(error, PlainAnswerError):
        return AwsError(_kind_of_plain_answer(error), str(error), request=request, code=str(error.status))
    for kind, types in _EXCEPTIONS:
        if isinstance(error, types):
            return AwsError(kind, str(error) or type(error).__name__, request=request)
    # What botocore refuses before it sends; not all of it is a BotoCoreError.
    kind = Kind.INVALID_REQUEST if type(error).__module__.startswith("botocore.") else Kind.INTERNAL
    return AwsError(kind, f"{type(error).__name__}: {error}", request=request)

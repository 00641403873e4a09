"""Every foreign exception has a kind that somebody chose."""

from __future__ import annotations

import inspect
import sqlite3
from typing import Any

import botocore.exceptions as bce
import pytest
import urllib3.exceptions
from botocore import parsers

from exporter.aws.errors import RETRIED, AwsError, Kind, classify


def botocore_exceptions() -> list[type[Exception]]:
    """Every exception class of botocore and its parsers; warnings are not raised."""
    found = {
        member
        for module in (bce, parsers)
        for member in vars(module).values()
        if inspect.isclass(member)
        and issubclass(member, Exception)
        and not issubclass(member, Warning)
        and member.__module__.startswith("botocore")
    }
    return sorted(found, key=lambda member: member.__name__)


BY_KIND: dict[Kind, set[str]] = {
    Kind.TIMEOUT: {"ConnectTimeoutError", "ReadTimeoutError"},
    Kind.CONNECTION: {
        "ConnectionClosedError",
        "ConnectionError",
        "EndpointConnectionError",
        "HTTPClientError",
        "ProxyConnectionError",
        "ResponseStreamingError",
        "SSLError",
    },
    Kind.MALFORMED_RESPONSE: {
        "ChecksumError",
        "FlexibleChecksumError",
        "IncompleteReadError",
        "NoInitialResponseError",
        "PaginationError",
        "ResponseParserError",
    },
    Kind.EXPIRED_CREDENTIALS: {
        "LoginRefreshRequired",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    },
    Kind.NO_CREDENTIALS: {
        "ConfigNotFound",
        "ConfigParseError",
        "CredentialRetrievalError",
        "InfiniteLoopConfigError",
        "InvalidConfigError",
        "InvalidIMDSEndpointError",
        "InvalidIMDSEndpointModeError",
        "LoginAuthorizationCodeError",
        "LoginError",
        "LoginInsufficientPermissions",
        "LoginTokenLoadError",
        "MetadataRetrievalError",
        "MissingDependencyException",
        "NoAuthTokenError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "RefreshWithMFAUnsupportedError",
        "SSOError",
        "SSOTokenLoadError",
        "UnknownCredentialError",
        "UnknownTokenProviderError",
    },
}
"""By hand; whatever botocore has besides these refuses a request before it is sent: invalid_request."""

INVALID_REQUEST = {
    "AliasConflictParameterError", "ApiVersionNotFoundError", "AwsChunkedWrapperError",
    "BaseEndpointResolverError", "BotoCoreError", "CapacityNotAvailableError", "ClientError",
    "DataNotFoundError", "EndpointProviderError", "EndpointResolutionError", "EndpointVariantError",
    "EventStreamError",
    "InvalidChecksumConfigError", "InvalidDNSNameError", "InvalidDefaultsMode",
    "InvalidEndpointConfigurationError", "InvalidEndpointDiscoveryConfigurationError",
    "InvalidExpressionError", "InvalidHostLabelError", "InvalidMaxRetryAttemptsError",
    "InvalidProxiesConfigError", "InvalidRegionError", "InvalidRetryConfigurationError",
    "InvalidRetryModeError", "InvalidS3AddressingStyleError",
    "InvalidS3UsEast1RegionalEndpointConfigError", "InvalidSTSRegionalEndpointsConfigError",
    "MD5UnavailableError", "MissingParametersError", "MissingServiceIdError", "NoRegionError",
    "OperationNotPageableError", "ParamValidationError", "RangeError", "ServiceNotInRegionError",
    "StubAssertionError", "StubResponseError", "UnStubbedResponseError", "UndefinedModelAttributeError",
    "UnknownClientMethodError", "UnknownEndpointError", "UnknownEndpointResolutionBuiltInName",
    "UnknownFIPSEndpointError", "UnknownKeyError", "UnknownParameterError", "UnknownRegionError",
    "UnknownServiceError", "UnknownServiceStyle", "UnknownSignatureVersionError", "UnseekableStreamError",
    "UnsupportedOutpostResourceError", "UnsupportedS3AccesspointConfigurationError",
    "UnsupportedS3ArnError", "UnsupportedS3ConfigurationError", "UnsupportedS3ControlArnError",
    "UnsupportedS3ControlConfigurationError", "UnsupportedServiceProtocolsError",
    "UnsupportedSignatureVersionError", "ValidationError", "WaiterConfigError", "WaiterError",
}  # fmt: skip

TABLE = {name: kind for kind, names in BY_KIND.items() for name in names} | dict.fromkeys(
    INVALID_REQUEST, Kind.INVALID_REQUEST
)


def made(cls: type[Exception]) -> Exception:
    """An instance, without knowing what its constructor wants."""
    error = cls.__new__(cls)
    Exception.__init__(error, cls.__name__)
    if isinstance(error, bce.ClientError):
        error.response = {}
    return error


@pytest.mark.parametrize("cls", botocore_exceptions(), ids=lambda cls: cls.__name__)
def test_every_exception_of_botocore_is_in_the_table(cls: type[Exception]) -> None:
    """A class that a new botocore brings fails here until somebody says what it means."""
    assert classify(made(cls), "request").kind == TABLE[cls.__name__]


def test_the_table_names_nothing_that_botocore_lacks() -> None:
    assert set(TABLE) == {cls.__name__ for cls in botocore_exceptions()}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (urllib3.exceptions.ReadTimeoutError(None, "/", "late"), Kind.TIMEOUT),  # type: ignore[arg-type]
        (urllib3.exceptions.ConnectTimeoutError("late"), Kind.TIMEOUT),
        (urllib3.exceptions.ProtocolError("cut"), Kind.CONNECTION),
        (urllib3.exceptions.IncompleteRead(3, 5), Kind.CONNECTION),
        (urllib3.exceptions.SSLError("no"), Kind.CONNECTION),
        (urllib3.exceptions.DecodeError("not gzip"), Kind.MALFORMED_RESPONSE),
        (urllib3.exceptions.LocationParseError("http://["), Kind.INVALID_REQUEST),
        (TimeoutError("late"), Kind.TIMEOUT),
        (ConnectionResetError(104, "reset"), Kind.CONNECTION),
        (BrokenPipeError(32, "broken"), Kind.CONNECTION),
        (ZeroDivisionError("ours"), Kind.INTERNAL),
        (KeyError("ours"), Kind.INTERNAL),
        (OSError(28, "No space left on device"), Kind.INTERNAL),
        (sqlite3.OperationalError("database or disk is full"), Kind.LEDGER),
        (sqlite3.DatabaseError("database disk image is malformed"), Kind.LEDGER),
        (sqlite3.ProgrammingError("ours"), Kind.INTERNAL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_is_no_exception_of_botocore_has_a_kind_too(error: Exception, kind: Kind) -> None:
    assert classify(error).kind == kind


def client_error(code: str, status: int = 400) -> bce.ClientError:
    answer: dict[str, Any] = {
        "Error": {"Code": code, "Message": "why"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return bce.ClientError(answer, "Operation")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("AccessDenied", 403, Kind.ACCESS_DENIED),
        ("AccessDeniedException", 400, Kind.ACCESS_DENIED),
        ("UnauthorizedOperation", 403, Kind.ACCESS_DENIED),
        ("ExpiredToken", 403, Kind.EXPIRED_CREDENTIALS),
        ("ExpiredTokenException", 400, Kind.EXPIRED_CREDENTIALS),
        ("RequestExpired", 400, Kind.EXPIRED_CREDENTIALS),
        ("InvalidClientTokenId", 403, Kind.NO_CREDENTIALS),
        ("UnrecognizedClientException", 400, Kind.NO_CREDENTIALS),
        ("SignatureDoesNotMatch", 403, Kind.NO_CREDENTIALS),
        ("Throttling", 400, Kind.THROTTLED),
        ("RequestLimitExceeded", 503, Kind.THROTTLED),
        ("LimitExceededException", 400, Kind.THROTTLED),
        ("TooManyRequestsException", 400, Kind.THROTTLED),
        ("SomethingNew", 429, Kind.THROTTLED),
        ("AuthFailure", 401, Kind.NO_CREDENTIALS),
        ("RegionDisabledException", 403, Kind.REGION_DISABLED),
        ("DataUnavailableException", 400, Kind.DATA_UNAVAILABLE),
        ("InternalError", 500, Kind.SERVER_ERROR),
        ("SomethingNew", 502, Kind.SERVER_ERROR),
        ("ValidationException", 400, Kind.INVALID_REQUEST),
        ("", 400, Kind.INVALID_REQUEST),
    ],
)
def test_error_codes_of_aws(code: str, status: int, kind: Kind) -> None:
    failure = classify(client_error(code, status), "ec2 DescribeInstances for 1 in r")
    assert (failure.kind, failure.code) == (kind, code)
    assert str(failure) == f"ec2 DescribeInstances for 1 in r: {code}: why"


def test_what_is_classified_stays_as_it_is() -> None:
    error = AwsError(Kind.CURRENCY, "EUR")
    assert classify(error, "elsewhere") is error


def test_only_what_may_pass_by_itself_is_tried_again() -> None:
    assert (
        {kind for kind in Kind if AwsError(kind, "").retryable}
        == RETRIED
        == {
            Kind.THROTTLED,
            Kind.TIMEOUT,
            Kind.CONNECTION,
            Kind.SERVER_ERROR,
            Kind.MALFORMED_RESPONSE,
        }
    )

"""Who is calling: the payer's keys, assumed roles and their end."""

from __future__ import annotations

import re
import secrets
import string
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape

from simulated_aws.faults import expired
from simulated_aws.organization import Organization
from simulated_aws.spec import OrganizationSpec
from simulated_aws.wire import AwsCall, AwsError, Response, xml_response

PAYER_ACCESS_KEY = "AKIASIMULATEDPAYER00"
PAYER_SECRET_KEY = "simulated-secret-of-the-payer-0000000000"  # noqa: S105 - opens nothing but the simulation
PAYER_USER = "exporter"
_ROLE = re.compile(r"arn:(aws(?:-[a-z-]+)?):iam::(\d{12}):role/(?:[\w+=,.@/-]*/)?([\w+=,.@-]{1,64})")
_ALPHABET = string.ascii_uppercase + string.digits


@dataclass(frozen=True, slots=True)
class Session:
    """Temporary credentials and what they stand for; `expires` is simulated time, None for never."""

    account_id: str
    access_key: str
    secret_key: str
    token: str
    arn: str
    user_id: str
    expires: datetime | None


class Identity:
    """Knows every access key, and answers STS."""

    def __init__(
        self, spec: OrganizationSpec, organization: Organization, now: Callable[[], datetime]
    ) -> None:
        self._spec = spec
        self._organization = organization
        self._now = now
        self._lock = threading.Lock()
        payer = organization.payer
        self.payer = Session(
            payer.id,
            PAYER_ACCESS_KEY,
            PAYER_SECRET_KEY,
            "",
            f"arn:{spec.partition}:iam::{payer.id}:user/{PAYER_USER}",
            "AIDASIMULATEDPAYER00",
            None,
        )
        self._sessions = {PAYER_ACCESS_KEY: self.payer}
        self.max_session_seconds = 43_200
        self.web_identity_tokens: set[str] = set()
        """Tokens of an identity provider that the payer's role `aws-spend-exporter` trusts."""

    def authenticate(self, call: AwsCall) -> Session:
        """The session of a call, by its access key; AwsError when it is unknown, foreign or over."""
        with self._lock:
            session = self._sessions.get(call.access_key)
        token = call.headers.get("x-amz-security-token", "")
        if session is None or (session.token and token != session.token):
            raise _unknown_key(call)
        if session.expires is not None and self._now() >= session.expires:
            raise expired(call)
        return session

    def account_of(self, access_key: str) -> str:
        """The account id of an access key, empty when it is unknown."""
        with self._lock:
            session = self._sessions.get(access_key)
        return session.account_id if session else ""

    def answer(self, call: AwsCall, session: Session) -> Response | None:
        """The answer to an STS call, None for operations that are left to moto."""
        if call.operation == "GetCallerIdentity":
            result = (
                f"<Arn>{escape(session.arn)}</Arn><UserId>{escape(session.user_id)}</UserId>"
                f"<Account>{session.account_id}</Account>"
            )
            return _sts(call, result)
        if call.operation == "AssumeRole":
            return _sts(call, self._assume_role(call, session))
        return None

    def assume_with_web_identity(self, call: AwsCall) -> Response:
        """AssumeRoleWithWebIdentity, the one call that is not signed."""
        arn = f"arn:{self._spec.partition}:iam::{self.payer.account_id}:role/aws-spend-exporter"
        if call.params.get("WebIdentityToken") not in self.web_identity_tokens:
            raise AwsError("InvalidIdentityToken", "No OpenIDConnect provider found in your account.", 400)
        if call.params.get("RoleArn") != arn:
            raise AwsError("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403)
        name = str(call.params.get("RoleSessionName", ""))
        account, seconds = self._organization.payer, int(call.params.get("DurationSeconds") or 3600)
        return _sts(call, self._session(account.id, "aws-spend-exporter", name, seconds))

    def _session(self, account_id: str, role: str, name: str, seconds: int) -> str:
        """New temporary credentials, as STS tells them."""
        key = "ASIA" + "".join(secrets.choice(_ALPHABET) for _ in range(16))
        role_id = "AROA" + account_id + "ROLE"
        session = Session(
            account_id,
            key,
            secrets.token_urlsafe(30),
            secrets.token_urlsafe(96),
            f"arn:{self._spec.partition}:sts::{account_id}:assumed-role/{role}/{name}",
            f"{role_id}:{name}",
            self._now() + timedelta(seconds=seconds),
        )
        with self._lock:
            self._sessions[key] = session
        # SDKs compare the expiry with the real clock, not with the simulated one.
        expires = datetime.now(UTC) + timedelta(seconds=seconds)
        return (
            f"<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{session.secret_key}</SecretAccessKey>"
            f"<SessionToken>{session.token}</SessionToken>"
            f"<Expiration>{expires:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>"
            f"<AssumedRoleUser><AssumedRoleId>{escape(session.user_id)}</AssumedRoleId>"
            f"<Arn>{escape(session.arn)}</Arn></AssumedRoleUser>"
        )

    def _assume_role(self, call: AwsCall, caller: Session) -> str:
        params = call.params
        arn, name = str(params.get("RoleArn", "")), str(params.get("RoleSessionName", ""))
        if not re.fullmatch(r"[\w+=,.@-]{2,64}", name):
            raise AwsError(
                "ValidationError", f"Value '{name}' at 'roleSessionName' failed to satisfy constraint"
            )
        try:
            duration = int(params.get("DurationSeconds") or 3600)
        except ValueError:
            raise AwsError("ValidationError", "DurationSeconds is not a number") from None
        if not 900 <= duration <= 43_200:
            raise AwsError(
                "ValidationError", f"Value '{duration}' at 'durationSeconds' failed to satisfy constraint"
            )
        match = _ROLE.fullmatch(arn)
        if match is None:
            raise AwsError("ValidationError", f"{arn} is invalid")
        account = self._organization.by_id.get(match[2])
        refused = AwsError(
            "AccessDenied",
            f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {arn}",
            403,
        )
        external_id = self._spec.external_id
        if (
            account is None
            or account.state != "ACTIVE"
            or match[1] != self._spec.partition
            or match[3] != self._spec.member_role
            or (external_id is not None and params.get("ExternalId") != external_id)
        ):
            raise refused
        chained = caller.token != ""
        if duration > self.max_session_seconds or (chained and duration > 3600):
            raise AwsError(
                "ValidationError",
                "The requested DurationSeconds exceeds the 1 hour session limit for role chaining"
                if chained
                else "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            )
        return self._session(account.id, match[3], name, duration)


def signature_error(call: AwsCall) -> AwsError:
    """The refusal of a request that was signed with another secret."""
    message = "The request signature we calculated does not match the signature you provided."
    if call.protocol == "ec2":
        return AwsError("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
    if call.protocol in ("query", "rest-xml"):
        return AwsError("SignatureDoesNotMatch", message, 403)
    return AwsError("InvalidSignatureException", message, 403)


def _sts(call: AwsCall, result: str) -> Response:
    name = call.operation
    return xml_response(
        f'<{name}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{name}Result>{result}</{name}Result>'
        f"<ResponseMetadata><RequestId>{secrets.token_hex(8)}</RequestId></ResponseMetadata></{name}Response>"
    )


def _unknown_key(call: AwsCall) -> AwsError:
    message = "The security token included in the request is invalid."
    if call.protocol == "ec2":
        return AwsError("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
    if call.service == "s3":
        return AwsError("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist.", 403)
    if call.protocol in ("query", "rest-xml"):
        return AwsError("InvalidClientTokenId", message, 403)
    return AwsError("UnrecognizedClientException", message, 400)

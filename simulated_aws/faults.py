"""Faults that tests and the demo switch on: what to break, for whom, how often."""

from __future__ import annotations

import itertools
import random
import secrets
import threading
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from simulated_aws import hostile_answers
from simulated_aws.organization import Organization
from simulated_aws.wire import AwsCall, AwsError, Response

KINDS = (
    "latency",
    "hang",
    "reset",
    "throttle",
    "access_denied",
    "expired_credentials",
    "server_error",
    "malformed",
    "last_page_fails",
    "query_fails",
    "query_hangs",
    "request_changed",
    "clock_skew",
    "not_opted_in",
    "plain_429",
    "plain_503",
    *hostile_answers.KINDS,
    "service_control_policy",
    "encoded_service_control_policy",
    "resource_control_policy",
)
_ENCODED = "encoded_service_control_policy"
_POLICIES = {
    "service_control_policy": "service control policy",
    _ENCODED: "service control policy",
    "resource_control_policy": "resource control policy",
}
"""Policies of the organization: faults that deny what they match, but nothing in the management account."""

_EXEMPT_SERVICES = frozenset(
    {
        "budgets", "ce", "cloudfront", "config", "cost-optimization-hub", "globalaccelerator", "health", "iam", "kms",
        "networkmanager", "organizations", "pricing", "route53", "route53domains", "shield", "sts", "support",
        "trustedadvisor", "waf", "wafv2", "wellarchitected",
    }
)  # fmt: skip
_EXEMPT_OPERATIONS = frozenset(
    {
        ("ec2", "DescribeRegions"),
        ("ec2", "DescribeTransitGateways"),
        ("ec2", "DescribeVpnGateways"),
        ("s3", "ListBuckets"),
    }
)
"""What AWS's own example of a policy that denies regions leaves allowed, because it is of no region."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule; None matches everything. `account` is an id.

    `account` is the calling account, and for AssumeRole the account whose role is asked for. `seconds` is
    the latency, or the most that a hang lasts (None: until cleared or the client leaves) or that an answer without end
    lasts (None: two minutes). `count` is how
    many calls it hits before it is used up, `probability` the chance of each. `code` overrides the error.
    `query_fails` has GetMetricData answer, but for its first query, for which it has half of the data; a query that
    Athena starts meanwhile ends as FAILED. `query_hangs` has GetQueryExecution answer that a query is still running.
    `resource` is a text that the request must name, such as a key id: what is denied then, that resource's
    own policy denies.
    `service_control_policy` and `resource_control_policy` deny in AWS's words, in every account but the payer's. Without
    a service, what is of no region stays allowed, as in AWS's example of a policy that denies regions. Under
    `encoded_service_control_policy`, EC2 gives the reason in its encoded message only.
    """

    id: int
    kind: str
    account: str | None = None
    service: str | None = None
    operation: str | None = None
    region: str | None = None
    seconds: float | None = None
    count: int | None = None
    probability: float = 1.0
    code: str | None = None
    resource: str | None = None
    cleared: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)

    def describe(self) -> dict[str, Any]:
        """The rule as JSON members, without what is unset."""
        members = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "cleared"}
        return {name: value for name, value in members.items() if value is not None}


class Faults:
    """The active rules, in the order in which they were added."""

    def __init__(self, organization: Organization, seed: int) -> None:
        self._organization = organization
        self._lock = threading.Lock()
        self._rules: dict[int, Fault] = {}
        self._left: dict[int, int] = {}
        self._hits: Counter[int] = Counter()
        self._ids = itertools.count(1)
        self._random = random.Random(f"{seed}:faults")

    def add(
        self,
        kind: str,
        *,
        account: str | None = None,
        service: str | None = None,
        operation: str | None = None,
        region: str | None = None,
        seconds: float | None = None,
        count: int | None = None,
        probability: float = 1.0,
        code: str | None = None,
        resource: str | None = None,
    ) -> Fault:
        """Add a rule; `account` is a name or an id.

        Raises ValueError for an unknown kind and KeyError for an unknown account.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown fault {kind!r}; the known ones are {', '.join(KINDS)}")
        account_id = self._organization.find(account).id if account is not None else None
        with self._lock:
            fault = Fault(
                next(self._ids),
                kind,
                account_id,
                service,
                operation,
                region,
                seconds,
                count,
                probability,
                code,
                resource,
            )
            self._rules[fault.id] = fault
            if count is not None:
                self._left[fault.id] = count
        return fault

    def active(self) -> list[Fault]:
        """The active rules."""
        with self._lock:
            return [*self._rules.values()]

    def clear(self, fault: Fault | int | None = None) -> None:
        """Remove one rule, or all; calls that hang on it are let go."""
        with self._lock:
            wanted = [*self._rules] if fault is None else [fault if isinstance(fault, int) else fault.id]
            removed = [self._rules.pop(identifier) for identifier in wanted if identifier in self._rules]
        for rule in removed:
            rule.cleared.set()

    def hits(self, fault: Fault) -> int:
        """How many calls a rule has hit, those included that still hang on it."""
        with self._lock:
            return self._hits[fault.id]

    def matching(self, call: AwsCall) -> list[Fault]:
        """The rules that hit this call, counted as used; `last_page_fails` is counted when it strikes."""
        subject = target_account(call) or call.account_id
        hit = []
        with self._lock:
            for rule in [*self._rules.values()]:
                if (
                    rule.account not in (None, subject)
                    or rule.service not in (None, call.service)
                    or rule.operation not in (None, call.operation)
                    or rule.region not in (None, call.region)
                    or (rule.resource is not None and not _names(call, rule.resource))
                    or (rule.kind in _POLICIES and not self._is_subject(rule, call))
                    or (rule.probability < 1.0 and self._random.random() >= rule.probability)
                ):
                    continue
                if rule.kind != "last_page_fails":
                    self._use(rule)
                self._hits[rule.id] += 1
                hit.append(rule)
        return hit

    def _is_subject(self, rule: Fault, call: AwsCall) -> bool:
        """Whether a policy of the organization applies to a call."""
        if call.account_id in ("", self._organization.payer.id) or call.service == "sts":
            return False
        is_exempt = call.service in _EXEMPT_SERVICES or (call.service, call.operation) in _EXEMPT_OPERATIONS
        return rule.service is not None or not is_exempt

    def use(self, rule: Fault) -> None:
        """Count a rule as used."""
        with self._lock:
            self._use(rule)

    def _use(self, rule: Fault) -> None:
        if rule.id in self._left:
            self._left[rule.id] -= 1
            if self._left[rule.id] <= 0:
                del self._left[rule.id]
                self._rules.pop(rule.id, None)


def _names(call: AwsCall, resource: str) -> bool:
    named = (call.path, call.body.decode("utf-8", "replace"), *map(str, call.params.values()))
    return any(resource in text for text in named)


def target_account(call: AwsCall) -> str | None:
    """The account whose role an AssumeRole asks for."""
    if call.operation != "AssumeRole":
        return None
    parts = str(call.params.get("RoleArn", "")).split(":")
    return parts[4] if len(parts) > 5 else None


def fault_error(rule: Fault, call: AwsCall) -> AwsError | None:
    """The error that a rule answers with, in the code that the call's service uses; None for other kinds."""
    service, protocol = call.service, call.protocol
    xml = protocol in ("query", "rest-xml")
    if rule.kind == "throttle":
        code, status = {
            "athena": ("TooManyRequestsException", 400),
            "ec2": ("RequestLimitExceeded", 503),
            "sts": ("Throttling", 400),
            "organizations": ("TooManyRequestsException", 400),
            "s3": ("SlowDown", 503),
        }.get(service, ("Throttling" if xml else "ThrottlingException", 400))
        return AwsError(rule.code or code, "Rate exceeded", status)
    if rule.kind == "access_denied":
        return access_denied(call, rule.code, rule.resource)
    if (policy := _POLICIES.get(rule.kind)) is not None:
        return denied_by_policy(call, policy, is_encoded=rule.kind == _ENCODED)
    if rule.kind == "expired_credentials":
        return expired(call, rule.code)
    if rule.kind == "server_error":
        return internal_error(rule, call)
    if rule.kind == "clock_skew":
        return clock_skew(call, rule.code)
    if rule.kind == "not_opted_in":
        return not_opted_in(call, rule.code)
    if rule.kind == "request_changed":
        return AwsError("RequestChangedException", "The data changed. Try again without a pagination token.")
    return None


def plain_answer(rule: Fault) -> Response | None:
    """The answer of a load balancer before the service, in no service's form; None for other kinds."""
    texts = {"plain_429": (429, b"Too Many Requests"), "plain_503": (503, b"upstream connect error")}
    if rule.kind not in texts:
        return None
    status, text = texts[rule.kind]
    return Response(status, {"Content-Type": "text/plain"}, text)


def internal_error(rule: Fault, call: AwsCall) -> AwsError:
    """The failure of a service, which SDKs try again."""
    xml = call.protocol in ("query", "rest-xml", "ec2")
    code = "InternalError" if xml else "InternalServerException"
    return AwsError(rule.code or code, "We encountered an internal error. Please try again.", 500)


def access_denied(call: AwsCall, code: str | None = None, resource: str | None = None) -> AwsError:
    """The refusal of a call in its service's words; by the policy of `resource`, if it is given."""
    action = f"{call.service}:{call.operation}"
    who = f"arn:aws:sts::{call.account_id}:assumed-role/denied/session"
    message = f"User: {who} is not authorized to perform: {action}"
    if resource is not None:
        message += f" on resource: {resource} with an explicit deny in a resource-based policy"
    if call.protocol == "ec2":
        return AwsError(
            code or "UnauthorizedOperation", "You are not authorized to perform this operation.", 403
        )
    if call.protocol in ("query", "rest-xml"):
        return AwsError(code or "AccessDenied", message, 403)
    return AwsError(code or "AccessDeniedException", message, 400)


def denied_by_policy(call: AwsCall, policy: str, *, is_encoded: bool = False) -> AwsError:
    """The refusal of a call by a policy of the organization, in its service's words."""
    who = f"arn:aws:sts::{call.account_id}:assumed-role/denied/session"
    action = f"{call.service}:{call.operation}"
    message = f"User: {who} is not authorized to perform: {action}"
    reason = f"with an explicit deny in a {policy}"
    if call.protocol == "ec2":
        words = "You are not authorized to perform this operation."
        words += "" if is_encoded else f" {message} {reason}."
        return AwsError(
            "UnauthorizedOperation",
            f"{words} Encoded authorization failure message: {secrets.token_hex(40)}",
            403,
        )
    if call.service == "sns":
        return AwsError("AuthorizationError", f"{message} on resource: * {reason}", 403)
    if call.protocol in ("query", "rest-xml"):
        return AwsError("AccessDenied", f"{message} on resource: * {reason}", 403)
    return AwsError("AccessDeniedException", f"{message} on resource: * {reason}", 400)


def expired(call: AwsCall, code: str | None = None) -> AwsError:
    """The refusal of a session that is over."""
    message = "The security token included in the request is expired"
    if call.protocol == "ec2":
        return AwsError(code or "RequestExpired", "Request has expired.", 400)
    if call.protocol in ("query", "rest-xml"):
        return AwsError(code or "ExpiredToken", message, 400 if call.service == "s3" else 403)
    return AwsError(code or "ExpiredTokenException", message, 400)


def clock_skew(call: AwsCall, code: str | None = None) -> AwsError:
    """The refusal of a signature whose time is too far from AWS's."""
    message = (
        "Signature expired: 20260317T140000Z is now earlier than 20260317T141500Z (20260317T142000Z - 5 min.)"
    )
    if call.protocol == "ec2":
        return AwsError(code or "RequestExpired", "Request has expired.", 400)
    if call.protocol == "rest-xml":
        text = "The difference between the request time and the current time is too large."
        return AwsError(code or "RequestTimeTooSkewed", text, 403)
    if call.protocol == "query":
        return AwsError(code or "SignatureDoesNotMatch", message, 403)
    return AwsError(code or "InvalidSignatureException", message, 400)


def not_opted_in(call: AwsCall, code: str | None = None) -> AwsError:
    """The refusal in a region that the account has not opted in to: there, its keys are unknown."""
    message = "The security token included in the request is invalid"
    if call.protocol == "ec2":
        text = "AWS was not able to validate the provided access credentials"
        return AwsError(code or "AuthFailure", text, 401)
    if call.protocol == "rest-xml":
        return AwsError(code or "InvalidToken", "The provided token is malformed or otherwise invalid.", 400)
    if call.protocol == "query":
        return AwsError(code or "InvalidClientTokenId", message, 403)
    return AwsError(code or "UnrecognizedClientException", message, 400)

"""Least-privilege IAM policies, derived from what collectors and discovery declare."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from exporter import accounts
from exporter.collectors import all_collectors
from exporter.model import Collector, Scope

MEMBER_ROLE = "aws-spend-exporter-member"


def _statement(sid: str, actions: Iterable[str], resource: str = "*", **more: Any) -> dict[str, Any]:
    # The actions are read-only and AWS offers no resource-level permission for them.
    return {"Sid": sid, "Effect": "Allow", "Action": sorted(set(actions)), "Resource": resource, **more}


def _sid(collector: Collector) -> str:
    return "".join(part.capitalize() for part in collector.name.split("_"))


def payer_policy() -> dict[str, Any]:
    """What the payer's role needs: discovery, PAYER collectors, and assuming the member roles."""
    statements = [_statement("DiscoverAccounts", accounts.IAM_PAYER)]
    statements += [_statement(_sid(c), c.iam_actions) for c in all_collectors() if c.scope is Scope.PAYER]
    statements.append(
        _statement("AssumeMemberRoles", ["sts:AssumeRole"], f"arn:aws:iam::*:role/{MEMBER_ROLE}")
    )
    return {"Version": "2012-10-17", "Statement": statements}


def member_policy() -> dict[str, Any]:
    """What the role in each account needs; the payer's own role too, where it is collected from."""
    statements = [_statement("DiscoverRegions", accounts.IAM_MEMBER)]
    statements += [_statement(_sid(c), c.iam_actions) for c in all_collectors() if c.scope is not Scope.PAYER]
    return {"Version": "2012-10-17", "Statement": statements}


def member_trust_policy() -> dict[str, Any]:
    """Who may assume the member role: one exact role, of this organization."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "ExporterOfThisOrganization",
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::PAYER_ACCOUNT_ID:role/aws-spend-exporter"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:PrincipalOrgID": "ORGANIZATION_ID"}},
            }
        ],
    }


def policy_files() -> dict[str, str]:
    """The files of iam_policies/ by name."""
    return {
        name: json.dumps(policy, indent=2) + "\n"
        for name, policy in (
            ("payer-role.json", payer_policy()),
            ("member-role.json", member_policy()),
            ("member-role-trust.json", member_trust_policy()),
        )
    }

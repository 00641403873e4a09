"""A run with everything enabled asks AWS for nothing that the derived policies do not grant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from running_exporter import Exporter, MakeAws, MakeExporter
from waiting import wait_for

from exporter.collectors import all_collectors
from exporter.collectors.cost_export import COLLECTOR as COST_EXPORT
from exporter.config.model import Config
from exporter.generated.iam import data_export_policy, member_policy, payer_policy
from simulated_aws import LoggedRequest, SimulatedAws
from simulated_aws.service_names import signing_name

pytestmark = pytest.mark.stack

_PREFIX = {
    "monitoring": "cloudwatch",
    "tagging": "tag",
}  # where IAM's name is not the one that is signed with
_ACTION = {
    # Where IAM's name of an action is not the operation's.
    "budgets:DescribeBudgets": "budgets:ViewBudget",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
}
_FREE = {"sts:GetCallerIdentity"}  # needs no permission


def action_of(entry: LoggedRequest) -> str:
    """The IAM action of a request."""
    signed = signing_name(entry.service)
    prefix = _PREFIX.get(signed, signed)
    if prefix == "apigateway":
        return "apigateway:GET"
    operation = entry.operation
    if prefix in ("lambda", "cloudfront"):
        operation = operation.rstrip("0123456789_")  # ListFunctions20150331
    action = f"{prefix}:{operation}"
    return _ACTION.get(action, action)


def granted(policies: Iterable[dict[str, Any]]) -> set[str]:
    return {action for policy in policies for s in policy["Statement"] for action in s["Action"]}


def run_once(aws: SimulatedAws, exporter: Exporter) -> dict[bool, set[str]]:
    """The actions that a run of every collector asks for, by whether it was the payer."""
    exporter.arguments = ["--allow-plan-over-ceiling"]
    exporter.start()
    wait_for("every collector has run", exporter.is_ready)
    exporter.stop()
    payer_key = aws.environment()["AWS_ACCESS_KEY_ID"]
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    for entry in aws.requests.entries():
        seen[entry.access_key == payer_key].add(action_of(entry))
    aws.requests.clear()
    return seen


def configuration(chosen: dict[str, Any]) -> dict[str, Any]:
    return {
        "accounts": {"discovery": "organizations", "role_name": "aws-spend-exporter-member"},
        "ceilings": {
            "cost": {"day": None, "month": None},
            "usage": {"day": None, "month": None},
            "first_fill": None,
        },
        "collectors": chosen,
    }


def test_every_request_is_granted_to_the_role_that_made_it(
    make_aws: MakeAws, make_exporter: MakeExporter
) -> None:
    aws = make_aws(accounts=3, services=3, days=40)
    others = {
        collector.name: {"enabled": True} for collector in all_collectors() if collector is not COST_EXPORT
    }
    seen = run_once(
        aws,
        make_exporter(
            aws,
            configuration({**others, "cost": {"enabled": True, "history_months": 1}}),
            name="cost_explorer",
        ),
    )
    assert seen[True] - _FREE <= granted([payer_policy()])
    assert seen[False] - _FREE <= granted([member_policy()])

    aws.exports.create(hourly=False)
    from_export = run_once(
        aws,
        make_exporter(
            aws,
            configuration(
                {
                    "cost": {"source": "data_export", "history_months": 1},
                    COST_EXPORT.name: {"export": "cost"},
                    **{name: {"enabled": False} for name in others if name != "cost"},
                }
            ),
            name="data_export",
        ),
    )
    assert from_export[True] - _FREE <= granted([payer_policy(), data_export_policy()])
    assert not any(action.startswith("ce:") for action in from_export[True])

    # The runs were of everything: each collector asked for something.
    asked = seen[True] | seen[False] | from_export[True]
    for collector in all_collectors():
        assert set(collector.iam_actions) & asked, f"{collector.name} asked for nothing"
    assert not {"s3:PutObject"} & asked
    assert Config().snapshots.bucket is None

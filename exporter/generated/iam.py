"""Least-privilege IAM policies, derived from what collectors and discovery declare."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import yaml

from exporter.accounts import discovery as accounts
from exporter.collectors import all_collectors
from exporter.core.places import Scope
from exporter.declarations.collector import AnyCollector
from exporter.exports.athena import permissions
from exporter.exports.delivery import bucket
from exporter.ledger import snapshots

EXPORTER_ROLE = "aws-spend-exporter"
MEMBER_ROLE = "aws-spend-exporter-member"
FEATURES = ("cost", "inventory", "usage")
PLACEHOLDERS = {
    # What stands in the files until it is replaced, and what may replace it.
    "ORGANIZATION_ID": r"o-[a-z0-9]{10,32}",
    "EXPORTER_ROLE_ARN": r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}",
    "EXTERNAL_ID": r"[\w+=,.@:/-]{2,1224}",
    "PAYER_ACCOUNT_ID": r"\d{12}",
    "SNAPSHOT_BUCKET": r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
    "EXPORT_BUCKET": r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
    "EXPORT_FOLDER": r"[\w!.*'()/-]{1,640}",
    "EXPORT_KEY_ARN": r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[\w-]+",
    "ATHENA_WORKGROUP": r"[A-Za-z0-9._-]{1,128}",
    "ATHENA_DATABASE": r"[0-9a-z_]{1,255}",
    "ATHENA_TABLE": r"[0-9a-z_]{1,255}",
    "RESULTS_BUCKET": r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
    "WORKSPACE_ARN": r"arn:aws[a-z-]*:aps:[a-z0-9-]+:\d{12}:workspace/[\w-]+",
}

Document = dict[str, Any]


def feature_of(collector: AnyCollector) -> str:
    """The feature that a collector belongs to: usage by its name, cost where the payer's bill is asked, else inventory."""
    if collector.name.startswith("usage"):
        return "usage"
    asks_bill = not all(action.startswith("pricing:") for action in collector.iam_actions)
    return "cost" if collector.scope is Scope.PAYER and asks_bill else "inventory"


def _statement(sid: str, actions: Iterable[str], resource: Any = "*", **more: Any) -> Document:
    # The collectors' actions are read-only and AWS offers no resource-level permission for most of them.
    return {"Sid": sid, "Effect": "Allow", "Action": sorted(set(actions)), "Resource": resource, **more}


def _sid(collector: AnyCollector) -> str:
    return "".join(part.capitalize() for part in collector.name.split("_"))


def _policy(statements: Iterable[Document]) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _collectors(features: Collection[str], payer: bool) -> Iterator[Document]:
    for collector in all_collectors():
        if feature_of(collector) in features and (collector.scope is Scope.PAYER) == payer:
            yield _statement(_sid(collector), collector.iam_actions)


def _enters_accounts(features: Collection[str]) -> bool:
    return bool({"inventory", "usage"} & set(features))


def payer_policy(
    features: Collection[str] = FEATURES, partition: str = "aws", organization_id: Any = "ORGANIZATION_ID"
) -> Document:
    """What the payer's role needs: discovery, the features, and for some of them the member roles.

    The payer's own account has no member role: it is read with this one.
    """
    statements = [_statement("DiscoverAccounts", accounts.IAM_PAYER), *_collectors(features, payer=True)]
    if _enters_accounts(features):
        statements += member_policy(features)["Statement"]
        statements.append(
            _statement(
                "AssumeMemberRoles",
                ["sts:AssumeRole"],
                f"arn:{partition}:iam::*:role/{MEMBER_ROLE}",
                Condition={"StringEquals": {"aws:ResourceOrgID": organization_id}},
            )
        )
    return _policy(statements)


def member_policy(features: Collection[str] = FEATURES) -> Document:
    """What the role in each account needs."""
    return _policy([_statement("DiscoverRegions", accounts.IAM_MEMBER), *_collectors(features, payer=False)])


def _trust(sid: str, principal: Document, condition: Document) -> Document:
    return _policy(
        [
            {
                "Sid": sid,
                "Effect": "Allow",
                "Principal": principal,
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": condition},
            }
        ]
    )


def role_trust_policy(external_id: bool = False) -> Document:
    """Who may assume a member role, or the payer's role from another account: one exact role of this organization."""
    condition: Document = {"aws:PrincipalOrgID": "ORGANIZATION_ID"}
    if external_id:
        condition["sts:ExternalId"] = "EXTERNAL_ID"
    return _trust("ExporterOfThisOrganization", {"AWS": "EXPORTER_ROLE_ARN"}, condition)


def task_trust_policy() -> Document:
    """Who may assume the role that the exporter runs as: ECS, for tasks of this account."""
    return _trust(
        "TasksOfThisAccount",
        {"Service": "ecs-tasks.amazonaws.com"},
        {"aws:SourceAccount": "PAYER_ACCOUNT_ID"},
    )


def snapshots_policy(partition: str = "aws") -> Document:
    """What the role that the exporter runs as needs for `snapshots`; beside Athena's results, all that is written."""
    arn = f"arn:{partition}:s3:::SNAPSHOT_BUCKET"
    return _policy(
        [
            _statement("Snapshots", snapshots.IAM_OBJECT, f"{arn}/*{snapshots.OBJECT_NAME}"),
            # Without it, S3 answers 403 where there is no snapshot yet.
            _statement("FirstSnapshot", snapshots.IAM_BUCKET, arn),
        ]
    )


def data_export_policy(partition: str = "aws") -> Document:
    """What the role that reads a data export needs of its bucket: the files of one export."""
    arn = f"arn:{partition}:s3:::EXPORT_BUCKET"
    return _policy(
        [
            _statement("ExportFiles", bucket.IAM_OBJECTS, f"{arn}/EXPORT_FOLDER/*"),
            # Without it, S3 answers 403 where a month has no manifest. That question has no prefix.
            _statement(
                "ExportMonths",
                bucket.IAM_BUCKET,
                arn,
                Condition={"StringLikeIfExists": {"s3:prefix": "EXPORT_FOLDER/*"}},
            ),
        ]
    )


def data_export_key_policy() -> Document:
    """What the same role needs where a KMS key encrypts the bucket."""
    condition = {"StringLike": {"kms:ViaService": "s3.*"}}
    return _policy([_statement("ExportKey", bucket.IAM_KEY, "EXPORT_KEY_ARN", Condition=condition)])


def data_export_athena_policy(partition: str = "aws") -> Document:
    """What the same role needs where Athena sums the lines: one workgroup, one table, and a bucket for results."""
    glue = f"arn:{partition}:glue:*:*"
    catalog = [
        f"{glue}:catalog",
        f"{glue}:database/ATHENA_DATABASE",
        f"{glue}:table/ATHENA_DATABASE/ATHENA_TABLE",
    ]
    results = f"arn:{partition}:s3:::RESULTS_BUCKET"
    return _policy(
        [
            _statement(
                "ExportQueries",
                permissions.IAM_WORKGROUP,
                f"arn:{partition}:athena:*:*:workgroup/ATHENA_WORKGROUP",
            ),
            _statement("ExportTable", permissions.IAM_CATALOG, catalog),
            _statement("QueryResults", permissions.IAM_RESULT_OBJECTS, f"{results}/*"),
            _statement("QueryResultsBucket", permissions.IAM_BUCKETS, results),
            _statement(
                "ExportBucketLocation",
                permissions.IAM_BUCKETS[:1],
                f"arn:{partition}:s3:::EXPORT_BUCKET",
            ),
        ]
    )


def remote_write_policy() -> Document:
    """What SigV4 remote write to Amazon Managed Service for Prometheus needs."""
    return _policy([_statement("LiveGauges", ["aps:RemoteWrite"], "WORKSPACE_ARN")])


# CloudFormation


def _parameter(description: str, **more: Any) -> Document:
    return {"Type": "String", "Description": description, **more}


_FEATURE_PARAMETERS = {
    feature.capitalize(): _parameter(
        f"Whether the {feature} of each account is read.", Default="true", AllowedValues=["true", "false"]
    )
    for feature in ("inventory", "usage")
}
_ORGANIZATION = _parameter("Id of the AWS Organization.", AllowedPattern=PLACEHOLDERS["ORGANIZATION_ID"])
_EXTERNAL_ID = _parameter(
    "External id that the exporter presents; empty for none.",
    Default="",
    AllowedPattern=f"|{PLACEHOLDERS['EXTERNAL_ID']}",
)
_CONDITIONS = {
    "HasExternalId": {"Fn::Not": [{"Fn::Equals": [{"Ref": "ExternalId"}, ""]}]},
    "ReadsInventory": {"Fn::Equals": [{"Ref": "Inventory"}, "true"]},
    "ReadsUsage": {"Fn::Equals": [{"Ref": "Usage"}, "true"]},
}
_NOTHING = {"Ref": "AWS::NoValue"}


def _trusted_role(arn: Any) -> Document:
    trust = role_trust_policy()["Statement"][0]
    condition = {
        "aws:PrincipalOrgID": {"Ref": "OrganizationId"},
        "sts:ExternalId": {"Fn::If": ["HasExternalId", {"Ref": "ExternalId"}, _NOTHING]},
    }
    return {**trust, "Principal": {"AWS": arn}, "Condition": {"StringEquals": condition}}


def _inline(name: str, document: Document, condition: str | None = None) -> Document:
    policy = {"PolicyName": name, "PolicyDocument": document}
    return {"Fn::If": [condition, policy, _NOTHING]} if condition else policy


def _feature_policies(payer: bool = False) -> list[Document]:
    return [
        _inline("discovery", member_policy(())),
        *(
            _inline(feature, _policy(statements), f"Reads{feature.capitalize()}")
            for feature in ("inventory", "usage")
            if (statements := _of_feature(feature, payer))
        ),
    ]


def _of_feature(feature: str, payer: bool) -> list[Document]:
    own = list(_collectors([feature], payer=True)) if payer else []
    return [*own, *_collectors([feature], payer=False)]


def member_template() -> Document:
    """The template of a StackSet that brings the member role to every account but the management account."""
    role = {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": MEMBER_ROLE,
            "Description": "Lets aws-spend-exporter read inventory and usage of this account.",
            "MaxSessionDuration": 3600,
            "AssumeRolePolicyDocument": _policy([_trusted_role({"Ref": "ExporterRoleArn"})]),
            "Policies": _feature_policies(),
        },
    }
    return _used_conditions(
        {
            "AWSTemplateFormatVersion": "2010-09-09",
            "Description": "aws-spend-exporter: the read-only role of a member account, for a StackSet.",
            "Parameters": {
                "ExporterRoleArn": _parameter(
                    "The role that enters: the payer's.", AllowedPattern=PLACEHOLDERS["EXPORTER_ROLE_ARN"]
                ),
                "OrganizationId": _ORGANIZATION,
                "ExternalId": _EXTERNAL_ID,
                **_FEATURE_PARAMETERS,
            },
            "Conditions": _CONDITIONS,
            "Resources": {"MemberRole": role},
            "Outputs": {"RoleArn": {"Value": {"Fn::GetAtt": ["MemberRole", "Arn"]}}},
        }
    )


def _used_conditions(template: Document) -> Document:
    """The template without parameters and conditions that nothing refers to, e.g. of a feature without a collector."""
    body = json.dumps(template["Resources"])
    conditions = {name: value for name, value in template["Conditions"].items() if f'"{name}"' in body}
    text = body + json.dumps(conditions)
    parameters = {name: value for name, value in template["Parameters"].items() if f'"Ref": "{name}"' in text}
    return {**template, "Parameters": parameters, "Conditions": conditions}


def _payer_role() -> Document:
    """The role that the exporter reads cost in: the task's own, or entered by it from elsewhere."""
    task = {
        **task_trust_policy()["Statement"][0],
        "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
    }
    assume = _statement(
        "AssumeMemberRoles",
        ["sts:AssumeRole"],
        {"Fn::Sub": f"arn:${{AWS::Partition}}:iam::*:role/{MEMBER_ROLE}"},
        Condition={"StringEquals": {"aws:ResourceOrgID": {"Ref": "OrganizationId"}}},
    )
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": EXPORTER_ROLE,
            "Description": "Lets aws-spend-exporter read the organization's cost, and the roles of its accounts.",
            "MaxSessionDuration": 3600,
            "AssumeRolePolicyDocument": _policy(
                [{"Fn::If": ["RunsElsewhere", _trusted_role({"Ref": "ExporterRoleArn"}), task]}]
            ),
            "Policies": [
                _inline("cost", payer_policy(["cost"])),
                _inline("member-roles", _policy([assume]), "EntersAccounts"),
                *_feature_policies(payer=True),
            ],
        },
    }


def _member_stack_set() -> Document:
    """The member roles of the organizational units that are named, those of accounts to come included."""
    member = member_template()
    # The members are entered from the payer's role, wherever the exporter runs.
    forwarded = {
        name: {"Fn::GetAtt": ["PayerRole", "Arn"]} if name == "ExporterRoleArn" else {"Ref": name}
        for name in member["Parameters"]
    }
    return {
        "Type": "AWS::CloudFormation::StackSet",
        "Condition": "DeploysMembers",
        "Properties": {
            "StackSetName": MEMBER_ROLE,
            "Description": "aws-spend-exporter: the read-only role of each member account.",
            "PermissionModel": "SERVICE_MANAGED",
            "AutoDeployment": {"Enabled": True, "RetainStacksOnAccountRemoval": False},
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
            "OperationPreferences": {"FailureTolerancePercentage": 100, "MaxConcurrentPercentage": 25},
            "StackInstancesGroup": [
                {
                    "DeploymentTargets": {"OrganizationalUnitIds": {"Ref": "OrganizationalUnitIds"}},
                    "Regions": [{"Ref": "AWS::Region"}],  # IAM is global: one is enough
                }
            ],
            "Parameters": [
                {"ParameterKey": name, "ParameterValue": value} for name, value in forwarded.items()
            ],
            "TemplateBody": json.dumps(member, separators=(",", ":")),
        },
    }


def management_template() -> Document:
    """The stack of the management account: the payer's role, and the StackSet of the member roles."""
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "aws-spend-exporter: the payer's role, and the member roles of the organization. Deploy it in"
        " the management account.",
        "Parameters": {
            "OrganizationId": _ORGANIZATION,
            "ExporterRoleArn": _parameter(
                "The role that the exporter's task runs as, of this or another account; empty: the payer's role is the task's own.",
                Default="",
                AllowedPattern=f"|{PLACEHOLDERS['EXPORTER_ROLE_ARN']}",
            ),
            "OrganizationalUnitIds": {
                "Type": "CommaDelimitedList",
                "Description": "OUs (or the root, r-...) whose accounts get the member role; empty: none. Trusted access"
                " of StackSets must be on.",
                "Default": "",
            },
            "ExternalId": _EXTERNAL_ID,
            **_FEATURE_PARAMETERS,
        },
        "Conditions": {
            **_CONDITIONS,
            "EntersAccounts": {"Fn::Or": [{"Condition": "ReadsInventory"}, {"Condition": "ReadsUsage"}]},
            "RunsElsewhere": {"Fn::Not": [{"Fn::Equals": [{"Ref": "ExporterRoleArn"}, ""]}]},
            "DeploysMembers": {
                "Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "OrganizationalUnitIds"}]}, ""]}]
            },
        },
        "Resources": {"PayerRole": _payer_role(), "MemberRoles": _member_stack_set()},
        "Outputs": {"PayerRoleArn": {"Value": {"Fn::GetAtt": ["PayerRole", "Arn"]}}},
    }


# Files


def documents(
    features: Collection[str] = FEATURES, external_id: bool = False, partition: str = "aws"
) -> dict[str, Callable[[], Document]]:
    """Every policy and template by the name that `iam-policy` knows it under; templates follow their own partition."""
    return {
        "payer": lambda: payer_policy(features, partition),
        "member": lambda: member_policy(features),
        "member-trust": lambda: role_trust_policy(external_id),
        "payer-trust": lambda: role_trust_policy(external_id),
        "task-trust": task_trust_policy,
        "snapshots": lambda: snapshots_policy(partition),
        "data-export": lambda: data_export_policy(partition),
        "data-export-key": data_export_key_policy,
        "data-export-athena": lambda: data_export_athena_policy(partition),
        "remote-write": remote_write_policy,
        "stackset": member_template,
        "management-stack": management_template,
    }


def as_text(document: Document) -> str:
    """Templates as YAML, policies as JSON."""
    if "Resources" in document:
        return "# Generated by `aws-spend-exporter iam-policy`; do not edit.\n" + yaml.dump(
            document, Dumper=_Dumper, sort_keys=False, width=110
        )
    return json.dumps(document, indent=2) + "\n"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True  # CloudFormation reads anchors, people do not


def filled(document: Document, values: Mapping[str, str]) -> Document:
    """The document with placeholders replaced; ValueError if a value is not of its form."""
    text = json.dumps(document)
    for name, value in values.items():
        if not re.fullmatch(PLACEHOLDERS[name], value):
            raise ValueError(f"{value!r} is not of the form {PLACEHOLDERS[name]}")
        text = text.replace(name, value)
    found: Document = json.loads(text)
    return found


def policy_files() -> dict[str, str]:
    """The files of iam_policies/ by name."""
    found = {
        "payer-role.json": payer_policy(),
        "member-role.json": member_policy(),
        "member-role-trust.json": role_trust_policy(),
        "member-role-trust-external-id.json": role_trust_policy(external_id=True),
        "task-role-trust.json": task_trust_policy(),
        "snapshots.json": snapshots_policy(),
        "data-export.json": data_export_policy(),
        "data-export-key.json": data_export_key_policy(),
        "data-export-athena.json": data_export_athena_policy(),
        "remote-write.json": remote_write_policy(),
        "member-roles-stackset.yaml": member_template(),
        "management-account-stack.yaml": management_template(),
    }
    for feature in FEATURES:
        found[f"payer-role-{feature}.json"] = payer_policy([feature])
        if feature != "cost":
            found[f"member-role-{feature}.json"] = member_policy([feature])
    return {name: as_text(document) for name, document in found.items()}

"""Policies and templates: derived by feature, real actions that only read, conditions, sizes, and templates that say the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from policy_sentry.querying.actions import get_action_data

from exporter.accounts import discovery as accounts
from exporter.cli.main import main
from exporter.collectors import all_collectors
from exporter.core.places import Scope
from exporter.generated.iam import (
    FEATURES,
    as_text,
    documents,
    feature_of,
    management_template,
    member_policy,
    member_template,
    payer_policy,
    policy_files,
)

ROOT = Path(__file__).parents[3]
WRITING = {
    "s3:PutObject",
    "aps:RemoteWrite",
    "athena:StartQueryExecution",
    "athena:StopQueryExecution",
    "s3:AbortMultipartUpload",
    "sts:AssumeRole",
}
CALLED_WRITING = {"kms:Decrypt"}
"""Reads, although IAM's list calls them writes."""


def statements(value: Any) -> Iterator[dict[str, Any]]:
    """Every statement in a policy or template, those of an embedded template, too."""
    if isinstance(value, dict):
        if "Effect" in value:
            yield value
        for key, item in value.items():
            yield from statements(json.loads(item) if key == "TemplateBody" else item)
    elif isinstance(value, list):
        for item in value:
            yield from statements(item)


def actions(document: Any) -> set[str]:
    found: set[str] = set()
    for statement in statements(document):
        named = statement["Action"]
        found |= {named} if isinstance(named, str) else set(named)
    return found


def declared(features: tuple[str, ...], payer: bool) -> set[str]:
    return {
        action
        for collector in all_collectors()
        if feature_of(collector) in features and (collector.scope is Scope.PAYER) == payer
        for action in collector.iam_actions
    }


@pytest.mark.parametrize("features", [(), ("cost",), ("inventory",), ("usage",), ("cost", "usage"), FEATURES])
def test_a_feature_grants_what_its_collectors_declare_and_nothing_more(features: tuple[str, ...]) -> None:
    member = {*accounts.IAM_MEMBER, *declared(features, payer=False)}
    assert actions(member_policy(features)) == member
    payer = {*accounts.IAM_PAYER, *declared(features, payer=True)}
    if {"inventory", "usage"} & set(features):
        payer |= member | {"sts:AssumeRole"}
    assert actions(payer_policy(features)) == payer


@pytest.mark.parametrize("collector", all_collectors(), ids=lambda collector: collector.name)
def test_every_collector_belongs_to_a_feature_and_declares_its_actions(collector: Any) -> None:
    assert feature_of(collector) in FEATURES
    assert collector.iam_actions


def test_features_are_told_apart() -> None:
    """Prices are the payer's to ask for, and of use to the inventory only; whoever wants cost alone grants no more."""
    found = {collector.name: feature_of(collector) for collector in all_collectors()}
    assert (found["cost"], found["prices"], found["usage"], found["ec2_instances"]) == (
        "cost", "inventory", "usage", "inventory",
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(policy_files()))
def test_every_action_exists_and_reads(name: str) -> None:
    """By the list of all IAM actions; what writes is a snapshot, a remote write, or entering a role."""
    text = policy_files()[name]
    for action in actions(yaml.safe_load(text)):
        prefix, _, operation = action.partition(":")
        assert "*" not in action
        found = get_action_data(prefix, operation)
        assert found, f"there is no {action}"
        level = {row["access_level"] for row in found[prefix]}
        assert level <= {"Read", "List"} or action in WRITING | CALLED_WRITING, (action, level)


def test_no_role_reads_what_is_inside() -> None:
    """Neither secrets nor objects, items, messages, logs, code or keys: `Read` at AWS is more than we want."""
    inside = {
        "secretsmanager:GetSecretValue", "ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath", "s3:GetObject",
        "kms:Decrypt", "dynamodb:GetItem", "dynamodb:Scan", "dynamodb:Query", "sqs:ReceiveMessage", "logs:GetLogEvents",
        "logs:FilterLogEvents", "lambda:GetFunction", "ecr:BatchGetImage", "kinesis:GetRecords", "ec2:GetConsoleOutput",
        "ec2:GetPasswordData", "ec2:DescribeInstanceAttribute", "cloudformation:GetTemplate", "apigateway:GET", "rds-data:ExecuteStatement",
    }  # fmt: skip
    for policy in (payer_policy(), member_policy(), management_template(), member_template()):
        assert not actions(policy) & inside


@pytest.mark.parametrize("partition", ["aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-eusc"])
def test_a_policy_names_the_arns_of_its_partition(partition: str) -> None:
    for name in ("payer", "snapshots"):
        done = CliRunner().invoke(main, ["iam-policy", name, "--partition", partition])
        assert done.exit_code == 0, done.output
        found = set(re.findall(r"arn:(aws[a-z-]*):", done.output))
        assert found == {partition}
    # A template takes the partition that it is deployed in.
    for template in (member_template(), management_template()):
        fixed = re.sub(r"AllowedPattern[^,]+", "", json.dumps(template))
        assert "arn:aws:" not in fixed


def test_a_partition_that_is_unknown_is_refused() -> None:
    done = CliRunner().invoke(main, ["iam-policy", "payer", "--partition", "aws-moon"])
    assert done.exit_code == 2
    assert "aws-moon: expected one of aws, aws-cn, aws-eusc, aws-iso" in done.output


def test_roles_are_entered_inside_the_organization_by_exactly_one_role() -> None:
    (assume,) = [s for s in payer_policy()["Statement"] if s["Action"] == ["sts:AssumeRole"]]
    assert assume["Resource"] == "arn:aws:iam::*:role/aws-spend-exporter-member"
    assert assume["Condition"] == {"StringEquals": {"aws:ResourceOrgID": "ORGANIZATION_ID"}}
    trusts = {name: json.loads(text)["Statement"] for name, text in policy_files().items() if "trust" in name}
    assert {name: [(s["Principal"], s["Condition"]["StringEquals"]) for s in found] for name, found in trusts.items()} == {
        "member-role-trust.json": [
            ({"AWS": "EXPORTER_ROLE_ARN"}, {"aws:PrincipalOrgID": "ORGANIZATION_ID"})
        ],
        "member-role-trust-external-id.json": [
            ({"AWS": "EXPORTER_ROLE_ARN"}, {"aws:PrincipalOrgID": "ORGANIZATION_ID", "sts:ExternalId": "EXTERNAL_ID"})
        ],
        "task-role-trust.json": [
            ({"Service": "ecs-tasks.amazonaws.com"}, {"aws:SourceAccount": "PAYER_ACCOUNT_ID"})
        ],
    }  # fmt: skip


def test_what_is_written_goes_to_one_bucket_and_one_workspace() -> None:
    found = [
        (sorted(s["Action"]), s["Resource"])
        for name in ("snapshots", "remote-write")
        for s in documents()[name]()["Statement"]
    ]
    assert found == [
        (["s3:GetObject", "s3:PutObject"], "arn:aws:s3:::SNAPSHOT_BUCKET/*ledger.sqlite.gz"),
        (["s3:ListBucket"], "arn:aws:s3:::SNAPSHOT_BUCKET"),
        (["aps:RemoteWrite"], "WORKSPACE_ARN"),
    ]


def test_a_data_export_is_read_from_one_folder_of_one_bucket() -> None:
    files, months = documents(partition="aws-us-gov")["data-export"]()["Statement"]
    assert (files["Action"], files["Resource"]) == (
        ["s3:GetObject"],
        "arn:aws-us-gov:s3:::EXPORT_BUCKET/EXPORT_FOLDER/*",
    )
    assert (months["Action"], months["Resource"], months["Condition"]) == (
        ["s3:ListBucket"],
        "arn:aws-us-gov:s3:::EXPORT_BUCKET",
        {"StringLikeIfExists": {"s3:prefix": "EXPORT_FOLDER/*"}},
    )
    (key,) = documents()["data-export-key"]()["Statement"]
    assert (key["Action"], key["Resource"], key["Condition"]) == (
        ["kms:Decrypt"],
        "EXPORT_KEY_ARN",
        {"StringLike": {"kms:ViaService": "s3.*"}},
    )
    filled = CliRunner().invoke(
        main, ["iam-policy", "data-export", "--export-bucket", "bills", "--export-folder", "exports/cost"]
    )
    assert json.loads(filled.output)["Statement"][0]["Resource"] == "arn:aws:s3:::bills/exports/cost/*"
    assert "bcm-data-exports:ListExports" in actions(payer_policy(["cost"]))


def test_athena_gets_one_workgroup_one_table_and_a_bucket_for_results() -> None:
    found = documents(partition="aws-us-gov")["data-export-athena"]()["Statement"]
    assert [(each["Action"], each["Resource"]) for each in found] == [
        (
            [
                "athena:GetQueryExecution", "athena:GetQueryResults", "athena:GetWorkGroup",
                "athena:StartQueryExecution", "athena:StopQueryExecution",
            ],
            "arn:aws-us-gov:athena:*:*:workgroup/ATHENA_WORKGROUP",
        ),
        (
            ["glue:GetDatabase", "glue:GetPartitions", "glue:GetTable"],
            [
                "arn:aws-us-gov:glue:*:*:catalog",
                "arn:aws-us-gov:glue:*:*:database/ATHENA_DATABASE",
                "arn:aws-us-gov:glue:*:*:table/ATHENA_DATABASE/ATHENA_TABLE",
            ],
        ),
        (
            ["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"],
            "arn:aws-us-gov:s3:::RESULTS_BUCKET/*",
        ),
        (["s3:GetBucketLocation", "s3:ListBucket"], "arn:aws-us-gov:s3:::RESULTS_BUCKET"),
        (["s3:GetBucketLocation"], "arn:aws-us-gov:s3:::EXPORT_BUCKET"),
    ]  # fmt: skip
    given = ["--athena-workgroup", "costs", "--athena-database", "billing", "--athena-table", "cost"]
    filled = CliRunner().invoke(
        main, ["iam-policy", "data-export-athena", *given, "--results-bucket", "answers"]
    )
    text = json.dumps(json.loads(filled.output))
    assert "workgroup/costs" in text
    assert "table/billing/cost" in text
    assert "arn:aws:s3:::answers/*" in text


def test_the_templates_grant_what_the_policies_grant() -> None:
    assert actions(member_template()) == actions(member_policy()) | {"sts:AssumeRole"}
    assert actions(management_template()) == actions(payer_policy()) | actions(member_policy())
    embedded = management_template()["Resources"]["MemberRoles"]["Properties"]
    assert json.loads(embedded["TemplateBody"]) == member_template()
    given = {parameter["ParameterKey"] for parameter in embedded["Parameters"]}
    assert given == member_template()["Parameters"].keys()


def deployed(template: dict[str, Any], **given: str) -> dict[str, Any]:
    """The resources that CloudFormation makes of a template, by name; what it fills in itself stays as text."""
    values = {name: parameter.get("Default", "") for name, parameter in template["Parameters"].items()}
    values |= given
    assert values.keys() == template["Parameters"].keys()
    absent = object()

    def resolve(value: Any) -> Any:
        if isinstance(value, list):
            return [found for item in value if (found := resolve(item)) is not absent]
        if not isinstance(value, dict):
            return value
        match list(value.items()):
            case [("Ref", "AWS::NoValue")]:
                return absent
            case [("Ref", name)]:
                return values.get(name, f"<{name}>")
            case [("Condition", name)]:
                return resolve(template["Conditions"][name])
            case [("Fn::If", [name, then, otherwise])]:
                return resolve(then if resolve({"Condition": name}) else otherwise)
            case [("Fn::Equals", pair)]:
                one, other = resolve(pair)
                return one == other
            case [("Fn::Not", [condition])]:
                return not resolve(condition)
            case [("Fn::Or", conditions)]:
                return any(map(resolve, conditions))
            case [("Fn::Join", [_, joined])]:
                return resolve(joined)  # of a parameter that is a list, here a text already
            case [("Fn::Sub", text)]:
                return text
            case [("Fn::GetAtt", path)]:
                return f"<{'.'.join(path)}>"
        return {key: found for key, item in value.items() if (found := resolve(item)) is not absent}

    return {
        name: resolve({"Properties": resource["Properties"]})["Properties"]
        for name, resource in template["Resources"].items()
        if "Condition" not in resource or resolve({"Condition": resource["Condition"]})
    }


def trusted(role: dict[str, Any]) -> tuple[Any, Any]:
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    return statement["Principal"], statement["Condition"]["StringEquals"]


ORGANIZATION = "o-abcdefghij"
ROLE = "arn:aws:iam::111122223333:role/exporter"


def test_a_deployed_member_role_is_entered_by_that_role_of_the_organization_and_reads_what_was_chosen() -> (
    None
):
    deploy = {"OrganizationId": ORGANIZATION, "ExporterRoleArn": ROLE}
    plain = deployed(member_template(), **deploy)["MemberRole"]
    assert trusted(plain) == ({"AWS": ROLE}, {"aws:PrincipalOrgID": ORGANIZATION})
    handshake = deployed(member_template(), **deploy, ExternalId="handshake")["MemberRole"]
    assert trusted(handshake)[1] == {"aws:PrincipalOrgID": ORGANIZATION, "sts:ExternalId": "handshake"}
    for chosen in ({"Inventory": "false"}, {"Usage": "false"}, {"Inventory": "false", "Usage": "false"}, {}):
        features = tuple({"inventory", "usage"} - {name.lower() for name in chosen})
        role = deployed(member_template(), **deploy, **chosen)["MemberRole"]
        assert actions(role["Policies"]) == actions(member_policy(features)), chosen


def test_a_deployed_payer_role_is_the_tasks_own_or_entered_from_elsewhere() -> None:
    own = deployed(management_template(), OrganizationId=ORGANIZATION)
    assert set(own) == {"PayerRole"}, "no member role without an OU"
    assert trusted(own["PayerRole"]) == (
        {"Service": "ecs-tasks.amazonaws.com"},
        {"aws:SourceAccount": "<AWS::AccountId>"},
    )
    elsewhere = deployed(
        management_template(), OrganizationId=ORGANIZATION, ExporterRoleArn=ROLE, ExternalId="handshake",
        OrganizationalUnitIds="r-abcd",
    )  # fmt: skip
    assert trusted(elsewhere["PayerRole"]) == (
        {"AWS": ROLE},
        {"aws:PrincipalOrgID": ORGANIZATION, "sts:ExternalId": "handshake"},
    )
    # The members trust the payer's role, wherever the exporter runs.
    parameters = elsewhere["MemberRoles"]["Parameters"]
    assert {entry["ParameterKey"]: entry["ParameterValue"] for entry in parameters} == {
        "ExporterRoleArn": "<PayerRole.Arn>",
        "OrganizationId": ORGANIZATION,
        "ExternalId": "handshake",
        "Inventory": "true",
        "Usage": "true",
    }


@pytest.mark.parametrize(
    "features", [("cost",), ("cost", "inventory"), ("cost", "usage"), FEATURES], ids="-".join
)
def test_a_deployed_payer_role_may_do_what_its_policy_says(features: tuple[str, ...]) -> None:
    chosen = {name: str(name.lower() in features).lower() for name in ("Inventory", "Usage")}
    role = deployed(management_template(), OrganizationId=ORGANIZATION, **chosen)["PayerRole"]
    # Its own account's regions are asked for in any case.
    assert actions(role["Policies"]) == actions(payer_policy(features)) | {*accounts.IAM_MEMBER}
    entering = [s for s in statements(role["Policies"]) if s["Action"] == ["sts:AssumeRole"]]
    assert [(s["Resource"], s["Condition"]) for s in entering] == [
        (
            "arn:${AWS::Partition}:iam::*:role/aws-spend-exporter-member",
            {"StringEquals": {"aws:ResourceOrgID": ORGANIZATION}},
        )
    ] * (features != ("cost",))


def test_the_policies_fit_into_a_role() -> None:
    """IAM counts characters other than white space: 10,240 for all inline policies of a role; 51,200 bytes a template."""
    for template in (member_template(), management_template()):
        for resource in template["Resources"].values():
            for policies in (resource["Properties"].get("Policies"),):
                size = sum(len(re.sub(r"\s", "", json.dumps(policy))) for policy in policies or ())
                assert size < 10_240
        assert len(as_text(template).encode()) < 51_200


@pytest.mark.parametrize("name", [name for name in sorted(policy_files()) if name.endswith(".yaml")])
def test_cfn_lint_has_nothing_to_say(name: str) -> None:
    answer = subprocess.run(
        [Path(sys.executable).parent / "cfn-lint", "--include-checks", "I", "--", ROOT / "iam_policies" / name],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (answer.returncode, answer.stdout) == (0, ""), answer.stdout + answer.stderr


def test_the_command_prints_the_files_by_feature_and_fills_them_in() -> None:
    run = CliRunner().invoke
    assert run(main, ["iam-policy"]).output == policy_files()["payer-role.json"]
    for feature in FEATURES:
        assert run(main, ["iam-policy", "payer", "--features", feature]).output == policy_files()[f"payer-role-{feature}.json"]  # fmt: skip
    arn = "arn:aws:iam::111122223333:role/exporter"
    given = {
        "--organization-id": "o-abcdefghij",
        "--external-id": "secret-handshake",
        "--exporter-role-arn": arn,
    }
    options = [word for pair in given.items() for word in pair]
    filled = run(main, ["iam-policy", "member-trust", *options])
    (statement,) = json.loads(filled.output)["Statement"]
    assert statement["Principal"] == {"AWS": arn}
    assert statement["Condition"] == {
        "StringEquals": {"aws:PrincipalOrgID": "o-abcdefghij", "sts:ExternalId": "secret-handshake"}
    }
    (statement,) = json.loads(run(main, ["iam-policy", "payer-trust", *options]).output)["Statement"]
    assert statement["Condition"]["StringEquals"]["sts:ExternalId"] == "secret-handshake"
    assert (
        run(main, ["iam-policy", "member", "--features", "usage"]).output
        == policy_files()["member-role-usage.json"]
    )
    for bad in (
        ["--features", "cost,ivnentory"],
        ["--organization-id", "organisation"],
        ["--organization-id", "o-abcdefghij/../*"],
    ):
        assert run(main, ["iam-policy", *bad]).exit_code == 2

"""Organizations, STS and EC2 answer for the organisation, and to whom they should."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import boto3
import pytest
from simulated_calls import NOW, Client, client_of, error_code

from simulated_aws import OrganizationSpec, SimulatedAws


def test_accounts_come_in_pages_of_twenty_and_one_page_is_empty(aws: SimulatedAws, client: Client) -> None:
    organizations = client("organizations")
    sizes, found, token = [], [], {}
    while True:
        page = organizations.list_accounts(**token)
        sizes.append(len(page["Accounts"]))
        found += page["Accounts"]
        if not page.get("NextToken"):
            break
        token = {"NextToken": page["NextToken"]}
    assert sizes == [20, 0, 5]
    assert [(each["Id"], each["Name"], each["State"]) for each in found] == [
        (account.id, account.name, account.state) for account in aws.accounts
    ]
    assert Counter(each["Status"] for each in found) == {"ACTIVE": 24, "SUSPENDED": 1}
    assert error_code(organizations.list_accounts, NextToken="x") == "InvalidInputException"


def test_an_organisation_is_strange_in_the_ways_of_real_ones(aws: SimulatedAws) -> None:
    assert any(account.id.startswith("0") for account in aws.accounts)
    assert any("/" in account.ou for account in aws.accounts)
    joined = {account.name: account.joined for account in aws.accounts}
    assert joined["sandbox"] == date(2026, 2, 16)
    assert len({account.id for account in aws.accounts}) == 25
    spec = OrganizationSpec(accounts=5, duplicate_names=True)
    names = Counter(account.name for account in SimulatedAws(spec).accounts)
    assert max(names.values()) == 2


def test_the_tree_of_units_holds_every_account(aws: SimulatedAws, client: Client) -> None:
    organizations = client("organizations")
    found = {}

    def walk(parent: str, path: str) -> None:
        for page in organizations.get_paginator("list_accounts_for_parent").paginate(ParentId=parent):
            for account in page["Accounts"]:
                found[account["Id"]] = path
        listing = organizations.get_paginator("list_organizational_units_for_parent")
        for page in listing.paginate(ParentId=parent):
            for unit in page["OrganizationalUnits"]:
                walk(unit["Id"], f"{path}/{unit['Name']}".lstrip("/"))

    (root,) = organizations.list_roots()["Roots"]
    walk(root["Id"], "")
    assert found == {account.id: account.ou for account in aws.accounts}
    parents = organizations.list_parents(ChildId=aws.accounts[1].id)["Parents"]
    assert [parent["Type"] for parent in parents] == ["ORGANIZATIONAL_UNIT"]


def test_tags_and_descriptions_of_accounts(aws: SimulatedAws, client: Client) -> None:
    organizations, prod = client("organizations"), aws.accounts[1]
    tags = organizations.list_tags_for_resource(ResourceId=prod.id)["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"environment": "production", "team": "checkout"}
    described = organizations.describe_account(AccountId=prod.id)["Account"]
    assert described["Name"] == "prod"
    assert described["Paths"][0].endswith(f"{prod.id}/")
    organization = organizations.describe_organization()["Organization"]
    assert organization["MasterAccountId"] == aws.payer_id
    assert error_code(organizations.describe_account, AccountId="1" * 12) == "AccountNotFoundException"


def test_a_member_account_may_not_list_accounts(aws: SimulatedAws, client: Client, assume: Client) -> None:
    member = client("organizations", assume(aws.accounts[1].id))
    assert error_code(member.list_accounts) == "AccessDeniedException"
    assert member.describe_organization()["Organization"]["MasterAccountId"] == aws.payer_id


def test_a_role_is_assumed_in_its_account(aws: SimulatedAws, client: Client, assume: Client) -> None:
    prod = aws.accounts[1]
    identity = client("sts", assume(prod.id)).get_caller_identity()
    assert identity["Account"] == prod.id
    assert identity["Arn"] == f"arn:aws:sts::{prod.id}:assumed-role/{aws.spec.member_role}/test"
    assert client("sts").get_caller_identity()["Account"] == aws.payer_id


def test_roles_that_may_not_be_assumed(aws: SimulatedAws, client: Client) -> None:
    assume_role, prod = client("sts").assume_role, aws.accounts[1].id
    suspended = next(account.id for account in aws.accounts if account.state == "SUSPENDED")

    def refusal(account: str = prod, role: str = aws.spec.member_role, **more: Any) -> str:
        arn = f"arn:aws:iam::{account}:role/{role}"
        return error_code(assume_role, RoleArn=arn, RoleSessionName="test", **more)

    assert refusal(role="OrganizationAccountAccessRole") == "AccessDenied"
    assert refusal(account="999999999999") == "AccessDenied"
    assert refusal(account=suspended) == "AccessDenied"
    assert refusal(DurationSeconds=43_201) == "ValidationError"


def test_an_external_id_is_asked_for_where_configured() -> None:
    with SimulatedAws(OrganizationSpec(seed=3, accounts=2, external_id="expected")) as aws:
        sts = client_of(aws, "sts")
        arn = f"arn:aws:iam::{aws.accounts[1].id}:role/{aws.spec.member_role}"
        asked = {"RoleArn": arn, "RoleSessionName": "test"}
        assert error_code(sts.assume_role, **asked) == "AccessDenied"
        assert error_code(sts.assume_role, **asked, ExternalId="other") == "AccessDenied"
        assert sts.assume_role(**asked, ExternalId="expected")["Credentials"]
        assert "expected" not in str(aws.requests.describe())
        sts.close()


def test_sessions_end_when_the_simulated_clock_passes(
    aws: SimulatedAws, client: Client, assume: Client
) -> None:
    keys = assume(aws.accounts[1].id, DurationSeconds=900)
    sts, ec2 = client("sts", keys), client("ec2", keys)
    ce = client("ce", keys)
    aws.clock.advance(timedelta(seconds=899))
    assert sts.get_caller_identity()
    aws.clock.advance(1)
    assert error_code(sts.get_caller_identity) == "ExpiredToken"
    assert error_code(ec2.describe_instances) == "RequestExpired"
    period = {"Start": "2026-03-10", "End": "2026-03-11"}
    asked = {"TimePeriod": period, "Granularity": "DAILY", "Metrics": ["UnblendedCost"]}
    assert error_code(ce.get_cost_and_usage, **asked) == "ExpiredTokenException"


def test_chained_roles_last_an_hour_at_most(aws: SimulatedAws, client: Client, assume: Client) -> None:
    chained = client("sts", assume(aws.accounts[1].id)).assume_role
    arn = f"arn:aws:iam::{aws.accounts[2].id}:role/{aws.spec.member_role}"
    asked = {"RoleArn": arn, "RoleSessionName": "test"}
    assert error_code(chained, **asked, DurationSeconds=7200) == "ValidationError"
    assert chained(**asked, DurationSeconds=3600)["Credentials"]


def test_unknown_keys_wrong_secrets_and_foreign_tokens_are_refused(
    aws: SimulatedAws, client: Client, assume: Client
) -> None:
    unknown = {"AccessKeyId": "AKIA0000000000000000", "SecretAccessKey": "x"}
    assert error_code(client("sts", unknown).get_caller_identity) == "InvalidClientTokenId"
    assert error_code(client("ec2", unknown).describe_regions) == "AuthFailure"
    assert error_code(client("organizations", unknown).list_accounts) == "UnrecognizedClientException"
    first, second = assume(aws.accounts[1].id), assume(aws.accounts[2].id)
    mixed = first | {"SessionToken": second["SessionToken"]}
    assert error_code(client("sts", mixed).get_caller_identity) == "InvalidClientTokenId"
    mixed = first | {"SecretAccessKey": second["SecretAccessKey"]}
    assert error_code(client("sts", mixed).get_caller_identity) == "SignatureDoesNotMatch"
    assert error_code(client("organizations", mixed).list_accounts) == "InvalidSignatureException"
    assert error_code(client("s3", mixed).list_buckets) == "SignatureDoesNotMatch"


def test_signatures_of_every_protocol_are_accepted(aws: SimulatedAws, client: Client, assume: Client) -> None:
    keys = assume(aws.accounts[1].id)
    names = {bucket["Name"].rpartition("-")[0] for bucket in client("s3", keys).list_buckets()["Buckets"]}
    assert names == {"prod-assets", "prod-logs", "prod-backups"}
    s3 = client("s3", keys)
    s3.create_bucket(Bucket="reports")
    s3.put_object(Bucket="reports", Key="a b/ü+c.txt", Body=b"text")
    assert s3.get_object(Bucket="reports", Key="a b/ü+c.txt")["Body"].read() == b"text"
    assert len(client("lambda", keys).list_functions()["Functions"]) == 4
    assert len(client("rds", keys).describe_db_instances()["DBInstances"]) == 4
    assert client("dynamodb", keys).list_tables()["TableNames"] == ["prod-orders", "prod-sessions"]


def test_instances_differ_by_account_region_state_and_lifecycle(
    aws: SimulatedAws, client: Client, assume: Client
) -> None:
    seen = {}
    for account in aws.accounts[:2]:
        keys = assume(account.id)
        for region in aws.spec.regions:
            pages = client("ec2", keys, region_name=region).get_paginator("describe_instances").paginate()
            seen[account.id, region] = [i for p in pages for r in p["Reservations"] for i in r["Instances"]]
    assert all(len(instances) == 6 for instances in seen.values())
    every = [instance for instances in seen.values() for instance in instances]
    assert len({instance["InstanceId"] for instance in every}) == 24
    assert {instance["State"]["Name"] for instance in every} == {"running", "stopped"}
    assert {instance.get("InstanceLifecycle") for instance in every} == {None, "spot"}
    assert len({instance["InstanceType"] for instance in every}) > 1
    assert max(instance["LaunchTime"] for instance in every) < NOW
    stopped = [instance for instance in every if instance["State"]["Name"] == "stopped"]
    assert all("User initiated (20" in instance["StateTransitionReason"] for instance in stopped)


def test_regions_are_those_of_the_organisation(aws: SimulatedAws, client: Client) -> None:
    ec2 = client("ec2")
    names = [region["RegionName"] for region in ec2.describe_regions()["Regions"]]
    assert names == ["us-east-1", "eu-west-1"]
    every = ec2.describe_regions(AllRegions=True)["Regions"]
    assert {r["RegionName"] for r in every if r["OptInStatus"] == "not-opted-in"}
    elsewhere = client("ec2", region_name="ap-east-1")
    assert error_code(elsewhere.describe_instances) == "AuthFailure"


def test_what_is_not_simulated_is_a_client_error(client: Client) -> None:
    assert error_code(client("ec2").describe_aggregate_id_format) == "UnknownOperationException"
    assert error_code(client("ce").list_cost_allocation_tags) == "UnknownOperationException"


def test_the_environment_is_all_that_an_sdk_needs(aws: SimulatedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    sts = boto3.session.Session().client("sts")
    assert sts.get_caller_identity()["Account"] == aws.payer_id
    sts.close()


def test_three_hundred_accounts_start_without_a_long_wait() -> None:
    before = datetime.now(UTC)
    with SimulatedAws(OrganizationSpec(seed=4, accounts=300, services=15, days=60)) as aws:
        sts = client_of(aws, "sts")
        assert sts.get_caller_identity()["Account"] == aws.payer_id
        sts.close()
    assert datetime.now(UTC) - before < timedelta(minutes=1)


def test_equal_specs_are_equal_organisations() -> None:
    spec = OrganizationSpec(seed=5, accounts=4, services=4, days=30, now=NOW)
    first, second = SimulatedAws(spec), SimulatedAws(spec)
    span = (date(2026, 3, 1), date(2026, 3, 18))
    assert first.accounts == second.accounts
    assert first.truth.totals(*span) == second.truth.totals(*span)


def test_an_organisation_that_is_gone_leaves_no_names_of_buckets_behind() -> None:
    """moto keeps them for the whole process, and the next organisation of the seed has the same."""
    found = []
    for _ in range(2):
        with SimulatedAws(OrganizationSpec(seed=23, accounts=2, days=5, services=2)) as aws:
            keys = aws.environment()
            client = boto3.session.Session().client(
                "s3",
                endpoint_url=aws.url,
                region_name="us-east-1",
                aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            )
            found.append({bucket["Name"] for bucket in client.list_buckets()["Buckets"]})
            client.close()
    assert found[0]
    assert found[0] == found[1]

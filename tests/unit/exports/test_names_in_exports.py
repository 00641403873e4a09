"""Names of services, charge types and tags: from an export's to Cost Explorer's."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
import yaml

from exporter.exports.charge_types import KNOWN_LINE_TYPES, record_type
from exporter.exports.service_names import known_codes, service_name, split_codes
from exporter.exports.tag_keys import all_tags_names, snake, tag_names

pytestmark = pytest.mark.clockless
SHIPPED = yaml.safe_load(files("exporter.exports").joinpath("service_names.yaml").read_text(encoding="utf-8"))


def test_each_shipped_name_says_where_it_is_from():
    assert {entry["source"] for entry in SHIPPED.values()} == {"cost_explorer", "product_name", "assumed"}
    assert set(SHIPPED) == known_codes()
    for entry in SHIPPED.values():
        assert set(entry) <= {"name", "source", "usage_types", "without_usage_type"}
        for pattern in entry.get("usage_types", {}):
            re.compile(pattern)


@pytest.mark.parametrize(
    ("usage_type", "service"),
    [
        ("BoxUsage:m5.large", "Amazon Elastic Compute Cloud - Compute"),
        ("EUW2-SpotUsage:c5.large", "Amazon Elastic Compute Cloud - Compute"),
        ("APN1-HeavyUsage:m5.large", "Amazon Elastic Compute Cloud - Compute"),
        ("USE2-HostUsage:m5", "Amazon Elastic Compute Cloud - Compute"),
        ("EBS:VolumeUsage.gp3", "EC2 - Other"),
        ("NatGateway-Bytes", "EC2 - Other"),
        ("DataTransfer-Out-Bytes", "EC2 - Other"),
        ("", "EC2 - Other"),
        (None, "Amazon Elastic Compute Cloud"),
    ],
)
def test_ec2_is_split_by_usage_type(usage_type: str | None, service: str):
    assert service_name("AmazonEC2", usage_type, "AWS", "Amazon Elastic Compute Cloud") == (service, True)
    assert split_codes() == {"AmazonEC2"}


@pytest.mark.parametrize(
    ("code", "entity", "product", "named"),
    [
        ("AWSELB", "AWS", "Elastic Load Balancing", ("Amazon Elastic Load Balancing", True)),
        ("AmazonNew", "AWS", "Amazon New", ("Amazon New", False)),
        ("AmazonNew", "AWS", "", ("AmazonNew", False)),
        ("8xopaque", "AWS Marketplace", "Some Firewall", ("Some Firewall", True)),
        ("8xopaque", "AWS Marketplace", "", ("8xopaque", False)),
        ("Amazon Simple Storage Service", "AWS", "Amazon Simple Storage Service", ("Amazon Simple Storage Service", True)),
    ],
)  # fmt: skip
def test_unknown_services_come_as_they_are(code: str, entity: str, product: str, named: tuple[str, bool]):
    assert service_name(code, "", entity, product) == named


@pytest.mark.parametrize(
    ("line_type", "code", "charge_type"),
    [
        ("Fee", "AWSSupportEnterprise", "Support"),
        ("Usage", "AWSSupportBusiness", "Support"),
        ("Tax", "AWSSupportBusiness", "Tax"),
        ("Refund", "AWSSupportBusiness", "Refund"),
        ("Fee", "AmazonEC2", "Fee"),
        ("EdpDiscount", "AmazonEC2", "Enterprise Discount Program Discount"),
        ("PrivateRateDiscount", "AmazonEC2", "Private Rate Card Discount"),
        ("BundledDiscount", "AmazonEC2", "Bundled Discount"),
        ("SppDiscount", "AmazonEC2", "Solution Provider Program Discount"),
        ("Unheard", "AmazonEC2", "Unheard"),
    ],
)
def test_charge_types_are_those_of_cost_explorer(line_type: str, code: str, charge_type: str):
    assert record_type(line_type, code) == charge_type
    assert (line_type in KNOWN_LINE_TYPES) == (line_type != "Unheard")


@pytest.mark.parametrize(
    ("key", "normalized"),
    [("team", "team"), ("CostCenter", "cost_center"), ("cost-center", "cost_center"), ("App:Name", "app_name"),
     ("EKSCluster", "eks_cluster"), ("aws:eks:cluster-name", "aws_eks_cluster_name")],
)  # fmt: skip
def test_keys_are_normalized_as_aws_does(key: str, normalized: str):
    assert snake(key) == normalized


def test_names_of_a_tag():
    assert tag_names("team") == ("user_team", "user:team", "team")
    assert tag_names("aws:createdBy") == ("aws_created_by", "aws:createdBy")
    assert all_tags_names("team", category=False)[:4] == (
        "resourceTags/user_team", "resourceTags/user:team", "resourceTags/team", "accountTag/user_team",
    )  # fmt: skip
    assert all_tags_names("Unit", category=True) == ("costCategory/Unit", "costCategory/unit")

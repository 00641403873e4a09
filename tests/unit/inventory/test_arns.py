"""Resources of bills have the type and the id by which the inventory lists them."""

from __future__ import annotations

import pytest

from exporter.inventory.arns import billed_resource
from exporter.resources import all_resource_files

pytestmark = pytest.mark.clockless
A = "111122223333"
S3 = "Amazon Simple Storage Service"
BALANCER = f"arn:aws:elasticloadbalancing:eu-west-1:{A}:loadbalancer"


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("i-0123456789abcdef0", ("us-east-1", "ec2:instance", "i-0123456789abcdef0")),
        ("vol-1", ("us-east-1", "ec2:volume", "vol-1")),
        ("tgw-attach-1", ("us-east-1", "ec2:transit-gateway-attachment", "tgw-attach-1")),
        ("tgw-1", ("us-east-1", "ec2:transit-gateway", "tgw-1")),
        (f"arn:aws:ec2:eu-west-1:{A}:natgateway/nat-1", ("eu-west-1", "ec2:natgateway", "nat-1")),
        (f"arn:aws:rds:eu-west-1:{A}:db:orders", ("eu-west-1", "rds:db", "orders")),
        (f"arn:aws:rds:eu-west-1:{A}:snapshot:rds:orders-1", ("eu-west-1", "rds:snapshot", "rds:orders-1")),
        (f"arn:aws:lambda:eu-west-1:{A}:function:mail:live", ("eu-west-1", "lambda:function", "mail")),
        (f"arn:aws:dynamodb:eu-west-1:{A}:table/t/index/by", ("eu-west-1", "dynamodb:table", "t")),
        (f"arn:aws:kafka:eu-west-1:{A}:cluster/log/0a-1", ("eu-west-1", "kafka:cluster", "log")),
        (f"arn:aws:mq:eu-west-1:{A}:broker:shop:b-1", ("eu-west-1", "mq:broker", "b-1")),
        (f"arn:aws:logs:eu-west-1:{A}:log-group:/aws/x:*", ("eu-west-1", "logs:log-group", "/aws/x")),
        (f"arn:aws:ecs:eu-west-1:{A}:service/shop/web", ("eu-west-1", "ecs:service", "shop/web")),
        (f"arn:aws:sqs:eu-west-1:{A}:jobs", ("eu-west-1", "sqs:queue", "jobs")),
        ("arn:aws:s3:::logs-1", ("us-east-1", "s3:bucket", "logs-1")),
        (f"arn:aws:cloudfront::{A}:distribution/E1", ("global", "cloudfront:distribution", "E1")),
        (
            f"{BALANCER}/app/web/5",
            ("eu-west-1", "elasticloadbalancing:loadbalancer", f"{BALANCER}/app/web/5"),
        ),
        (f"{BALANCER}/old", ("eu-west-1", "elasticloadbalancing:classic-loadbalancer", "old")),
        (
            f"arn:aws:secretsmanager:eu-west-1:{A}:secret:db-1",
            ("eu-west-1", "secretsmanager:secret", f"arn:aws:secretsmanager:eu-west-1:{A}:secret:db-1"),
        ),
        (f"arn:aws:glue:eu-west-1:{A}:job/nightly", ("eu-west-1", "glue:job", "nightly")),
        ("something", ("us-east-1", "", "something")),
        ("arn:aws:odd", ("us-east-1", "", "arn:aws:odd")),
        (f"arn:aws:glue:eu-west-1:{A}:catalog", ("eu-west-1", "glue:catalog", f"arn:aws:glue:eu-west-1:{A}:catalog")),
    ],
    ids=str,
)  # fmt: skip
def test_a_billed_resource_has_the_labels_of_the_inventory(
    resource: str, expected: tuple[str, str, str]
) -> None:
    found = billed_resource(resource, "any", "us-east-1")
    assert tuple(found) == expected
    listed = {kind for file in all_resource_files() for kind in file.types}
    assert found.type in listed or not found.type or found.type.startswith("glue:")


def test_a_plain_name_is_a_bucket_on_a_line_of_s3() -> None:
    assert tuple(billed_resource("logs-1", S3, "eu-west-1")) == ("eu-west-1", "s3:bucket", "logs-1")
    assert billed_resource("logs-1", "AWS Lambda", "eu-west-1").type == ""

"""Service names as people type them: `ec2`, `EC2` or `Amazon Elastic Compute Cloud - Compute`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

# Cost Explorer's names do not hold the words that people know these services by.
_KNOWN_AS = {
    "apigateway": "Amazon API Gateway",
    "cloudwatch": "AmazonCloudWatch",
    "ebs": "EC2 - Other",
    "ec2": "Amazon Elastic Compute Cloud - Compute",
    "ecr": "Amazon EC2 Container Registry (ECR)",
    "ecs": "Amazon Elastic Container Service",
    "efs": "Amazon Elastic File System",
    "eks": "Amazon Elastic Container Service for Kubernetes",
    "elb": "Amazon Elastic Load Balancing",
    "emr": "Amazon Elastic MapReduce",
    "kms": "AWS Key Management Service",
    "msk": "Amazon Managed Streaming for Apache Kafka",
    "opensearch": "Amazon OpenSearch Service",
    "rds": "Amazon Relational Database Service",
    "route53": "Amazon Route 53",
    "s3": "Amazon Simple Storage Service",
    "secretsmanager": "AWS Secrets Manager",
    "ses": "Amazon Simple Email Service",
    "sfn": "AWS Step Functions",
    "sns": "Amazon Simple Notification Service",
    "sqs": "Amazon Simple Queue Service",
    "vpc": "Amazon Virtual Private Cloud",
}
_VENDOR = re.compile(r"^(amazon|aws)")


def _plain(name: str) -> str:
    """Letters and digits only, without the vendor's name before them."""
    letters = re.sub(r"[^a-z0-9]", "", name.casefold())
    return _VENDOR.sub("", letters) or letters


def find_service(text: str, known: Collection[str]) -> str:
    """The one of the `known` services that `text` means; ValueError, with what it could be, otherwise."""
    wanted = _plain(text)
    by_plain = {_plain(name): name for name in sorted(known, reverse=True)}
    if text in known:
        return text
    for candidate in (wanted, _plain(_KNOWN_AS.get(wanted, ""))):
        if candidate and candidate in by_plain:
            return by_plain[candidate]
    holding = sorted(name for plain, name in by_plain.items() if wanted and wanted in plain)
    if len(holding) == 1:
        return holding[0]
    near = holding or [
        by_plain[plain] for plain in difflib.get_close_matches(wanted, by_plain, n=3, cutoff=0.6)
    ]
    if holding:
        raise ValueError(f"service: found {text!r}, expected one of {', '.join(holding)}")
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ValueError(f"service: found {text!r}, expected a service with cost in the ledger{hint}")

"""What an export calls the services that Cost Explorer names: product code, service code and product name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from simulated_aws.service_catalog import COMPUTE, MARKETPLACE, OTHER_EC2, SAVINGS_PLANS, SUPPORT, TAX


@dataclass(frozen=True, slots=True)
class Product:
    """A service as an export's lines name it; `category` is the one in FOCUS."""

    code: str
    service_code: str
    name: str
    category: str = "Other"


def _product(code: str, name: str, category: str = "Other", service_code: str = "") -> Product:
    return Product(code, service_code or code, name, category)


_EC2 = _product("AmazonEC2", "Amazon Elastic Compute Cloud", "Compute")
_PRODUCTS = {
    COMPUTE: _EC2,
    OTHER_EC2: _EC2,
    SAVINGS_PLANS: _product("ComputeSavingsPlans", "Savings Plans for AWS Compute usage", "Compute"),
    SUPPORT: _product("AWSSupportBusiness", "AWS Support (Business)", "Management and Governance"),
    "Amazon Relational Database Service": _product(
        "AmazonRDS", "Amazon Relational Database Service", "Databases"
    ),
    "Amazon Simple Storage Service": _product("AmazonS3", "Amazon Simple Storage Service", "Storage"),
    "AWS Lambda": _product("AWSLambda", "AWS Lambda", "Compute"),
    "AmazonCloudWatch": _product("AmazonCloudWatch", "AmazonCloudWatch", "Management and Governance"),
    "Amazon DynamoDB": _product("AmazonDynamoDB", "Amazon DynamoDB", "Databases"),
    # Cost Explorer puts "Amazon" before a name that has none in the price list.
    "Amazon Elastic Load Balancing": _product("AWSELB", "Elastic Load Balancing", "Networking"),
    "Amazon CloudFront": _product("AmazonCloudFront", "Amazon CloudFront", "Networking"),
    "Amazon Virtual Private Cloud": _product("AmazonVPC", "Amazon Virtual Private Cloud", "Networking"),
    "AWS Key Management Service": _product("awskms", "AWS Key Management Service", "Security"),
    "Amazon Simple Queue Service": _product("AWSQueueService", "Amazon Simple Queue Service", "Integration"),
    "Amazon Elastic Container Service": _product("AmazonECS", "Amazon Elastic Container Service", "Compute"),
    "Amazon ElastiCache": _product("AmazonElastiCache", "Amazon ElastiCache", "Databases"),
    "Amazon Redshift": _product("AmazonRedshift", "Amazon Redshift", "Analytics"),
    "Amazon Elastic Container Service for Kubernetes": _product(
        "AmazonEKS", "Amazon Elastic Container Service for Kubernetes", "Compute"
    ),
    "AWS Glue": _product("AWSGlue", "AWS Glue", "Analytics"),
    "Amazon Athena": _product("AmazonAthena", "Amazon Athena", "Analytics"),
    "Amazon OpenSearch Service": _product("AmazonES", "Amazon OpenSearch Service", "Analytics"),
    "Amazon Kinesis": _product("AmazonKinesis", "Amazon Kinesis", "Analytics"),
    "Amazon API Gateway": _product("AmazonApiGateway", "Amazon API Gateway", "Networking"),
    "AWS Secrets Manager": _product("AWSSecretsManager", "AWS Secrets Manager", "Security"),
    "Amazon Route 53": _product("AmazonRoute53", "Amazon Route 53", "Networking"),
    "AWS CloudTrail": _product("AWSCloudTrail", "AWS CloudTrail", "Management and Governance"),
    "Amazon SageMaker": _product("AmazonSageMaker", "Amazon SageMaker", "AI and Machine Learning"),
    "AWS Config": _product("AWSConfig", "AWS Config", "Management and Governance"),
    "Amazon GuardDuty": _product("AmazonGuardDuty", "Amazon GuardDuty", "Security"),
    "Amazon Simple Notification Service": _product(
        "AmazonSNS", "Amazon Simple Notification Service", "Integration"
    ),
    "AWS Step Functions": _product("AmazonStates", "AWS Step Functions", "Integration"),
    "Amazon EC2 Container Registry (ECR)": _product(
        "AmazonECR", "Amazon EC2 Container Registry (ECR)", "Compute"
    ),
}
_CODES = {product.code for product in _PRODUCTS.values()}
# A tax line has the product that is taxed; Cost Explorer puts all of them under one service.
_TAXED = ("Amazon Simple Storage Service", "Amazon Relational Database Service", "AWS Lambda", COMPUTE)


def product_of(service: str, account_id: str, billing_entity: str) -> Product:
    """The product of a service in Cost Explorer; a code without spaces where the service is not of the table."""
    if billing_entity == MARKETPLACE:
        digest = hashlib.blake2b(service.encode(), digest_size=16).digest()
        code = "".join("0123456789abcdefghijklmnopqrstuv"[byte % 32] for byte in digest * 2)[:25]
        return Product(code, code, service)
    if service == TAX:
        service = _TAXED[int(account_id[-2:] or "0") % len(_TAXED)]
    found = _PRODUCTS.get(service) or _product(service.replace(" ", ""), service)
    if service not in _PRODUCTS and found.code in _CODES:
        raise ValueError(f"no line of an export is of {service!r}: its product code is another service's")
    return found

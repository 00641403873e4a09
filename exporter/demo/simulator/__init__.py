"""A simulated AWS organisation over HTTP on 127.0.0.1, for tests and for the demo.

    with SimulatedAws(OrganizationSpec(seed=1, accounts=6)) as aws:
        boto3.client("ce", endpoint_url=aws.url, ...)

moto is imported here and below, and nowhere else.
"""

from .commitments import Reservations, SavingsPlans
from .cost_optimization_hub import Recommendation
from .cost_truth import METRICS, CostTruth, ExplicitCost
from .faults import Fault
from .organization import Account
from .request_log import LoggedRequest
from .server import SimulatedAws
from .spec import OrganizationSpec

__all__ = [
    "METRICS",
    "Account",
    "CostTruth",
    "ExplicitCost",
    "Fault",
    "LoggedRequest",
    "OrganizationSpec",
    "Recommendation",
    "Reservations",
    "SavingsPlans",
    "SimulatedAws",
]

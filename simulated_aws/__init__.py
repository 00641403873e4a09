"""A simulated AWS organisation over HTTP on 127.0.0.1, for tests and for the demo.

    with SimulatedAws(OrganizationSpec(seed=1, accounts=6)) as aws:
        boto3.client("ce", endpoint_url=aws.url, ...)

moto is imported here and below, and nowhere else.
"""

from simulated_aws.commitments import Reservations, SavingsPlans
from simulated_aws.cost_optimization_hub import Recommendation
from simulated_aws.cost_truth import METRICS, CostTruth, ExplicitCost
from simulated_aws.faults import Fault
from simulated_aws.organization import Account
from simulated_aws.request_log import LoggedRequest
from simulated_aws.server import SimulatedAws
from simulated_aws.single_commitments import Reservation, SavingsPlan
from simulated_aws.spec import OrganizationSpec

__all__ = [
    "METRICS",
    "Account",
    "CostTruth",
    "ExplicitCost",
    "Fault",
    "LoggedRequest",
    "OrganizationSpec",
    "Recommendation",
    "Reservation",
    "Reservations",
    "SavingsPlan",
    "SavingsPlans",
    "SimulatedAws",
]

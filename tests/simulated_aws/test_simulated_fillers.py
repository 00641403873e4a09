"""What fills the simulated accounts is found by being there, and declares where it is listed."""

from __future__ import annotations

import pytest

from simulated_aws.filler import Reach
from simulated_aws.fillers import fills, reach_of
from simulated_aws.service_names import service_model


def test_several_files_may_fill_one_service_in_the_order_of_their_names() -> None:
    assert [fill.fill.__name__ for fill in fills()["ec2"]] == ["ec2", "transit_gateways"]


@pytest.mark.parametrize(
    ("service", "reach"),
    [("sqs", Reach.REGION), ("s3", Reach.ACCOUNT), ("cloudfront", Reach.GLOBAL), ("unknown", Reach.REGION)],
)
def test_a_filler_declares_where_its_resources_are_listed(service: str, reach: Reach) -> None:
    assert reach_of(service) is reach


def test_fillers_go_by_the_names_of_botocore() -> None:
    assert {service for service in fills() if service_model(service) is None} == set()

"""Each unit that can be asked for free declares the request that `check --aws` sends."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore.validate import validate_parameters

from exporter.collectors import all_collectors
from exporter.core.places import Target
from exporter.declarations.collector import AnyPart
from exporter.resources import all_resource_files

TARGET = Target("111122223333", "prod", "us-east-1")
_SESSION = botocore.session.Session()


def free_units() -> list[AnyPart]:
    every: dict[str, Any] = {"inventory": {"services": [file.name for file in all_resource_files()]}}
    return [
        unit
        for collector in all_collectors()
        if collector.is_free
        for unit in collector.units(collector.settings.model_validate(every.get(collector.name, {})))
    ]


@pytest.mark.parametrize("unit", free_units(), ids=lambda unit: unit.name)
def test_a_free_unit_has_a_valid_request_that_the_policies_allow(unit: AnyPart) -> None:
    check = unit.check
    assert check is not None
    model = _SESSION.get_service_model(check.service).operation_model(check.operation)
    validate_parameters(dict(check.params(TARGET)), model.input_shape)
    assert check.operation.startswith(("List", "Describe", "Get"))


def test_no_request_of_a_check_is_paid() -> None:
    for collector in all_collectors():
        if not collector.is_free:
            assert {unit.check for unit in collector.units(collector.settings.model_validate({}))} == {None}

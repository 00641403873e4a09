"""Every module here declares `FILLS`: what fills services of an account, by botocore's names; being here is being registered."""

from __future__ import annotations

import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Mapping
from functools import cache

from simulated_aws.filler import Fill, Reach


@cache
def fills() -> Mapping[str, tuple[Fill, ...]]:
    """What fills each service, by botocore's name of it, in the order of the modules' names."""
    found: defaultdict[str, list[Fill]] = defaultdict(list)
    for module in pkgutil.iter_modules(__path__):
        for service, fill in importlib.import_module(f"{__name__}.{module.name}").FILLS.items():
            found[service].append(fill)
    return {service: tuple(each) for service, each in found.items()}


def reach_of(service: str) -> Reach:
    """Where the resources of a service are listed; ValueError if its fillers disagree."""
    (reach,) = {fill.reach for fill in fills().get(service, ())} or {Reach.REGION}
    return reach

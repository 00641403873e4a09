"""Every module here declares `FILLS`: what fills services of an account, by botocore's names; being here is being registered."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache

from simulated_aws.filler import Filler

Fill = Callable[[Filler], None]


@cache
def fills() -> Mapping[str, Fill]:
    """What fills each service, by botocore's name of it."""
    found: dict[str, Fill] = {}
    for module in pkgutil.iter_modules(__path__):
        for service, fill in importlib.import_module(f"{__name__}.{module.name}").FILLS.items():
            if service in found:
                raise ValueError(f"{service} is filled by two modules")
            found[service] = fill
    return found

"""Which service a request is for, by botocore's models of those that are simulated: no list of names is kept."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import botocore.session
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.model import ServiceModel

_SESSION = botocore.session.Session()
_reading = threading.Lock()


@cache
def service_model(service: str) -> ServiceModel | None:
    """botocore's model of a service, None where it has none."""
    try:
        with _reading:  # a session of botocore is not made for threads
            return _SESSION.get_service_model(service)
    except (UnknownServiceError, DataNotFoundError):
        return None


@cache
def signing_name(service: str) -> str:
    """The name that requests to a service are signed with, e.g. `es` of `opensearch`; ARNs use it as well."""
    model = service_model(service)
    return service if model is None else str(model.signing_name)


@cache
def model_protocol(service: str) -> str:
    """The protocol of a service's model; `json` where botocore has none."""
    model = service_model(service)
    return str(model.metadata.get("protocol", "json")) if model else "json"


@dataclass(frozen=True, slots=True)
class Marks:
    """What a request shows of its service beside the signing name: the API's version, and the prefix of its target."""

    version: str = ""
    target: str = ""


class ServiceNames:
    """Finds botocore's name of a service."""

    def __init__(self, simulated: Iterable[str]) -> None:
        """`simulated` are botocore's names of the services that can be asked for."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for service in sorted(set(simulated)):
            found[signing_name(service)].append(service)
        self._signed: Mapping[str, list[str]] = found

    def find(self, signed: str, marks: Marks) -> str:
        """The simulated service that signs with this name; the name itself where none does.

        Where several do, such as both generations of load balancers, the one whose model has the marks, and
        among those the one that is called like what it signs with, such as RDS beside DocumentDB.
        """
        services = self._signed.get(signed, [])
        fitting = [service for service in services if _fits(service, marks)] or services
        return signed if signed in fitting or not fitting else fitting[0]


def _fits(service: str, marks: Marks) -> bool:
    model = service_model(service)
    if model is None:
        return False
    return marks.version == model.api_version or (
        bool(marks.target) and marks.target == model.metadata.get("targetPrefix")
    )

"""What runs in the accounts: moto's services, filled on first use."""

from __future__ import annotations

import io
import os
import random
import secrets
import threading
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from moto.core.base_backend import BackendDict
from moto.ec2.models import ec2_backends

from simulated_aws.estate import Estate
from simulated_aws.filler import Reach, TrueResource
from simulated_aws.fillers import fills, reach_of
from simulated_aws.in_process import APPLICATION
from simulated_aws.organization import Organization
from simulated_aws.service_names import signing_name
from simulated_aws.spec import OrganizationSpec
from simulated_aws.wire import AwsCall, AwsError, Response, cbor_response, json_response, xml_response

_TYPES = (
    ("m6i.large", 5), ("t3.medium", 4), ("c6g.xlarge", 2), ("r6g.large", 2), ("m5.2xlarge", 1), ("t2.small", 1),
)  # fmt: skip
_NOT_OPTED_IN = ("ap-east-1", "me-south-1", "af-south-1")


# Amazon's 1,300 images cost each region of each account a quarter of a second.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")


_TAGGING = "resourcegroupstaggingapi"


def _covers(kind: str, service: str) -> bool:
    # ARNs begin with what requests are signed for.
    return kind.partition(":")[0] == signing_name(service)


def _is_of(arn: str, kind: str) -> bool:
    service, _, resource = kind.partition(":")
    _, _, found, _, _, rest = arn.split(":", 5)
    return found == service and (not resource or rest.replace("/", ":").startswith(f"{resource}:"))


class Inventory:
    """moto behind one WSGI application; each account has a separate backend."""

    def __init__(self, spec: OrganizationSpec, organization: Organization) -> None:
        self._spec = spec
        self._organization = organization
        self._estate = Estate(
            spec.seed, organization.created, lambda account_id, region: self._instances(account_id, region)
        )
        self._filled: set[tuple[str, str]] = set()
        self._locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._guard = threading.Lock()

    def answer(self, call: AwsCall, environ: Mapping[str, Any], body: bytes) -> Response:
        """moto's answer for the calling account; AwsError where moto has none."""
        if call.service == "ec2":
            if call.operation == "DescribeRegions":
                return self._describe_regions(call)
            if call.region not in self._spec.regions:
                raise AwsError(
                    "AuthFailure", "AWS was not able to validate the provided access credentials", 401
                )
        with self._guard:
            lock = self._locks[call.account_id]
        # moto's backends are not made for threads; accounts do not wait for one another.
        with lock:
            if call.service == "ec2" and call.operation == "DescribeInstances":
                self._fill(call.account_id, call.region)
            elif call.service == _TAGGING and call.operation == "GetResources":
                found = self._tagged(call)
                return (
                    cbor_response(found)
                    if call.protocol == "smithy-rpc-v2-cbor"
                    else json_response(call, found)
                )
            else:
                self._estate_of(call.account_id, call.service, call.region)
            return self._forward(call, environ, body)

    @property
    def services(self) -> frozenset[str]:
        """botocore's names of the services whose resources are simulated, and of the one that tells their tags."""
        return frozenset({_TAGGING, *fills()})

    def truth(self, account_id: str, service: str, region: str) -> list[TrueResource]:
        """What was put into a service (by botocore's name) of an account in a region."""
        with self._guard:
            lock = self._locks[account_id]
        with lock:
            return [
                resource
                for resource in self._estate_of(account_id, service, region)
                if resource.region in (region, "global") or reach_of(service) is Reach.REGION
            ]

    def _estate_of(self, account_id: str, service: str, region: str) -> tuple[TrueResource, ...]:
        if service not in fills() or account_id not in self._organization.by_id:
            return ()
        account = self._organization.by_id[account_id]
        regions = self._spec.regions
        filled = {
            Reach.REGION: [each for each in regions if each == region],
            Reach.ACCOUNT: regions,
            Reach.GLOBAL: regions[:1],
        }[reach_of(service)]
        return tuple(resource for each in filled for resource in self._estate.fill(account, service, each))

    def _tagged(self, call: AwsCall) -> dict[str, Any]:
        """The Tagging API: what bears a tag, a page for a hundred."""
        wanted = call.params.get("ResourceTypeFilters") or []
        found = [
            resource
            for service in sorted(fills())
            if not wanted or any(_covers(kind, service) for kind in wanted)
            for resource in self._estate_of(call.account_id, service, call.region)
            if resource.tags
            and resource.region in (call.region, "global")
            and (not wanted or any(_is_of(resource.arn, kind) for kind in wanted))
        ]
        start = int(call.params.get("PaginationToken") or 0)
        size = int(call.params.get("ResourcesPerPage") or 100)
        return {
            "PaginationToken": str(start + size) if start + size < len(found) else "",
            "ResourceTagMappingList": [
                {
                    "ResourceARN": resource.arn,
                    "Tags": [{"Key": key, "Value": value} for key, value in resource.tags.items()],
                }
                for resource in found[start : start + size]
            ],
        }

    def _instances(self, account_id: str, region: str) -> list[str]:
        self._fill(account_id, region)
        return [instance.id for instance in ec2_backends[account_id][region].all_instances()]

    def instance_ids(self, account_id: str, region: str, create: bool) -> list[str]:
        """The ids of an account's EC2 instances in a region; `create` also makes those not yet asked for."""
        if not create and (account_id, region) not in self._filled:
            return []
        with self._guard:
            lock = self._locks[account_id]
        with lock:
            self._fill(account_id, region)
            return [instance.id for instance in ec2_backends[account_id][region].all_instances()]

    def close(self) -> None:
        """Forget what moto holds for the accounts of this organisation."""
        for backends in list(vars(BackendDict)["_instances"]):
            for account in self._organization.accounts:
                backends.pop(account.id, None)

    def _forward(self, call: AwsCall, environ: Mapping[str, Any], body: bytes) -> Response:
        inner = dict(environ)
        inner["wsgi.input"] = io.BytesIO(body)
        inner["CONTENT_LENGTH"] = str(len(body))
        inner["RAW_URI"] = environ.get("REQUEST_URI", environ.get("PATH_INFO", "/"))
        inner["HTTP_X_MOTO_ACCOUNT_ID"] = call.account_id
        inner.pop("HTTP_TRANSFER_ENCODING", None)
        status: list[Any] = []

        def start_response(line: str, headers: list[tuple[str, str]], _: Any = None) -> Any:
            status[:] = [int(line.split(" ", 1)[0]), headers]
            return lambda _: None

        try:
            parts = APPLICATION(inner, start_response)
            try:
                answer = b"".join(parts)
            finally:
                if hasattr(parts, "close"):
                    parts.close()
        except NotImplementedError:
            raise AwsError(
                "UnknownOperationException", f"{call.operation} is not part of this simulation.", 400
            ) from None
        headers = {
            name: value for name, value in status[1] if name.lower() not in ("content-length", "connection")
        }
        return Response(status[0], headers, answer)

    def _describe_regions(self, call: AwsCall) -> Response:
        wanted = {str(value) for name, value in call.params.items() if name.startswith("RegionName.")}
        opted = [(region, "opt-in-not-required") for region in self._spec.regions]
        if str(call.params.get("AllRegions", "")).lower() == "true" or wanted & set(_NOT_OPTED_IN):
            opted += [
                (region, "not-opted-in") for region in _NOT_OPTED_IN if region not in self._spec.regions
            ]
        unknown = wanted - {region for region, _ in opted}
        if unknown:
            raise AwsError("InvalidParameterValue", f"Invalid region names: {', '.join(sorted(unknown))}")
        items = "".join(
            f"<item><regionName>{region}</regionName><regionEndpoint>ec2.{region}.amazonaws.com</regionEndpoint>"
            f"<optInStatus>{status}</optInStatus></item>"
            for region, status in opted
            if not wanted or region in wanted
        )
        return xml_response(
            '<DescribeRegionsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
            f"<requestId>{secrets.token_hex(8)}</requestId><regionInfo>{items}</regionInfo></DescribeRegionsResponse>"
        )

    def _fill(self, account_id: str, region: str) -> None:
        if (account_id, region) in self._filled:
            return
        self._filled.add((account_id, region))
        account = self._organization.by_id[account_id]
        rng = random.Random(f"{self._spec.seed}:{account_id}:{region}:ec2")
        backend = ec2_backends[account_id][region]
        image = "ami-0simulated0000000"
        zones = [region + letter for letter in "abc"]
        for number in range(self._spec.instances):
            kind = rng.choices([name for name, _ in _TYPES], [weight for _, weight in _TYPES])[0]
            spot = rng.random() < 0.25
            stopped = number % 5 == 4
            role = rng.choice(("web", "worker", "batch", "build"))
            tags = {
                "Name": f"{account.name}-{role}-{number + 1}",
                "team": dict(account.tags).get("team", "none"),
            }
            reservation = backend.run_instances(
                image,
                1,
                None,
                [],
                instance_type=kind,
                is_instance_type_default=False,
                region_name=region,
                placement=rng.choice(zones) if region == "us-east-1" else None,
                lifecycle="spot" if spot else None,
                tags={"instance": tags},
            )
            instance = reservation.instances[0]
            age = timedelta(days=rng.randint(1, 400), seconds=rng.randrange(86_400))
            instance.launch_time = self._organization.created - age
            # Launched again since it was made.
            made = instance.launch_time.replace(microsecond=0) - timedelta(days=number % 3 * 50)
            ((_, disk),) = instance.get_block_device_mapping
            disk.attach_time = made
            volume = backend.volumes[disk.volume_id]
            volume.create_time = made
            assert volume.attachment is not None
            volume.attachment.attach_time = made
            if stopped:
                instance.stop()
                at = self._organization.created - timedelta(days=rng.randint(1, 90))
                vars(instance)["stopped_on"] = at
                instance._reason = f"User initiated ({at:%Y-%m-%d %H:%M:%S GMT})"

"""What CloudWatch would hold: series drawn from the seed, with gaps, late data and a daily rhythm."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from simulated_aws.organization import Account, Organization
from simulated_aws.spec import OrganizationSpec

SLOT = 300
DAY = 86_400
_LATE = 600
_DAILY_LATE = 12 * 3600
_NOISE = 4096
_RETENTION = timedelta(days=455)

Dimensions = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """One metric: `step` seconds between its values, whole numbers when `counted`.

    `idle` is the share of slots (in 1/16) without a value; nothing is recorded after `ended` (epoch seconds).
    """

    account_id: str
    region: str
    namespace: str
    name: str
    dimensions: Dimensions
    unit: str
    base: float
    step: int = SLOT
    counted: bool = True
    swing: float = 0.6
    idle: int = 0
    growth: float = 0.0
    offset: int = 0
    ended: float = float("inf")

    @property
    def key(self) -> tuple[str, str, Dimensions]:
        """Namespace, name and the dimensions in order of name."""
        return self.namespace, self.name, tuple(sorted(self.dimensions))


class MetricTruth:
    """Every series of the organisation; answers about one are the same at any later time, late data aside."""

    def __init__(
        self,
        spec: OrganizationSpec,
        organization: Organization,
        now: Callable[[], datetime],
        instance_ids: Callable[[str, str, bool], Sequence[str]],
    ) -> None:
        self._spec = spec
        self._organization = organization
        self._now = now
        self._instance_ids = instance_ids
        self.late_seconds = _LATE
        """How long after its end a count goes on growing."""
        rng = random.Random(f"{spec.seed}:metrics")
        self._noise = tuple(rng.uniform(-1, 1) for _ in range(_NOISE))
        self._made: dict[
            tuple[str, str, tuple[str, ...]], dict[tuple[str, str, Dimensions], MetricSeries]
        ] = {}
        self._lock = threading.Lock()

    def series(
        self, account_id: str, region: str, *, instances: bool = True
    ) -> dict[tuple[str, str, Dimensions], MetricSeries]:
        """The series of an account in a region, by their key; empty outside the organisation's regions.

        Without `instances`, EC2 instances that were not asked for yet are left out: making them takes time.
        """
        account = self._organization.by_id.get(account_id)
        if account is None or region not in self._spec.regions:
            return {}
        ids = tuple(self._instance_ids(account_id, region, instances))
        with self._lock:
            found = self._made.get((account_id, region, ids))
        if found is None:
            found = {series.key: series for series in self._draw(account, region, ids)}
            with self._lock:
                self._made[account_id, region, ids] = found
        return found

    def values(self, series: MetricSeries, start: int, end: int, at: datetime) -> list[tuple[int, float]]:
        """(epoch seconds, value) from `start` to before `end`, as recorded by `at`, oldest first.

        The newest ten minutes (`late_seconds`) are incomplete; daily metrics arrive half a day after their day.
        """
        now = at.timestamp()
        step = series.step
        oldest = max(start, int(now - _RETENTION.total_seconds()))
        found = []
        for slot in range(-(-oldest // step), -(-end // step)):
            moment = slot * step
            if moment >= series.ended or moment > now:
                break
            noise = self._noise[(series.offset + slot * 2_654_435_761) % _NOISE]
            if series.idle and (slot * 11 + series.offset) % 16 < series.idle:
                continue
            if step == DAY:
                if now < moment + DAY + _DAILY_LATE:
                    break
                days = moment / DAY - 19_000
                value = series.base * (1 + series.growth * days) * (1 + noise * 0.002)
                found.append((moment, float(int(value))))
                continue
            hour = moment % DAY / 3600
            # Busiest at 14:00 UTC, a third less at the weekend.
            rhythm = 1 + series.swing * (1 - abs(hour - 14) / 7)
            if (moment // DAY + 3) % 7 >= 5:
                rhythm *= 0.67
            value = max(series.base * rhythm * (1 + 0.25 * noise), 0.0)
            if not series.counted:
                if now < moment + step:
                    break
                found.append((moment, round(value, 4)))
                continue
            share = min((now - moment) / (step + self.late_seconds), 1.0)
            counted = int(int(value) * share)
            if share < 1.0 and counted == 0:
                continue
            found.append((moment, float(counted)))
        return found

    def metric_sum(
        self,
        account_id: str,
        region: str,
        namespace: str,
        name: str,
        dimensions: Mapping[str, str],
        start: datetime,
        end: datetime,
        at: datetime | None = None,
    ) -> float:
        """The sum of a metric's values from `start` to before `end`, as recorded by `at` (None: now).

        Raises KeyError when the metric does not exist.
        """
        series = self.series(account_id, region)[namespace, name, tuple(sorted(dimensions.items()))]
        moment = at if at is not None else self._now()
        values = self.values(series, int(start.timestamp()), int(end.timestamp()), moment)
        return sum(value for _, value in values)

    def _draw(self, account: Account, region: str, instance_ids: Sequence[str]) -> list[MetricSeries]:
        rng = random.Random(f"{self._spec.seed}:{account.id}:{region}:metrics")
        drawing = _Drawing(account, region, rng)
        drawing.functions(retired=self._organization.created - timedelta(days=5))
        drawing.buckets()
        drawing.databases()
        drawing.messages()
        drawing.network()
        drawing.containers()
        drawing.machines(instance_ids)
        # No report has been asked for in a long time.
        drawing.add("AWS/RDS", "DatabaseConnections", "Count", 0, counted=False,
                    DBInstanceIdentifier=f"{account.name}-reports")  # fmt: skip
        return drawing.made


class _Drawing:
    """The series of one account in one region; their order decides what the seed draws for each."""

    def __init__(self, account: Account, region: str, rng: random.Random) -> None:
        self._account, self._region, self._rng = account, region, rng
        self._prefix = account.name
        self._size = account.daily_usd / 100
        self._suffix = hashlib.sha256(f"{account.id}{region}".encode()).hexdigest()[:6]
        self.made: list[MetricSeries] = []

    def add(
        self,
        namespace: str,
        name: str,
        unit: str,
        base: float,
        *,
        counted: bool = True,
        idle: int = 0,
        ended: float = float("inf"),
        step: int = SLOT,
        growth: float = 0.0,
        swing: float = 0.6,
        **dimensions: str,
    ) -> None:
        """Draw one series around `base`."""
        self.made.append(
            MetricSeries(
                self._account.id,
                self._region,
                namespace,
                name,
                tuple(dimensions.items()),
                unit,
                base * self._rng.uniform(0.7, 1.4),
                step,
                counted,
                swing,
                idle,
                growth,
                self._rng.randrange(_NOISE),
                ended,
            )
        )

    def functions(self, retired: datetime) -> None:
        """Four functions, of which one was called for the last time at `retired`."""
        for number, work in enumerate(("checkout", "thumbnails", "nightly-report", "retired")):
            idle = {"nightly-report": 14, "thumbnails": 3}.get(work, 0)
            ended = retired.timestamp() if work == "retired" else float("inf")
            function = f"{self._prefix}-{work}"
            self.add("AWS/Lambda", "Invocations", "Count", 400 * self._size / (number + 1), idle=idle,
                     ended=ended, FunctionName=function)  # fmt: skip
            self.add("AWS/Lambda", "Errors", "Count", 2 * self._size, idle=idle, ended=ended,
                     FunctionName=function)  # fmt: skip
            self.add("AWS/Lambda", "Throttles", "Count", 0.4, idle=idle, ended=ended, FunctionName=function)
            self.add("AWS/Lambda", "Duration", "Milliseconds", 120, counted=False, idle=idle, ended=ended,
                     FunctionName=function)  # fmt: skip

    def buckets(self) -> None:
        """Three buckets that grow."""
        for content in ("assets", "logs", "backups"):
            bucket = f"{self._prefix}-{content}-{self._suffix}"
            self.add("AWS/S3", "BucketSizeBytes", "Bytes", self._size * 4e11, step=DAY, growth=0.0006,
                     BucketName=bucket, StorageType="StandardStorage")  # fmt: skip
            self.add("AWS/S3", "NumberOfObjects", "Count", self._size * 9e5, step=DAY, growth=0.0006,
                     BucketName=bucket, StorageType="AllStorageTypes")  # fmt: skip
            if content == "backups":
                self.add("AWS/S3", "BucketSizeBytes", "Bytes", self._size * 2e12, step=DAY, growth=0.0009,
                         BucketName=bucket, StorageType="GlacierStorage")  # fmt: skip

    def databases(self) -> None:
        """A database and a table."""
        database = f"{self._prefix}-db"
        self.add("AWS/RDS", "CPUUtilization", "Percent", 22, counted=False, DBInstanceIdentifier=database)
        self.add("AWS/RDS", "DatabaseConnections", "Count", 18, counted=False, DBInstanceIdentifier=database)
        self.add("AWS/RDS", "FreeStorageSpace", "Bytes", 8e10, counted=False, swing=0,
                 DBInstanceIdentifier=database)  # fmt: skip
        table = f"{self._prefix}-orders"
        self.add("AWS/DynamoDB", "ConsumedReadCapacityUnits", "Count", 900 * self._size, TableName=table)
        self.add("AWS/DynamoDB", "ConsumedWriteCapacityUnits", "Count", 300 * self._size, TableName=table)
        # A secondary index consumes beside its table.
        for capacity, units in (("Read", 90), ("Write", 60)):
            self.add("AWS/DynamoDB", f"Consumed{capacity}CapacityUnits", "Count", units * self._size,
                     TableName=table, GlobalSecondaryIndexName="by-customer")  # fmt: skip

    def messages(self) -> None:
        """A queue and a topic."""
        self.add("AWS/SQS", "NumberOfMessagesSent", "Count", 700 * self._size,
                 QueueName=f"{self._prefix}-events")  # fmt: skip
        self.add("AWS/SNS", "NumberOfMessagesPublished", "Count", 90 * self._size, idle=4,
                 TopicName=f"{self._prefix}-alarms")  # fmt: skip

    def network(self) -> None:
        """A NAT gateway, load balancers, two APIs and a stream."""
        prefix, suffix, size = self._prefix, self._suffix, self._size
        self.add("AWS/NATGateway", "BytesOutToDestination", "Bytes", 4e8 * size,
                 NatGatewayId=f"nat-0{suffix}")  # fmt: skip
        balancer = f"app/{prefix[:32].strip('-')}/{suffix}"
        self.add("AWS/ApplicationELB", "RequestCount", "Count", 1500 * size, LoadBalancer=balancer)
        # The same requests by zone and by target group: a sum over all of them counts them three times.
        self.add("AWS/ApplicationELB", "RequestCount", "Count", 1500 * size, LoadBalancer=balancer,
                 AvailabilityZone=f"{self._region}a")  # fmt: skip
        self.add("AWS/ApplicationELB", "RequestCount", "Count", 1500 * size, LoadBalancer=balancer,
                 TargetGroup=f"targetgroup/{prefix}/{suffix}")  # fmt: skip
        tcp = f"{prefix}-tcp"[:32].strip("-")
        self.add("AWS/NetworkELB", "ProcessedBytes", "Bytes", 2e8 * size, LoadBalancer=f"net/{tcp}/{suffix}")
        self.add("AWS/ApiGateway", "Count", "Count", 250 * size, idle=2, ApiName=f"{prefix}-api")
        self.add("AWS/ApiGateway", "Count", "Count", 120 * size, ApiId=suffix)
        self.add("AWS/Kinesis", "IncomingBytes", "Bytes", 3e7 * size, StreamName=f"{prefix}-clicks")

    def containers(self) -> None:
        """A service of containers, and what is served to the world from one region."""
        for name, percent in (("CPUUtilization", 35), ("MemoryUtilization", 48)):
            self.add("AWS/ECS", name, "Percent", percent, counted=False, ClusterName=self._prefix,
                     ServiceName="web")  # fmt: skip
        if self._region == "us-east-1":
            self.add("AWS/CloudFront", "Requests", "None", 5000 * self._size,
                     DistributionId="E" + self._suffix.upper(), Region="Global")  # fmt: skip

    def machines(self, instance_ids: Sequence[str]) -> None:
        """Instances and volumes."""
        for number, instance in enumerate(instance_ids):
            # The fourth was forgotten.
            load = 0.0001 if number == 3 else 1.0
            self.add("AWS/EC2", "CPUUtilization", "Percent", 18 * load, counted=False, InstanceId=instance)
            self.add("AWS/EC2", "NetworkIn", "Bytes", 3e7 * load, InstanceId=instance)
            self.add("AWS/EC2", "NetworkOut", "Bytes", 2e7 * load, InstanceId=instance)
        for volume in ("data", "logs"):
            named = f"{self._account.id}{self._region}{volume}"
            name = hashlib.sha256(named.encode()).hexdigest()[:17]
            self.add("AWS/EBS", "VolumeReadBytes", "Bytes", 4e7, VolumeId=f"vol-{name}")
            self.add("AWS/EBS", "VolumeWriteBytes", "Bytes", 9e7, VolumeId=f"vol-{name}")


def from_epoch(seconds: float) -> datetime:
    """Epoch seconds as an aware datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)

"""`check --aws`: credentials, discovery, every role, and each unit in every region, without a paid call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal

from prometheus_client import CollectorRegistry

from exporter.accounts.discovery import Directory, discover, regions_of
from exporter.aws import partitions
from exporter.aws.advice import advice
from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import CALLS_PER_ACCOUNT, Aws
from exporter.aws.errors import AwsError, Kind, classify, reading
from exporter.aws.meter import Meter
from exporter.aws.settings import make_aws
from exporter.cli.check_export import check_export
from exporter.cli.finding import CheckFinding
from exporter.collectors import all_collectors, without_replaced
from exporter.collectors.cost_export import COLLECTOR as COST_EXPORT
from exporter.config.model import Config
from exporter.core.moments import utc_now
from exporter.core.places import Account, Scope, Target
from exporter.declarations.collector import AnyCollector, AnyPart


class _NoPaidCalls:
    """Ceilings of zero: a paid request is refused before it is sent."""

    def limits(self, budget: str) -> dict[str, Decimal | None]:
        return {"day": Decimal(0)}


def check_aws(
    config: Config, progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[CheckFinding]:
    """Try everything that a run would need, and yield what was found.

    `progress` is called with the number of accounts done and of all accounts.
    """
    meter = Meter(MemoryCharges(), _NoPaidCalls(), utc_now, CollectorRegistry())
    try:
        aws = make_aws(config.aws, meter)
    except AwsError as error:
        yield _failed("credentials and discovery", "", "", "", error)
        return
    with closing(aws):
        yield from _check(aws, config, progress)


def _check(aws: Aws, config: Config, progress: Callable[[int, int], None]) -> Iterator[CheckFinding]:
    try:
        directory = discover(aws, config.accounts, config.shard)
    except AwsError as error:
        yield _failed("credentials and discovery", "", "", "", error)
        return
    payer = directory.names.get(directory.payer_id, directory.payer_id)
    yield CheckFinding("credentials", directory.payer_id, payer, "", f"partition {directory.partition}")
    yield CheckFinding("discovery", directory.payer_id, payer, "", f"{len(directory.accounts)} accounts")
    running = without_replaced(
        [each for each in all_collectors() if config.settings(each).enabled and config.shard.runs(each)]
    )
    if COST_EXPORT in running:
        yield from check_export(aws, directory, config)
    sections = config.sections()
    of_payer = [each for each in running if each.scope is Scope.PAYER and each is not COST_EXPORT]
    yield from _check_payer(aws, directory, [each for each in of_payer if not each.rests(sections)])
    units = [
        unit
        for each in running
        if each.scope is not Scope.PAYER
        for unit in each.units(config.settings(each))
        if unit.check is not None
    ]
    at_a_time = min(config.aws.threads, 4 * CALLS_PER_ACCOUNT)
    with ThreadPoolExecutor(at_a_time) as accounts, ThreadPoolExecutor(at_a_time) as regions:
        check = _AccountCheck(aws, config, directory, units, regions)
        waiting: list[Future[list[CheckFinding]]] = [
            accounts.submit(check.findings, account) for account in directory.accounts.values()
        ]
        for done, future in enumerate(waiting, start=1):
            progress(done, len(waiting))
            yield from future.result()


def _check_payer(
    aws: Aws, directory: Directory, collectors: Sequence[AnyCollector]
) -> Iterator[CheckFinding]:
    """One free request of each collector that asks the payer; what is paid is named and not asked."""
    payer = directory.accounts.get(directory.payer_id)
    target = directory.payer_target(directory.global_region)
    for collector in collectors:
        where = collector.name, target.account_id, target.account, ""
        try:
            service = collector.iam_actions[0].partition(":")[0]
            region = partitions.billing_region(service, target.partition)
            check = collector.check
            if check is not None:
                aws.call(payer, check.service, check.operation, region, check.params(target))
        except AwsError as error:
            yield _failed(*where, error)
        else:
            yield CheckFinding(*where, "answers" if check else "not asked: its requests are paid")


class _AccountCheck:
    """Checks accounts one by one: the role, and one free request of each unit in each region."""

    def __init__(
        self,
        aws: Aws,
        config: Config,
        directory: Directory,
        units: Sequence[AnyPart],
        pool: ThreadPoolExecutor,
    ) -> None:
        """`pool` asks the regions, several at a time."""
        self._aws = aws
        self._config = config
        self._directory = directory
        self._units = units
        self._pool = pool

    def findings(self, account: Account) -> list[CheckFinding]:
        """What was found of one account."""
        findings = []
        try:
            identity = self._aws.call(account, "sts", "GetCallerIdentity", self._aws.region)
            with reading("an answer about the identity"):
                signed_in, arn = str(identity["Account"]), str(identity["Arn"])
            if signed_in != account.id:
                message = f"signed in to {signed_in}, expected {account.id}: no role is configured"
                raise AwsError(Kind.ACCESS_DENIED, message)
            findings.append(CheckFinding("role", account.id, account.name, "", arn))
            regions = regions_of(self._aws, account, self._config.regions)
        except Exception as error:
            return [*findings, _failed("role", account.id, account.name, "", classify(error))]
        failed: dict[tuple[str, Kind], list[tuple[str, AwsError]]] = {}
        whole = [unit for unit in self._units if unit.scope is Scope.ACCOUNT]
        for unit, failure in self._ask(account, self._directory.target(account), whole):
            failed.setdefault((unit, failure.kind), []).append(("", failure))
        for finding, errors in self._pool.map(lambda region: self._region(account, region), regions):
            findings.append(finding)
            for unit, failure in errors:
                failed.setdefault((unit, failure.kind), []).append((finding.region, failure))
        for (unit, kind), places in failed.items():
            (region, failure), *more = places
            # One line a unit: a permission that is missing is missing in all regions.
            text = f"{failure} (and in {len(more)} more regions)" if more else str(failure)
            shown = "" if more else region
            findings.append(CheckFinding(unit, account.id, account.name, shown, text, kind, advice(failure)))
        return findings

    def _region(self, account: Account, region: str) -> tuple[CheckFinding, list[tuple[str, AwsError]]]:
        where = "region", account.id, account.name, region
        try:
            # EC2 of the region itself: it refuses where the account has not opted in.
            answer = self._aws.call(account, "ec2", "DescribeRegions", region, {"RegionNames": [region]})
            if any(found.get("OptInStatus") == "not-opted-in" for found in answer.get("Regions", ())):
                raise AwsError(Kind.REGION_DISABLED, f"the account has not opted in to {region}")
            units = [unit for unit in self._units if unit.scope is Scope.REGION and unit.offered(region)]
            failed = self._ask(account, self._directory.target(account, region), units)
        except AwsError as error:
            if error.kind is not Kind.REGION_DENIED:
                return _failed(*where, error), []
            failed = [("region", error)]
        denied = [unit for unit, error in failed if error.kind is Kind.REGION_DENIED]
        if not denied:
            return CheckFinding(*where, "reachable"), failed
        found = CheckFinding(
            *where,
            f"{Kind.REGION_DENIED}: a service control policy denies it, its units are asked again each day",
            advice="leave the region out of `regions`, or let the policy allow it",
        )
        return found, [(unit, error) for unit, error in failed if unit not in denied]

    def _ask(self, account: Account, target: Target, units: Sequence[AnyPart]) -> list[tuple[str, AwsError]]:
        """The units that do not answer in one region; the others are not asked once AWS does not answer at all."""
        failed = []
        for unit in units:
            check = unit.check
            assert check is not None
            try:
                self._aws.call(account, check.service, check.operation, target.region, check.params(target))
            except AwsError as error:
                failed.append((unit.name, error))
                if error.kind in (Kind.TIMEOUT, Kind.CONNECTION, Kind.EXPIRED_CREDENTIALS):
                    break
        return failed


def _failed(subject: str, account_id: str, account: str, region: str, error: AwsError) -> CheckFinding:
    return CheckFinding(subject, account_id, account, region, str(error), error.kind, advice(error))

"""`check --aws`: credentials, discovery, every role and every region, without a paid call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal

from prometheus_client import CollectorRegistry

from exporter.accounts.discovery import Directory, discover, regions_of
from exporter.aws.advice import advice
from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import CALLS_PER_ACCOUNT, Aws
from exporter.aws.errors import AwsError, Kind, classify, reading
from exporter.aws.meter import Meter
from exporter.aws.settings import make_aws
from exporter.cli.finding import CheckFinding
from exporter.config.model import Config
from exporter.core.moments import utc_now
from exporter.core.places import Account


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
    with ThreadPoolExecutor(min(config.aws.threads, 4 * CALLS_PER_ACCOUNT)) as pool:
        waiting: list[Future[list[CheckFinding]]] = [
            pool.submit(_check_account, aws, config, directory, account)
            for account in directory.accounts.values()
        ]
        for done, future in enumerate(waiting, start=1):
            progress(done, len(waiting))
            yield from future.result()


def _check_account(aws: Aws, config: Config, directory: Directory, account: Account) -> list[CheckFinding]:
    findings = []
    try:
        identity = aws.call(account, "sts", "GetCallerIdentity", aws.region)
        with reading("an answer about the identity"):
            signed_in, arn = str(identity["Account"]), str(identity["Arn"])
        if signed_in != account.id:
            message = f"signed in to {signed_in}, expected {account.id}: no role is configured"
            raise AwsError(Kind.ACCESS_DENIED, message)
        findings.append(CheckFinding("role", account.id, account.name, "", arn))
        regions = regions_of(aws, account, config.regions)
    except Exception as error:
        return [*findings, _failed("role", account.id, account.name, "", classify(error))]
    for region in regions:
        try:
            # EC2 of the region itself: it refuses where the account has not opted in.
            answer = aws.call(account, "ec2", "DescribeRegions", region, {"RegionNames": [region]})
            if any(found.get("OptInStatus") == "not-opted-in" for found in answer.get("Regions", ())):
                raise AwsError(Kind.REGION_DISABLED, f"the account has not opted in to {region}")
        except AwsError as error:
            findings.append(_failed("region", account.id, account.name, region, error))
        else:
            findings.append(CheckFinding("region", account.id, account.name, region, "reachable"))
    return findings


def _failed(subject: str, account_id: str, account: str, region: str, error: AwsError) -> CheckFinding:
    return CheckFinding(subject, account_id, account, region, str(error), error.kind, advice(error))

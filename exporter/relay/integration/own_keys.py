"""Answers to ticks that bring AWS keys; imported with the first of them, because AWS's SDK is large."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from botocore.credentials import Credentials
from prometheus_client import CollectorRegistry

from exporter.aws.clients import Aws, Deadline
from exporter.aws.cost_explorer import daily_costs
from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import Charges, Meter
from exporter.aws.partitions import of_arn
from exporter.core.moments import days_between, utc_now
from exporter.relay.integration.answer import NoAnswerError, Spend
from exporter.relay.integration.contract import AwsKeys, Wanted
from exporter.relay.integration_settings import BUDGET, IntegrationCeiling

if TYPE_CHECKING:
    from exporter.aws.settings import AwsSettings

_DAY = timedelta(days=1)

MakeAws = Callable[[Credentials], Aws]
"""Access to AWS with the given credentials; AwsError."""

_CAUSES = {
    Kind.NO_CREDENTIALS: "AWS does not accept the keys: one of them is wrong, or the access key is not active",
    Kind.EXPIRED_CREDENTIALS: "the keys have expired",
    Kind.ACCESS_DENIED: "the keys are valid, but may not call ce:GetCostAndUsage",
    Kind.DATA_UNAVAILABLE: "Cost Explorer has no data for the account yet; once enabled, it takes a day",
    Kind.NOT_ENROLLED: "Cost Explorer is not enabled for the account; once enabled, it takes a day",
    Kind.CLOCK_SKEW: "the relay's clock is wrong, so that AWS refuses its signatures",
    Kind.NOT_OFFERED: "the keys are of a partition of AWS without Cost Explorer",
    Kind.THROTTLED: "AWS is throttling requests with these keys",
    Kind.TIMEOUT: "AWS did not answer in time",
    Kind.DEADLINE: "AWS did not answer in time",
    Kind.CONNECTION: "AWS cannot be reached",
    Kind.SERVER_ERROR: "AWS answers with a server error",
    Kind.MALFORMED_RESPONSE: "AWS's answer cannot be read",
    Kind.CURRENCY: "the account is not billed in US dollars",
    Kind.CEILING_REACHED: "the relay has spent what relay.integration.ceiling allows on such requests",
    Kind.STOPPED: "the relay is stopping",
}


class AccountCosts:
    """Asks Cost Explorer with the keys of a tick, within the ceilings of the integration; safe for threads."""

    def __init__(
        self,
        charges: Charges,
        ceiling: IntegrationCeiling,
        registry: CollectorRegistry,
        aws: AwsSettings | None,
        stopping: threading.Event,
    ) -> None:
        self._meter = Meter(charges, ceiling, utc_now, registry)
        self._settings = aws
        self._stopping = stopping

    def spend(self, keys: AwsKeys, wanted: Wanted, today: date, seconds: float) -> Spend:
        """The cost of the account that STS names for the keys; NoAnswerError."""
        return of_keys(self._aws, keys, wanted, today, seconds)

    def _aws(self, credentials: Credentials) -> Aws:
        aws = self._settings
        return Aws(
            self._meter,
            region=aws.region if aws else None,
            endpoint_url=aws.endpoint_url if aws else None,
            simulated=aws.simulated if aws else False,
            stop=self._stopping,
            credentials=credentials,
        )


def of_keys(make_aws: MakeAws, keys: AwsKeys, wanted: Wanted, today: date, seconds: float) -> Spend:
    """From Cost Explorer, for the account that STS says the keys belong to; NoAnswerError."""
    deadline = Deadline(seconds)
    start, end = wanted.period(today)
    try:
        aws = make_aws(Credentials(keys.key_id.reveal(), keys.secret.reveal()))
        try:
            identity = aws.call(None, "sts", "GetCallerIdentity", aws.region, deadline=deadline)
            account_id = str(identity["Account"])
            costs = daily_costs(
                aws,
                None,
                start,
                end + _DAY,
                ("LINKED_ACCOUNT",),
                partition=of_arn(str(identity["Arn"])),
                # A payer's keys see the whole organization; the answer is on their own account.
                record_filter={"Dimensions": {"Key": "LINKED_ACCOUNT", "Values": [account_id]}},
                budget=BUDGET,
                deadline=deadline,
            )
        finally:
            aws.close()
    except AwsError as error:
        # AWS's own words may quote the request; its code does not.
        cause = _CAUSES.get(error.kind, "AWS refuses the request")
        raise NoAnswerError(f"{cause} ({error.code})" if error.code else cause) from None
    if missing := set(days_between(start, end + _DAY)) - set(costs.estimated):
        raise NoAnswerError(f"Cost Explorer's answer lacks {len(missing)} of the days")
    usd = sum((amounts.amortized for amounts in costs.amounts.values()), Decimal(0))
    return Spend(account_id, usd)

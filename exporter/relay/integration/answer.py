"""What a tick is answered: cost of the monitored organization, or of the account whose keys it brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from botocore.credentials import Credentials

from exporter.aws.clients import Aws, Deadline
from exporter.aws.cost_explorer import daily_costs
from exporter.aws.errors import AwsError, Kind
from exporter.core.moments import days_between, start_of_day
from exporter.relay.exporter_api import ExporterApi, ExporterError
from exporter.relay.integration.contract import NAME, AwsKeys, Wanted
from exporter.relay.integration_settings import BUDGET
from exporter.relay.neutral import Neutral, link

_CENT = Decimal("0.01")
_DAY = timedelta(days=1)
_SETTLED_AFTER = timedelta(hours=36)
ORGANIZATION = "all accounts of the organization"

MakeAws = Callable[[Credentials], Aws]
"""Access to AWS with the given credentials; AwsError."""


class NoAnswerError(Exception):
    """Why there is no answer, in words for the channel; without secrets."""


@dataclass(frozen=True, slots=True)
class Spend:
    """Amortized cost of a period."""

    account: str
    usd: Decimal


_CAUSES = {
    Kind.NO_CREDENTIALS: "AWS does not accept the keys: one of them is wrong, or the access key is not active",
    Kind.EXPIRED_CREDENTIALS: "the keys have expired",
    Kind.ACCESS_DENIED: "the keys are valid, but may not call ce:GetCostAndUsage",
    Kind.DATA_UNAVAILABLE: "Cost Explorer has no data for the account yet; once enabled, it takes a day",
    Kind.THROTTLED: "AWS is throttling requests with these keys",
    Kind.TIMEOUT: "AWS did not answer in time",
    Kind.DEADLINE: "AWS did not answer in time",
    Kind.CONNECTION: "AWS cannot be reached",
    Kind.SERVER_ERROR: "AWS answers with an error of its own",
    Kind.MALFORMED_RESPONSE: "AWS's answer cannot be read",
    Kind.CURRENCY: "the account is not billed in US dollars",
    Kind.CEILING_REACHED: "the relay has spent what relay.integration.ceiling allows on such requests",
    Kind.STOPPED: "the relay is stopping",
}


def of_organization(api: ExporterApi, wanted: Wanted, today: date) -> Spend:
    """From the ledger of the exporter; NoAnswerError."""
    start, end = wanted.period(today)
    try:
        costs = api.costs(start, end, "amortized")
    except ExporterError as error:
        raise NoAnswerError(str(error)) from None
    if costs.missing_days or costs.total_usd is None:
        raise NoAnswerError(
            f"the exporter has not read {len(costs.missing_days)} of the {(end - start).days + 1} days yet"
        )
    return Spend(ORGANIZATION, costs.total_usd)


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
                partition=str(identity["Arn"]).split(":")[1],
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


def values(
    wanted: Wanted | None, spend: Spend | None, problem: str, now: datetime, dashboard_url: str | None
) -> dict[str, Any]:
    """What the template of an answer can use; `problem` is empty where there is an answer."""
    start, end = wanted.period(now.date()) if wanted else (None, None)
    usd = spend.usd.quantize(_CENT, ROUND_HALF_UP) if spend else None
    notes = []
    if spend and end and now < start_of_day(end + _DAY) + _SETTLED_AFTER:
        notes.append("AWS may still add to this cost.")
    if wanted and not wanted.interval_is_usable:
        notes.append("interval: expected the five fields of a crontab")
    url = link(dashboard_url or "")
    # Equal to the threshold is within budget.
    over = usd is not None and wanted is not None and usd > wanted.threshold
    return {
        "title": NAME,
        "account": spend.account if spend else "",
        "frequency": wanted.frequency if wanted else "",
        "start": start,
        "end": end,
        "spend": usd,
        "threshold": wanted.threshold if wanted else None,
        "ratio": usd / wanted.threshold if usd is not None and wanted and wanted.threshold else None,
        "over": over,
        "problem": problem,
        "notes": notes,
        "links": [Neutral(f"Dashboard: {url}")] if url and spend and spend.account == ORGANIZATION else [],
    }


def samples(now: datetime) -> list[dict[str, Any]]:
    """Answers of every kind, to try a template on."""
    wanted = Wanted(None, Decimal(100), "Monthly", interval_is_usable=False)
    spend = Spend(ORGANIZATION, Decimal("123.456"))
    url = "https://grafana.example/d/aws"
    return [
        values(wanted, spend, "", now, url),
        values(wanted, None, "x", now, None),
        values(None, None, "x", now, None),
    ]

"""What AWS reported of Savings Plans and reservations, together and one by one, in tables of the ledger's file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from exporter.core.moments import to_milliseconds, to_moment
from exporter.core.money import parse_amount, stored_sum, sum_to_units, to_usd
from exporter.ledger.file import Ledger

_DAYS_A_YEAR = 365


@dataclass(frozen=True, slots=True)
class Commitment:
    """One kind of commitment, of one service where it has one, over `days` days from `start` on.

    `utilization` and `coverage` are ratios, the others USD. All are None where AWS has no such commitment,
    the last two also where it reports no coverage. `one_by_one` is whether each of them is known.
    """

    kind: str
    service: str
    days: int
    start: date
    observed_at: datetime
    utilization: Decimal | None = None
    used: Decimal | None = None
    unused: Decimal | None = None
    coverage: Decimal | None = None
    on_demand: Decimal | None = None
    one_by_one: bool = False

    @property
    def end(self) -> date:
        """The day after the last one."""
        return self.start + timedelta(days=self.days)


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleCommitment:
    """One Savings Plan or reservation over the days of its kind; `used` and `unused` in USD.

    `id` is the last part of its ARN. What describes it is in AWS's own words, empty where AWS does not say it;
    `instance` is an instance type, or the family of an EC2 Instance Savings Plan.
    """

    id: str
    account_id: str
    utilization: Decimal | None
    used: Decimal
    unused: Decimal
    expires_at: datetime | None
    type: str = ""
    term: str = ""
    payment_option: str = ""
    region: str = ""
    instance: str = ""
    instances: str = ""


# From the wire


def savings_plan(item: Mapping[str, Any]) -> SingleCommitment:
    """An item of GetSavingsPlansUtilizationDetails; KeyError or ValueError where it is malformed."""
    arn, use, told = item["SavingsPlanArn"], item["Utilization"], item.get("Attributes", {})
    total, used = parse_amount(use["TotalCommitment"]), parse_amount(use["UsedCommitment"])
    return SingleCommitment(
        id=arn.rpartition("/")[2],
        account_id=told.get("AccountId") or arn.split(":")[4],
        utilization=used / total if total else None,
        used=used,
        unused=parse_amount(use["UnusedCommitment"]),
        expires_at=_moment(told.get("EndDateTime")),
        type=told.get("SavingsPlansType", ""),
        term=told.get("PurchaseTerm", ""),
        payment_option=told.get("PaymentOption", ""),
        # A plan of any region has none.
        region="" if told.get("Region") == "Any" else told.get("Region", ""),
        instance=told.get("InstanceFamily", ""),
    )


def reservations(groups: Sequence[Mapping[str, Any]]) -> list[SingleCommitment]:
    """The groups of GetReservationUtilization by subscription; KeyError or ValueError where one is malformed."""
    leases = Counter(group.get("Attributes", {}).get("leaseId", "") for group in groups)
    found = []
    for group in groups:
        told, use = group.get("Attributes", {}), group["Utilization"]
        purchased, used = parse_amount(use["PurchasedHours"]), parse_amount(use["TotalActualHours"])
        unused_fee = parse_amount(use["RICostForUnusedHours"])
        lease, expires_at = told.get("leaseId", ""), _moment(told.get("endDateTime"))
        found.append(
            SingleCommitment(
                # A lease with several subscriptions names none of them.
                id=lease if lease and leases[lease] == 1 else group["Value"],
                account_id=told.get("accountId", ""),
                utilization=used / purchased if purchased else None,
                used=parse_amount(use["TotalAmortizedFee"]) - unused_fee,
                unused=unused_fee,
                expires_at=expires_at,
                type=told.get("offeringType", ""),
                term=_term(_moment(told.get("startDateTime")), expires_at),
                payment_option=told.get("subscriptionType", ""),
                region=told.get("region", ""),
                instance=told.get("instanceType", ""),
                instances=told.get("numberOfInstances", ""),
            )
        )
    return found


def _moment(text: str | None) -> datetime | None:
    """A time as AWS writes it; ValueError for other text, or without a zone."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text[:100]} has no time zone")
    return moment


def _term(start: datetime | None, end: datetime | None) -> str:
    """The term of a reservation as it is said of a Savings Plan: `1yr` or `3yr`."""
    years = 0 if start is None or end is None else round((end - start).days / _DAYS_A_YEAR)
    return f"{years}yr" if years > 0 else ""


# In the ledger


def keep(ledger: Ledger, told: Commitment, singles: Sequence[SingleCommitment] = ()) -> None:
    """Replace what was known of the same kind, service and number of days, and each that was known of the kind."""
    numbers = (told.utilization, told.used, told.unused, told.coverage, told.on_demand)
    with ledger.transaction(), ledger.connection() as db:
        db.execute(
            "INSERT OR REPLACE INTO commitments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                told.kind,
                told.service,
                told.days,
                told.start.toordinal(),
                to_milliseconds(told.observed_at),
                *map(_stored, numbers),
                told.one_by_one,
            ),
        )
        db.execute("DELETE FROM single_commitments WHERE kind = ? AND service = ?", (told.kind, told.service))
        # They are of one number of days: those of another are not known one by one any more.
        db.execute(
            "UPDATE commitments SET one_by_one = 0 WHERE kind = ? AND service = ? AND days <> ?",
            (told.kind, told.service, told.days),
        )
        db.executemany(
            "INSERT INTO single_commitments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    told.kind,
                    told.service,
                    each.id,
                    each.account_id,
                    *map(_stored, (each.utilization, each.used, each.unused)),
                    None if each.expires_at is None else to_milliseconds(each.expires_at),
                    each.type,
                    each.term,
                    each.payment_option,
                    each.region,
                    each.instance,
                    each.instances,
                )
                for each in singles
            ],
        )


def _stored(number: Decimal | None) -> int | float | None:
    return None if number is None else stored_sum(sum_to_units(number))


def last_told(ledger: Ledger, kind: str, service: str, days: int) -> Commitment | None:
    """What AWS reported last; None if it was never asked."""
    with ledger.connection() as db:
        row = db.execute(
            "SELECT start, observed_at, one_by_one, utilization, used, unused, coverage, on_demand"
            " FROM commitments WHERE kind = ? AND service = ? AND days = ?",
            (kind, service, days),
        ).fetchone()
    if row is None:
        return None
    start, observed_at, one_by_one, *units = row
    utilization, used, unused, coverage, on_demand = (
        None if number is None else to_usd(number) for number in units
    )
    return Commitment(
        kind,
        service,
        days,
        date.fromordinal(start),
        to_moment(observed_at),
        utilization,
        used,
        unused,
        coverage,
        on_demand,
        bool(one_by_one),
    )


def singles_of(ledger: Ledger, told: Commitment) -> list[SingleCommitment]:
    """Each commitment of a kind that was read one by one; none where it was not."""
    if not told.one_by_one:
        return []
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT id, account_id, utilization, used, unused, expires_at, type, term, payment_option, region, instance,"
            " instances FROM single_commitments WHERE kind = ? AND service = ? ORDER BY id",
            (told.kind, told.service),
        ).fetchall()
    return [
        SingleCommitment(
            id=identifier,
            account_id=account_id,
            utilization=None if utilization is None else to_usd(utilization),
            used=to_usd(used),
            unused=to_usd(unused),
            expires_at=None if expires_at is None else to_moment(expires_at),
            type=kind,
            term=term,
            payment_option=payment_option,
            region=region,
            instance=instance,
            instances=instances,
        )
        for (
            identifier,
            account_id,
            utilization,
            used,
            unused,
            expires_at,
            kind,
            term,
            payment_option,
            region,
            instance,
            instances,
        ) in rows
    ]

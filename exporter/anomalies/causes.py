"""What made a spike, as Cost Explorer was asked once or months of lines show it, in tables of the ledger's file."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Protocol, TypeVar

from exporter.core.moments import month_start, start_of_day, to_milliseconds, to_moment
from exporter.core.money import to_units, to_usd
from exporter.cube import lines
from exporter.cube.months import LINES, CubeMonths
from exporter.ledger.file import Ledger

COMPARED_DAYS = 7
"""A spike is compared with one of so many days before it."""
SAME_SPIKE_DAYS = 3
"""Within so many days a spike of one series is the same one, and is asked about once."""

_REGIONS = {
    "AFS1": "af-south-1", "APE1": "ap-east-1", "APN1": "ap-northeast-1", "APN2": "ap-northeast-2",
    "APN3": "ap-northeast-3", "APS1": "ap-southeast-1", "APS2": "ap-southeast-2", "APS3": "ap-south-1",
    "APS4": "ap-southeast-3", "APS5": "ap-south-2", "APS6": "ap-southeast-4", "CAN1": "ca-central-1",
    "CAN2": "ca-west-1", "EUC1": "eu-central-1", "EUC2": "eu-central-2", "EUN1": "eu-north-1",
    "EUS1": "eu-south-1", "EUS2": "eu-south-2", "EUW1": "eu-west-1", "EUW2": "eu-west-2",
    "EUW3": "eu-west-3", "EU": "eu-west-1", "ILC1": "il-central-1", "MEC1": "me-central-1",
    "MES1": "me-south-1", "SAE1": "sa-east-1", "UGE1": "us-gov-east-1", "UGW1": "us-gov-west-1",
    "USE1": "us-east-1", "USE2": "us-east-2", "USW1": "us-west-1", "USW2": "us-west-2",
}  # fmt: skip
_ELSEWHERE = ("Amazon CloudFront",)  # EU and the like are edge locations there


class Spike(Protocol):
    """What is asked about: a finding of this kind."""

    @property
    def day(self) -> date: ...
    @property
    def account_id(self) -> str: ...
    @property
    def service(self) -> str: ...


class Expected(Spike, Protocol):
    """A spike, and what was expected of its day, in USD."""

    @property
    def expected(self) -> float: ...
    @property
    def lower(self) -> float: ...
    @property
    def upper(self) -> float: ...


AnySpike = TypeVar("AnySpike", bound=Spike)


@dataclass(frozen=True, slots=True)
class GrownResource:
    """One resource of a cause; USD as of the cause."""

    resource: str
    before: Decimal
    after: Decimal


@dataclass(frozen=True, slots=True)
class Cause:
    """One usage type and operation that grew; USD on the day compared with, and on the day of the spike."""

    usage_type: str
    operation: str
    region: str
    """From Cost Explorer, taken from the usage type, empty if that has no prefix, as in us-east-1; from lines as it is there."""
    before: Decimal
    after: Decimal
    resources: tuple[GrownResource, ...] = ()
    """Those that grew most, the most first; of lines alone."""

    @property
    def resource(self) -> str:
        """The resource that grew most; empty where none is known."""
        return self.resources[0].resource if self.resources else ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The top contributors on `day` against `compared_with`, the most first; `spike_day` is what was asked about."""

    spike_day: date
    compared_with: date
    causes: tuple[Cause, ...]


def region_of(usage_type: str, service: str) -> str:
    """The region that a usage type begins with; empty where it names none that is known."""
    prefix = re.match(r"([A-Z0-9]{2,4})-", usage_type)
    return _REGIONS.get(prefix[1], "") if prefix and service not in _ELSEWHERE else ""


def commit(
    ledger: Ledger,
    account_id: str,
    service: str,
    explanation: Explanation,
    observed_at: datetime,
    *,
    from_lines: bool = False,
) -> None:
    """Keep the answer about one spike; one `from_lines` was not paid for."""
    key = (explanation.spike_day.toordinal(), account_id, service)
    with ledger.transaction(), ledger.connection() as db:
        for table in ("anomaly_causes", "anomaly_cause_resources"):
            db.execute(f"DELETE FROM {table} WHERE day = ? AND account_id = ? AND service = ?", key)  # noqa: S608 # ours
        db.execute(
            "INSERT OR REPLACE INTO anomaly_cause_reads VALUES (?, ?, ?, ?, ?, ?)",
            (*key, explanation.compared_with.toordinal(), to_milliseconds(observed_at), from_lines),
        )
        db.executemany(
            "INSERT INTO anomaly_causes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (*key, c.usage_type, c.operation, c.region, to_units(c.before), to_units(c.after))
                for c in explanation.causes
            ],
        )
        db.executemany(
            "INSERT INTO anomaly_cause_resources VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (*key, c.usage_type, c.operation, c.region, r.resource, to_units(r.before), to_units(r.after))
                for c in explanation.causes
                for r in c.resources
            ],
        )


def explain(ledger: Ledger, day: date, account_id: str, service: str) -> Explanation | None:
    """The answer about the spike of which `day` is one day; None if it was not asked about."""
    with ledger.connection() as db:
        found = db.execute(
            "SELECT day, compared_with FROM anomaly_cause_reads"
            " WHERE account_id = ? AND service = ? AND day <= ? AND day > ? ORDER BY day DESC LIMIT 1",
            (account_id, service, day.toordinal(), (day - timedelta(days=SAME_SPIKE_DAYS)).toordinal()),
        ).fetchone()
        if found is None:
            return None
        rows = db.execute(
            "SELECT usage_type, operation, region, before, after FROM anomaly_causes"
            " WHERE day = ? AND account_id = ? AND service = ?"
            " ORDER BY after - before DESC, usage_type, operation, region",
            (found[0], account_id, service),
        ).fetchall()
        resources = db.execute(
            "SELECT usage_type, operation, region, resource, before, after FROM anomaly_cause_resources"
            " WHERE day = ? AND account_id = ? AND service = ? ORDER BY after - before DESC, resource",
            (found[0], account_id, service),
        ).fetchall()
    of_cause: defaultdict[tuple[str, str, str], list[GrownResource]] = defaultdict(list)
    for name, op, region, resource, before, after in resources:
        of_cause[name, op, region].append(GrownResource(resource, to_usd(before), to_usd(after)))
    return Explanation(
        date.fromordinal(found[0]),
        date.fromordinal(found[1]),
        tuple(
            Cause(name, op, region, to_usd(before), to_usd(after), tuple(of_cause[name, op, region]))
            for name, op, region, before, after in rows
        ),
    )


def asked_since(ledger: Ledger, since: datetime) -> int:
    """How many spikes Cost Explorer was asked about from `since` on."""
    with ledger.connection() as db:
        (count,) = db.execute(
            "SELECT COUNT(*) FROM anomaly_cause_reads WHERE observed_at >= ? AND NOT from_lines",
            (to_milliseconds(since),),
        ).fetchone()
    return int(count)


def lines_of_week(ledger: Ledger, day: date) -> dict[date, Path]:
    """The files of lines of a day and of those of the seven days before it that have any; none without DuckDB.

    Without those of the day itself, or with nothing to compare it with, there are none.
    """
    if not lines.is_installed():
        return {}
    months = CubeMonths(ledger).all()
    files = {}
    for number in range(COMPARED_DAYS + 1):
        each = day - timedelta(days=number)
        held = months.get(month_start(each))
        if held is not None and held.folder is not None and held.has_lines_of(each):
            files[each] = held.folder / LINES
    return files if day in files and len(files) > 1 else {}


def to_ask(
    ledger: Ledger, spikes: Iterable[AnySpike], now: datetime, requests_per_day: int
) -> list[AnySpike]:
    """The spikes to ask Cost Explorer about, the most important first; no more requests than are left today.

    Spikes that were asked about, and those that lines explain at no charge, are left out.
    """
    left = requests_per_day - asked_since(ledger, start_of_day(now.date()))
    unasked = [
        s
        for s in spikes
        if explain(ledger, s.day, s.account_id, s.service) is None and not lines_of_week(ledger, s.day)
    ]
    return unasked[: max(0, left)]


def waits(
    ledger: Ledger, spikes: Sequence[AnySpike], asked: Sequence[AnySpike], now: datetime, longest: timedelta
) -> Mapping[tuple[str, str], datetime]:
    """Until when the alert of a spike waits for its cause, by account and service; without those that do not wait.

    `asked` of the `spikes` are to be asked about. The moment is kept in the ledger when a spike is seen first, so
    that neither a restart nor a later refusal makes an alert wait again.
    """
    known = {}
    with ledger.connection() as db:
        for spike in spikes:
            row = db.execute(
                "SELECT until FROM anomaly_cause_waits"
                " WHERE account_id = ? AND service = ? AND day <= ? AND day > ? ORDER BY day DESC LIMIT 1",
                (
                    spike.account_id,
                    spike.service,
                    spike.day.toordinal(),
                    (spike.day - timedelta(days=SAME_SPIKE_DAYS)).toordinal(),
                ),
            ).fetchone()
            if row is not None:
                known[spike.account_id, spike.service] = int(row[0])
    waiting = {(spike.account_id, spike.service) for spike in asked}
    latest = to_milliseconds(now + longest)
    new = {
        (spike.account_id, spike.service): (
            spike.day.toordinal(),
            latest if (spike.account_id, spike.service) in waiting else 0,
        )
        for spike in spikes
        if (spike.account_id, spike.service) not in known
    }
    if new:
        with ledger.transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO anomaly_cause_waits VALUES (?, ?, ?, ?)",
                [(day, account_id, service, until) for (account_id, service), (day, until) in new.items()],
            )
    known |= {key: until for key, (_, until) in new.items()}
    # A clock that was set back must not make it longer.
    return {
        key: to_moment(min(until, latest))
        for key, until in known.items()
        if key in waiting and until > to_milliseconds(now)
    }


def end_waits(ledger: Ledger, spikes: Iterable[Spike]) -> None:
    """No alert waits for a cause any longer, nor begins to, of `spikes` that were to be asked about or seen before."""
    with ledger.transaction() as db:
        db.execute("UPDATE anomaly_cause_waits SET until = 0 WHERE until != 0")
        # Also those that no view has seen yet: the refusal may be quicker.
        db.executemany(
            "INSERT OR REPLACE INTO anomaly_cause_waits VALUES (?, ?, ?, 0)",
            [(spike.day.toordinal(), spike.account_id, spike.service) for spike in spikes],
        )


def compared_day(spike: Expected, totals: Mapping[date, float]) -> date:
    """The same weekday of the week before if it was usual, else the day of `totals` nearest to the expectation.

    `totals` are of days before the spike, in USD.
    """
    week_ago = spike.day - timedelta(days=COMPARED_DAYS)
    if week_ago in totals and spike.lower <= totals[week_ago] <= spike.upper:
        return week_ago
    return min(totals, key=lambda day: (abs(totals[day] - spike.expected), day))


def grown(
    before: dict[tuple[str, str], Decimal], after: dict[tuple[str, str], Decimal], service: str, most: int
) -> Iterable[Cause]:
    """The usage types and operations that grew, the most first, at most so many."""
    growth = {key: usd - before.get(key, Decimal(0)) for key, usd in after.items()}
    for key in sorted((k for k, usd in growth.items() if usd > 0), key=lambda k: (-growth[k], k))[:most]:
        yield Cause(*key, region_of(key[0], service), before.get(key, Decimal(0)), after[key])

"""Cost drawn from a seed: what each account's services cost, and how AWS comes to report it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from random import Random

from simulated_aws.charges import UNIT, Amounts, CostKey, plain
from simulated_aws.cost_truth import Charges, draw, finalised_at, midnight, month_of
from simulated_aws.organization import Account, Organization
from simulated_aws.service_catalog import (
    AWS,
    CATALOG,
    MARKETPLACE,
    SAVINGS_PLANS,
    SUPPORT,
    TAX,
    CatalogService,
    is_marketplace,
    region_prefix,
    usage_type_in,
)
from simulated_aws.spec import OrganizationSpec
from simulated_aws.varied_charges import VariedCharges

_PPM = 10**6
_NOISE = 4096
_CACHED_ROWS = 400_000


@dataclass(frozen=True, slots=True)
class _Series:
    """One service in one account: its level, its rhythm and the charges that it splits into."""

    account: Account
    service: str
    base: int
    week: tuple[int, ...]
    growth: int
    noise: int
    spread: int
    lag: int
    settled: int
    parts: tuple[_Part, ...]
    joined: int
    left: int


@dataclass(frozen=True, slots=True)
class _Part:
    """A share of a series; `shape` is how it is charged: plain, covered, negation or reserved."""

    key: CostKey
    share: int
    quantity: int
    shape: str = "plain"


@dataclass(frozen=True, slots=True)
class Change:
    """A restatement: from `visible_from` on, days from `first` to `last` are reported differently.

    `kind` is `scale` (by `ppm` millionths), `move` (that share to `target`), `vanish`, or `add` (`amount`
    units a day as a new charge of `record_type`). None as account or service means every one.
    """

    kind: str
    first: date
    last: date
    account_id: str | None
    service: str | None
    visible_from: datetime
    ppm: int = _PPM
    target: str = ""
    amount: int = 0
    record_type: str = "Usage"
    injected: bool = False


@dataclass(slots=True)
class _Fees:
    """What is charged once on a day: key and amounts, and the hour after the day's start when it shows."""

    charges: list[tuple[int, CostKey, Amounts]] = field(default_factory=list)


class GeneratedCosts:
    """Cost drawn from the seed: rhythm, growth, commitments, fees, late data and restatements."""

    def __init__(self, spec: OrganizationSpec, organization: Organization) -> None:
        self._spec = spec
        self._organization = organization
        rng = Random(f"{spec.seed}:cost")
        # Noise is looked up, not drawn, so that any day costs the same to ask for.
        self._noise = tuple(int(max(-1.0, min(1.0, rng.gauss(0, 0.42))) * 1000) for _ in range(_NOISE))
        self._keys: dict[tuple[object, ...], CostKey] = {}
        self._created = organization.created
        self._first = organization.created.date() - timedelta(days=spec.days)
        self._catalog = CATALOG.first(spec.services)
        self._series = [s for account in organization.accounts for s in self._account_series(account)]
        self._services = {(s.account.id, s.service) for s in self._series}
        self._changes: dict[date, list[Change]] = {}
        self._injected: list[Change] = []
        self._epoch = 0
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[date, Hashable], Charges] = OrderedDict()
        self._cached = 0
        self._fee_cache: dict[date, _Fees] = {}
        self._varied = (
            VariedCharges(organization, spec.regions[0], self._key) if spec.varied_charges else None
        )

    @property
    def services(self) -> list[str]:
        """The names of the services with cost, without tax and support."""
        return [service.name for service in self._catalog]

    def inject(self, change: Change) -> None:
        """Add a change from outside; it is visible at once."""
        with self._lock:
            self._injected.append(change)
            self._epoch += 1
            self._cache.clear()
            self._cached = 0

    def injected(self) -> list[Change]:
        """What was added from outside and is not taken back."""
        with self._lock:
            return [*self._injected]

    def clear_injected(self) -> None:
        """Take back everything that was injected."""
        with self._lock:
            self._injected.clear()
            self._epoch += 1
            self._cache.clear()
            self._cached = 0

    # -- what is generated once ------------------------------------------------------------------------

    def _key(
        self,
        account: Account,
        service: str,
        record_type: str,
        region: str,
        usage_type: str,
        *,
        tagged: bool = True,
    ) -> CostKey:
        parts = (account.id, service, record_type, region, usage_type)
        found = self._keys.get(parts)
        if found is None:
            tags = account.tags if tagged else ()
            entity = MARKETPLACE if is_marketplace(service) else AWS
            made = CostKey(account.id, service, record_type, region, usage_type, tags, entity)
            found = self._keys.setdefault(parts, made)  # one object, whichever thread was first
        return found

    def _account_series(self, account: Account) -> Iterable[_Series]:
        spec = self._spec
        for service in self._catalog:
            rng = Random(f"{spec.seed}:{account.id}:{service.name}")
            draw = rng.random()
            if account is self._organization.payer and service.share_ppm < 40_000 and draw < 0.3:
                continue
            if draw < 0.08 and service.share_ppm < 150_000:
                continue
            level = account.daily_usd * UNIT * service.share_ppm // _PPM
            base = int(level * rng.uniform(0.55, 1.5)) if service.share_ppm else rng.randint(37, 250_000)
            weekend = rng.uniform(1 - service.weekend_drop, 1)
            if account.name.startswith(("prod", "legacy")):
                weekend = 1 - (1 - weekend) / 3
            week = tuple(int(_PPM * (weekend if i >= 5 else rng.uniform(0.97, 1.03))) for i in range(7))
            joined = max(account.joined, self._first).toordinal()
            if account.joined > self._first and account.joined <= self._created.date():
                joined = account.joined.toordinal()
            yield _Series(
                account=account,
                service=service.name,
                base=base,
                week=week,
                growth=int(rng.uniform(-12_000, 42_000)),
                noise=rng.randrange(_NOISE),
                spread=int(service.spread * rng.uniform(0.6, 1.4) * 1000),
                lag=rng.randint(1, 9),
                settled=24 + rng.randint(12, 34),
                parts=tuple(self._parts(account, service, rng)),
                joined=joined,
                left=account.suspended_on.toordinal() if account.suspended_on else date.max.toordinal(),
            )

    def _parts(self, account: Account, service: CatalogService, rng: Random) -> Iterable[_Part]:
        regions = ["global"] if service.is_global else list(self._spec.regions)
        home = regions[0] if rng.random() < 0.8 else rng.choice(regions)
        others = [region for region in regions if region != home]
        places = [(home, _PPM)]
        if others and rng.random() < 0.6:
            second = rng.randint(120_000, 350_000)
            places = [(home, _PPM - second), (rng.choice(others), second)]
        tagged = rng.random() < 0.8
        for region, weight in places:
            for usage_type, share in service.usage_types:
                name = region_prefix(region) + usage_type
                part = weight * share // _PPM
                quantity = rng.randint(3, 90)
                plain = self._key(account, service.name, "Usage", region, name, tagged=tagged)
                if usage_type.startswith("BoxUsage"):
                    covered = self._key(account, service.name, "SavingsPlanCoveredUsage", region, name)
                    negation = self._key(account, service.name, "SavingsPlanNegation", region, name)
                    half = part * 55 // 100
                    yield _Part(plain, part - half, quantity)
                    yield _Part(covered, half, quantity, "covered")
                    yield _Part(negation, half, 0, "negation")
                elif usage_type.startswith("InstanceUsage"):
                    reserved = self._key(account, service.name, "DiscountedUsage", region, name)
                    yield _Part(plain, part * 6 // 10, quantity)
                    yield _Part(reserved, part * 4 // 10, quantity, "reserved")
                else:
                    yield _Part(plain, part, quantity)

    # -- one day ---------------------------------------------------------------------------------------

    def _hour(self, day: date, at: datetime) -> int:
        """Whole refreshes, in hours since the day began: Cost Explorer's view does not move in between."""
        step = self._spec.refresh_minutes * 60
        seconds = int((at - midnight(day)).total_seconds()) // step * step
        return seconds // 3600

    def _visible_changes(self, day: date, at: datetime) -> list[Change]:
        natural = self._changes.get(day)
        if natural is None:
            natural = self._changes[day] = sorted(self._restatements(day), key=lambda c: c.visible_from)
        visible = [change for change in natural if change.visible_from <= at]
        visible += [c for c in self._injected if c.first <= day <= c.last and c.visible_from <= at]
        return visible

    def version(self, day: date, at: datetime) -> Hashable:
        """The number of visible changes, and the hour while the day is not settled."""
        hours = self._hour(day, at)
        return len(self._visible_changes(day, at)), self._epoch, hours if hours < 24 * 3 else -1

    def charges(self, day: date, at: datetime) -> Charges:
        """Everything reported about the day; cached by its version."""
        key = (day, self.version(day, at))
        with self._lock:
            found = self._cache.get(key)
            if found is not None:
                self._cache.move_to_end(key)
                return found
        made = self._make(day, at)
        with self._lock:
            if key not in self._cache:
                self._cache[key] = made
                self._cached += len(made)
                while self._cached > _CACHED_ROWS and len(self._cache) > 1:
                    _, dropped = self._cache.popitem(last=False)
                    self._cached -= len(dropped)
        return made

    def estimated(self, day: date, at: datetime) -> bool:
        """Open until the bill of the month closes."""
        return at < finalised_at(self._spec.seed, month_of(day))

    def _make(self, day: date, at: datetime) -> Charges:
        hours = self._hour(day, at)
        if day < self._first or hours < 0:
            return Charges()
        changes = self._visible_changes(day, at)
        out = self._drawn(day, hours, changes)
        for hour, key, amounts in self._fees(day).charges:
            if hour <= hours:
                out.add(key, amounts)
        for key, amounts in self._additions(changes, hours):
            out.add(key, amounts)
        return out

    def _drawn(self, day: date, hours: int, changes: Sequence[Change]) -> Charges:
        """What is seen of the generated series after so many hours, as changed."""
        touched: dict[tuple[str, str], list[Change]] = {}
        for change in changes:
            if change.kind != "add":
                for series_key in self._touched(change):
                    touched.setdefault(series_key, []).append(change)
        out = Charges()
        ordinal, weekday = day.toordinal(), day.weekday()
        elapsed = ordinal - self._first.toordinal()
        for series in self._series:
            if not series.joined <= ordinal < series.left:
                continue
            seen = _seen_ppm(hours, series.lag, series.settled)
            if not seen:
                continue
            level = self._level(series, ordinal, weekday, elapsed)
            if seen != _PPM:
                level = level * seen // _PPM
            ops = touched.get((series.account.id, series.service))
            if ops is None:
                _append(out, series, level)
            else:
                self._append_changed(out, series, level, ops)
        return out

    def _level(self, series: _Series, ordinal: int, weekday: int, elapsed: int) -> int:
        noise = self._noise[(series.noise + ordinal * 2_654_435_761) % _NOISE]
        level = series.base * series.week[weekday] // _PPM
        level = level * (_PPM + series.growth * elapsed // 30) // _PPM
        return level * (_PPM + noise * series.spread) // _PPM

    def _touched(self, change: Change) -> Iterable[tuple[str, str]]:
        if change.account_id is not None and change.service is not None:
            return ((change.account_id, change.service),)
        return (
            key
            for key in self._services
            if change.account_id in (None, key[0]) and change.service in (None, key[1])
        )

    def _append_changed(self, out: Charges, series: _Series, level: int, ops: Sequence[Change]) -> None:
        moved: list[tuple[str, int]] = []
        for op in ops:
            if op.kind == "vanish":
                return
            if op.kind == "scale":
                level = level * op.ppm // _PPM
            else:
                moved.append((op.target, op.ppm))
        made = Charges()
        _append(made, series, level)
        for target, ppm in moved:
            kept = Charges()
            for key, amounts in made:
                away = tuple(amount * ppm // _PPM for amount in amounts)
                rest = tuple(amount - part for amount, part in zip(amounts, away, strict=True))
                kept.add(key, rest)  # type: ignore[arg-type]
                usage_type = usage_type_in(target, key.region, key.usage_type)
                other = self._key(series.account, target, key.record_type, key.region, usage_type)
                out.add(other, away)  # type: ignore[arg-type]
            made = kept
        for key, amounts in made:
            out.add(key, amounts)

    def _additions(self, changes: Sequence[Change], hours: int) -> Iterable[tuple[CostKey, Amounts]]:
        for change in changes:
            if change.kind == "add" and change.account_id is not None and change.service is not None:
                account = self._organization.by_id[change.account_id]
                region = self._spec.regions[0]
                usage_type = region_prefix(region) + (
                    "Usage" if change.record_type == "Usage" else "Adjustment"
                )
                usage_type = usage_type_in(change.service, region, usage_type)
                key = self._key(account, change.service, change.record_type, region, usage_type)
                seen = _seen_ppm(hours, 0, 36) if change.record_type == "Usage" else _PPM
                value = change.amount * seen // _PPM
                yield key, plain(value, 7)

    # -- restatements ----------------------------------------------------------------------------------

    def _restatements(self, day: date) -> Iterable[Change]:
        """What AWS will correct about a day, drawn from the seed."""
        seed, close = self._spec.seed, finalised_at(self._spec.seed, month_of(day))
        settled = midnight(day) + timedelta(hours=62)
        window = max(int((close - settled).total_seconds()), 3600)
        rng = Random(draw(seed, "restated", day.isoformat()))
        for account in self._organization.accounts:
            if rng.random() > 0.06:
                continue
            mine = [s for s in self._series if s.account is account]
            if not mine:
                continue
            series = rng.choice(mine)
            moment = settled + timedelta(seconds=rng.randrange(window))
            kind = rng.choices(("scale", "move", "vanish"), (6, 3, 2))[0]
            if kind == "vanish":
                series = sorted(mine, key=lambda s: s.base)[(len(mine) - 1) // 3]
            target = rng.choice(mine).service
            if kind == "move" and target == series.service:
                kind = "scale"
            yield Change(
                kind,
                day,
                day,
                account.id,
                series.service,
                moment,
                ppm=rng.randint(50_000, 300_000) if kind == "move" else rng.randint(930_000, 1_090_000),
                target=target,
            )
        if day.day == 1:
            # The final bill corrects the month's tax and grants a credit for service levels missed.
            for account in self._organization.accounts:
                tax = rng.randint(1, 9) * account.daily_usd * UNIT // 100
                yield Change("add", day, day, account.id, TAX, close, amount=tax, record_type="Tax")
            payer = self._organization.payer
            credit = -self._total_usd() * UNIT * rng.randint(5, 25) // 1000
            yield Change(
                "add", day, day, payer.id, self._catalog[0].name, close, amount=credit, record_type="Credit"
            )
        if rng.random() < 0.03:
            account = rng.choice(self._organization.accounts)
            refund = -account.daily_usd * UNIT * rng.randint(1, 20) // 100
            moment = settled + timedelta(seconds=rng.randrange(window))
            service = self._catalog[-1].name
            yield Change("add", day, day, account.id, service, moment, amount=refund, record_type="Refund")

    def _total_usd(self) -> int:
        return sum(account.daily_usd for account in self._organization.accounts)

    # -- fees ------------------------------------------------------------------------------------------

    def _fees(self, day: date) -> _Fees:
        found = self._fee_cache.get(day)
        if found is None:
            found = _Fees()
            found.charges.extend(self._commitments(day))
            if day.day == 1:
                found.charges.extend(self._month_start(day))
            if self._varied is not None:
                found.charges.extend(self._varied.of_day(day))
            self._fee_cache[day] = found  # once it is whole: other threads take what is there
        return found

    def _commitments(self, day: date) -> Iterable[tuple[int, CostKey, Amounts]]:
        """The Savings Plan that the payer holds, charged daily; what is unused stays with the payer."""
        payer = self._organization.payer
        compute = SAVINGS_PLANS if self._spec.varied_charges else self._catalog[0].name
        fee = self._total_usd() * UNIT * 12 // 100
        unused = fee * (2 + day.toordinal() % 3) // 100
        key = self._key(
            payer, compute, "SavingsPlanRecurringFee", "global", "ComputeSP:1yrNoUpfront", tagged=False
        )
        yield 6, key, (fee, fee, unused, fee, unused, 24 * UNIT)

    def _month_start(self, day: date) -> Iterable[tuple[int, CostKey, Amounts]]:
        payer = self._organization.payer
        database = next((s.name for s in self._catalog if "Database" in s.name), self._catalog[-1].name)
        region = self._spec.regions[0]
        recurring = self._total_usd() * UNIT * 9 // 100 * 30 // 10
        key = self._key(payer, database, "RIFee", region, region_prefix(region) + "HeavyUsage:db.r6g.large")
        yield 3, key, (recurring, recurring, recurring // 50, recurring, recurring // 50, 720 * UNIT)
        if day.month in (1, 7):
            upfront = self._total_usd() * UNIT * 3
            key = self._key(payer, database, "Fee", region, "ReservedInstance:upfront", tagged=False)
            yield 3, key, (upfront, upfront, 0, upfront, 0, UNIT)
        support = self._total_usd() * UNIT * 30 * 4 // 100
        key = self._key(payer, SUPPORT, "Support", "global", "Dollar", tagged=False)
        yield 5, key, plain(support, 1)
        for account in self._organization.accounts:
            if account.joined > day or (account.suspended_on and account.suspended_on <= day):
                continue
            tax = account.daily_usd * UNIT * 30 * 7 // 100 + draw(self._spec.seed, account.id, day) % UNIT
            key = self._key(account, TAX, "Tax", "NoRegion", "NoUsageType", tagged=False)
            yield 8, key, plain(tax, 0)
            if account.name.endswith(("sandbox", "dev")):
                credit = -account.daily_usd * UNIT * 2
                service = self._catalog[0].name
                usage_type = usage_type_in(service, region, "Credit")
                credited = self._key(account, service, "Credit", region, usage_type, tagged=False)
                yield 8, credited, plain(credit, 0)


def _append(out: Charges, series: _Series, level: int) -> None:
    keys, rows = out.keys, out.amounts
    for part in series.parts:
        value = level * part.share // _PPM
        keys.append(part.key)
        shape = part.shape
        if shape == "plain":
            net = value * 97 // 100
            rows.append((value, value, value, net, net, value * part.quantity))
        elif shape == "covered":
            effective = value * 71 // 100
            rows.append((value, value, effective, value, effective, value * part.quantity))
        elif shape == "negation":
            rows.append((-value, -value, 0, -value, 0, 0))
        else:  # reserved: paid by the fee of the month, amortized over its days
            effective = value * 64 // 100
            rows.append((0, 0, effective, 0, effective, value * part.quantity))


def _seen_ppm(hours: int, lag: int, settled: int) -> int:
    """The part of a day that is reported `hours` after it began, in millionths."""
    if hours >= settled:
        return _PPM
    since = hours - lag
    if since <= 0:
        return 0
    if since < 24:
        return since * 40_000
    return 960_000 + (hours - 24 - lag) * 40_000 // max(settled - 24 - lag, 1)

"""A simulated organisation without its server: accounts, cost, usage, inventory, faults, and what changes them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal

from simulated_aws.anomaly_detection import AnomalyDetection
from simulated_aws.athena.exported import athena_of
from simulated_aws.budgets import Budgets
from simulated_aws.cloudwatch import CloudWatch
from simulated_aws.commitments import Commitments
from simulated_aws.cost_allocation import CostAllocation
from simulated_aws.cost_dimensions import Allocation
from simulated_aws.cost_explorer import CostExplorer
from simulated_aws.cost_optimization_hub import CostOptimizationHub
from simulated_aws.cost_truth import CostTruth, ExplicitCost, ExplicitCosts
from simulated_aws.exports.api import ExportsApi
from simulated_aws.exports.data_exports import DataExports
from simulated_aws.faults import Faults
from simulated_aws.generated_costs import Change, GeneratedCosts
from simulated_aws.identity import Identity
from simulated_aws.inventory import Inventory
from simulated_aws.metric_truth import MetricTruth
from simulated_aws.organization import Account, Organization, OrganizationsApi
from simulated_aws.pricing import Pricing
from simulated_aws.request_log import RequestLog
from simulated_aws.resource_ids import ResourceIds
from simulated_aws.service_catalog import resolve_service
from simulated_aws.spec import OrganizationSpec, SimulatedClock
from simulated_aws.wire import Tokens


class World:
    """An AWS organisation. `costs` replaces the generated cost by exactly these rows."""

    def __init__(
        self, spec: OrganizationSpec | None = None, costs: Iterable[ExplicitCost] | None = None
    ) -> None:
        self.spec = spec or OrganizationSpec()
        self.clock = SimulatedClock(self.spec.now)
        self.organization = Organization(self.spec, self.clock.now())
        self.requests = RequestLog()
        self.faults = Faults(self.organization, self.spec.seed)
        tokens = Tokens()
        self.identity = Identity(self.spec, self.organization, self.clock.now)
        self._organizations = OrganizationsApi(self.organization, tokens)
        self.inventory = Inventory(self.spec, self.organization)
        self._generated = GeneratedCosts(self.spec, self.organization)
        self.cost_allocation = CostAllocation(self.organization, self.clock.now, tokens)
        self.truth = CostTruth(self._generated, self.organization, self.clock.now, self._allocation)
        if self.spec.inventory_resources:
            self.truth.resource_ids = ResourceIds(self.inventory)
        self.cost_explorer = CostExplorer(
            self.spec, self.organization, self._generated, self.clock.now, tokens, self._allocation
        )
        self.exports = DataExports(self.organization, self.truth, self.clock.now, self.spec.seed)
        self._exports_api = ExportsApi(self.exports, tokens)
        self.budgets = Budgets(self.organization, self.truth, self.clock.now, tokens)
        self.anomaly_detection = AnomalyDetection(
            self.organization, self.truth, self._generated.injected, self.clock.now, tokens
        )
        if costs is not None:
            self.set_costs(costs)
        self.metrics = MetricTruth(self.spec, self.organization, self.clock.now, self.inventory.instance_ids)
        self.truth.metrics = self.metrics
        self._cloudwatch = CloudWatch(self.organization, self.metrics, self.clock.now, tokens)
        self._pricing = Pricing(tokens)
        self.athena = athena_of(self.exports, self.clock.now, tokens)
        self.commitments = Commitments(self.organization, self.clock.now, tokens)
        self.optimization_hub = CostOptimizationHub(self.spec, self.organization, self.clock.now, tokens)

    @property
    def payer_id(self) -> str:
        """The id of the management account."""
        return self.organization.payer.id

    @property
    def accounts(self) -> list[Account]:
        """Every account, the payer first."""
        return self.organization.accounts

    def _allocation(self, day: date, at: datetime) -> Allocation:
        return self.cost_allocation.applied(day, at)

    def set_costs(self, rows: Iterable[ExplicitCost] | None) -> None:
        """Report exactly these rows from now on; None returns to the generated cost."""
        source = self._generated if rows is None else ExplicitCosts(rows, seed=self.spec.seed)
        self.truth.source = source
        self.cost_explorer.use(source)

    def inject_spike(
        self,
        account: str,
        service: str,
        factor: float | Decimal = 3,
        since: date | None = None,
        days: int | None = None,
    ) -> Change:
        """Multiply a service's cost from `since` (None: yesterday) on for `days` (None: without end).

        It is visible at once. `account` is a name or an id, `service` what people say ("Amazon EC2");
        KeyError when either is unknown.
        """
        ppm = int(Decimal(str(factor)) * 10**6)
        return self._inject("scale", account, service, since, days, ppm=ppm)

    def inject_service(
        self,
        account: str,
        service: str,
        daily_usd: float | Decimal,
        since: date | None = None,
        days: int | None = None,
    ) -> Change:
        """A service (its name is taken as it is) begins to cost `daily_usd` a day."""
        first, last = self._span(since, days)
        change = Change(
            "add",
            first,
            last,
            self.organization.find(account).id,
            service,
            self.clock.now(),
            amount=int(Decimal(str(daily_usd)) * 10**10),
            injected=True,
        )
        self._generated.inject(change)
        return change

    def stop_service(self, account: str, service: str, since: date | None = None) -> Change:
        """A service is no longer reported from `since` (None: yesterday) on."""
        return self._inject("vanish", account, service, since, None)

    def restate(
        self,
        account: str,
        service: str,
        day: date,
        factor: float | Decimal = 1,
        *,
        to_service: str | None = None,
        vanish: bool = False,
    ) -> Change:
        """Tell a past day differently from now on.

        `factor` multiplies the service's cost; with `to_service` that share of it moves to another service of
        the account, whose total stays the same; `vanish` removes the service from the day.
        """
        ppm = int(Decimal(str(factor)) * 10**6)
        if vanish:
            return self._inject("vanish", account, service, day, 1)
        if to_service is not None:
            target = resolve_service(to_service, self._generated.services)
            return self._inject("move", account, service, day, 1, ppm=ppm, target=target)
        return self._inject("scale", account, service, day, 1, ppm=ppm)

    def _inject(
        self,
        kind: str,
        account: str,
        service: str,
        since: date | None,
        days: int | None,
        *,
        ppm: int = 10**6,
        target: str = "",
    ) -> Change:
        first, last = self._span(since, days)
        change = Change(
            kind,
            first,
            last,
            self.organization.find(account).id,
            resolve_service(service, self._generated.services),
            self.clock.now(),
            ppm=ppm,
            target=target,
            injected=True,
        )
        self._generated.inject(change)
        return change

    def _span(self, since: date | None, days: int | None) -> tuple[date, date]:
        first = since if since is not None else self.clock.now().date() - timedelta(days=1)
        return first, date.max if days is None else first + timedelta(days=days - 1)

    def clear_injected(self) -> None:
        """Take back every spike, service and restatement that was injected."""
        self._generated.clear_injected()

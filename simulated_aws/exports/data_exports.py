"""The exports of an organisation, and the buckets that they are delivered to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from simulated_aws.cost_truth import CostTruth, to_decimal
from simulated_aws.exports.buckets import Buckets
from simulated_aws.exports.definition import Export
from simulated_aws.exports.delivery import Delivery, Execution
from simulated_aws.exports.pods import COSTS, pod_costs
from simulated_aws.organization import Organization


class DataExports:
    """The exports, and the buckets that they are delivered to.

    Nothing is written before it is requested: a request to S3 or `deliver` writes what the last refresh until
    now would have left, and only the months that have changed.
    """

    def __init__(
        self, organization: Organization, truth: CostTruth, now: Callable[[], datetime], seed: int
    ) -> None:
        self._organization = organization
        self._truth = truth
        self._now = now
        self._seed = seed
        self._lock = threading.RLock()
        self._deliveries: dict[str, Delivery] = {}
        self._held = False
        self.buckets = Buckets(now)

    def close(self) -> None:
        """Remove all exports and what was delivered."""
        with self._lock:
            self._deliveries.clear()
            self.buckets.close()

    def create(
        self,
        name: str = "cost",
        *,
        bucket: str = "cost-exports",
        prefix: str = "exports",
        account: str | None = None,
        bucket_account: str | None = None,
        created: datetime | None = None,
        **definition: Any,
    ) -> Export:
        """Create an export of the payer (or `account`, a name or id), into a bucket of it or of `bucket_account`.

        One of the payer has the lines of all accounts, one of another account its own.

        It is created now unless `created` says otherwise, and delivered for the first time at once. `definition` are
        other fields of Export. Raise ValueError for what an export cannot be, TypeError for an unknown field.
        """
        owner = self._organization.find(account) if account else self._organization.payer
        holder = self._organization.find(bucket_account) if bucket_account else owner
        export = Export(
            name=name,
            bucket=bucket,
            prefix=prefix,
            account_id=owner.id,
            created=created or self._now(),
            **definition,
        )
        with self._lock:
            if name in self._deliveries:
                raise ValueError(f"there is an export {name!r} already")
            self.buckets.create(bucket, holder.id)
            self._deliveries[name] = Delivery(
                export, self._organization, self._truth, self.buckets, self._seed
            )
        return export

    def all(self) -> list[Export]:
        """The exports in the order in which they were created."""
        with self._lock:
            return [delivery.export for delivery in self._deliveries.values()]

    def find(self, name: str) -> Export:
        """The export of this name; KeyError names those that exist."""
        return self._delivery(name).export

    def _delivery(self, name: str) -> Delivery:
        with self._lock:
            if name not in self._deliveries:
                raise KeyError(f"no export {name!r}; there are {', '.join(self._deliveries) or 'none'}")
            return self._deliveries[name]

    def change(self, name: str, **settings: Any) -> Export:
        """Set fields of an export; KeyError when there is no such export or field."""
        export = self.find(name)
        known = {each.name for each in fields(Export)}
        if unknown := set(settings) - known:
            raise KeyError(f"no setting {sorted(unknown)}; there are {', '.join(sorted(known))}")
        with self._lock:
            for setting, value in settings.items():
                setattr(export, setting, value)
        return export

    def split_totals(
        self, start: date, end: date, at: datetime, by: Sequence[str], cost: str = "split_cost"
    ) -> dict[tuple[str, ...], Decimal]:
        """The true split costs from `start` to before `end` in USD; `cost` is one of COSTS.

        `by` takes day, account, cluster, namespace, pod and kind. They share out cost that other lines have.
        """
        sums: dict[tuple[str, ...], int] = {}
        for day in (start + timedelta(days=number) for number in range((end - start).days)):
            for pod, _, costs in pod_costs(self._truth.source.charges(day, at)):
                names = {
                    "day": day.isoformat(),
                    "account": pod.account_id,
                    "cluster": pod.cluster,
                    "namespace": pod.namespace,
                    "pod": pod.name,
                    "kind": pod.kind,
                }
                place = tuple(names[name] for name in by)
                sums[place] = sums.get(place, 0) + costs[COSTS.index(cost)]
        return {place: to_decimal(units) for place, units in sums.items()}

    def refreshed(self, name: str) -> datetime | None:
        """The moment whose cost an export's last delivery has; None before the first."""
        return self._delivery(name).refreshed

    def executions(self, name: str) -> list[Execution]:
        """The refreshes of an export, the last one first."""
        with self._lock:
            return self._delivery(name).executions[::-1]

    def delivered(self, name: str, month: date) -> datetime | None:
        """The moment whose cost the files of a month have; None where nothing is delivered."""
        found = self._delivery(name).months.get(month)
        return found.at if found else None

    def deliver(self, *, force: bool = False) -> None:
        """Write what AWS would have delivered by now; with `force`, also a refresh of this very moment.

        Raise ValueError where the cost cannot be expressed by an export's lines.
        """
        now = self._now()
        with self._lock:
            for delivery in self._deliveries.values():
                delivery.release(now)
                moment = now if force else delivery.last_refresh(now)
                known = delivery.refreshed
                if moment is not None and (force or known is None or moment > known):
                    delivery.refresh(moment)
                delivery.release(now)

    def deliver_lazily(self) -> None:
        """Deliver on request, unless refreshes are held."""
        if self._held:
            with self._lock:
                for delivery in self._deliveries.values():
                    delivery.release(self._now())
        else:
            self.deliver()

    def hold(self, held: bool = True) -> None:
        """Stop refreshing when S3 is asked, until called with False; `deliver` still refreshes."""
        self._held = held

    def release(self, name: str) -> None:
        """Deliver the late files of an export now."""
        with self._lock:
            self._delivery(name).release(datetime.max.replace(tzinfo=UTC))

    # -- what others read ------------------------------------------------------------------------------

    def before_get(self, bucket: str, key: str, operation: str) -> None:
        """Called before a request for an object is answered: what is due is delivered."""
        self.deliver_lazily()
        if operation != "GetObject" or key.endswith(".json"):
            return
        with self._lock:
            for delivery in self._deliveries.values():
                if delivery.export.bucket == bucket:
                    delivery.count_get(self._now())

    def files(self, export: Export) -> list[tuple[str, Path, dict[str, str]]]:
        """All data files in an export's folder, in a manifest or not: key, path, and the partition's values."""
        self.deliver_lazily()
        root = export.folder("data", date(2000, 1, 1)).partition("BILLING_PERIOD=")[0]
        return [
            (key, stored.path, {"billing_period": key.removeprefix(root).partition("/")[0].partition("=")[2]})
            for key, stored in self.buckets.list(export.bucket, root)
        ]

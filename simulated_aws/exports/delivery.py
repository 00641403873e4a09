"""The exports of an organisation: what AWS would have delivered of each by now, in buckets and over the API."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from simulated_aws.cost_truth import CostSource, CostTruth, finalised_at, next_month, to_decimal
from simulated_aws.exports.buckets import Buckets
from simulated_aws.exports.definition import LEGACY, Export
from simulated_aws.exports.pods import COSTS, pod_costs
from simulated_aws.exports.writer import MonthWriter
from simulated_aws.organization import Organization

_EXECUTIONS = 100


@dataclass(frozen=True, slots=True)
class Execution:
    """One refresh of an export: when it began, and the months that it wrote."""

    id: str
    at: datetime
    months: tuple[date, ...]


@dataclass(slots=True)
class _Month:
    """What is delivered of one month: of which version, as of when, and its files' keys."""

    version: Hashable = None
    digest: str = ""
    at: datetime | None = None
    keys: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _State:
    """What has happened to one export."""

    refreshed: datetime | None = None
    months: dict[date, _Month] = field(default_factory=dict)
    executions: list[Execution] = field(default_factory=list)
    due: list[tuple[datetime, Callable[[], None]]] = field(default_factory=list)
    gets: int = 0


class DataExports:
    """The exports, and the buckets that they are delivered to.

    Nothing is written before somebody asks for it: a request to S3 or `deliver` writes what the last refresh until
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
        self._states: dict[str, _State] = {}
        self._exports: dict[str, Export] = {}
        self._held = False
        self.buckets = Buckets(now)

    def close(self) -> None:
        """Remove all exports and what was delivered."""
        with self._lock:
            self._exports.clear()
            self._states.clear()
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
            if name in self._exports:
                raise ValueError(f"there is an export {name!r} already")
            self.buckets.create(bucket, holder.id)
            self._exports[name] = export
            self._states[name] = _State()
        return export

    def all(self) -> list[Export]:
        """The exports in the order in which they were created."""
        with self._lock:
            return [*self._exports.values()]

    def find(self, name: str) -> Export:
        """The export of this name; KeyError names those that exist."""
        with self._lock:
            if name not in self._exports:
                raise KeyError(f"no export {name!r}; there are {', '.join(self._exports) or 'none'}")
            return self._exports[name]

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
        """As of when an export's last delivery is; None before the first."""
        with self._lock:
            return self._states[self.find(name).name].refreshed

    def executions(self, name: str) -> list[Execution]:
        """The refreshes of an export, the last one first."""
        with self._lock:
            return self._states[self.find(name).name].executions[::-1]

    def delivered(self, name: str, month: date) -> datetime | None:
        """As of when the files of a month are; None where nothing is delivered."""
        with self._lock:
            found = self._states[self.find(name).name].months.get(month)
            return found.at if found else None

    # -- refreshes -------------------------------------------------------------------------------------

    def deliver(self, *, force: bool = False) -> None:
        """Write what AWS would have delivered by now; with `force`, also a refresh of this very moment.

        Raise ValueError where the cost cannot be expressed by an export's lines.
        """
        now = self._now()
        with self._lock:
            for export in self._exports.values():
                state = self._states[export.name]
                self._release(state, now)
                moment = now if force else self._last_refresh(export, now)
                if moment is not None and (force or state.refreshed is None or moment > state.refreshed):
                    self._refresh(export, state, moment)
                self._release(state, now)

    def deliver_lazily(self) -> None:
        """Deliver because somebody asks, unless refreshes are held."""
        if self._held:
            with self._lock:
                for state in self._states.values():
                    self._release(state, self._now())
        else:
            self.deliver()

    def hold(self, held: bool = True) -> None:
        """Refresh no more when S3 is asked, until it is taken back; `deliver` still does."""
        self._held = held

    def release(self, name: str) -> None:
        """Let what is late of an export arrive now."""
        with self._lock:
            self._release(self._states[self.find(name).name], datetime.max.replace(tzinfo=UTC))

    def _release(self, state: _State, now: datetime) -> None:
        due, state.due = state.due, []
        for moment, arrive in due:
            if moment <= now:
                arrive()
            else:
                state.due.append((moment, arrive))

    def _last_refresh(self, export: Export, now: datetime) -> datetime | None:
        """The last refresh until now: when it was created, and three hours a day since."""
        if export.created > now:
            return None
        moments = [export.created]
        for day in (now.date() - timedelta(days=1), now.date()):
            for start in (3, 11, 19):
                digest = hashlib.blake2b(f"{self._seed}:{export.name}:{day}:{start}".encode()).digest()
                minutes = int.from_bytes(digest[:2], "big") % 240
                moments.append(datetime.combine(day, time(start), UTC) + timedelta(minutes=minutes))
        return max(moment for moment in moments if export.created <= moment <= now)

    def _refresh(self, export: Export, state: _State, at: datetime) -> None:
        written = []
        writer: MonthWriter | None = None
        try:
            for month in _months(export.first_month, at.date()):
                if self._is_changed(export, state, month, at):
                    writer = writer or MonthWriter(self._organization)
                    self._write(writer, export, state, month, at)
                    written.append(month)
        finally:
            if writer is not None:
                writer.close()
        state.refreshed = at
        state.executions.append(Execution(export.execution_id(at), at, tuple(written)))
        del state.executions[:-_EXECUTIONS]

    def _is_changed(self, export: Export, state: _State, month: date, at: datetime) -> bool:
        """Whether a refresh writes a month: what it has is another than what is delivered, or AWS writes it anyway."""
        source = self._truth.source
        known = state.months.setdefault(month, _Month())
        end = next_month(month)
        days = [month + timedelta(days=number) for number in range((end - month).days)]
        version: Hashable = (
            source,
            tuple((source.version(day, at), self._truth.allocate(day, at)) for day in days),
            _shape(export, month),
            self._invoice(month, at),
        )
        is_touched = at.date() < end + timedelta(days=14 if export.touches_closed_months else 0)
        if known.version == version:
            return is_touched
        known.version = version
        allocations = tuple(self._truth.allocate(day, at) for day in days)
        digest = _digest(source, days, at, (allocations, _shape(export, month), self._invoice(month, at)))
        is_same, known.digest = digest == known.digest, digest
        return is_touched or not is_same

    def _invoice(self, month: date, at: datetime) -> str:
        """The id of a month's invoice, empty until its bill is final."""
        closed = at >= finalised_at(self._seed, month)
        return f"{int(hashlib.blake2b(month.isoformat().encode()).hexdigest()[:8], 16)}" if closed else ""

    def _write(self, writer: MonthWriter, export: Export, state: _State, month: date, at: datetime) -> None:
        work = self.buckets.folder / f"work-{export.name}"
        work.mkdir(parents=True, exist_ok=True)
        try:
            made = writer.write(export, self._truth, month, at, self._invoice(month, at), work)
            if export.truncated > 0:
                export.truncated -= 1
                state.months[month].version, state.months[month].digest = (
                    None,
                    "",
                )  # the next refresh repairs it
                content = made[-1].read_bytes()
                made[-1].write_bytes(content[: len(content) // 2])
            self._put(export, state, month, at, made)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _put(self, export: Export, state: _State, month: date, at: datetime, made: list[Path]) -> None:
        known = state.months[month]
        folder = export.folder("data", month) + export.execution_folder(at)
        if export.table == LEGACY:
            folder += f"{export.execution_id(at)}/"
        keys = [f"{folder}{export.name}-{path.name}" for path in made]
        old, known.keys, known.at = known.keys, keys, at
        modified = max(at, export.created)
        columns = writer_columns(export, month)
        manifest = json.dumps(self._manifest(export, month, at, keys, columns), indent=1).encode()

        def put_manifest() -> None:
            for key in manifest_keys(export, month, at):
                self.buckets.put(export.bucket, key, manifest, modified + export.manifest_delay)

        def put_data() -> None:
            for key, (content, when) in zip(keys, waiting, strict=True):
                self.buckets.put(export.bucket, key, content, when)
            if export.overwrite and not export.keeps_orphans:
                for key in set(old) - set(keys):
                    self.buckets.delete(export.bucket, key)

        waiting: list[tuple[Path | bytes, datetime]]
        if export.data_delay:
            late = modified + export.data_delay
            # The folder of work is gone by then.
            waiting = [(path.read_bytes(), late) for path in made]
            state.due.append((late, put_data))
        else:
            waiting = [(path, modified) for path in made]
            put_data()
        if export.manifest_delay:
            state.due.append((modified + export.manifest_delay, put_manifest))
        else:
            put_manifest()

    def _manifest(
        self, export: Export, month: date, at: datetime, keys: list[str], columns: list[dict[str, str]]
    ) -> dict[str, Any]:
        period = {"start": f"{month}T00:00:00.000Z", "end": f"{next_month(month)}T00:00:00.000Z"}
        if export.table == LEGACY:
            return {
                "assemblyId": export.execution_id(at),
                "account": export.account_id,
                "reportName": export.name,
                "compression": "GZIP",
                "contentType": "text/csv",
                "charset": "UTF-8",
                "bucket": export.bucket,
                "billingPeriod": period,
                "reportKeys": keys,
                "columns": columns,
            }
        return {
            "exportArn": export.arn,
            "exportName": export.name,
            "executionId": export.execution_id(at),
            "billingPeriod": period,
            "columns": columns,
            "dataFiles": [f"s3://{export.bucket}/{key}" for key in keys],
            "additionalOutputFiles": [],
        }

    # -- what others read ------------------------------------------------------------------------------

    def before_get(self, bucket: str, key: str, operation: str) -> None:
        """Called before a request for an object is answered: what is due is delivered."""
        self.deliver_lazily()
        if operation != "GetObject" or key.endswith(".json"):
            return
        with self._lock:
            for export in self._exports.values():
                state = self._states[export.name]
                if export.bucket != bucket or not export.deliver_after_gets:
                    continue
                state.gets += 1
                if state.gets > export.deliver_after_gets:
                    state.gets, export.deliver_after_gets = 0, 0
                    self._refresh(export, state, self._now())

    def files(self, export: Export) -> list[tuple[str, Path, dict[str, str]]]:
        """The data files in an export's folder, whatever a manifest names: key, path, and the partition's values."""
        self.deliver_lazily()
        root = export.folder("data", date(2000, 1, 1)).partition("BILLING_PERIOD=")[0]
        return [
            (key, stored.path, {"billing_period": key.removeprefix(root).partition("/")[0].partition("=")[2]})
            for key, stored in self.buckets.list(export.bucket, root)
        ]


def manifest_keys(export: Export, month: date, at: datetime) -> Iterator[str]:
    """The keys of the manifests of a delivery."""
    name = f"{export.name}-Manifest.json"
    folder = export.folder("metadata", month)
    if export.table == LEGACY:
        yield f"{folder}{export.execution_id(at)}/{name}"
        yield f"{folder}{name}"
        return
    if not export.overwrite:
        yield f"{folder}{export.execution_folder(at)}{name}"
    if export.overwrite or not export.hides_latest_manifest:
        yield f"{folder}{name}"


_TYPES = {"VARCHAR": "STRING", "DOUBLE": "DOUBLE", "TIMESTAMP": "TIMESTAMP"}


def writer_columns(export: Export, month: date) -> list[dict[str, str]]:
    """The columns of a month's files as a manifest names them; of a query of its own, none are named."""
    if export.query:
        return []
    return [
        {"name": column.name, "type": _TYPES.get(column.type, "MAP<STRING, STRING>")}
        for column in export.columns(month)
    ]


def _shape(export: Export, month: date) -> Hashable:
    """What of an export's settings decides what a month's files have."""
    return (
        export.statement(month),
        export.format,
        export.lines_per_file,
        export.hourly,
        export.resources,
        export.split_costs,
        export.manual_discounts,
        export.currency,
    )


def _digest(source: CostSource, days: list[date], at: datetime, shape: Hashable) -> str:
    digest = hashlib.blake2b(repr(shape).encode(), digest_size=16)
    for day in days:
        for key, amounts in source.charges(day, at):
            digest.update(repr((day, key, amounts)).encode())
    return digest.hexdigest()


def _months(first: date, last: date) -> Iterator[date]:
    month = first
    while month <= last:
        yield month
        month = next_month(month)

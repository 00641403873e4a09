"""The configuration: defaults, then config.yaml, then environment variables.

An environment variable overrides one key: `AWS_SPEND_EXPORTER_SERVER__PORT=9000` sets
`server.port`. The variables of `environment.py` are defaults. An unknown key is an error that names its path; nothing is ever guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    Field,
    SerializeAsAny,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from exporter.accounts.settings import AccountsSettings
from exporter.accounts.sharding import ShardSettings
from exporter.accounts.threshold_settings import ThresholdSettings
from exporter.anomalies.settings import AnomalySettings
from exporter.aws import partitions
from exporter.aws.settings import AwsSettings, CeilingSettings
from exporter.collectors import all_collectors
from exporter.collectors.cost import COLLECTOR as COST
from exporter.collectors.cost_export import COLLECTOR as COST_EXPORT
from exporter.core.amounts import NET_COST_TYPES
from exporter.core.fields import (
    Region,
    StrictModel,
)
from exporter.core.logs import LogSettings
from exporter.core.series_settings import SeriesSettings, SeriesShares
from exporter.cost.settings import CostSettings
from exporter.declarations.collector import Collector, S
from exporter.declarations.sections import Sections
from exporter.exports.settings import FOCUS, CostExportSettings
from exporter.history.live_settings import LiveWriteSettings
from exporter.history.settings import HistorySettings
from exporter.ledger.snapshot_settings import SnapshotSettings
from exporter.relay.settings import RelaySettings
from exporter.web.client_settings import ClientSettings
from exporter.web.settings import ServerSettings

_SHORTEST_PAID_INTERVAL = timedelta(hours=1)


@cache
def collectors_model() -> type[StrictModel]:
    """The settings of every declared collector, by its name."""
    fields: dict[str, Any] = {
        collector.name: (
            collector.settings,
            Field(default=collector.settings(), description=collector.help),
        )
        for collector in all_collectors()
    }
    return create_model("CollectorsSettings", __base__=StrictModel, **fields)


def _with_source_of_cost(collectors: StrictModel) -> StrictModel:
    """The collectors with the export read where it is the source of cost, and only there; ValueError if it cannot be."""
    cost = getattr(collectors, COST.name)
    export = getattr(collectors, COST_EXPORT.name)
    assert isinstance(cost, CostSettings)
    assert isinstance(export, CostExportSettings)
    is_source = cost.enabled and cost.source == "data_export"
    if is_source and export.table in FOCUS and export.bucket and cost.cost_type not in NET_COST_TYPES:
        raise ValueError(
            f"{COST.name}.cost_type: {' or '.join(NET_COST_TYPES)}, because FOCUS has no gross cost"
        )
    if is_source == export.enabled:
        return collectors
    if "enabled" in export.model_fields_set:
        raise ValueError(
            f"{COST_EXPORT.name}.enabled: left out, because {COST.name}.source decides whether the export is read"
        )
    given = {name: getattr(export, name) for name in export.model_fields_set}
    try:
        read = CostExportSettings.model_validate({**given, "enabled": is_source})
    except ValidationError as error:
        reason = str(error.errors()[0]["ctx"]["error"])
        raise ValueError(f"{COST_EXPORT.name}.{reason}") from None
    return collectors.model_copy(update={COST_EXPORT.name: read})


class Config(StrictModel):
    """The whole configuration; `collectors` has one key for each declared collector."""

    data_dir: Path = Field(default=Path("data"), description="Folder of the ledger.")
    server: ServerSettings = Field(default=ServerSettings(), description="Where metrics are served.")
    client: ClientSettings = Field(
        default=ClientSettings(), description="How commands ask the running exporter."
    )
    log: LogSettings = Field(default=LogSettings(), description="Logging.")
    aws: AwsSettings = Field(default=AwsSettings(), description="Access to AWS.")
    accounts: AccountsSettings = Field(default=AccountsSettings(), description="Accounts.")
    regions: Literal["discover"] | tuple[Region, ...] = Field(
        default="discover",
        description="Regions of regional collectors: a list, or `discover` for those that each account opted in.",
    )
    shard: ShardSettings = Field(default=ShardSettings(), description="One of several exporters.")
    series: SeriesSettings = Field(default=SeriesSettings(), description="Most series.")
    ceilings: CeilingSettings = Field(default=CeilingSettings(), description="Spend limits of the exporter.")
    thresholds: ThresholdSettings = Field(default=ThresholdSettings(), description="Alert thresholds.")
    anomalies: AnomalySettings = Field(default=AnomalySettings(), description="What counts as an anomaly.")
    history: HistorySettings = Field(default=HistorySettings(), description="Dated cost history.")
    live_write: LiveWriteSettings = Field(
        default=LiveWriteSettings(), description="Current samples by remote write."
    )
    snapshots: SnapshotSettings = Field(default=SnapshotSettings(), description="Copies of the ledger in S3.")
    relay: RelaySettings = Field(
        default=RelaySettings(), description="The relay of alerts to channels, a separate process."
    )

    @field_validator("regions", mode="before")
    @classmethod
    def _regions(cls, value: object) -> object:
        if value == "discover" or (isinstance(value, list) and value):
            return value
        raise ValueError("`discover`, or a list of at least one region")

    collectors: SerializeAsAny[StrictModel] = Field(
        default_factory=lambda: collectors_model()(),
        description="Collectors, each with its own settings.",
    )

    @field_validator("collectors", mode="before")
    @classmethod
    def _mounted(cls, value: object) -> BaseModel:
        collectors = collectors_model().model_validate({} if value is None else value)
        return _with_source_of_cost(collectors)

    @model_validator(mode="after")
    def _affordable(self) -> Self:
        if not self.aws.simulated:
            for collector in all_collectors():
                settings = self.settings(collector)
                if settings.enabled and collector.due and settings.interval < _SHORTEST_PAID_INTERVAL:
                    raise ValueError(
                        f"collectors.{collector.name}.interval: at least 1h, because its requests are paid"
                    )
        return self

    @model_validator(mode="after")
    def _supported_where_it_runs(self) -> Self:
        key, partition = next(self._partitions(), ("", "aws"))
        refused = {
            collector.name: service
            for collector in all_collectors()
            if self.settings(collector).enabled
            and (service := partitions.not_offered(collector.iam_actions, partition))
        }
        if refused:
            first, *others = refused
            also = f" (also {', '.join(others)})" if others else ""
            raise ValueError(
                f"collectors.{first}.enabled: false{also}, because {refused[first]} is not supported in {partition},"
                f" the partition of {key}"
            )
        return self

    def _partitions(self) -> Iterator[tuple[str, str]]:
        """Partitions that the configuration names, with the key that names each; the payer's first."""
        if self.aws.role_arn is not None:
            yield "aws.role_arn", partitions.of_arn(self.aws.role_arn)
        for region in () if self.aws.region is None else (self.aws.region,):
            if partition := partitions.of_region(region):
                yield "aws.region", partition
        for region in () if self.regions == "discover" else self.regions:
            if partition := partitions.of_region(region):
                yield "regions", partition

    @model_validator(mode="after")
    def _thresholds_of_known_groups(self) -> Self:
        known = self.accounts.group_labels
        if unknown := sorted(set(self.thresholds.groups) - known):
            raise ValueError(
                f"thresholds.groups.{unknown[0]}: a label of accounts.groups ({', '.join(sorted(known)) or 'none'})"
            )
        return self

    def settings(self, collector: Collector[S]) -> S:
        """The settings of one collector; the defaults of one that is not declared in `exporter.collectors`."""
        settings = getattr(self.collectors, collector.name, None)
        return settings if isinstance(settings, collector.settings) else collector.settings()

    def sections(self) -> Sections:
        """Every section, and the settings of every collector, by type."""
        own = [value for _, value in self if isinstance(value, StrictModel) and value is not self.collectors]
        settings = {collector: self.settings(collector) for collector in all_collectors()}
        weights = {
            collector.name: collector.series_weight for collector, own in settings.items() if own.enabled
        }
        return Sections(*own, SeriesShares(series=self.series, weights=weights), *settings.values())

    @property
    def ledger_path(self) -> Path:
        """The ledger's file."""
        return self.data_dir / "ledger.sqlite"

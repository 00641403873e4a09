"""The settings of cost by further dimensions from Cost Explorer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from exporter.core.fields import CollectorSettings, Duration
from exporter.cube.dimensions import Dimension, parse_dimension, untagged
from exporter.cube.reading import Reading


class CostBreakdownsSettings(CollectorSettings):
    """Cost by further dimensions; each is a separate query, priced in `plan`."""

    interval: Duration = Field(
        default=timedelta(days=1),
        description="Time between two reads of today and yesterday, for each dimension.",
    )
    by: tuple[Literal["region", "charge_type", "usage_type", "operation", "billing_entity"], ...] = Field(
        default=("region", "charge_type"),
        description="Dimensions of Cost Explorer; billing_entity distinguishes AWS from AWS Marketplace.",
    )
    tags: tuple[str, ...] = Field(default=(), description="Keys of activated cost allocation tags.")
    cost_categories: tuple[str, ...] = Field(default=(), description="Names of cost categories.")
    services: bool | tuple[str, ...] = Field(
        default=False,
        description="Read each dimension by service, too: true for all, or a list such as [region, tag:team].",
    )
    untagged: bool = Field(
        default=False, description="Read what usage has none of `tags`, at amortized cost: a query a tag."
    )
    history_months: int | None = Field(
        default=None,
        ge=1,
        le=13,
        description="Whole months before the current one to read on the first start; null: as many as of cost.",
    )
    values: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Most values of a dimension by account or service; the smallest become `other`.",
    )

    def dimensions(self) -> tuple[Dimension, ...]:
        """What is read by account, in order."""
        return (
            *(Dimension(name) for name in self.by),
            *(Dimension("tag", key) for key in self.tags),
            *(Dimension("cost_category", name) for name in self.cost_categories),
        )

    def readings(self) -> tuple[Reading, ...]:
        """Every query, in order."""
        return tuple(self._readings())

    def _readings(self) -> Iterator[Reading]:
        dimensions = self.dimensions()
        for dimension in dimensions:
            yield Reading(dimension)
        if self.untagged:
            for key in self.tags:
                yield Reading(untagged(key))
        beside = dimensions
        if isinstance(self.services, tuple):
            beside = tuple(parse_dimension(name) for name in self.services)
        elif not self.services:
            beside = ()
        for dimension in beside:
            yield Reading(dimension, "service")

    @model_validator(mode="after")
    def _services_of_known_dimensions(self) -> Self:
        known = {dimension.name for dimension in self.dimensions()}
        for name in self.services if isinstance(self.services, tuple) else ():
            if parse_dimension(name).name not in known:
                raise ValueError(
                    f"services: found {name!r}, expected one that by, tags or cost_categories has"
                )
        return self

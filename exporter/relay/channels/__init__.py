"""One kind of channel a file, which declares it as `kind`; being in this folder is being registered."""

from __future__ import annotations

from functools import cache

from exporter.core.declared import declared_in
from exporter.relay.channel import ChannelKind


@cache
def all_kinds() -> dict[str, ChannelKind]:
    """Every declared kind, by name."""
    return {kind.name: kind for kind in declared_in(__name__, "kind")}


def default_kind() -> ChannelKind:
    """The kind of channels that name none."""
    (kind,) = (kind for kind in all_kinds().values() if kind.is_default)
    return kind

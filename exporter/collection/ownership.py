"""Which collector or view publishes which families, units and results."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.collection.result import Key
from exporter.core.exposition import DuplicateSeriesError
from exporter.core.metric import Family


class Ownership:
    """Families have one owner, for as long as a unit by which it has published any is there; not thread-safe."""

    def __init__(self) -> None:
        """Own nothing."""
        self._owner_of: dict[str, str] = {}  # by family
        self._families: dict[str, set[str]] = {}
        self._publishing: dict[str, set[str]] = {}  # units by owner
        self._keys: dict[str, dict[Key, None]] = {}  # by owner
        self._by_unit: dict[str, dict[Key, None]] = {}

    def take(self, owner: str, key: Key, families: Iterable[Family]) -> None:
        """Add a result of an owner; DuplicateSeriesError if another one has one of the families, then nothing is changed."""
        names = [family.name for family in families]
        for name in names:
            known = self._owner_of.get(name, owner)
            if known != owner:
                raise DuplicateSeriesError(f"{name} is published by {known} and by {owner}")
        self._keys.setdefault(owner, {})[key] = None
        self._by_unit.setdefault(key.unit, {})[key] = None
        if names:
            self._owner_of.update(dict.fromkeys(names, owner))
            self._families.setdefault(owner, set()).update(names)
            self._publishing.setdefault(owner, set()).add(key.unit)

    def release(self, owner: str, key: Key) -> bool:
        """Drop a result of an owner; returns whether it has others."""
        _discard(self._keys, owner, key)
        if not _discard(self._by_unit, key.unit, key):
            for publisher in [held for held, units in self._publishing.items() if key.unit in units]:
                self._publishing[publisher].discard(key.unit)
                if not self._publishing[publisher]:
                    del self._publishing[publisher]
                    for name in self._families.pop(publisher):
                        del self._owner_of[name]
        return owner in self._keys

    def units(self) -> list[str]:
        """Units of which there are results."""
        return list(self._by_unit)

    def keys_of_unit(self, unit: str) -> list[Key]:
        """The results of a unit."""
        return list(self._by_unit.get(unit, ()))

    def keys_of(self, owner: str) -> list[Key]:
        """The results of an owner."""
        return list(self._keys.get(owner, ()))


def _discard(index: dict[str, dict[Key, None]], name: str, key: Key) -> bool:
    """Take a key out of an index; returns whether there are others under its name."""
    keys = index[name]
    del keys[key]
    if not keys:
        del index[name]
    return bool(keys)

"""Sections of the configuration that several collectors and views read, each found by its type."""

from __future__ import annotations

from typing import TypeVar

from exporter.core.fields import StrictModel

M = TypeVar("M", bound=StrictModel)


class Sections:
    """The sections of one configuration, at most one of each type."""

    def __init__(self, *sections: StrictModel) -> None:
        """ValueError if two are of one type."""
        self._by_type: dict[type[StrictModel], StrictModel] = {type(section): section for section in sections}
        if len(self._by_type) != len(sections):
            raise ValueError("two sections are of one type")

    def of(self, kind: type[M]) -> M:
        """The section of a type; its defaults where the configuration has none."""
        found = self._by_type.get(kind)
        if found is None:
            return kind()
        assert isinstance(found, kind)
        return found

"""Fills what stores data: databases, tables, caches, buckets, file systems, streams."""

from .estate import Filler

FILLS = {}

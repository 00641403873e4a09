"""Memory of the process that is not Python's."""

from __future__ import annotations

import ctypes
import os

_M_ARENA_MAX = -8  # of malloc.h
_ARENAS = 2


def bound_arenas() -> bool:
    """Have glibc take memory for threads from two arenas, as it would with MALLOC_ARENA_MAX=2, which wins if it is set.

    By default it makes up to eight a processor, and each keeps what its threads have freed: 100 MiB with 16 threads.
    Returns whether it was set here; other C libraries have no arenas. To be called before threads start.
    """
    if "MALLOC_ARENA_MAX" in os.environ or "GLIBC_TUNABLES" in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_ARENA_MAX, _ARENAS))

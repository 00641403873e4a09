"""Memory of the process that is not Python's."""

from __future__ import annotations

import ctypes
import os

# Parameters of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2
_RETURNED_FROM = 128 * 1024  # bytes; glibc's own figure, which it would raise to 32 MiB with use


def bound_memory() -> bool:
    """Have glibc keep less of what is freed: two arenas for all threads, and no blocks of 128 KiB and more.

    By default it makes up to eight arenas a processor, and each keeps what its threads have freed: 100 MiB with 16
    threads. MALLOC_ARENA_MAX and GLIBC_TUNABLES win where they are set. Returns whether it was set here;
    other C libraries have no arenas. To be called before threads start.
    """
    if "MALLOC_ARENA_MAX" in os.environ or "GLIBC_TUNABLES" in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    thresholds = [mallopt(parameter, _RETURNED_FROM) for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD)]
    return bool(mallopt(_M_ARENA_MAX, _ARENAS)) and all(thresholds)

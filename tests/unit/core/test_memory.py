"""glibc's arenas are bounded, unless the environment says how many there are."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_THREADS = """
import ctypes, threading
from exporter.core.memory import bound_memory
bounded = {bound}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
ready = threading.Barrier(20)
def work():
    ready.wait()
    libc.malloc(ctypes.c_size_t(1000))
    ready.wait()
threads = [threading.Thread(target=work) for _ in range(20)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.malloc_stats()
print(bounded)
"""


def arenas(bound: str, **environment: str) -> tuple[int, str]:
    """How many arenas twenty threads have made, and what the process printed."""
    done = subprocess.run(
        [sys.executable, "-c", _THREADS.replace("{bound}", bound)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "", **environment},
        cwd=sys.path[0] or None,
        timeout=60,
    )
    return done.stderr.count("Arena "), done.stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no arenas")
def test_threads_share_two_arenas_unless_the_environment_says_how_many() -> None:
    unbounded, _ = arenas("None")
    assert unbounded > 2
    assert arenas("bound_memory()") == (2, "True")
    assert arenas("bound_memory()", MALLOC_ARENA_MAX="1") == (1, "False")

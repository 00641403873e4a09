"""How `demo inject` in another terminal finds the demo that runs: a small private file with its URLs."""

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from demo.errors import DemoError


def runtime_folder() -> Path:
    """A folder that only this user can read; raises DemoError when another user made it."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if base and os.access(base, os.W_OK):
        folder = Path(base) / "aws-spend-exporter"
    else:
        folder = Path(tempfile.gettempdir()) / f"aws-spend-exporter-{os.getuid()}"
    status = _made(folder)
    # A folder under a shared /tmp may have been laid there by another user.
    if (
        not stat.S_ISDIR(status.st_mode)
        or status.st_uid != os.getuid()
        or stat.S_IMODE(status.st_mode) & 0o077
    ):
        raise DemoError(f"{folder} is not a private folder of yours; remove it or set XDG_RUNTIME_DIR")
    return folder


def _made(folder: Path) -> os.stat_result:
    """The state of a folder that is there or is made now, although another demo may remove it at any moment."""
    while True:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            return folder.lstat()


def publish(urls: Mapping[str, str]) -> Path:
    """Makes this process findable as the running demo; returns the file to remove at the end."""
    while True:
        path = runtime_folder() / f"demo-{os.getpid()}.json"
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        # Another demo that ends may remove the folder while it is empty.
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            break
    with os.fdopen(descriptor, "w") as file:
        json.dump({"pid": os.getpid(), "urls": dict(urls)}, file)
    partial.replace(path)
    return path


def tidy() -> None:
    """Removes the folder unless another demo has its file there."""
    with contextlib.suppress(OSError, DemoError):
        runtime_folder().rmdir()


def find() -> dict[str, str]:
    """The URLs of the demo that was started last; raises DemoError when none runs."""
    found: list[tuple[float, dict[str, str]]] = []
    for path in runtime_folder().glob("demo-*.json"):
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            state = json.loads(path.read_text())
            if _is_alive(int(state["pid"])):
                found.append((path.stat().st_mtime, dict(state["urls"])))
            else:
                path.unlink()
    if not found:
        raise DemoError("no demo is running; start one with `aws-spend-exporter demo` (or `make demo`)")
    return max(found, key=lambda item: item[0])[1]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # alive, and of another user by now
    return True

"""Keeping a worker of the web server to one core.

The threads of one Python process take turns. Where they may run on any core, each turn
wakes another core and finds its caches cold; on one core it does not
(docs/performance.md). A worker that is woken does not push aside what runs, either:
what answers it is as busy.
"""

import fcntl
import os
from pathlib import Path
from typing import IO

_kept: list[IO[str]] = []
"""Locks that last as long as the process."""


def keep_to_a_core(folder: Path) -> int | None:
    """Keep this process, with the threads it starts, to a core of its own; return it.

    Which cores are taken is known by locks in `folder`, the installation's own; a lock
    goes with its process. None, and nothing is changed, where there is one core only,
    where all are taken, and where the system does not allow it.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return None
    core = next((each for each in cores if _take(folder, each)), None)
    if core is None:
        return None
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        os.sched_setaffinity(0, {core})
    except OSError:
        return None
    return core


def _take(folder: Path, core: int) -> bool:
    """Take the core for this process, where nobody has it; False where that fails."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / str(core)).open("w")
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return False
    _kept.append(lock)
    return True

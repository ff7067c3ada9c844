"""What keeps the gate exact, and how a test shows that it does.

Every write of an account's gate first locks the account's row, and repeats its limits
inside the statements that count. A race test proves little unless it fails without
these: its control run switches them off here, and must then over-admit.
"""

import os
import time
from dataclasses import dataclass

KILLED = 70
"""Exit status of a process that died at a crash point."""


@dataclass(slots=True)
class Guards:
    """The switches. Read by services only; nothing but a test's control run sets them.

    Attributes:
        lock: lock the account's row before anything is read.
        guarded: repeat the limits in the statements that count.
        pause_seconds: wait between deciding and writing, to give a race its chance.
        crash_at: the named point at which this process dies, '' for none.

    """

    lock: bool = True
    guarded: bool = True
    pause_seconds: float = 0.0
    crash_at: str = ""


GUARDS = Guards()


def reached(point: str) -> None:
    """Pass the named point of a verb: wait or die here where a test asks for it."""
    if GUARDS.pause_seconds and point.endswith("decided"):
        time.sleep(GUARDS.pause_seconds)
    if GUARDS.crash_at == point:
        os._exit(KILLED)

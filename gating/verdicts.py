"""What the gate answers: yes with what to take, or no with the reason. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from gating.facts import CounterKey, Hint, PolicyWindow, SeatWindow


@dataclass(frozen=True, slots=True)
class Denial:
    """A no: HTTP status, stable code, short reason, sentence and hints.

    `retry_after` is in seconds, None where waiting alone does not help.
    """

    status: int
    code: str
    reason: str
    sentence: str
    hints: Sequence[Hint] = ()
    error_type: str | None = None
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """A quantity to take on a counter, within the limit (None: unlimited)."""

    counter: CounterKey
    quantity_minor: int
    limit: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Yes or no, and on a yes what to take.

    `window` is the first quota policy's; `holds` are reservations, `increments`
    requests to count; `wallet_xusd` is to be reserved on the user's balance, and on
    the budget that was named; `cap_minor` is the estimate, or the least quantity left,
    or None for unlimited.
    """

    denial: Denial | None = None
    hints: Sequence[Hint] = ()
    window: PolicyWindow | None = None
    holds: Sequence[Hold] = ()
    increments: Sequence[Hold] = ()
    seats: Sequence[SeatWindow] = ()
    wallet_xusd: int = 0
    cap_minor: int | None = None

    @property
    def allowed(self) -> bool:
        """Return whether the request is admitted."""
        return self.denial is None

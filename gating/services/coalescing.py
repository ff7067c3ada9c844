"""Requests that wait for the same function at once are sent to it together.

A call of the gate's functions costs as much for its transaction as for its item, and
calls for one account wait for its lock. Under load the threads of a web worker
therefore share calls: one that finds nobody leading sends what is waiting, its own
request with it, as one batch; the others wait for their answers. Nobody waits for
company: where no other request is there, a batch is one item.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import DatabaseError
from psycopg import Error

from gating.services.admitting import authorize_items
from gating.services.closing import commit_items
from gating.services.functions import Document, Function, GateMoved
from gating.services.known import names_of

LEADERS = 2
"""Batches in flight per worker and function: one is prepared while another is on."""

MOST = 64
"""Items of one batch."""


class _Waiter:
    """One request, until it has its answer or is asked to lead."""

    __slots__ = ("answer", "at", "error", "item", "leads", "version", "woken")

    def __init__(self, item: Document, at: datetime, version: int | None) -> None:
        self.item, self.at, self.version = item, at, version
        self.answer: Document | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.woken = threading.Event()

    @property
    def is_done(self) -> bool:
        return self.answer is not None or self.error is not None


@dataclass(slots=True)
class _Line:
    """Those who wait for one kind of batch, and how many lead."""

    queue: deque[_Waiter] = field(default_factory=deque)
    leading: int = 0


def _any_item(_item: Document) -> Hashable:
    return None


class Coalescer:
    """Sends the requests of many threads to one function, together where they meet.

    Only items of the same `kind` are sent together, in at most `leaders` batches at
    once for each kind.
    """

    def __init__(
        self,
        function: Function,
        *,
        kind: Callable[[Document], Hashable] = _any_item,
        leaders: int = LEADERS,
    ) -> None:
        self._function = function
        self._kind, self._leaders = kind, leaders
        self._lock = threading.Lock()
        self._lines: dict[Hashable, _Line] = {}

    def __call__(
        self, items: Sequence[Document], *, at: datetime, version: int | None = None
    ) -> list[Document]:
        """Return the answer to the one item, with `sent_at`: when it was decided.

        That is `at`, or the latest instant of those it was sent with. Raises what the
        function raised.
        """
        (item,) = items
        waiter = _Waiter(item, at, version)
        kind = self._kind(item)
        with self._lock:
            line = self._lines.setdefault(kind, _Line())
            line.queue.append(waiter)
            waiter.leads = line.leading < self._leaders
            line.leading += waiter.leads
        while not waiter.is_done:
            if waiter.leads:
                self._lead(line, waiter)
            else:
                waiter.woken.wait()
                waiter.woken.clear()
        if waiter.leads:
            # Asked to lead when another leader had sent it already.
            self._step_down(line, waiter)
        with self._lock:
            if not line.queue and not line.leading and self._lines.get(kind) is line:
                del self._lines[kind]
        if waiter.error is not None:
            raise waiter.error
        return [waiter.answer] if waiter.answer is not None else []

    def _lead(self, line: _Line, own: _Waiter) -> None:
        """Send batches until the own request is answered, or sent by another leader."""
        try:
            while not own.is_done and (batch := self._taken(line)):
                self._send(batch)
        finally:
            self._step_down(line, own)

    def _step_down(self, line: _Line, own: _Waiter) -> None:
        """Let the first of those who wait lead, or nobody where none does."""
        with self._lock:
            own.leads = False
            heir = next((waiter for waiter in line.queue if not waiter.leads), None)
            if heir is None:
                line.leading -= 1
            else:
                heir.leads = True
                heir.woken.set()

    def _taken(self, line: _Line) -> list[_Waiter]:
        """Take what waits and was known by the same credentials, the first first."""
        batch: list[_Waiter] = []
        with self._lock:
            while (
                line.queue
                and len(batch) < MOST
                and (not batch or line.queue[0].version == batch[0].version)
            ):
                batch.append(line.queue.popleft())
        return batch

    def _send(self, batch: list[_Waiter]) -> None:
        try:
            self._answer(batch)
        except (DatabaseError, Error, GateMoved) as error:
            if len(batch) == 1:
                batch[0].error = error
            else:
                # One of them is at fault: each by itself.
                for waiter in batch:
                    self._send([waiter])
        except BaseException as error:  # noqa: BLE001 - every waiter must be told.
            for waiter in batch:
                waiter.error = error
        finally:
            for waiter in batch:
                waiter.woken.set()

    def _answer(self, batch: list[_Waiter]) -> None:
        at = max(waiter.at for waiter in batch)
        items = [waiter.item for waiter in batch]
        answers = self._function(items, at=at, version=batch[0].version)
        for waiter, answer in zip(batch, answers, strict=True):
            waiter.answer = answer | {"sent_at": at}


authorize_together = Coalescer(authorize_items, kind=names_of, leaders=1)
commit_together = Coalescer(commit_items, kind=names_of, leaders=1)

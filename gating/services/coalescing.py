"""Requests that wait for the same function at once are sent to it together.

A call of the gate's functions costs as much for its transaction as for its item, and
calls for one account wait for its lock. Under load the threads of a web worker
therefore share calls: one that finds nobody leading sends what is waiting, its own
request with it, as one batch; the others wait for their answers. Nobody waits for
company: where no other request is there, a batch is one item.

First those of one user and feature meet: they would wait for the account's lock
anyhow. One that is alone there meets those of other users under the same rules. What
that call leaves out is asked for by its own thread: nobody waits for another's account.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import DatabaseError
from psycopg import Error

from gating.services import admitting, closing
from gating.services.functions import Document, Function, GateMoved, Partial
from gating.services.known import names_of

LEADERS = 2
"""Batches in flight per worker and function: one is prepared while another is on."""

MOST = 64
"""Items of one batch."""


class _Waiter:
    """One request, until it has its answer or is asked to lead."""

    __slots__ = (
        "answer", "at", "error", "is_alone", "item", "leads", "version", "woken",
    )  # fmt: skip

    def __init__(self, item: Document, at: datetime, version: int | None) -> None:
        self.item, self.at, self.version = item, at, version
        self.answer: Document | None = None
        self.error: BaseException | None = None
        self.is_alone = self.leads = False
        self.woken: threading.Event | None = None

    @property
    def is_done(self) -> bool:
        return self.is_alone or self.answer is not None or self.error is not None

    def wait(self) -> None:
        """Wait to be woken: sent, or asked to lead."""
        if self.woken is None:
            # A leader whose own request another one took: it may be answered already.
            self.woken = threading.Event()
        if not self.is_done:
            self.woken.wait()
            self.woken.clear()

    def wake(self) -> None:
        """Let the waiting thread look again; whoever is not waiting yet will look."""
        if self.woken is not None:
            self.woken.set()


@dataclass(slots=True)
class _Line:
    """Those who wait for one kind of batch, and how many lead."""

    queue: deque[_Waiter] = field(default_factory=deque)
    leading: int = 0


def _any_item(_item: Document) -> Hashable:
    return "any"


class Coalescer:
    """Sends the requests of many threads to one function, together where they meet.

    Only items of the same `kind` are sent together, in at most `leaders` batches at
    once for each kind. One that met nobody is sent to `alone`; so is, by its thread,
    one whose kind is None, each of a batch that failed, and each that the function
    answered with None.
    """

    def __init__(
        self,
        function: Partial,
        *,
        alone: Function | None = None,
        kind: Callable[[Document], Hashable] = _any_item,
        leaders: int = LEADERS,
    ) -> None:
        self._function = function
        self._alone: Partial = alone or function
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
        if kind is None:
            return self._asked_alone(items, at=at, version=version)
        line = self._joined(kind, waiter)
        while not waiter.is_done:
            if waiter.leads:
                self._lead(line, waiter)
            else:
                waiter.wait()
        self._leave(kind, line, waiter)
        if waiter.error is not None:
            raise waiter.error
        if waiter.answer is not None:
            return [waiter.answer]
        return self._asked_alone(items, at=at, version=version)

    def _asked_alone(
        self, items: Sequence[Document], *, at: datetime, version: int | None
    ) -> list[Document]:
        answers = self._alone(items, at=at, version=version)
        return [answer for answer in answers if answer is not None]

    def _joined(self, kind: Hashable, waiter: _Waiter) -> _Line:
        """Put a request in the line of its kind, to lead where too few do."""
        with self._lock:
            line = self._lines.setdefault(kind, _Line())
            waiter.leads = line.leading < self._leaders
            if not waiter.leads:
                # Made only for those who come to wait: most lead at once.
                waiter.woken = threading.Event()
            line.leading += waiter.leads
            line.queue.append(waiter)
        return line

    def _leave(self, kind: Hashable, line: _Line, waiter: _Waiter) -> None:
        if waiter.leads:
            # Asked to lead when another leader had sent it already.
            self._step_down(line, waiter)
        with self._lock:
            if not line.queue and not line.leading and self._lines.get(kind) is line:
                del self._lines[kind]

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
                heir.wake()

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
            # Of several, one is at fault: each by itself.
            for waiter in batch:
                waiter.is_alone = len(batch) > 1
                waiter.error = None if waiter.is_alone else error
        except BaseException as error:  # noqa: BLE001 - every waiter must be told.
            for waiter in batch:
                waiter.error = error
        finally:
            for waiter in batch:
                waiter.wake()

    def _answer(self, batch: list[_Waiter]) -> None:
        at = max(waiter.at for waiter in batch)
        items = [waiter.item for waiter in batch]
        function = self._function if len(batch) > 1 else self._alone
        answers = function(items, at=at, version=batch[0].version)
        for waiter, answer in zip(batch, answers, strict=True):
            waiter.is_alone = answer is None
            waiter.answer = None if answer is None else {"sent_at": at} | answer


_authorize_alike = Coalescer(
    admitting.admit_many,
    alone=admitting.authorize_items,
    kind=admitting.alike,
    leaders=1,
)
authorize_together = Coalescer(
    admitting.authorize_items, alone=_authorize_alike, kind=names_of, leaders=1
)
_commit_alike = Coalescer(
    closing.close_many, alone=closing.commit_items, kind=closing.alike, leaders=1
)
commit_together = Coalescer(
    closing.commit_items, alone=_commit_alike, kind=names_of, leaders=1
)

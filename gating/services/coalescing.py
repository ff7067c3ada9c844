"""Requests that wait for the same function at once are sent to it together.

A call of the gate's functions costs as much for its transaction as for its item, and
calls for one account wait for its lock. Under load the threads of a web worker
therefore share calls: one that finds nobody leading sends what is waiting, its own
request with it, as one batch; the others wait for their answers. Nobody waits for
company: where no other request is there, a batch is one item.

First those of one user and feature meet: they would wait for the account's lock
anyhow. One that is alone there meets those of other users under the same rules. That
call waits for nobody's account: what it leaves out is asked for by its own thread.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from gating.services import admitting, closing
from gating.services.functions import Document, Function, Partial
from gating.services.known import names_of

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
        # Made only for those who come to wait: most lead at once.
        self.woken: threading.Event | None = None

    @property
    def is_done(self) -> bool:
        return self.is_alone or self.answer is not None or self.error is not None

    def wait(self) -> None:
        """Wait to be woken: sent, or asked to lead."""
        if self.woken is not None:
            self.woken.wait()
            self.woken.clear()

    def wake(self) -> None:
        """Let the waiting thread look again."""
        if self.woken is not None:
            self.woken.set()


@dataclass(slots=True)
class _Line:
    """Those who wait for one kind of batch.

    `led` says that one of them sends batches, `passed` that one who met nobody is on
    its way by itself.
    """

    queue: deque[_Waiter] = field(default_factory=deque)
    led: bool = False
    passed: bool = False


class Coalescer:
    """Sends the requests of many threads to one function, together where they meet.

    Only items of the same `kind` are sent together, one batch of a kind at a time; a
    batch of one goes to `one`. By its own thread goes to `alone`: an item whose kind
    is None, each of a batch that failed, each that the function answered with None,
    and, where there is no `one`, who finds nobody about.
    """

    def __init__(
        self,
        function: Partial,
        *,
        alone: Function,
        kind: Callable[[Document], Hashable],
        one: Function | None = None,
    ) -> None:
        self._function, self._alone, self._one = function, alone, one
        self._kind = kind
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
        kind = self._kind(item)
        if kind is None:
            return self._alone(items, at=at, version=version)
        if self._one is None and self._passes(kind):
            try:
                return self._alone(items, at=at, version=version)
            finally:
                self._left(kind)
        waiter = _Waiter(item, at, version)
        line = self._joined(kind, waiter)
        while not waiter.is_done:
            if waiter.leads:
                self._lead(kind, line, waiter)
            else:
                waiter.wait()
        if waiter.error is not None:
            raise waiter.error
        if waiter.answer is not None:
            return [waiter.answer]
        return self._alone(items, at=at, version=version)

    def _passes(self, kind: Hashable) -> bool:
        """Return whether nobody of the kind is about, and let them know that one is."""
        with self._lock:
            if kind in self._lines:
                return False
            self._lines[kind] = _Line(passed=True)
            return True

    def _left(self, kind: Hashable) -> None:
        """Take note that who passed is through."""
        with self._lock:
            line = self._lines[kind]
            line.passed = False
            self._tidy(kind, line)

    def _tidy(self, kind: Hashable, line: _Line) -> None:
        if not (line.queue or line.led or line.passed):
            del self._lines[kind]

    def _joined(self, kind: Hashable, waiter: _Waiter) -> _Line:
        """Put a request in the line of its kind, to lead where nobody does."""
        with self._lock:
            line = self._lines.setdefault(kind, _Line())
            waiter.leads = not line.led
            if not waiter.leads:
                waiter.woken = threading.Event()
            line.led = True
            line.queue.append(waiter)
        return line

    def _lead(self, kind: Hashable, line: _Line, own: _Waiter) -> None:
        """Send batches until the own request is done; then let the next one lead."""
        try:
            while not own.is_done:
                self._send(self._taken(line))
        finally:
            with self._lock:
                own.leads = False
                if line.queue:
                    line.queue[0].leads = True
                    line.queue[0].wake()
                else:
                    line.led = False
                    self._tidy(kind, line)

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
        except BaseException as error:  # noqa: BLE001 - every waiter must be told.
            # Of several, one is at fault, whatever it is; and what did not wait for
            # others is not the last word on one: each by itself.
            may_differ = len(batch) > 1 or self._one is None
            alone = may_differ and isinstance(error, Exception)
            for waiter in batch:
                waiter.answer, waiter.is_alone = None, alone
                waiter.error = None if alone else error
        finally:
            for waiter in batch:
                waiter.wake()

    def _answer(self, batch: list[_Waiter]) -> None:
        at = max(waiter.at for waiter in batch)
        items = [waiter.item for waiter in batch]
        function: Partial = self._function
        if self._one is not None and len(batch) == 1:
            function = self._one
        answers = function(items, at=at, version=batch[0].version)
        for waiter, answer in zip(batch, answers, strict=True):
            waiter.is_alone = answer is None
            waiter.answer = None if answer is None else {"sent_at": at} | answer


_authorize_alike = Coalescer(
    admitting.admit_many, alone=admitting.authorize_items, kind=admitting.alike
)
authorize_together = Coalescer(
    admitting.authorize_items,
    alone=_authorize_alike,
    one=_authorize_alike,
    kind=names_of,
)
_commit_alike = Coalescer(
    closing.close_many, alone=closing.commit_items, kind=closing.alike
)
commit_together = Coalescer(
    closing.commit_items, alone=_commit_alike, one=_commit_alike, kind=names_of
)

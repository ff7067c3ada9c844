"""What is measured over HTTP: each subject, and how its requests are built."""

import itertools
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.generator import Expected, Load, measure
from bench.realm import FEATURE
from bench.signed import CallerOf, Signer

AUTHORIZE = "/mgt/v1/gate/authorize"
AUTHORIZE_BATCH = "/mgt/v1/gate/authorize/batch"
COMMIT = "/mgt/v1/gate/commits"
COMMIT_BATCH = "/mgt/v1/gate/commits/batch"
PREFLIGHT = "/mgt/v1/gate/preflight"
BATCH = 100
ESTIMATE, USED = "2000", "1234"
SETUP_CONNECTIONS, SETUP_SECONDS = 8, 120.0
NOT_FOUND = 404

OK = Expected()
DENIED = Expected(402, b'"ok":false')
APPLIED = Expected(200, b'"application_status":"applied"')
ALL_WELL = Expected(200, b'"failed_count":0')


class SetupError(Exception):
    """What a measurement needs beforehand could not be made."""


@dataclass(slots=True)
class Caller:
    """Writes the requests of a run.

    `admitted` are the customers that are called, the hot one first; `denied` those
    whose every request is denied.
    """

    signer: Signer
    port: int
    admitted: Sequence[CallerOf]
    denied: Sequence[CallerOf]
    absent: set[str] = field(default_factory=set)
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    serial: Iterator[int] = field(default_factory=itertools.count)

    def name(self) -> str:
        """Return a name that nothing else of this run has."""
        return f"{self.run}-{next(self.serial)}"

    def post(self, path: str, document: Any, caller: CallerOf) -> bytes:
        """Return a signed request with an idempotency key of its own."""
        body = json.dumps(document, separators=(",", ":")).encode()
        return self.signer.post(path, body, caller, idempotency_key=self.name())

    def some(self, count: int, *, hot: bool, denied: bool = False) -> list[CallerOf]:
        """Return `count` callers: the hot one, else all in turn in random order."""
        everyone = self.denied if denied else self.admitted
        if hot:
            return [everyone[0]] * count
        shuffled = list(everyone)
        secrets.SystemRandom().shuffle(shuffled)
        return list(itertools.islice(itertools.cycle(shuffled), count))

    def call_each(self) -> None:
        """Authorize for every customer once, untimed.

        The first call of a customer reads its pages, and logs them whole.
        """
        for callers, expected in ((self.admitted, OK), (self.denied, DENIED)):
            requests = [self.post(AUTHORIZE, ask(), caller) for caller in callers]
            self.set_up(Load(requests, expected))

    def probe(self) -> None:
        """Find out which batch addresses the server does not know."""
        for path in (AUTHORIZE_BATCH, COMMIT_BATCH):
            load = Load([self.post(path, {}, self.admitted[0])], OK)
            _, statuses = measure(self.port, load, connections=1, seconds=10)
            if statuses[NOT_FOUND]:
                self.absent.add(path)

    def set_up(self, load: Load) -> None:
        """Send a load untimed; `SetupError` unless all of it is answered well."""
        sample, _ = measure(
            self.port, load, connections=SETUP_CONNECTIONS, seconds=SETUP_SECONDS
        )
        wanted = len(load.requests) * load.items
        if sample.operations != wanted:
            raise SetupError(
                f"{sample.operations} of {wanted} requests were answered as expected; "
                f"the first that was not: {sample.first_error}"
            )


@dataclass(frozen=True, slots=True)
class Subject:
    """One row: its name, its address, and what builds the load of one measurement.

    `load(caller, requests, hot)` may send requests of its own beforehand, untimed.
    """

    name: str
    path: str
    load: Callable[[Caller, int, bool], Load]


def ask(lease: str | None = None) -> dict[str, str]:
    """Return the body of an authorize, with a lease reference of the caller's own."""
    document = {"feature_code": FEATURE, "estimated_quantity_minor": ESTIMATE}
    return {**document, "lease": lease} if lease else document


def use(lease: str) -> dict[str, str]:
    """Return the body of a commit."""
    return {"lease": lease, "feature_code": FEATURE, "quantity_minor": USED}


def _asking(
    path: str, expected: Expected, *, denied: bool = False
) -> Callable[[Caller, int, bool], Load]:
    def load(caller: Caller, requests: int, hot: bool) -> Load:
        customers = caller.some(requests, hot=hot, denied=denied)
        return Load([caller.post(path, ask(), c) for c in customers], expected)

    return load


def _commits(caller: Caller, requests: int, hot: bool) -> Load:
    customers = caller.some(requests, hot=hot)
    leases = [caller.name() for _ in customers]
    held = zip(customers, leases, strict=True)
    caller.set_up(Load([caller.post(AUTHORIZE, ask(name), c) for c, name in held], OK))
    held = zip(customers, leases, strict=True)
    return Load([caller.post(COMMIT, use(name), c) for c, name in held], APPLIED)


def _pairs(caller: Caller, requests: int, hot: bool) -> Load:
    customers = caller.some(requests, hot=hot)

    def commit(place: int, answer: bytes) -> bytes:
        lease = json.loads(answer)["data"]["lease"]
        return caller.post(COMMIT, use(lease), customers[place])

    asked = [caller.post(AUTHORIZE, ask(), c) for c in customers]
    return Load(asked, OK, follow=commit, then=APPLIED)


def _batch(caller: Caller, bodies: Sequence[dict[str, str]]) -> dict[str, Any]:
    return {"items": [{"idempotency_key": caller.name(), **body} for body in bodies]}


def _authorize_batches(caller: Caller, requests: int, hot: bool) -> Load:
    customers = caller.some(requests, hot=hot)
    batches = [_batch(caller, [ask()] * BATCH) for _ in customers]
    return _batches(caller, AUTHORIZE_BATCH, batches, customers)


def _commit_batches(caller: Caller, requests: int, hot: bool) -> Load:
    customers = caller.some(requests, hot=hot)
    leases = [[caller.name() for _ in range(BATCH)] for _ in customers]
    if AUTHORIZE_BATCH in caller.absent:
        held = zip(customers, leases, strict=True)
        singly = [
            caller.post(AUTHORIZE, ask(name), c) for c, names in held for name in names
        ]
        caller.set_up(Load(singly, OK))
    else:
        asked = [_batch(caller, [ask(name) for name in names]) for names in leases]
        caller.set_up(_batches(caller, AUTHORIZE_BATCH, asked, customers))
    used = [_batch(caller, [use(name) for name in names]) for names in leases]
    return _batches(caller, COMMIT_BATCH, used, customers)


def _batches(
    caller: Caller,
    path: str,
    batches: Sequence[dict[str, Any]],
    customers: Sequence[CallerOf],
) -> Load:
    pairs = zip(batches, customers, strict=True)
    requests = [caller.post(path, batch, customer) for batch, customer in pairs]
    return Load(requests, ALL_WELL, items=BATCH)


SUBJECTS = (
    Subject("authorize", AUTHORIZE, _asking(AUTHORIZE, OK)),
    Subject("commit", COMMIT, _commits),
    Subject("pairs", COMMIT, _pairs),
    Subject("preflight", PREFLIGHT, _asking(PREFLIGHT, OK)),
    Subject("denial", AUTHORIZE, _asking(AUTHORIZE, DENIED, denied=True)),
    Subject("authorize_batch_100", AUTHORIZE_BATCH, _authorize_batches),
    Subject("commit_batch_100", COMMIT_BATCH, _commit_batches),
)

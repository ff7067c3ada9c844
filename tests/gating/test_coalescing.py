"""Threads that share calls: each gets its own answer, once, whatever happens."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError

from gating.models import Lease
from gating.services.authorize import authorize_as
from gating.services.coalescing import LEADERS, MOST, Coalescer
from gating.services.commits import commit_as
from gating.services.denials import GateDenied
from gating.services.subjects import Subject
from tests.gating.racing import arena, racers

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


class Echo:
    """A function that takes a while, and answers each item with itself."""

    def __init__(self, seconds=0.002):
        self.seconds, self.batches, self.flying, self.most = seconds, [], 0, 0
        self.lock = threading.Lock()

    def __call__(self, items, *, at, version=None):
        with self.lock:
            self.flying += 1
            self.most = max(self.most, self.flying)
            self.batches.append((len(items), version, at))
        time.sleep(self.seconds)
        with self.lock:
            self.flying -= 1
        if any(item.get("bad") for item in items):
            raise DatabaseError("one of them is bad")
        return [{"o": "echo", "n": item["n"]} for item in items]


def asked(function, count, threads=32, **item):
    together = Coalescer(function)

    def one(n):
        (answer,) = together(
            [{"n": n, **{k: v(n) for k, v in item.items()}}],
            at=NOON + timedelta(microseconds=n),
            version=n % 3 if item else None,
        )
        return answer

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(one, n) for n in range(count)]
        return together, futures


def test_everybody_gets_the_own_answer_and_calls_are_shared():
    echo = Echo()

    together, futures = asked(echo, 2000)

    answers = [future.result(timeout=30) for future in futures]
    assert [answer["n"] for answer in answers] == list(range(2000))
    assert sum(size for size, _, _ in echo.batches) == 2000
    sizes = Counter(size for size, _, _ in echo.batches)
    print(f"\nbatches by size: {dict(sorted(sizes.items()))}")
    assert max(sizes) > 4
    assert max(sizes) <= MOST
    assert echo.most <= LEADERS
    assert together._lines == {}


def test_an_item_is_decided_at_the_latest_instant_of_its_batch():
    echo = Echo()

    _, futures = asked(echo, 300)

    sent = {at for _, _, at in echo.batches}
    for n, future in enumerate(futures):
        assert future.result()["sent_at"] in sent
        assert future.result()["sent_at"] >= NOON + timedelta(microseconds=n)


def test_only_items_of_one_kind_are_sent_together_one_batch_of_each_at_a_time():
    flying, most, mixed, lock = Counter(), Counter(), [], threading.Lock()

    def function(items, *, at, version=None):
        kinds = {item["n"] % 5 for item in items}
        mixed.extend(kinds if len(kinds) > 1 else ())
        (kind, *_) = kinds
        with lock:
            flying[kind] += 1
            most[kind] = max(most[kind], flying[kind])
        time.sleep(0.001)
        with lock:
            flying[kind] -= 1
        return [{"o": "echo", "n": item["n"]} for item in items]

    together = Coalescer(function, kind=lambda item: item["n"] % 5, leaders=1)
    with ThreadPoolExecutor(32) as pool:
        futures = [
            pool.submit(lambda n: together([{"n": n}], at=NOON)[0]["n"], n)
            for n in range(1000)
        ]

    assert [future.result(timeout=30) for future in futures] == list(range(1000))
    assert (mixed, set(most), set(most.values())) == ([], set(range(5)), {1})
    assert together._lines == {}


def test_one_alone_is_sent_at_once():
    echo = Echo(0)

    (answer,) = Coalescer(echo)([{"n": 1}], at=NOON)

    assert (answer["n"], answer["sent_at"], echo.batches) == (
        1,
        NOON,
        [(1, None, NOON)],
    )


def test_credentials_of_different_versions_are_not_mixed():
    echo = Echo()

    together, futures = asked(echo, 600, bad=lambda _n: False)

    assert [future.result()["n"] for future in futures] == list(range(600))
    assert {version for _, version, _ in echo.batches} == {0, 1, 2}
    assert together._lines == {}


def test_a_bad_item_fails_alone():
    echo = Echo()

    together, futures = asked(echo, 400, bad=lambda n: n % 50 == 7)

    failed = {n for n, future in enumerate(futures) if future.exception()}
    assert failed == {n for n in range(400) if n % 50 == 7}
    assert together._lines == {}


def test_a_bug_reaches_everybody_and_the_next_call_works():
    class Broken(Echo):
        def __call__(self, items, *, at, version=None):
            super().__call__(items, at=at)
            if any(item["n"] == 0 for item in items):
                raise RuntimeError("a bug")
            return [{"o": "echo", "n": item["n"]} for item in items]

    together, futures = asked(Broken(), 50)

    found = [future.exception() for future in futures]
    assert any(isinstance(error, RuntimeError) for error in found)
    assert together._lines == {}


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_shared_calls_admit_exactly_and_commit_once(at, by, rounds):
    realm = arena(at, by)
    realm.feature(price=10)
    realm.quota(500, subject_scope="account")
    with racers(16) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            gate.credit(10_000)
            gate.preflight()

            results = racing.race([lambda n=n: ask(gate, n) for n in range(16)])
            admitted = [r for r in results if not isinstance(r, Exception)]
            assert len(admitted) == 6, results
            assert all(isinstance(r, GateDenied) for r in results if r not in admitted)
            assert gate.used(subject_scope="account") == (0, 450)

            leases = [answer.data["lease"] for answer in admitted]
            told = racing.race(
                [lambda n=n: use(gate, leases[n % 6], n) for n in range(12)]
            )
            applied = [t for t in told if t.data["application_status"] == "applied"]
            assert len(applied) == 6
            assert gate.used(subject_scope="account") == (360, 0)
            assert gate.balance() == (10_000 - 3600, 0, 3600)
            assert (
                Lease.objects.filter(account=gate.account, state="closed").count() == 6
            )


def ask(gate, number):
    from gating.facts import Ask
    from gating.services.admissions import AuthorizeRequest

    subject = Subject.of(gate.account, gate.user)
    subject.together = True
    return authorize_as(
        subject,
        request=AuthorizeRequest(Ask("chat", estimate_minor=75)),
        idempotency_key=f"k-{number}",
        at=gate.at,
        by=gate.by,
    )


def use(gate, lease, number):
    from gating.services.commits import CommitRequest

    subject = Subject.of(gate.account, gate.user)
    subject.together = True
    return commit_as(
        subject,
        request=CommitRequest(lease, "chat", 60),
        idempotency_key=f"c-{number}",
        at=gate.at,
        by=gate.by,
    )

"""Threads that share calls: each gets its own answer, once, whatever happens."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from django.db import DatabaseError, transaction

from gating.models import GateState, Lease, Projection
from gating.services import admitting, closing
from gating.services.admissions import Admission
from gating.services.authorize import authorize_as
from gating.services.coalescing import MOST, Coalescer
from gating.services.commits import commit_as
from gating.services.denials import GateDenied
from gating.services.subjects import Subject
from grants.models import GrantLot
from tests.gating.mutants import at_point, chained, mutated, without_marked
from tests.gating.racing import arena, deadlocks, racers, report

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


def shared(function, kind=lambda _item: "any"):
    return Coalescer(function, alone=function, one=function, kind=kind)


def asked(function, count, threads=32, **item):
    together = shared(function)

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
    assert echo.most == 1
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

    together = shared(function, kind=lambda item: item["n"] % 5)
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

    (answer,) = shared(echo)([{"n": 1}], at=NOON)

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


def test_a_bug_reaches_only_who_caused_it_and_the_next_call_works():
    class Broken(Echo):
        def __call__(self, items, *, at, version=None):
            super().__call__(items, at=at)
            if any(item["n"] == 0 for item in items):
                raise RuntimeError("a bug")
            return [{"o": "echo", "n": item["n"]} for item in items]

    together, futures = asked(Broken(), 50)

    found = [future.exception() for future in futures]
    assert isinstance(found[0], RuntimeError)
    assert set(found[1:]) == {None}
    assert together._lines == {}


def test_who_finds_nobody_about_goes_alone_and_who_is_left_out_after_the_batch():
    many, alone = Echo(), Echo()

    def left_out(items, *, at, version=None):
        answers = many(items, at=at, version=version)
        return [None if answer["n"] % 3 == 0 else answer for answer in answers]

    together = Coalescer(left_out, alone=alone, kind=lambda item: item["kind"])
    with ThreadPoolExecutor(32) as pool:
        futures = [
            pool.submit(together, [{"n": n, "kind": None if n < 50 else "k"}], at=NOON)
            for n in range(600)
        ]

    assert [future.result(timeout=30)[0]["n"] for future in futures] == list(range(600))
    assert {size for size, _, _ in alone.batches} == {1}
    # Those of no kind, those left out, and at least the first one.
    assert len(alone.batches) >= 50 + 183
    assert many.most == 1
    assert together._lines == {}
    (first,) = together([{"n": 1, "kind": "k"}], at=NOON)
    assert (first, alone.batches[-1][0]) == ({"o": "echo", "n": 1}, 1)


@pytest.mark.usefixtures("committed")
def test_nobody_waits_for_the_account_of_another(at, by):
    """One account is in use for a while; who comes after it is served meanwhile."""
    realm = arena(at, by)
    realm.feature(price=10)
    realm.quota(500, subject_scope="account")
    busy, *others = [realm.of_principal(f"p-{n}") for n in range(8)]
    for gate in (busy, *others):
        gate.credit(10_000)
        ask(gate, "first")
    with racers(16) as racing, transaction.atomic():
        GateState.objects.select_for_update().get(account=busy.account)

        def served(gate, number):
            ask(gate, number)
            return gate.account.pk

        waiting = [racing.pool.submit(served, busy, n) for n in range(4)]
        time.sleep(0.1)
        results = [
            racing.pool.submit(served, gate, n) for n in range(5) for gate in others
        ]
        done = [result.result(timeout=3) for result in results]
        assert not any(future.done() for future in waiting)
        transaction.set_rollback(True)
    assert Counter(done) == {gate.account.pk: 5 for gate in others}
    assert {future.result(timeout=10) for future in waiting} == {busy.account.pk}


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


def meeting(realm, racing, number):
    """Sixteen authorizes of 75 by eight users of four accounts."""
    users = []
    for place in range(4):
        gate = realm.of_principal(f"p-{number}-{place}")
        users += [gate, gate.of_user("u-2")]
    for user in users:
        user.credit(10_000)
        user.preflight()
    # With counters and without, and always with rules that are known.
    for user in users[:: 2 if number % 2 == 0 else 8]:
        ask(user, "known")
    return users, racing.race([lambda n=n: ask(users[n % 8], n) for n in range(16)])


@pytest.fixture
def met(monkeypatch):
    """How many items each call for several users decided, of how many: by function."""
    told = {}

    def counting(module, name):
        real, calls = getattr(module, name), told.setdefault(name, [])

        def counted(arguments, *, at):
            answers = real(arguments, at=at)
            calls.append((len(answers), len(orjson.loads(arguments["items"]))))
            return answers

        monkeypatch.setattr(module, name, counted)

    counting(admitting, "gate_admit_many")
    counting(closing, "gate_close_many")
    return told


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("rounds", [10, pytest.param(300, marks=pytest.mark.soak)])
def test_users_who_meet_are_admitted_exactly_and_nobody_else_is(at, by, rounds, met):
    realm = arena(at, by)
    realm.feature(price=10)
    realm.quota(200, subject_scope="account")
    with racers(16) as racing:
        before = deadlocks()
        for number in range(rounds):
            users, results = meeting(realm, racing, number)

            assert {type(r) for r in results} == {Admission, GateDenied}, results
            for gate in users[::2]:
                assert gate.used(subject_scope="account") == (0, 150)
                leases = Lease.objects.filter(account=gate.account)
                assert leases.count() == 2
                held = sum(lease.reserved_xusd for lease in leases)
                assert (
                    held
                    == 2 * 750
                    == sum(u.balance()[1] for u in (gate, gate.of_user("u-2")))
                )
        report("users who meet", racing, rounds, Counter(met["gate_admit_many"]))
        assert deadlocks() == before
    assert sum(decided > 1 for decided, _ in met["gate_admit_many"]) > 0
    assert sum(decided < asked for decided, asked in met["gate_admit_many"]) > 0


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("rounds", [10, pytest.param(300, marks=pytest.mark.soak)])
def test_users_who_meet_commit_once_each(at, by, rounds, met):
    realm = arena(at, by)
    realm.feature(price=10)
    realm.quota(500, subject_scope="account")
    with racers(16) as racing:
        before = deadlocks()
        for number in range(rounds):
            gates = [realm.of_principal(f"p-{number}-{place}") for place in range(8)]
            for gate in gates:
                gate.credit(10_000)
            leases = [gate.lease(75) for gate in gates]

            told = racing.race(
                [lambda n=n: use(gates[n % 8], leases[n % 8], n) for n in range(16)]
            )

            applied = [t for t in told if t.data["application_status"] == "applied"]
            assert len(applied) == 8, told
            for gate in gates:
                assert gate.used(subject_scope="account") == (60, 0)
                assert gate.balance() == (9400, 0, 600)
        report(
            "users who meet, committing",
            racing,
            rounds,
            Counter(met["gate_close_many"]),
        )
        assert deadlocks() == before
    assert sum(decided > 1 for decided, _ in met["gate_close_many"]) > 0


@pytest.mark.usefixtures("committed")
def test_who_leads_while_the_own_lot_is_in_use_waits_for_it_and_is_served(at, by):
    """A call for many waits a moment only: no reason to refuse."""
    realm = arena(at, by)
    realm.feature(price=10)
    realm.quota(500, subject_scope="account")
    busy, gate = realm.of_principal("busy"), realm.of_principal("own")
    for each in (busy, gate):
        each.credit(10_000)
        ask(each, "first")
    with racers(2) as racing, transaction.atomic():
        GateState.objects.select_for_update().get(account=busy.account)
        GrantLot.objects.select_for_update().get(user=gate.user)
        passed = racing.pool.submit(ask, busy, "second")
        time.sleep(0.1)
        led = racing.pool.submit(ask, gate, "second")
        time.sleep(0.3)
        assert not (passed.done() or led.done())
        transaction.set_rollback(True)
    assert {type(f.result(timeout=10)) for f in (passed, led)} == {Admission}


def over_admitted(realm, racing, number, *, may_fail=False):
    """Let eight calls ask for the same four accounts at once; 100 are there of each.

    Return how many accounts were given more. A call that fails has given nothing.
    """
    names = [f"m-{number}-{place}" for place in range(4)]
    gates = [realm.of_principal(name) for name in names]
    for gate in gates:
        gate.credit(10_000)
        gate.preflight()
    rules = Projection.objects.get(user=gates[0].user).rule_set_id
    gates[0].know(str(rules))

    calls = racing.race([lambda: gates[0].meet(names[1:], 75)] * 8)
    failed = [call for call in calls if isinstance(call, Exception)]
    assert may_fail or not failed, failed
    calls = [call for call in calls if call not in failed]

    over = 0
    for gate, answers in zip(gates, zip(*calls, strict=True), strict=True):
        admitted = sum(bool(a) and a["o"] == "admitted" for a in answers)
        assert gate.used(subject_scope="account") == (0, 75 * admitted)
        over += admitted > 1
    return over


METS = pytest.mark.parametrize(
    "rounds", [10, pytest.param(300, marks=pytest.mark.soak)]
)


@pytest.mark.usefixtures("committed")
@METS
def test_calls_for_the_same_accounts_do_not_over_admit(at, by, rounds):
    realm = arena(at, by)
    realm.feature(price=10)
    realm.quota(100, subject_scope="account")
    with racers(8) as racing:
        over = Counter(over_admitted(realm, racing, n) for n in range(rounds))
        report("calls for the same accounts", racing, rounds, over)
    assert over == {0: rounds}


@pytest.mark.usefixtures("committed")
@METS
def test_control_without_the_accounts_locks_they_would(at, by, rounds):
    realm = arena(at, by)
    realm.feature(price=10)
    realm.quota(100, subject_scope="account")
    unlocked = chained(
        without_marked("lock"), at_point("decided", "PERFORM pg_sleep(0.01);")
    )
    with racers(8) as racing, mutated({"admit_many": unlocked}):
        over = Counter(
            over_admitted(realm, racing, n, may_fail=True) for n in range(rounds)
        )
        report("control, the same accounts, no locks", racing, rounds, over)
    assert sum(over.values()) > over[0]


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

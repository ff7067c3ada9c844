"""Everything that can happen to one user's money, at random and at once, and the proof.

Threads do operations that a seed chooses: issue, use, hold, commit, give back, consume,
adjust, undo, suspend, revoke, settle, close, seal, at instants that move on. Each thread
counts what it was told. At the end, what was told, what the rows say and what the proof
says must be the same.
"""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Barrier, Lock
from unittest.mock import patch

from django.db import OperationalError, connection, transaction

from billing.services.accounts import ensure_account
from billing.services.users import ensure_user
from config.kernel.errors import DomainError
from grants.models import GrantLot, LedgerAccount, Posting
from grants.selectors import readers
from grants.selectors.balance_proof import prove_balance
from grants.selectors.proof import findings
from grants.selectors.readers import Use, register_hold_reader, register_use_reader
from grants.services import funding
from grants.services.adjustments import adjust_wallet, reverse_adjustment
from grants.services.closing import close_lot
from grants.services.consumption import consume
from grants.services.lots import resume_lot, revoke_lot, suspend_lot
from grants.services.seals import seal_account
from grants.services.settlement import settle_user
from tests.grants.lots import DAY, bind, give, overage_program, program_of

POLICIES = ("forfeit", "refund", "carryover", "none")
STEP = timedelta(hours=3)
TRIES = 20


@dataclass
class Book:
    """What the threads were told, side by side."""

    lock: Lock = field(default_factory=Lock)
    given: int = 0
    used: dict = field(default_factory=dict)
    consumed: dict = field(default_factory=dict)
    adjusted: int = 0
    holds: list = field(default_factory=list)
    postings: list = field(default_factory=list)
    tally: Counter = field(default_factory=Counter)
    errors: list = field(default_factory=list)


class Life:
    """One user, to whom anything may happen."""

    def __init__(self, realm, seed, *, at, by):
        self.chance = random.Random(seed)
        self.seed, self.start, self.by_whom = seed, at, by
        account = ensure_account(realm=realm, principal_id=f"life-{seed}", at=at, by=by)
        self.user = ensure_user(account=account, business_user_id="u-1", at=at, by=by)
        overage_program(realm, at=at, by=by)
        program_of(
            realm, "one_time_xusd", at=at, by=by, on_ledger=True,
            window_default_seconds=86_400 * 20,
        )  # fmt: skip
        self.book = Book()
        self.day = 0

    def run(self, *, threads, operations):
        """Do so many operations in so many threads; return what there was of each."""
        seeds = [self.chance.random() for _ in range(threads)]
        barrier = Barrier(threads)

        def live(number):
            chance = random.Random(seeds[number])
            try:
                connection.ensure_connection()
                barrier.wait(timeout=30)
                for turn in range(operations // threads):
                    self._turn(chance, f"{number}-{turn}", turn)
            finally:
                connection.close()

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(live, range(threads)))
        return self.book.tally

    def _turn(self, chance, name, turn):
        what = chance.choices(list(WEIGHTS), WEIGHTS.values())[0]
        at = self.start + turn * STEP
        for _ in range(TRIES):
            try:
                getattr(self, what)(chance, name, at, self.by_whom.effective(at))
            except DomainError as refusal:
                return self._told(f"{what}: {refusal.code}")
            except OperationalError:
                continue  # To be tried again, as the API does.
            except Exception as error:  # noqa: BLE001 - judged at the end.
                self.book.errors.append(f"{what}: {error!r}")
                return None
            return self._told(what)
        return self._told(f"{what}: given up")

    def _told(self, what):
        with self.book.lock:
            self.book.tally[what] += 1

    # What may happen

    def issue(self, chance, name, at, by):
        assignment = bind(
            self.user, at=at, by=by, policy=chance.choice(POLICIES),
            end=at + chance.choice((4, 30)) * DAY,
        )  # fmt: skip
        amount = chance.randint(1, 500)
        give(
            self.user, amount, at=at, by=by, assignment=assignment,
            days=chance.choice((1, 2, 5, None)), priority=chance.randint(0, 3),
            on_ledger=chance.random() < 0.5,
        )  # fmt: skip
        with self.book.lock:
            self.book.given += amount

    def use(self, chance, name, at, by):
        amount, owed = chance.randint(1, 90), chance.choice((0, 0, 0, 7))
        source = f"gate_rating:{self.seed}-{name}"
        with transaction.atomic():
            funding.settle(
                user=self.user, spend_xusd=amount, owed_xusd=owed, source_ref=source,
                at=at,
            )  # fmt: skip
        with self.book.lock:
            self.book.used[source] = amount + owed

    def hold(self, chance, name, at, by):
        with transaction.atomic():
            held = funding.hold(
                user=self.user, amount_xusd=chance.randint(1, 60), at=at
            )
        with self.book.lock:
            self.book.holds.append(held)

    def commit(self, chance, name, at, by):
        held = self._some_hold(chance)
        if held is None:
            return
        source = f"gate_rating:{self.seed}-{name}"
        spend = chance.randint(0, sum(held.amounts))
        try:
            with transaction.atomic():
                backed = min(spend, self._backed(held))
                funding.settle(
                    user=self.user,
                    held=held,
                    spend_xusd=backed,
                    source_ref=source,
                    at=at,
                )
        except BaseException:
            self.book.holds.append(held)
            raise
        if backed:
            with self.book.lock:
                self.book.used[source] = backed

    def release(self, chance, name, at, by):
        held = self._some_hold(chance)
        if held is None:
            return
        try:
            with transaction.atomic():
                funding.release(held, at=at)
        except BaseException:
            self.book.holds.append(held)
            raise

    def consume(self, chance, name, at, by):
        # Some keys come twice, from whichever thread.
        key = f"{chance.randint(0, 60)}"
        amount = 1 + int(key) % 37
        done, _ = consume(user=self.user, amount_xusd=amount, key=key, at=at, by=by)
        with self.book.lock:
            self.book.consumed[done.source_ref] = done.amount_xusd

    def adjust(self, chance, name, at, by):
        amount = chance.choice((1, -1)) * chance.randint(1, 80)
        posting, created = adjust_wallet(
            user=self.user, amount_xusd=amount, key=name, at=at, by=by
        )
        assert created
        with self.book.lock:
            self.book.adjusted += amount
            self.book.postings.append((posting, amount))

    def undo(self, chance, name, at, by):
        with self.book.lock:
            known = list(self.book.postings)
        if known:
            posting, amount = chance.choice(known)
            reverse_adjustment(posting=posting, at=at, by=by)
            with self.book.lock:
                self.book.adjusted -= amount

    def suspend(self, chance, name, at, by):
        self._on_some_lot(chance, suspend_lot, at, by)

    def resume(self, chance, name, at, by):
        self._on_some_lot(chance, resume_lot, at, by)

    def revoke(self, chance, name, at, by):
        self._on_some_lot(chance, revoke_lot, at, by)

    def settle(self, chance, name, at, by):
        settle_user(user=self.user, at=at, by=by, batch=chance.choice((3, 50)))

    def close(self, chance, name, at, by):
        for lot in list(self._lots().values_list("pk", flat=True)):
            close_lot(lot_id=lot, at=at, by=by)

    def seal(self, chance, name, at, by):
        for account in list(self.user.ledger_accounts.values_list("pk", flat=True)):
            seal_account(account_id=account, at=at, batch=20)

    def _lots(self):
        return GrantLot.objects.filter(user=self.user).order_by("id")

    def _on_some_lot(self, chance, verb, at, by):
        lots = list(self._lots().exclude(status__in=("closed", "canceled"))[:20])
        if lots:
            verb(lot=chance.choice(lots), at=at, by=by)

    def _some_hold(self, chance):
        with self.book.lock:
            holds = self.book.holds
            return holds.pop(chance.randrange(len(holds))) if holds else None

    def _backed(self, held):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT grants_backed(%s::uuid[], %s::bigint[])",
                [list(held.lots), list(held.amounts)],
            )
            return cursor.fetchone()[0]

    # The proof

    def broken(self):
        """Return what does not hold, by name; nothing where everything does."""
        with registered(self.book, self.user):
            found = {
                finding.rule for finding in findings(account_id=self.user.account_id)
            }
        at = self.start + 10_000 * STEP
        if not prove_balance(user=self.user, at=at).holds:
            found.add("the balance is not proven")
        if self.book.errors:
            found.add(self.book.errors[0])
        told = {
            "what was given": (self._total("issued"), -self.book.given),
            "what was adjusted": (self._total("adjusted"), -self.book.adjusted),
            "what was consumed": (self._consumed(), sum(self.book.consumed.values())),
        }
        found |= {what for what, (stored, said) in told.items() if stored != said}
        return found

    def _total(self, kind):
        account = LedgerAccount.objects.filter(user=self.user, kind=kind).first()
        return account.balance_xusd if account else 0

    def _consumed(self):
        taken = self.user.grant_allocations.filter(source_ref__startswith="consume:")
        return sum(taken.values_list("amount_xusd", flat=True))


WEIGHTS = {
    "issue": 6, "use": 14, "hold": 10, "commit": 8, "release": 3, "consume": 8,
    "adjust": 4, "undo": 3, "suspend": 1, "resume": 2, "revoke": 1, "settle": 5,
    "close": 2, "seal": 1,
}  # fmt: skip


@contextmanager
def registered(book, user):
    """Let the proof ask the book what is held and what was used."""

    def held(*, realm_id, account_ids):
        total = Counter()
        for hold in book.holds:
            for lot, amount in zip(hold.lots, hold.amounts, strict=True):
                total[lot] += amount
        return total

    def uses(*, realm_id, account_ids):
        return iter([Use(user.pk, *each) for each in book.used.items()])

    with (
        patch.object(readers, "_hold_readers", []),
        patch.object(readers, "_use_readers", []),
        patch.object(readers, "_use_lookups", {}),
    ):
        register_hold_reader(held)
        register_use_reader(uses)
        yield


def reversals(user):
    """How many adjustments were undone."""
    return Posting.objects.filter(user=user, reason="reversal").count()

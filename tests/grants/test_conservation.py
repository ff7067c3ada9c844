"""No money appears or vanishes, whatever happens at once; and faults would be seen."""

import random
from collections import Counter

import pytest
from django.db import connection

from grants.models import GrantLot, LedgerKind
from grants.services import adjustments, closing, consumption, lots, settlement
from grants.services.ledger import move
from tests.grants.conservation import WEIGHTS, Life
from tests.tools.verification import note


def test_money_is_conserved(committed_realm, at, by):
    life = Life(committed_realm, 7, at=at, by=by)

    tally = life.run(threads=4, operations=600)

    assert life.broken() == set()
    # All of it took place, and not only in vain.
    assert set(WEIGHTS) - {"undo", "revoke", "resume"} <= set(tally)


@pytest.mark.soak
def test_money_is_conserved_for_long(committed_realm, at, by):
    number, tally, lives = random.SystemRandom().randrange(10**9), Counter(), 0
    with connection.cursor() as cursor:
        # Nothing crashes in here.
        cursor.execute("SET synchronous_commit = off")
    while sum(tally.values()) < 100_000:
        life = Life(committed_realm, number + lives, at=at, by=by)
        tally += life.run(threads=4, operations=2_000)
        assert life.broken() == set(), f"seed {number + lives}"
        lives += 1
        print(lives, sum(tally.values()), flush=True)

    done = sum(count for what, count in tally.items() if ":" not in what)
    note(
        "money conserved amid everything",
        f"seed {number}, {sum(tally.values())} operations in {lives} lives of 4 threads, "
        f"of them {done} done and {sum(tally.values()) - done} refused, findings 0",
    )


# What a fault would look like


def lost_settlement(monkeypatch):
    """Settlement books the lot, and forgets a part."""
    plain = settlement._book

    def book(lot, amount, *, at):
        plain(lot, max(amount - 1, 1), at=at)

    monkeypatch.setattr(settlement, "_book", book)


def rest_kept_and_carried(monkeypatch):
    """What is carried over is given without being taken."""
    monkeypatch.setattr(closing, "post", lambda **_: None)


def revoked_in_words_only(monkeypatch):
    """A revocation posts nothing."""
    monkeypatch.setattr(lots, "post", lambda **_: None)


def adjusted_in_the_ledger_only(monkeypatch):
    """An adjustment leaves its lots as they are."""
    monkeypatch.setattr(adjustments, "_change_amount", lambda *_, **__: None)


def adjusted_on_the_wrong_account(monkeypatch):
    """What is off the ledger is adjusted as if it were paid for."""
    monkeypatch.setattr(adjustments, "holding_of", lambda lot: LedgerKind.WALLET)


def undone_without_the_lots(monkeypatch):
    """Undoing an adjustment leaves its lots as they are."""
    monkeypatch.setattr(adjustments, "_undo", lambda *_, **__: None)


def overage_settled_twice(monkeypatch):
    """What is owed is booked on its lot twice."""
    plain = settlement._book

    def book(lot, amount, *, at):
        plain(lot, amount, at=at)
        if lot.kind == "fallback":
            plain(lot, amount, at=at)

    monkeypatch.setattr(settlement, "_book", book)


def settled_from_promotions(monkeypatch):
    """Settlement takes everything from promotional credit."""

    def legs(lot, amount_xusd):
        return move(LedgerKind.PROMOTIONAL, LedgerKind.CONSUMED, amount_xusd, lot=lot)

    monkeypatch.setattr(settlement, "_legs", legs)


def consumed_twice_for_a_key(monkeypatch):
    """A key is no longer looked up."""
    plain, seen = consumption._consumption, Counter()

    def found(user, source_ref):
        seen[source_ref] += 1
        # The first look of a call finds nothing, whatever there is.
        return None if seen[source_ref] % 2 else plain(user, source_ref)

    monkeypatch.setattr(consumption, "_consumption", found)


FAULTS = [
    lost_settlement,
    rest_kept_and_carried,
    revoked_in_words_only,
    adjusted_in_the_ledger_only,
    adjusted_on_the_wrong_account,
    undone_without_the_lots,
    overage_settled_twice,
    settled_from_promotions,
    consumed_twice_for_a_key,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_seen(committed_realm, at, by, monkeypatch, fault):
    life = Life(committed_realm, 11, at=at, by=by)
    fault(monkeypatch)

    life.run(threads=2, operations=400)

    assert life.broken() != set()
    assert GrantLot.objects.filter(user=life.user).exists()

"""Seals bind each entry to all before it, once, whoever seals and when."""

import hashlib
import json

import pytest

from grants.models import LedgerEntry
from grants.selectors.chain import START, chained, entry_facts
from grants.services.seals import seal_account, seal_entries
from tests.grants.lots import finish_others, give
from tests.grants.racing import race


@pytest.fixture
def ledger(user, at, by):
    """A ledger ledger with three entries."""
    finish_others(at=at, by=by)
    for amount in (5, 7, 11):
        give(user, amount, at=at, by=by)
    return user.ledger_accounts.get(kind="promotional")


def hashes(ledger):
    return [bytes(seal.hash) for seal in ledger.seals.order_by("seq")]


def test_each_entry_is_bound_to_the_one_before(ledger, at):
    seal_entries(at=at)

    expected, previous = [], START
    entries = LedgerEntry.objects.filter(ledger_account=ledger).order_by("seq")
    for facts in entry_facts(entries):
        previous = chained(previous, facts)
        expected.append(previous)
    assert hashes(ledger) == expected
    assert len(set(expected)) == 3


def test_the_hash_is_of_the_previous_and_of_every_fact(ledger):
    facts = entry_facts(LedgerEntry.objects.filter(ledger_account=ledger, seq=1)).get()
    text = json.dumps(
        {
            name: fact
            if isinstance(fact, (int, str, type(None)))
            else fact.isoformat(timespec="microseconds")
            if hasattr(fact, "isoformat")
            else str(fact)
            for name, fact in facts.items()
        },
        sort_keys=True,
        separators=(",", ":"),
    )

    assert chained(START, facts) == hashlib.sha256(bytes(32) + text.encode()).digest()


@pytest.mark.parametrize(
    "fact", ["amount_xusd", "seq", "posting__explanation", "lot_id"]
)
def test_another_fact_is_another_hash(ledger, fact):
    facts = entry_facts(LedgerEntry.objects.filter(ledger_account=ledger, seq=1)).get()

    assert chained(START, {**facts, fact: "other"}) != chained(START, facts)
    assert chained(b"x" * 32, facts) != chained(START, facts)


def test_sealing_in_portions_is_sealing_at_once(user, ledger, at):
    counts = [seal_account(account_id=ledger.pk, at=at, batch=2) for _ in range(3)]
    in_portions = hashes(ledger)

    assert counts == [2, 1, 0]
    assert len(in_portions) == 3


def test_sealing_goes_on_after_the_last_seal(user, ledger, at, by):
    seal_entries(at=at)
    before = hashes(ledger)
    give(user, 13, at=at, by=by)

    sealed = seal_entries(at=at)

    assert sealed == 2
    assert hashes(ledger)[:3] == before
    assert len(hashes(ledger)) == 4


def test_nothing_new_seals_nothing(ledger, at):
    assert seal_entries(at=at) == 6
    assert seal_entries(at=at) == 0


def test_sealers_at_once_seal_each_entry_once(committed_realm, make_user, at, by):
    user = make_user(committed_realm)
    for _ in range(30):
        give(user, 5, at=at, by=by)
    ledger = user.ledger_accounts.get(kind="promotional")

    def attempt(_):
        return seal_account(account_id=ledger.pk, at=at, batch=7)

    done = race(attempt, threads=6)

    while seal_account(account_id=ledger.pk, at=at, batch=7):
        pass
    assert max(done) == 7
    assert len(set(hashes(ledger))) == 30

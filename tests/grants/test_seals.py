"""Seals bind each entry to all before it, once, whoever seals and when."""

import hashlib
import json
from datetime import timedelta

import pytest
from django.db import DatabaseError

from grants.models import LedgerAccount, LedgerEntry, LedgerSeal
from grants.selectors.chain import START, chained, entry_facts
from grants.selectors.heads import Head, heads
from grants.services.seals import Sealed, SealsMissing, seal_account, seal_entries
from tests.grants.lots import finish_others, give
from tests.grants.racing import race
from tests.tools.tables import run


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

    assert sealed == Sealed(2, [])
    assert hashes(ledger)[:3] == before
    assert len(hashes(ledger)) == 4


def test_nothing_new_seals_nothing(ledger, at):
    assert seal_entries(at=at) == Sealed(6, [])
    assert seal_entries(at=at) == Sealed(0, [])


def forget_seals(ledger):
    """Delete what was sealed, as the owner of the table may; undone with the test."""
    run("SET CONSTRAINTS ALL IMMEDIATE")
    run("ALTER TABLE ledger_seals DISABLE TRIGGER USER")
    ledger.seals.all().delete()
    run("SET CONSTRAINTS ALL DEFERRED")


def test_what_was_sealed_is_not_sealed_anew(user, ledger, at, by):
    seal_entries(at=at)
    forget_seals(ledger)

    with pytest.raises(SealsMissing, match="3 entries were sealed; the last seal is g"):
        seal_account(account_id=ledger.pk, at=at)

    assert hashes(ledger) == []


def test_an_account_without_its_seals_does_not_stop_the_others(user, ledger, at, by):
    seal_entries(at=at)
    forget_seals(ledger)
    give(user, 13, at=at, by=by)

    assert seal_entries(at=at) == Sealed(1, [ledger.pk])
    assert user.ledger_accounts.get(kind="issued").sealed_count == 4


def test_how_many_were_sealed_only_grows(ledger, at):
    seal_entries(at=at)

    with pytest.raises(DatabaseError, match="sealed_count"):
        LedgerAccount.objects.filter(pk=ledger.pk).update(sealed_count=2)


def test_the_heads_are_the_last_seals_made_lately(ledger, at):
    seal_entries(at=at - timedelta(days=3))
    late = LedgerSeal.objects.get(ledger_account=ledger, seq=3)

    found = {head.ledger_account_id: head for head in heads(since=late.sealed_at)}
    after = {head.ledger_account_id for head in heads(since=at)}

    assert found[ledger.pk] == Head(ledger.realm_id, ledger.pk, 3, bytes(late.hash))
    assert ledger.pk not in after


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

"""The proof: silent over sound rows, and each corruption named, and nothing else."""

import json
from contextlib import contextmanager
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError

from billing.services.accounts import ensure_account
from billing.services.users import ensure_user
from grants.models import LedgerAccount, LedgerEntry
from grants.selectors import proof, readers
from grants.selectors.proof import RULE_NAMES, findings, snapshot
from grants.selectors.readers import (
    Use,
    UseLookup,
    register_hold_reader,
    register_use_lookup,
    register_use_reader,
)
from grants.services.closing import close_ended_lots
from grants.services.seals import seal_entries
from grants.services.settlement import settle_user
from tests.grants.lots import DAY, bind, give, hold, overage_program, program_of, use
from tests.tools.tables import rows, run

HOLDS, USES = {}, []


@pytest.fixture(autouse=True)
def _readers(monkeypatch):
    """Stand in for the app above: it tells what leases hold and what uses cost."""
    monkeypatch.setattr(readers, "_hold_readers", [])
    monkeypatch.setattr(readers, "_use_readers", [])
    monkeypatch.setattr(readers, "_use_lookups", {})
    HOLDS.clear()
    USES.clear()
    register_hold_reader(lambda realm_id, account_ids: HOLDS)
    register_use_reader(lambda realm_id, account_ids: iter(USES))
    register_use_lookup("gate_rating:", UseLookup(known_uses, lambda: None))


def known_uses(*, realm_id, source_refs):
    return {(use.user_id, use.source_ref) for use in USES}


@pytest.fixture
def story(realm, user, at, by):
    """A user to whom everything happened, all of it settled and sealed but the last."""
    overage_program(realm, at=at, by=by)
    carried = bind(user, at=at, by=by, policy="carryover")
    lots = {
        "paid": give(user, 500, at=at, by=by, on_ledger=True, days=None),
        "promotional": give(user, 300, at=at, by=by, days=5),
        "carried": give(user, 80, at=at, by=by, days=2, assignment=carried),
    }
    pay(user, 120, at=at, lot=lots["paid"])
    pay(user, 30, at=at, lot=lots["promotional"])
    pay(user, 44, at=at)
    settle_user(user=user, at=at, by=by)
    late = at + 10 * DAY
    close_ended_lots(at=late, by=by.effective(late))
    seal_entries(at=late)
    pay(user, 10, at=at, lot=lots["paid"])
    settle_user(user=user, at=late, by=by.effective(late))
    pay(user, 3, at=at, lot=lots["paid"])
    give(user, 60, at=at, by=by, on_ledger=True)
    hold(lots["paid"], 25)
    HOLDS[lots["paid"].pk] = 25
    return lots


def pay(user, amount, *, at, lot=None):
    source = f"gate_rating:{len(USES)}"
    use(user, amount, at=at, lot=lot, source=source)
    USES.append(Use(user.pk, source, amount))


def found(realm):
    return {finding.rule for finding in findings(realm_id=realm.pk)}


def unguarded(statement, parameters=None):
    """Write past every trigger, key and check, as the owner of the tables may.

    All of it is undone with the test's transaction.
    """
    run("SET CONSTRAINTS ALL IMMEDIATE")
    for table in TABLES:
        run(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    for table, name in rows(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint"
        " WHERE contype IN ('f', 'c') AND conrelid::regclass::text = ANY(%s)",
        [list(TABLES)],
    ):
        run(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    run(statement, parameters)


TABLES = (
    "grant_lots",
    "grant_allocations",
    "ledger_accounts",
    "ledger_postings",
    "ledger_entries",
    "ledger_seals",
)
SEALED = "id IN (SELECT entry_id FROM ledger_seals WHERE realm_id = %s)"
LAST = "(SELECT id FROM ledger_postings WHERE realm_id = %s ORDER BY id DESC LIMIT 1)"
FIRST = "(SELECT id FROM ledger_postings WHERE realm_id = %s ORDER BY id LIMIT 1)"
CONSUMED = (
    "(SELECT id FROM ledger_postings WHERE realm_id = %s AND reason = 'consumption'"
    " ORDER BY id LIMIT 1)"
)

# (the rule, those that no corruption can break it without, the corruption).
CORRUPTIONS = [
    (
        "posting_sums_to_zero",
        set(),
        (
            f"UPDATE ledger_entries SET posting_id = {FIRST}"
            f" WHERE posting_id = {LAST} AND amount_xusd > 0"
        ),
    ),
    (
        "ledger_account_is_its_entries",
        set(),
        (
            "UPDATE ledger_accounts SET balance_xusd = balance_xusd"
            " + CASE kind WHEN 'wallet' THEN 1 WHEN 'issued' THEN -1 ELSE 0 END"
            " WHERE realm_id = %s"
        ),
    ),
    (
        "ledger_account_is_its_entries",
        set(),
        "UPDATE ledger_accounts SET entry_count = entry_count + 1 WHERE realm_id = %s",
    ),
    (
        "ledger_entry_continues_the_last",
        set(),
        (
            "UPDATE ledger_entries SET balance_xusd = balance_xusd + 1"
            f" WHERE posting_id = {LAST}"
        ),
    ),
    (
        "ledger_entry_continues_the_last",
        set(),
        f"UPDATE ledger_entries SET seq = seq + 1 WHERE posting_id = {LAST}",
    ),
    (
        "user_ledger_sums_to_zero",
        {"ledger_account_is_its_entries"},
        (
            "UPDATE ledger_accounts SET balance_xusd = balance_xusd + 1"
            " WHERE realm_id = %s AND kind = 'wallet'"
        ),
    ),
    (
        "lot_stands_in_the_ledger",
        set(),
        (
            "UPDATE ledger_entries SET lot_id = (SELECT id FROM grant_lots"
            " WHERE realm_id = %s ORDER BY id LIMIT 1)"
            f" WHERE posting_id = {LAST}"
        ),
    ),
    (
        "lot_stands_in_the_ledger",
        {"history_ends_with_its_row"},
        (
            "UPDATE grant_lots SET amount_xusd = amount_xusd + 1 WHERE realm_id = %s"
            " AND status = 'ready'"
        ),
    ),
    (
        "lot_consumed_is_its_allocations",
        set(),
        (
            "UPDATE grant_lots SET consumed_xusd = consumed_xusd + 1 WHERE realm_id = %s"
            " AND status = 'ready'"
        ),
    ),
    (
        "lot_settled_is_its_settled_allocations",
        {"lot_stands_in_the_ledger"},
        (
            "UPDATE grant_lots SET settled_xusd = settled_xusd - 1 WHERE realm_id = %s"
            " AND settled_xusd > 0"
        ),
    ),
    (
        "posting_is_its_allocations",
        set(),
        (
            f"UPDATE grant_allocations SET posting_id = {FIRST}"
            f" WHERE posting_id = {CONSUMED}"
        ),
    ),
    (
        "periods_of_an_assignment_do_not_overlap",
        {"history_ends_with_its_row"},
        (
            "UPDATE grant_lots SET assignment_id = (SELECT assignment_id FROM grant_lots"
            " WHERE realm_id = %s AND on_ledger LIMIT 1) WHERE kind = 'grant'"
        ),
    ),
    (
        "row_lies_with_its_parents",
        set(),
        (
            "UPDATE grant_allocations SET account_id = gen_random_uuid()"
            " WHERE realm_id = %s AND posting_id IS NULL"
        ),
    ),
    (
        "row_lies_with_its_parents",
        set(),
        f"UPDATE ledger_postings SET account_id = gen_random_uuid() WHERE id = {LAST}",
    ),
    (
        "seal_lies_on_its_entry",
        {"ledger_account_keeps_its_seals"},
        "UPDATE ledger_seals SET seq = seq + 1000 WHERE realm_id = %s AND seq = 1",
    ),
    (
        "history_ends_with_its_row",
        set(),
        "UPDATE grant_lots SET priority = priority + 1 WHERE realm_id = %s",
    ),
    (
        "hash_chain",
        set(),
        (
            "UPDATE ledger_entries SET occurred_at = occurred_at - interval '1 second'"
            f" WHERE {SEALED} AND seq = 1"
        ),
    ),
    (
        "hash_chain",
        set(),
        f"UPDATE ledger_postings SET explanation = 'no reason' WHERE id = {FIRST}",
    ),
    (
        "hash_chain",
        set(),
        "UPDATE ledger_seals SET hash = sha256('') WHERE realm_id = %s AND seq = 1",
    ),
    (
        "ledger_account_keeps_its_seals",
        {"hash_chain"},
        "DELETE FROM ledger_seals WHERE realm_id = %s AND seq = 1",
    ),
    (
        "ledger_account_keeps_its_seals",
        set(),
        "DELETE FROM ledger_seals WHERE realm_id = %s",
    ),
    (
        "ledger_account_keeps_its_seals",
        set(),
        (
            "DELETE FROM ledger_seals s USING ledger_accounts a"
            " WHERE a.id = s.ledger_account_id AND a.realm_id = %s"
            " AND s.seq = a.sealed_count"
        ),
    ),
]


def test_what_was_rewritten_with_its_seals_gone_stays_found(realm, story, at):
    unguarded("DELETE FROM ledger_seals WHERE realm_id = %s", [realm.pk])
    run("UPDATE ledger_postings SET explanation = 'x' WHERE realm_id = %s", [realm.pk])

    seal_entries(at=at)

    assert found(realm) == {"ledger_account_keeps_its_seals"}


ABOVE = {
    "allocation_is_of_a_use",
    "lot_reserved_is_its_holds",
    "use_is_its_allocations",
    "lot_is_never_overdrawn",
}


def test_sound_rows_prove_everything(realm, story):
    assert found(realm) == set()


def test_every_rule_has_a_corruption():
    assert {rule for rule, _, _ in CORRUPTIONS} | ABOVE == set(RULE_NAMES)


@pytest.mark.parametrize(("rule", "also", "corruption"), CORRUPTIONS)
def test_a_corruption_is_named_and_nothing_else(realm, story, rule, also, corruption):
    unguarded(corruption, [realm.pk] * corruption.count("%s"))

    assert found(realm) == {rule, *also}


def test_more_held_and_consumed_than_given(realm, story):
    lot = story["paid"]
    unguarded("UPDATE grant_lots SET reserved_xusd = 371 WHERE id = %s", [lot.pk])
    HOLDS[lot.pk] = 371

    assert found(realm) == {"lot_is_never_overdrawn"}


@pytest.mark.parametrize("held", [0, 24, 26])
def test_what_is_reserved_is_not_what_is_held(realm, story, held):
    HOLDS[story["paid"].pk] = held

    (finding,) = findings(realm_id=realm.pk)

    assert finding.rule == "lot_reserved_is_its_holds"
    assert finding.subject == str(story["paid"].pk)
    assert finding.message == f"25 reserved; its holds sum to {held}"


def test_a_hold_of_no_lot(realm, story, user):
    HOLDS[user.pk] = 3

    assert found(realm) == {"lot_reserved_is_its_holds"}


@pytest.mark.parametrize("amount", [1, 121])
def test_a_use_that_was_paid_otherwise(realm, story, user, amount):
    USES[0] = Use(user.pk, "gate_rating:0", amount)

    (finding,) = findings(realm_id=realm.pk)

    assert finding.rule == "use_is_its_allocations"
    assert finding.message == f"costs {amount}; its allocations sum to 120"


def test_an_allocation_of_no_use(realm, story, user, at):
    pay(user, 7, at=at, lot=story["paid"])
    USES.pop()

    (finding,) = findings(realm_id=realm.pk)

    assert finding.rule == "allocation_is_of_a_use"
    assert finding.message == (
        f"names gate_rating:{len(USES)}, a use that was never made"
    )


def test_an_allocation_of_what_is_kept_no_longer(realm, story, user, at, monkeypatch):
    pay(user, 7, at=at, lot=story["paid"])
    USES.pop()
    lookup = UseLookup(known_uses, lambda: at + DAY)
    monkeypatch.setattr(readers, "_use_lookups", {"gate_rating:": lookup})

    assert found(realm) == set()


def test_a_use_that_nothing_paid(realm, story, user):
    USES.append(Use(user.pk, "gate_rating:lost", 7))

    assert found(realm) == {"use_is_its_allocations"}


def test_the_chain_names_the_first_row_that_was_touched(realm, story):
    entries = LedgerEntry.objects.filter(realm=realm, ledger_account__kind="wallet")
    touched = entries.get(seq=2)
    unguarded(
        "UPDATE ledger_entries SET occurred_at = occurred_at - interval '1 second'"
        " WHERE ledger_account_id = %s AND seq IN (2, 3)",
        [touched.ledger_account_id],
    )

    (finding,) = findings(realm_id=realm.pk)

    assert (finding.rule, finding.subject) == ("hash_chain", str(touched.pk))


def test_no_app_above_that_knows_of_holds(realm, story, monkeypatch):
    monkeypatch.setattr(readers, "_hold_readers", [])

    assert found(realm) == set()


def test_a_period_inside_an_earlier_one_overlaps_it(realm, user, at, by):
    assignment = bind(user, at=at, by=by)
    terms = {"at": at, "by": by, "assignment": assignment}
    give(user, 5, **terms, days=90)
    give(user, 5, **terms, days=5, window_start=at + 10 * DAY)
    inside = give(user, 5, **terms, days=5, window_start=at + 50 * DAY)
    give(user, 5, **terms, days=None, window_start=at + 90 * DAY)

    overlapping = list(findings(realm_id=realm.pk))

    rule = "periods_of_an_assignment_do_not_overlap"
    assert [finding.rule for finding in overlapping] == [rule] * 2
    assert str(inside.pk) in {finding.subject for finding in overlapping}


def test_a_realm_without_accounts_has_a_history_too(other_realm, at, by):
    program = program_of(other_realm, at=at, by=by)
    unguarded_history(program)

    assert found(other_realm) == {"history_ends_with_its_row"}


def unguarded_history(program):
    """Change a program past its trigger; undone with the test's transaction."""
    run("SET CONSTRAINTS ALL IMMEDIATE")
    run("ALTER TABLE grant_programs DISABLE TRIGGER USER")
    run("UPDATE grant_programs SET name = 'x' WHERE id = %s", [program.pk])


def test_each_portion_is_read_within_its_own(realm, story, user, at, by, monkeypatch):
    monkeypatch.setattr(proof, "ACCOUNTS_AT_ONCE", 1)
    ensure_account(realm=realm, principal_id="other", at=at, by=by)
    entered, told = [], []

    @contextmanager
    def within():
        entered.append(len(told))
        yield

    def progress(realm_id, accounts):
        told.append(accounts)

    list(findings(realm_id=realm.pk, progress=progress, within=within))

    assert told == [1, 1]
    assert entered == [0, 0, 1]


def test_an_account_is_looked_at_alone(realm, story, user, at, by):
    HOLDS.clear()
    other = ensure_account(realm=realm, principal_id="other", at=at, by=by)
    unguarded(
        "UPDATE ledger_accounts SET entry_count = 99 WHERE realm_id = %s", [realm.pk]
    )

    assert list(findings(account_id=other.pk)) == []
    assert [finding.user_id for finding in findings(account_id=user.account_id)]


@pytest.fixture
def committed_user(committed_realm, at, by):
    account = ensure_account(realm=committed_realm, principal_id="acme", at=at, by=by)
    user = ensure_user(account=account, business_user_id="u-1", at=at, by=by)
    give(user, 500, at=at, by=by)
    return user


def test_the_command_finds_nothing_in_sound_rows(committed_user):
    out, told = StringIO(), StringIO()

    call_command(
        "verify_ledger", realm=committed_user.realm_id, stdout=out, stderr=told
    )

    assert out.getvalue().startswith("1 accounts, 18 rules, 0 findings")
    assert told.getvalue().startswith(f"{committed_user.realm_id}: 1 accounts in ")


def test_the_command_names_what_it_found_and_fails(committed_user):
    lot = committed_user.grant_lots.get()
    HOLDS[lot.pk] = 3
    out = StringIO()

    with pytest.raises(SystemExit) as end:
        call_command(
            "verify_ledger",
            account=str(committed_user.account_id),
            json=True,
            stdout=out,
            stderr=StringIO(),
        )

    finding, summary = map(json.loads, out.getvalue().splitlines())
    assert end.value.code == 1
    assert finding["rule"] == "lot_reserved_is_its_holds"
    assert finding["subject"] == str(lot.pk)
    assert summary["findings"] == 1


def test_the_command_refuses_what_is_no_account_id():
    with pytest.raises(CommandError, match="x is no account id"):
        call_command("verify_ledger", account="x")


def test_the_proof_writes_nothing(committed_user):
    with snapshot(), pytest.raises(DatabaseError, match="read-only transaction"):
        LedgerAccount.objects.filter(user=committed_user).update(balance_xusd=1)

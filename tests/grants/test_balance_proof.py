"""The proof of one balance sums everything, and tells the last lines of each lot."""

from datetime import timedelta

from django.db import connection
from django.test.utils import CaptureQueriesContext

from grants.selectors import balance_proof
from grants.selectors.balance_proof import prove_balance
from grants.selectors.past import balances_then
from grants.services.settlement import settle_user
from tests.grants.lots import DAY, give, overage_program, use

HOUR = timedelta(hours=1)


def test_only_the_last_lines_are_told_and_all_are_summed(user, at, by, monkeypatch):
    monkeypatch.setattr(balance_proof, "MOST_LINES", 2)
    overage_program(user.realm, at=at, by=by)
    lot = give(user, 500, at=at, by=by)
    for amount in (10, 20, 30):
        use(user, amount, at=at, lot=lot)
        settle_user(user=user, at=at, by=by)
    for amount in (1, 2, 3):
        use(user, amount, at=at, lot=lot)
    use(user, 9, at=at)

    proof = prove_balance(user=user, at=at)

    (told,) = proof.lots
    assert [line.amount_xusd for line in told.entries] == [-20, -30]
    assert [line.amount_xusd for line in told.pending] == [-2, -3]
    assert (told.ledger_xusd, told.allocated_xusd) == (440, 66)
    assert (proof.counted_xusd, proof.holds) == (425, True)


def test_statements_do_not_grow_with_uses(user, at, by):
    counts = []
    for _ in range(2):
        lot = give(user, 500, at=at, by=by)
        for _ in range(4):
            use(user, 10, at=at, lot=lot)
        with CaptureQueriesContext(connection) as queries:
            prove_balance(user=user, at=at)
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_what_was_left_counts_uses_up_to_and_at_each_moment(user, make_user, at, by):
    other = make_user(user.realm, "u-2")
    lot = give(user, 500, at=at, by=by, days=1)
    give(other, 70, at=at, by=by)
    for hours, amount in ((1, 10), (2, 20), (2, 5), (3, 40)):
        use(user, amount, at=at + hours * HOUR, lot=lot)
    moments = [
        (user, at - HOUR, 0),
        (user, at, 500),
        (user, at + HOUR, 490),
        (other, at + HOUR, 70),
        (user, at + 2 * HOUR - timedelta(microseconds=1), 490),
        (user, at + 2 * HOUR, 465),
        (user, at + 4 * HOUR, 425),
        (user, at + DAY, 0),
    ]

    found = balances_then(
        realm_id=user.realm_id, moments=[(who.pk, when) for who, when, _ in moments]
    )

    assert found == [left for _, _, left in moments]
    assert balances_then(realm_id=user.realm_id, moments=[]) == []

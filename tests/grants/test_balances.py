"""What a user has, and the proof of it."""

import pytest
from grants.selectors.balances import (
    Proof,
    available_xusd,
    entries_of,
    proof,
    wallet_of,
)

from config.kernel.ids import new_id
from grants.models import CreditBalance, CreditEntry
from grants.services.funding import reserve, settle


@pytest.fixture
def used_balance(balance, at):
    """500 given, 120 spent, 200 reserved."""
    reserve(balance, amount_xusd=300, at=at)
    settle(balance, reserved_xusd=100, spend_xusd=120, source_ref="lease:1", at=at)
    return balance


def test_available_is_what_is_neither_spent_nor_reserved(used_balance, at):
    assert available_xusd(user_id=used_balance.user_id, at=at) == 180


def test_available_of_a_user_without_balance(user, at):
    assert available_xusd(user_id=user.pk, at=at) == 0
    assert available_xusd(user_id=new_id(), at=at) == 0


def test_billing_state_shows_the_wallet(used_balance, at):
    from billing.selectors.wallets import wallet_balance

    assert wallet_balance(user_id=used_balance.user_id, at=at) == {
        "available_balance": {"xusd": "180"},
        "outstanding_balance": {"xusd": "0"},
    }


def test_wallet_shows_every_sum(used_balance, funded_user, at):
    wallet = wallet_of(user=funded_user, at=at)

    assert (wallet.account_id, wallet.user_id, wallet.as_of) == (
        funded_user.account_id,
        funded_user.pk,
        at,
    )
    assert (wallet.granted_xusd, wallet.spent_xusd, wallet.reserved_xusd) == (
        500,
        120,
        200,
    )
    assert (wallet.available_xusd, wallet.outstanding_xusd) == (180, 0)
    assert [(e.kind, e.amount_xusd) for e in wallet.entries] == [
        ("spend", -120),
        ("credit", 500),
    ]


def test_wallet_of_a_user_without_balance_is_empty_and_writes_nothing(user, at):
    wallet = wallet_of(user=user, at=at)

    assert (wallet.granted_xusd, wallet.available_xusd) == (0, 0)
    assert list(wallet.entries) == []
    assert not CreditBalance.objects.filter(user=user).exists()


def test_wallet_takes_one_statement(
    used_balance, funded_user, at, django_assert_num_queries
):
    with django_assert_num_queries(1):
        wallet_of(user=funded_user, at=at)


def test_entries_are_the_users_own(used_balance, make_user, realm, credit):
    neighbor = make_user(realm, "u-2")
    credit(neighbor, 9)

    assert [e.amount_xusd for e in entries_of(user=neighbor)] == [9]
    assert [
        e.amount_xusd for e in entries_of(user=used_balance.user, kinds=["spend"])
    ] == [-120]


def test_proof_of_an_empty_balance(user, at):
    from grants.services.funding import lock_balance

    assert proof(lock_balance(user=user, at=at)) == Proof(0, 0, 0, 0)


def test_proof_sets_the_sums_of_the_entries_beside_the_balance(
    used_balance, make_user, realm, credit
):
    credit(make_user(realm, "u-2"), 9)
    credit(used_balance.user, 50, "second")

    found = proof(used_balance)

    assert found == Proof(
        granted_xusd=550, given_xusd=550, spent_xusd=120, taken_xusd=120
    )
    assert found.holds


def test_proof_counts_corrections_as_given(used_balance, at):
    CreditBalance.objects.filter(pk=used_balance.pk).update(granted_xusd=460)
    CreditEntry.objects.create(
        realm_id=used_balance.realm_id, account_id=used_balance.account_id,
        user_id=used_balance.pk, kind="correction", amount_xusd=-40, source_ref="fix",
        actor_kind="user", actor_id="ada", operator="ada", reason="typo", ticket_id="T-2",
        trace_id="0" * 32, effective_at=at, occurred_at=at,
    )  # fmt: skip

    assert proof(used_balance) == Proof(460, 460, 120, 120)


@pytest.mark.parametrize("tampered", [{"granted_xusd": 501}, {"spent_xusd": 119}])
def test_proof_fails_on_a_tampered_balance(used_balance, tampered):
    CreditBalance.objects.filter(pk=used_balance.pk).update(**tampered)

    assert not proof(used_balance).holds


def test_proof_adds_up_beyond_64_bits_of_entries(user, credit, at):
    credit(user, 2**63 - 1)

    assert proof(CreditBalance.objects.get(user=user)).given_xusd == 2**63 - 1

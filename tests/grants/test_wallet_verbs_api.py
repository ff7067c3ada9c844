"""Wallets through HTTP: read, consumed, adjusted, undone, and proven."""

import pytest
from vlunaai.generated.billing_mgt_models import BillingUserWalletEnvelope
from vlunaai.generated.billing_models import WalletBalanceWithBreakdownEnvelope

from config.kernel.clock import now
from config.kernel.ids import new_id
from grants.models import GrantLot, LedgerAccount
from grants.services import funding
from grants.services.lots import suspend_lot
from tests.grants.lots import give, program_of, use
from tests.tools.tables import run


@pytest.fixture
def present(by):
    """The instant of the calls themselves."""
    instant = now()
    return {"at": instant, "by": by.effective(instant)}


@pytest.fixture
def lots(user, present):
    """Lots of 100, 200 and 300, in the order of spending; the second is paid for."""
    program_of(
        user.realm, "one_time_xusd", on_ledger=True, window_kind="fixed",
        window_default_seconds=86_400 * 365, **present,
    )  # fmt: skip
    return [
        give(user, 100, days=5, **present),
        give(user, 200, days=9, on_ledger=True, **present),
        give(user, 300, days=None, **present),
    ]


@pytest.fixture
def bound(api):
    return api.bound(principal_id="acme", user_id="u-1")


def error(answer):
    return answer.status_code, answer.json()["code"]


def test_ones_balance_names_the_grants_it_consists_of(bound, user, lots, present):
    use(user, 30, at=present["at"], lot=lots[0])
    funding.hold(user=user, amount_xusd=20, at=present["at"])

    answer = bound.get("wallet/balance")

    wallet = WalletBalanceWithBreakdownEnvelope.model_validate(answer.json()).data
    first, second, third = wallet.grants
    assert wallet.available_balance.xusd == "550"
    assert [grant.grant_id for grant in wallet.grants] == [str(lot.pk) for lot in lots]
    assert (first.issued.xusd, first.remaining.xusd, first.reserved.xusd) == (
        "100", "50", "50",
    )  # fmt: skip
    assert (first.status.value, first.origin, first.grant_program_code) == (
        "active", "adjustment", "monthly_xusd",
    )  # fmt: skip
    assert (second.on_ledger, third.window_end) == (True, None)


def test_a_suspended_grant_is_no_part_of_ones_balance(bound, lots, present):
    suspend_lot(lot=lots[2], **present)

    wallet = bound.get("wallet/balance", refresh_grants="true").json()["data"]

    assert wallet["available_balance"]["xusd"] == "300"
    assert len(wallet["grants"]) == 2


def test_an_administrator_reads_a_users_wallet(api, user, lots, present):
    suspend_lot(lot=lots[2], **present)
    use(user, 30, at=present["at"], lot=lots[0])
    use(user, 7, at=present["at"])

    answer = api.get(f"billing-users/{user.pk}/wallet")

    wallet = BillingUserWalletEnvelope.model_validate(answer.json()).data
    assert wallet.available_balance.xusd == "263"
    assert wallet.outstanding_balance.xusd == "7"
    assert wallet.ledger_balance.xusd == "200"
    assert (wallet.grant_total.xusd, wallet.grant_remaining.xusd) == ("600", "570")
    assert [grant.status for grant in wallet.grants] == ["ready", "ready", "suspended"]


def test_consuming_is_exact_and_once_per_key(bound, lots):
    first = bound.post("wallet/consume", {"amount_xusd": "250"}, key="k")
    again = bound.post("wallet/consume", {"amount_xusd": "250"}, key="k")

    assert (first.status_code, first.json()["data"]["amount_xusd"]) == (201, "250")
    assert first.json()["data"]["grants"] == [
        {"grant_id": str(lots[0].pk), "amount_xusd": "100"},
        {"grant_id": str(lots[1].pk), "amount_xusd": "150"},
    ]
    assert again.json()["data"] == first.json()["data"]
    assert GrantLot.objects.get(pk=lots[1].pk).consumed_xusd == 150


def test_any_key_that_the_api_takes_names_a_write_of_the_wallet(bound, api, user, lots):
    key = "k" * 255

    spent = [bound.post("wallet/consume", {"amount_xusd": "1"}, key=key) for _ in "ab"]
    taken = [adjust(api, user, -1, key=key) for _ in "ab"]

    assert [answer.status_code for answer in spent + taken] == [201] * 4
    assert spent[0].json()["data"] == spent[1].json()["data"]
    assert taken[0].json()["data"] == taken[1].json()["data"]


def test_consuming_more_than_there_is(bound, lots):
    answer = bound.post("wallet/consume", {"amount_xusd": "601"})

    assert error(answer) == (402, "FUNDING.EXHAUSTED")
    assert answer.json()["hints"] == [
        {"type": "funding.xusd_shortfall", "shortfall_xusd": 1}
    ]


@pytest.mark.parametrize("amount", ["0", "-5", "1.5", "x", None, str(2**63)])
def test_what_cannot_be_consumed(bound, lots, amount):
    answer = bound.post("wallet/consume", {"amount_xusd": amount})

    assert answer.status_code in {400, 422}
    assert answer.json()["code"] == "VALIDATION.INVALID_INPUT"


def adjust(api, user, amount, key=None, **more):
    body = {"billing_user_id": str(user.pk), "amount_xusd": str(amount), **more}
    return api.post("wallet/adjustments", body, key=key)


def test_adjusting_gives_and_takes_with_a_reason(api, user, lots):
    given = adjust(api, user, 70, reason="goodwill").json()["data"]
    taken = adjust(api, user, -100, reason="billed twice").json()["data"]

    assert (given["reason"], given["explanation"]) == ("adjustment", "goodwill")
    assert taken["explanation"] == "billed twice"
    assert sum(int(entry["amount_xusd"]) for entry in taken["entries"]) == 0
    assert {entry["grant_id"] for entry in taken["entries"]} == {str(lots[0].pk)}
    assert user.grant_lots.count() == 4


def test_an_adjustment_is_undone_once(api, user, lots):
    taken = adjust(api, user, -150).json()["data"]
    path = f"billing-users/{user.pk}/adjustments/{taken['posting_id']}/reverse"

    undone = api.post(path, {"reason": "a mistake"})
    again = api.post(path, {})

    assert undone.json()["data"]["reverses"] == taken["posting_id"]
    assert undone.json()["data"]["explanation"] == "a mistake"
    assert error(again) == (409, "CONFLICT")
    assert [GrantLot.objects.get(pk=lot.pk).amount_xusd for lot in lots] == [
        100, 200, 300,
    ]  # fmt: skip


@pytest.mark.parametrize("amount", [0, "x", 2**63, None])
def test_what_is_no_adjustment(api, user, lots, amount):
    assert adjust(api, user, amount).status_code in {400, 422}


def test_taking_more_than_there_is(api, user, lots):
    assert error(adjust(api, user, -601)) == (402, "FUNDING.EXHAUSTED")


def test_nothing_of_a_user_who_is_not_there(api, user):
    missing = new_id()

    assert error(api.get(f"billing-users/{missing}/wallet"))[0] == 404
    assert error(api.get(f"billing-users/{missing}/balance-proof"))[0] == 404
    assert (
        error(api.post(f"billing-users/{user.pk}/adjustments/{missing}/reverse", {}))[0]
        == 404
    )


def test_a_balance_is_proven_down_to_what_caused_each_entry(api, user, lots, present):
    use(user, 30, at=present["at"], lot=lots[0], source="gate_rating:1")

    proof = api.get(f"billing-users/{user.pk}/balance-proof").json()["data"]

    assert proof["holds"] is True
    assert (proof["available_xusd"], proof["counted_xusd"]) == ("570", "570")
    assert proof["ledger_xusd"] == "0"
    grant = proof["grants"][0]
    assert (grant["grant_id"], grant["holds"]) == (str(lots[0].pk), True)
    assert [line["source_ref"] for line in grant["entries"]] == [
        f"grant_lot:{lots[0].pk}"
    ]
    assert [(line["source_ref"], line["amount_xusd"]) for line in grant["pending"]] == [
        ("gate_rating:1", "-30")
    ]


def test_a_balance_that_does_not_hold_says_so(api, user, lots):
    run("UPDATE grant_lots SET consumed_xusd = 1 WHERE id = %s", [lots[1].pk])

    proof = api.get(f"billing-users/{user.pk}/balance-proof").json()["data"]

    assert proof["holds"] is False
    assert [grant["holds"] for grant in proof["grants"]] == [True, False, True]
    assert proof["grants"][1]["allocated_xusd"] == "0"


def test_reading_a_wallet_writes_nothing(bound, api, user, lots):
    before = LedgerAccount.objects.filter(user=user).count()

    bound.get("wallet/balance")
    api.get(f"billing-users/{user.pk}/wallet")
    api.get(f"billing-users/{user.pk}/balance-proof")

    assert LedgerAccount.objects.filter(user=user).count() == before
    assert user.grant_allocations.count() == 0

"""Wallets, grants and movements, as support and finance see and press them."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.html import strip_tags

from billing.services.accounts import ensure_account
from billing.services.users import create_user, ensure_user
from config.admin.commands import CONFIRM
from config.kernel.clock import now
from config.kernel.money import INT64_MAX
from config.tenancy.history import auditing
from config.tenancy.roles import ROLES
from grants import options
from grants.admin.money import UsdField
from grants.models import GrantLot, Posting, PostingReason, Wallet
from grants.services import funding
from grants.services.closing import close_ended_lots
from grants.services.credits import credit_balance
from grants.services.settlement import settle_user
from tests.admin.pages import (
    change_url,
    command_url,
    errors_of,
    messages_of,
    next_request,
    why,
)

WALLETS = "/admin/grants/wallet/"
LOTS = "/admin/grants/grantlot/"
POSTINGS = "/admin/grants/posting/"
CREDIT_A_USER = f"{WALLETS}do/credit-user/"
LISTS = [WALLETS, LOTS, POSTINGS]


@pytest.fixture
def finance(staff):
    return staff("Finance")


@pytest.fixture
def credit(at, by):
    def give(user, amount_xusd=1_250_000, source_ref="INV-1"):
        return credit_balance(
            user=user, amount_xusd=amount_xusd, source_ref=source_ref, at=at, by=by
        )

    return give


@pytest.fixture
def lot(user, credit):
    return credit(user)


@pytest.fixture
def wallet(lot):
    return Wallet.objects.get(pk=lot.user_id)


def queries_of(client, path):
    client.get(path)
    with CaptureQueriesContext(connection) as captured:
        page = client.get(path)
    assert page.status_code == 200
    return len(captured)


def text_of(page):
    return " ".join(strip_tags(page.text.replace("<", " <")).split())


def sent(**own):
    return why(**{"amount_xusd": "12.345678", "source_ref": "INV-2", **own})


def adjustment(**own):
    return why(**{"direction": "give", "amount_xusd": "2", "reference": "FIX-1", **own})


def confirmed(client, url, data):
    """Send a form, then confirm what its preview showed."""
    preview = client.post(url, data)
    assert preview.status_code == 200, preview.status_code
    done = client.post(url, {**data, CONFIRM: preview.context["confirm"]})
    next_request()
    return preview, done


def use(user, amount_xusd, source_ref, *, at, owed_xusd=0):
    funding.settle(
        user=user,
        spend_xusd=amount_xusd,
        owed_xusd=owed_xusd,
        source_ref=source_ref,
        at=at,
    )


@pytest.mark.parametrize("path", LISTS)
def test_list_reads_the_same_for_one_row_and_three(
    finance, realm, lot, credit, at, by, path
):
    one = queries_of(finance, path)

    for name in ("globex", "initech"):
        account = ensure_account(realm=realm, principal_id=name, at=at, by=by)
        credit(ensure_user(account=account, business_user_id="u-1", at=at, by=by))

    assert GrantLot.objects.count() == 3
    assert queries_of(finance, path) == one


def test_wallet_page_reads_the_same_for_one_grant_and_use_and_for_three(
    finance, user, wallet, credit, at
):
    use(user, 1_000, "use-1", at=at)
    one = queries_of(finance, change_url(wallet))

    credit(user, source_ref="INV-2")
    credit(user, source_ref="INV-3")
    use(user, 1_000, "use-2", at=at)
    use(user, 1_000, "use-3", at=at)

    assert queries_of(finance, change_url(wallet)) == one


@pytest.mark.parametrize("path", LISTS)
def test_empty_list_says_what_to_do(finance, realm, path):
    page = finance.get(path)

    message = page.context["cl"].model_admin.empty_message
    assert message
    assert message in page.text.replace("&#x27;", "'")


@pytest.mark.parametrize("role", ROLES)
def test_every_role_looks_and_some_press(staff, lot, wallet, role):
    client = staff(role)
    posting = Posting.objects.get()
    credits_ = role in {"Finance", "Ops", "Approver"}
    adjusts, manages = role in {"Finance", "Approver"}, role in {"Finance", "Ops"}

    looked = [
        client.get(path).status_code
        for path in (*LISTS, *map(change_url, (wallet, lot, posting)))
    ]
    pressed = {
        "credit": client.post(command_url(wallet, "credit"), sent()),
        "on list": client.post(CREDIT_A_USER, sent()),
        "suspend": client.get(command_url(lot, "suspend")),
        "revoke": client.post(command_url(lot, "revoke"), why()),
        "adjust": client.post(command_url(wallet, "adjust"), adjustment()),
    }
    typed_over = [
        client.post(change_url(row), {"amount_xusd": "0"}).status_code
        for row in (wallet, lot, posting)
    ]

    assert looked == [200] * 6
    may = {
        "credit": credits_,
        "on list": credits_,
        "suspend": manages,
        "revoke": manages,
        "adjust": adjusts,
    }
    assert {name: page.status_code for name, page in pressed.items()} == {
        name: 200 if allowed else 403 for name, allowed in may.items()
    }
    assert ("do/credit-user/" in client.get(WALLETS).text) == credits_
    assert typed_over == [403] * 3
    assert Posting.objects.count() == 1


@pytest.mark.parametrize("role", ROLES)
def test_lists_leave_with_those_who_may_export(staff, lot, role):
    client = staff(role)
    answers = {
        path: client.post(f"{path}export/", {"format": "0", "resource": ""})
        for path in LISTS
    }

    expected = 403 if role == "Support" else 200
    assert {each.status_code for each in answers.values()} == {expected}
    if role != "Support":
        rows = {
            path: answer.content.decode().splitlines()[1]
            for path, answer in answers.items()
        }
        assert rows[WALLETS].startswith("acme,u-1,1.25,0.00,0.00,")
        assert "acme,u-1,credit,ready,credit,ops.manual,INV-1,1250000,0" in rows[LOTS]
        assert "acme,u-1,Given,1.25,0.00,INV-1,ada@example.com" in rows[POSTINGS]


def test_wallet_shows_what_it_is_made_of(finance, user, lot, wallet, at):
    held = funding.hold(user=user, amount_xusd=250_000, at=at)
    use(user, 50_000, "report-7", at=at, owed_xusd=70_000)

    listed = text_of(finance.get(WALLETS))
    page = text_of(finance.get(change_url(wallet)))

    assert held.amounts == [250_000]
    # 1.25 - 0.25 held - 0.05 used - 0.07 owed.
    row = "u-1 acme $0.88 $0.07 $0.25"
    assert row in listed
    assert "Available $0.88" in page
    assert "Left on grants that can be spent $0.95" in page
    assert "Credit $0.95 $0.25 $1.25 2026-03-10 12:00 No end" in page
    assert "Support or operations: INV-1" in page
    assert "Not booked yet Latest uses $0.07 $0.00 $0.07" in page
    assert "2026-03-10 12:00:00 $0.05 report-7 Credit Not yet" in page
    assert "$0.07 report-7 Nobody yet: it is owed Not yet" in page
    assert "Main balance, in the wallet now $1.25 1" in page
    assert "Given so far $1.25 1" in page


def test_settled_use_leads_to_its_movement(finance, user, wallet, at, by):
    use(user, 50_000, "report-7", at=at, owed_xusd=70_000)
    settle_user(user=user, at=at, by=by)
    posting = Posting.objects.get(reason=PostingReason.CONSUMPTION)
    overage = GrantLot.objects.get(kind="fallback")

    page = finance.get(change_url(wallet))

    assert change_url(posting) in page.text
    assert change_url(overage) in page.text
    assert "Overage 2026-03-01 00:00:00 to 2026-04-01 00:00:00 $0.07 $0.00 $0.07" in (
        text_of(page)
    )
    shown = text_of(finance.get(change_url(overage)))
    assert "Nothing: it was not given, and is owed" in shown
    assert "$0.07; $0.00 was paid" in shown
    assert "Suspend" not in shown


def test_balance_is_proved_on_demand(finance, user, wallet, at, by):
    use(user, 50_000, "report-7", at=at, owed_xusd=70_000)
    settle_user(user=user, at=at, by=by)
    use(user, 1, "report-8", at=at)

    plain = text_of(finance.get(change_url(wallet)))
    proved = text_of(finance.get(change_url(wallet), {"prove": "1"}))

    assert "Prove it from every grant, use and entry" in plain
    assert (
        "Holds: $1.199999 left on grants, less $0.07 owed, is $1.129999 available. "
        "Every grant adds up, and the ledger comes to $0."
    ) in proved
    assert "Each grant stands in the ledger as it should 2 of 2 grants" in proved
    assert "The uses of each grant add up 2 of 2 grants" in proved
    assert "Grant that does not add up" not in proved


def test_balance_that_its_rows_do_not_prove_is_told(
    finance, user, wallet, lot, credit, at, by
):
    credit(user, amount_xusd=1, source_ref="INV-2")
    with auditing(by, at=at):
        GrantLot.objects.filter(pk=lot.pk).update(amount_xusd=2_000_000)

    proved = text_of(finance.get(change_url(wallet), {"prove": "1"}))

    assert "Does not hold. $2.000001 left on grants" in proved
    assert "tell the engineers before anything is changed" in proved
    failing = proved.index("Credit, INV-1 $2.00 $1.25 $0.00 $0.00")
    rule = (
        "Each grant stands in the ledger as it should 1 of 2 grants $2.000001 $1.250001"
    )
    assert failing < proved.index(rule)


def test_wallet_of_nobodys_money_says_so(finance, user):
    page = text_of(finance.get(change_url(Wallet.objects.get(pk=user.pk))))

    for sentence in (
        "Nothing can be spent. Press “Credit” above, or give a grant.",
        "No grant waits, is suspended or is about to close.",
        "No grant has ended yet.",
        "Nothing is owed.",
        "Nothing was used yet.",
        "No movement was booked yet.",
        "Nothing was booked yet.",
    ):
        assert sentence in page


def test_wallet_leads_to_all_of_one_user(finance, realm, wallet, credit, at, by):
    other = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    credit(ensure_user(account=other, business_user_id="u-2", at=at, by=by))

    for path in (LOTS, POSTINGS):
        every = f"{path}?user={wallet.pk}"
        assert every in finance.get(change_url(wallet)).text
        rows = finance.get(every).context["cl"].result_list
        assert [row.user_id for row in rows] == [wallet.pk]


def test_user_and_account_lead_to_their_wallets(finance, user, account, wallet):
    of_user = finance.get(change_url(user)).text
    of_account = finance.get(change_url(account)).text

    assert f'href="{change_url(wallet)}"' in of_user
    assert f"{WALLETS}?account={account.pk}" in of_account
    listed = finance.get(WALLETS, {"account": str(account.pk)}).context["cl"]
    assert [row.pk for row in listed.result_list] == [user.pk]


def test_credit_is_shown_before_it_is_given(finance, user, wallet):
    preview, done = confirmed(finance, command_url(wallet, "credit"), sent())

    shown = text_of(preview)
    assert "Wallet of u-1 in the account acme" in shown
    assert "Available to spend $1.25 $13.595678" in shown
    assert "Credit, INV-2 New $12.345678 No end" in shown
    assert messages_of(done) == [("success", "u-1 was credited $12.345678.")]
    posting = Posting.objects.get(source_ref="INV-2")
    assert (posting.operator, posting.explanation, posting.ticket_id) == (
        finance.user.username, "asked for", "T-7",
    )  # fmt: skip
    assert posting.actor_kind == "user"
    assert GrantLot.objects.get(source_ref="INV-2").amount_xusd == 12_345_678


@pytest.mark.parametrize("button", ["credit", "adjust"])
def test_more_than_the_limit_is_given_by_an_approver_alone(
    finance, staff, wallet, monkeypatch, button
):
    url, data = command_url(wallet, button), {"credit": sent, "adjust": adjustment}
    monkeypatch.setenv(options.APPROVAL_LIMIT, "1000000")
    options.approval_limit_xusd.cache_clear()
    try:
        refused = finance.post(url, data[button]())
        next_request()
        _, done = confirmed(staff("Approver"), url, data[button]())
    finally:
        monkeypatch.undo()
        options.approval_limit_xusd.cache_clear()

    [sentence] = errors_of(refused)["amount_xusd"]
    assert sentence.endswith("the most that may be given without approval.")
    assert messages_of(done)[-1][0] == "success"


def test_preview_gives_nothing(finance, wallet):
    finance.post(command_url(wallet, "credit"), sent())
    finance.post(command_url(wallet, "adjust"), adjustment())

    assert Posting.objects.count() == 1
    assert GrantLot.objects.get().amount_xusd == 1_250_000


def test_user_without_credit_is_credited_from_the_list(finance, realm, user):
    data = sent(realm=realm.pk, principal="acme", user_id="u-1")

    _, done = confirmed(finance, CREDIT_A_USER, data)

    assert done.url == change_url(Wallet.objects.get(pk=user.pk))
    assert GrantLot.objects.get(user=user).amount_xusd == 12_345_678


@pytest.mark.parametrize(
    ("answers", "field", "sentence"),
    [
        (
            {"principal": "nobody"},
            "principal",
            "The realm {realm} has no account nobody with a user.",
        ),
        ({"user_id": "u-9"}, "user_id", "The account acme has no user u-9."),
        ({"amount_xusd": "0"}, "amount_xusd", "The amount must be more than $0."),
        ({"reason": " "}, "reason", "This field is required."),
    ],
)
def test_credit_for_nobody_is_refused_on_its_field(
    finance, realm, user, answers, field, sentence
):
    data = sent(realm=realm.pk, principal="acme", user_id="u-1") | answers

    refused = finance.post(CREDIT_A_USER, data)

    assert errors_of(refused) == {field: [sentence.format(realm=realm.pk)]}
    assert messages_of(refused) == []
    assert not GrantLot.objects.exists()


def test_user_of_another_realm_is_not_found(finance, other_realm, user):
    refused = finance.post(
        CREDIT_A_USER, sent(realm=other_realm.pk, principal="acme", user_id="u-1")
    )

    assert list(errors_of(refused)) == ["principal"]
    assert not GrantLot.objects.exists()


@pytest.mark.parametrize("amount", ["1.25", "7"])
def test_source_is_credited_once(finance, wallet, amount):
    refused = finance.post(
        command_url(wallet, "credit"), sent(source_ref="INV-1", amount_xusd=amount)
    )

    [sentence] = errors_of(refused)["source_ref"]
    assert sentence.startswith("INV-1 already credited $1.25 to ")
    assert GrantLot.objects.count() == 1


def test_credit_cannot_be_dated_later(finance, wallet):
    refused = finance.post(
        command_url(wallet, "credit"),
        sent(effective_at_0="2999-01-01", effective_at_1="00:00"),
    )

    assert "cannot lie in the future" in errors_of(refused)["effective_at"][0]
    assert GrantLot.objects.count() == 1


def test_total_beyond_what_can_be_counted_is_refused(finance, wallet):
    refused = finance.post(
        command_url(wallet, "credit"), sent(amount_xusd="9223372036854.775807")
    )

    assert "would pass" in errors_of(refused)["amount_xusd"][0]


def test_wallet_is_adjusted_downwards_from_what_pays_next(finance, wallet, lot):
    preview, done = confirmed(
        finance,
        command_url(wallet, "adjust"),
        adjustment(direction="take", amount_xusd="1"),
    )

    assert "Credit, INV-1 $1.25 $0.25" in text_of(preview)
    assert messages_of(done) == [
        ("success", "The wallet of u-1 was adjusted by -$1.00.")
    ]
    lot.refresh_from_db()
    assert lot.amount_xusd == 250_000


def test_what_was_taken_is_told_as_taken_back(finance, wallet, lot):
    url = command_url(wallet, "adjust")
    confirmed(finance, url, adjustment(direction="take", amount_xusd="1"))

    told = "$1.25, of which $1.00 was taken back by adjustment"
    assert f"Credit $0.25 $0.00 {told}" in text_of(finance.get(change_url(wallet)))
    assert f"Given {told}" in text_of(finance.get(change_url(lot)))
    assert "Can be spent $0.25 $1.00 was taken back by adjustment $1.25" in text_of(
        finance.get(LOTS)
    )


def test_emptying_a_grant_is_told_before_it_cannot_be_undone(
    finance, user, wallet, lot, at, by
):
    url = command_url(wallet, "adjust")
    preview, _ = confirmed(
        finance, url, adjustment(direction="take", amount_xusd="1.25")
    )
    close_ended_lots(at=now(), by=by)
    taken = Posting.objects.get(reason=PostingReason.ADJUSTMENT)

    refused = finance.post(command_url(taken, "reverse"), why())

    assert (
        "Nothing is left then of: Credit, INV-1. A grant that is empty closes within a "
        "few minutes, and from then on this adjustment cannot be undone"
    ) in text_of(preview)
    assert "It cannot be undone any more" in text_of(finance.get(change_url(taken)))
    [sentence] = errors_of(refused)["__all__"]
    assert "adjust the wallet anew" in sentence
    ended = text_of(finance.get(change_url(wallet)))
    assert "Credit Nothing was left $0.00 $1.25, of which $1.25 was taken" in ended


def test_taking_a_part_is_told_without_a_warning(finance, wallet):
    data = adjustment(direction="take", amount_xusd="1.24")

    preview = finance.post(command_url(wallet, "adjust"), data)

    assert "cannot be undone" not in text_of(preview)


def test_movements_say_what_came_in_and_went_out(finance, user, wallet, at, by):
    url = command_url(wallet, "adjust")
    use(user, 50_000, "report-7", at=at, owed_xusd=70_000)
    settle_user(user=user, at=at, by=by)
    confirmed(finance, url, adjustment(direction="take", amount_xusd="1"))
    confirmed(finance, url, adjustment(amount_xusd="2000", reference="FIX-2"))

    listed = text_of(finance.get(POSTINGS))
    running = text_of(finance.get(change_url(wallet)))
    file = finance.post(f"{POSTINGS}export/", {"format": "0", "resource": ""})

    for row in (
        "Given by adjustment +$2,000.00 — FIX-2",
        "Taken back by adjustment -$1.00 — FIX-1",
        "Used -$0.05 +$0.07 Uses since",
        "Given +$1.25 — INV-1",
    ):
        assert row in listed
    for row in (
        "Given by adjustment +$2,000.00 $2,000.20 FIX-2",
        "Taken back by adjustment -$1.00 $0.20 FIX-1",
        "Used -$0.05, $0.07 more owed $1.20 Uses since",
        "Given +$1.25 $1.25 INV-1 ada@example.com asked for in the ticket (T-1001)",
    ):
        assert row in running
    header, newest, *_ = file.content.decode().splitlines()
    assert header.startswith("When (UTC),Account,User,What happened,In (+) or out (-)")
    assert "acme,u-1,Given by adjustment,2000.00,0.00," in newest


def test_what_ended_is_no_money_to_spend(finance, user, credit, at, by):
    ends = now() - timedelta(days=1)
    lot = credit(user)
    with auditing(by, at=at):
        GrantLot.objects.filter(pk=lot.pk).update(window_end=ends)
    before = text_of(finance.get(change_url(Wallet.objects.get(pk=user.pk))))
    close_ended_lots(at=now(), by=by)
    after = text_of(finance.get(change_url(Wallet.objects.get(pk=user.pk))))

    assert "Ended, about to close $1.25 can be spent no more $0.00 $1.25" in before
    assert "Credit $1.25 expired $0.00 $1.25" in after
    assert "$0.00 $1.25 expired $1.25" in text_of(finance.get(LOTS))


def test_no_more_is_taken_than_is_left(finance, wallet):
    refused = finance.post(
        command_url(wallet, "adjust"), adjustment(direction="take", amount_xusd="1.26")
    )

    assert errors_of(refused) == {
        "amount_xusd": [
            "Only $1.25 of the user's grants is left to spend: no more can be taken."
        ]
    }


@pytest.mark.parametrize("amount", ["2", "3"])
def test_reference_adjusts_once(finance, wallet, amount):
    confirmed(finance, command_url(wallet, "adjust"), adjustment())

    refused = finance.post(
        command_url(wallet, "adjust"), adjustment(amount_xusd=amount)
    )

    [sentence] = errors_of(refused)["reference"]
    assert sentence.startswith("FIX-1 already adjusted this wallet by +$2.00 on ")
    assert Posting.objects.filter(reason=PostingReason.ADJUSTMENT).count() == 1


def test_adjusting_says_until_when_what_it_gives_can_be_spent(finance, wallet):
    url = command_url(wallet, "adjust")

    asked = text_of(finance.get(url))
    shown = text_of(finance.post(url, adjustment()))

    ends = now() + timedelta(days=365)
    assert "a year, unless it was changed" in asked
    assert f"One-time credit, FIX-1 New $2.00 {ends:%Y-%m-%d}" in shown


def test_adjustment_is_reversed_once_from_its_movement(finance, wallet):
    confirmed(finance, command_url(wallet, "adjust"), adjustment())
    adjusted = Posting.objects.get(reason=PostingReason.ADJUSTMENT)
    url = command_url(adjusted, "reverse")

    preview, done = confirmed(finance, url, why())

    assert "Available to spend $3.25 $1.25" in text_of(preview)
    undone = Posting.objects.get(reason=PostingReason.REVERSAL)
    assert done.url == change_url(undone)
    assert change_url(adjusted) in finance.get(change_url(undone)).text
    assert change_url(undone) in finance.get(change_url(adjusted)).text
    again = finance.post(url, why())
    assert messages_of(again)[-1][0] == "error"
    assert Posting.objects.filter(reason=PostingReason.REVERSAL).count() == 1


def test_adjustment_that_was_spent_is_not_reversed(finance, user, wallet, at):
    confirmed(finance, command_url(wallet, "adjust"), adjustment())
    adjusted = Posting.objects.get(reason=PostingReason.ADJUSTMENT)
    # Of now, so that the new grant's window holds.
    use(user, 3_000_000, "report", at=adjusted.occurred_at + timedelta(seconds=1))

    refused = finance.post(command_url(adjusted, "reverse"), why())

    assert errors_of(refused)["__all__"]
    assert not Posting.objects.filter(reason=PostingReason.REVERSAL).exists()


@pytest.mark.parametrize("source", ["gate_rating:", "grant_lot:", "bpa:", "settle:x/y"])
def test_reference_that_looks_like_the_systems_own_breaks_nothing(
    finance, user, credit, source
):
    lot = credit(user, source_ref=source)

    pages = (
        change_url(lot),
        change_url(Wallet.objects.get(pk=user.pk)),
        POSTINGS,
    )
    assert [finance.get(page).status_code for page in pages] == [200] * 3


def test_revocation_leads_back_to_its_grant(finance, lot):
    confirmed(finance, command_url(lot, "revoke"), why())
    posting = Posting.objects.get(reason=PostingReason.REVOCATION)

    page = finance.get(change_url(posting)).text

    assert f'<a href="{change_url(lot)}" class="text-link">Grant</a>' in page


def test_first_page_leaves_out_what_jobs_change_all_day(finance, lot):
    confirmed(finance, command_url(lot, "suspend"), why())

    changed = [each["what"] for each in finance.get("/admin/").context["recent"]]

    assert changed
    assert not [what for what in changed if what.startswith("Grant $")]


def test_first_page_tells_money_that_people_moved(finance, staff, wallet):
    confirmed(finance, command_url(wallet, "adjust"), adjustment())

    told = text_of(finance.get("/admin/"))

    assert "+$2.00 for u-1 of acme given by adjustment by" in told
    assert "for u-1 of acme" not in text_of(staff().get("/admin/"))


def test_support_is_told_why_a_money_button_is_missing(staff, lot, wallet):
    posting, support = Posting.objects.get(), staff("Support")

    on_wallet = text_of(support.get(change_url(wallet)))
    on_list = text_of(support.get(WALLETS))
    on_movement = text_of(support.get(change_url(posting)))

    for sentence in (
        "“Credit” needs the right grants.credit_wallet (Finance, Ops or Approver).",
        "“Adjust” needs the right grants.adjust_wallet (Finance or Approver).",
        "“Give a grant” needs the right grants.give_grant (Ops or Approver).",
    ):
        assert sentence in on_wallet
    assert "“Credit a user” needs the right grants.credit_wallet" in on_list
    # Nobody can reverse what is no adjustment.
    assert "needs the right" not in on_movement
    assert "needs the right" not in text_of(staff("Approver").get(change_url(wallet)))


def test_page_that_is_forbidden_says_which_right_is_missing(staff, wallet):
    page = staff("Support").get(command_url(wallet, "adjust"))

    assert page.status_code == 403
    told = text_of(page)
    assert (
        "It needs the right grants.adjust_wallet , which none of your roles has" in told
    )
    assert "Who has it: Finance or Approver." in told
    assert "Grants and money" in told


def test_credit_has_no_button_to_reverse_it(finance, lot):
    page = finance.get(change_url(Posting.objects.get()))

    assert "do/reverse/" not in page.text
    assert "asked for in the ticket" in text_of(page)


def test_lot_is_suspended_and_resumed(finance, lot):
    preview, _ = confirmed(finance, command_url(lot, "suspend"), why())
    shown = text_of(preview)
    lot.refresh_from_db()
    assert "1 person, of the account acme" in shown
    assert "Available to spend, of all grants $1.25 $0.00" in shown
    assert "Left on this grant, to be spent once it is resumed — $1.25" in shown
    assert lot.status == "suspended"
    assert "do/resume/" in finance.get(change_url(lot)).text

    finance.post(command_url(lot, "resume"), why())

    lot.refresh_from_db()
    assert lot.status == "ready"
    assert "do/resume/" not in finance.get(change_url(lot)).text


def test_revoking_shows_what_is_lost(finance, user, lot, at):
    use(user, 250_000, "report", at=at)

    preview, done = confirmed(finance, command_url(lot, "revoke"), why())

    assert "Stays spent $0.25 Is taken back $1.00" in text_of(preview)
    assert messages_of(done) == [
        ("success", "The grant is revoked: $1.00 was taken back.")
    ]
    lot.refresh_from_db()
    assert lot.status == "canceled"
    page = text_of(finance.get(change_url(lot)))
    assert "Can be spent now $0.00" in page
    assert "What became of the rest $1.00 was revoked, on " in page
    assert "do/revoke/" not in finance.get(change_url(lot)).text


def test_lot_page_lists_uses_and_entries(finance, user, lot, at):
    use(user, 250_000, "report", at=at)

    page = text_of(finance.get(change_url(lot)))

    assert "2026-03-10 12:00:00 $0.25 report Not yet" in page
    assert "Given +$1.25 Main balance $1.25" in page


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("spendable", 1), ("ahead", 0), ("soon", 0), ("suspended", 0), ("owed", 1),
        ("over", 0), ("", 2),
    ],
)  # fmt: skip
def test_lots_are_filtered_by_how_they_stand(finance, user, lot, at, by, state, found):
    use(user, 0, "report", at=at, owed_xusd=5)
    settle_user(user=user, at=at, by=by)

    listed = finance.get(LOTS, {"state": state} if state else {}).context["cl"]

    assert listed.result_count == found


@pytest.mark.parametrize(
    ("path", "term", "found"),
    [
        (WALLETS, "acme", 1),
        (WALLETS, "u-1", 1),
        (WALLETS, "ann@acme.example", 1),
        (WALLETS, "globex", 0),
        (LOTS, "INV-1", 1),
        (LOTS, "u-1", 1),
        (LOTS, "credit", 1),
        (LOTS, "INV-9", 0),
        (POSTINGS, "INV-1", 1),
        (POSTINGS, "acme", 1),
        (POSTINGS, "T-1001", 1),
        (POSTINGS, "INV-9", 0),
    ],
)
def test_money_is_found_by_what_people_say(
    finance, account, credit, at, by, path, term, found
):
    email = {"email": "ann@acme.example"}
    credit(
        create_user(
            account=account, business_user_id="u-1", metadata=email, at=at, by=by
        )
    )

    page = finance.get(path, {"q": term})

    assert page.context["cl"].result_count == found


@pytest.mark.parametrize(
    ("typed", "xusd"),
    [
        ("25", 25_000_000),
        ("1250.5", 1_250_500_000),
        ("0.000001", 1),
        ("$ 3.10", 3_100_000),
        ("1,250.50", 1_250_500_000),
        ("$1,234,567.89", 1_234_567_890_000),
        (" 7.000000 ", 7_000_000),
        ("9223372036854.775807", INT64_MAX),
    ],
)
def test_dollars_are_read_exactly(typed, xusd):
    assert UsdField().clean(typed) == xusd


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("0.0000001", "0.0000001 has 7 decimals; the most is 6"),
        ("1.0000000", "has 7 decimals"),
        ("12,50", "in digits"),
        ("1250,500", "in digits"),
        ("1,250,5", "in digits"),
        ("1e3", "in digits"),
        ("-5", "in digits"),
        (".5", "in digits"),
        ("5.", "in digits"),
        ("٣", "in digits"),
        ("0.00", "more than $0"),
        ("9223372036854.775808", "The largest amount is $9,223,372,036,854.775807"),
        ("9" * 5000, "The largest amount is"),
        ("", "required"),
    ],
)
def test_what_is_no_amount_is_refused_in_a_sentence(typed, sentence):
    with pytest.raises(ValidationError) as refusal:
        UsdField().clean(typed)

    assert sentence in " ".join(refusal.value.messages)


def test_movements_are_listed_newest_first(finance, user, lot, at, by):
    later = at + timedelta(days=1)
    credit_balance(user=user, amount_xusd=1, source_ref="later", at=later, by=by)

    listed = finance.get(POSTINGS).context["cl"].result_list

    assert [posting.source_ref for posting in listed] == ["later", "INV-1"]


def test_money_is_called_as_a_person_would(finance, lot, wallet):
    posting = Posting.objects.get()

    assert str(lot) == "$1.25 of Credit for u-1"
    assert str(posting) == "Given for u-1 on 2026-03-10 12:00 UTC"
    assert str(wallet) == "u-1"


def test_grants_have_a_history_and_records_none(finance, lot, wallet):
    assert "history/" in finance.get(change_url(lot)).text
    for row in (wallet, Posting.objects.get()):
        assert "history/" not in finance.get(change_url(row)).text
        history = change_url(row).replace("change", "history")
        assert finance.get(history).status_code == 404

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.html import strip_tags

from billing.services.accounts import ensure_account
from billing.services.users import create_user, ensure_user
from config.admin.commands import CONFIRM
from config.kernel.money import INT64_MAX
from config.tenancy.roles import ROLES
from grants.admin.money import UsdField
from grants.models import CreditBalance, CreditEntry
from grants.services import funding
from grants.services.credits import credit_balance
from tests.admin.pages import change_url, command_url, errors_of, messages_of, why

BALANCES = "/admin/grants/creditbalance/"
ENTRIES = "/admin/grants/creditentry/"
CREDIT_A_USER = f"{BALANCES}do/credit-user/"


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
def funded(user, credit):
    credit(user)
    return user


@pytest.fixture
def balance(funded):
    return CreditBalance.objects.get(user=funded)


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


def confirmed(client, url, data):
    """Send a form, then confirm what its preview showed."""
    preview = client.post(url, data)
    assert preview.status_code == 200, preview.status_code
    return preview, client.post(url, {**data, CONFIRM: preview.context["confirm"]})


@pytest.mark.parametrize("path", [BALANCES, ENTRIES])
def test_list_reads_the_same_for_one_row_and_three(
    finance, realm, funded, credit, at, by, path
):
    one = queries_of(finance, path)

    for name in ("globex", "initech"):
        account = ensure_account(realm=realm, principal_id=name, at=at, by=by)
        credit(ensure_user(account=account, business_user_id="u-1", at=at, by=by))

    assert CreditEntry.objects.count() == 3
    assert queries_of(finance, path) == one


def test_balance_page_reads_the_same_for_one_movement_and_three(
    finance, funded, balance, credit
):
    one = queries_of(finance, change_url(balance))

    credit(funded, source_ref="INV-2")
    credit(funded, source_ref="INV-3")

    assert queries_of(finance, change_url(balance)) == one


@pytest.mark.parametrize("path", [BALANCES, ENTRIES])
def test_empty_list_says_what_to_do(finance, realm, path):
    page = finance.get(path)

    assert page.context["cl"].model_admin.empty_message
    assert page.context["cl"].model_admin.empty_message in page.text.replace(
        "&#x27;", "'"
    )


@pytest.mark.parametrize("role", ROLES)
def test_every_role_looks_and_finance_and_ops_credit(staff, funded, balance, role):
    client = staff(role)
    may = role in {"Finance", "Ops"}
    entry = CreditEntry.objects.get()

    looked = [
        client.get(path).status_code
        for path in (BALANCES, ENTRIES, change_url(balance), change_url(entry))
    ]
    pressed = client.post(command_url(balance, "credit"), sent())
    on_list = client.post(CREDIT_A_USER, sent())
    typed_over = [
        client.post(change_url(row), {"granted_xusd": "0"}).status_code
        for row in (balance, entry)
    ]

    assert looked == [200] * 4
    assert [pressed.status_code, on_list.status_code] == [200 if may else 403] * 2
    assert ("Credit a user" in client.get(BALANCES).text) == may
    assert typed_over == [403, 403]
    assert CreditEntry.objects.count() == 1


@pytest.mark.parametrize("role", ROLES)
def test_lists_leave_with_those_who_may_export(staff, funded, role):
    exported = staff(role).post(f"{ENTRIES}export/", {"format": "0", "resource": ""})

    assert exported.status_code == (403 if role == "Support" else 200)
    if role != "Support":
        row = exported.content.decode().splitlines()[1]
        assert "acme,u-1,credit,1250000,INV-1,ada@example.com" in row


def test_amounts_are_shown_in_dollars_and_exactly(finance, funded, balance, at):
    locked = funding.lock_balance(user=funded, at=at)
    funding.reserve(locked, amount_xusd=250_000, at=at)
    funding.settle(
        locked, reserved_xusd=50_000, spend_xusd=50_000, source_ref="use", at=at
    )

    listed = text_of(finance.get(BALANCES))
    page = text_of(finance.get(change_url(balance)))

    row = (
        "u-1 acme $1.00 1000000 XUSD $0.20 200000 XUSD $0.05 50000 XUSD "
        "$1.25 1250000 XUSD"
    )
    assert row in listed
    assert "Holds: the entries add up to $1.25 granted and $0.05 spent." in page
    assert "2026-03-10 12:00:00 Spend -$0.05 use Usage" in page
    assert "2026-03-10 12:00:00 Credit +$1.25 INV-1 asked for in the ticket" in page


def test_balance_that_its_entries_do_not_prove_is_told(finance, balance):
    CreditBalance.objects.filter(pk=balance.pk).update(granted_xusd=2_000_000)

    page = text_of(finance.get(change_url(balance)))

    assert "Does not hold: the entries add up to $1.25 granted" in page


def test_balance_leads_to_all_its_movements(
    finance, realm, funded, balance, credit, at, by
):
    other = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    credit(ensure_user(account=other, business_user_id="u-2", at=at, by=by))
    every = f"{ENTRIES}?user={balance.pk}"

    assert every in finance.get(change_url(balance)).text
    assert [entry.user for entry in finance.get(every).context["cl"].result_list] == [
        funded
    ]


def test_credit_is_shown_before_it_is_given(finance, funded, balance):
    url = command_url(balance, "credit")

    preview, done = confirmed(finance, url, sent())

    shown = text_of(preview)
    assert "Balance of u-1 in the account acme" in shown
    assert "Granted in all $1.25 $13.595678" in shown
    assert messages_of(done) == [("success", "u-1 was credited $12.345678.")]
    entry = CreditEntry.objects.get(source_ref="INV-2")
    assert entry.amount_xusd == 12_345_678
    assert (entry.operator, entry.reason, entry.ticket_id, entry.actor_kind) == (
        finance.user.username, "asked for", "T-7", "user",
    )  # fmt: skip
    balance.refresh_from_db()
    assert balance.granted_xusd == 13_595_678


def test_preview_gives_nothing(finance, balance):
    finance.post(command_url(balance, "credit"), sent())

    assert CreditEntry.objects.count() == 1
    balance.refresh_from_db()
    assert balance.granted_xusd == 1_250_000


def test_user_without_a_balance_is_credited_from_the_list(finance, realm, user):
    data = sent(realm=realm.pk, principal="acme", user_id="u-1")

    _, done = confirmed(finance, CREDIT_A_USER, data)

    balance = CreditBalance.objects.get(user=user)
    assert done.url == change_url(balance)
    assert balance.granted_xusd == 12_345_678


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
    assert not CreditEntry.objects.exists()


def test_user_of_another_realm_is_not_found(finance, other_realm, user):
    data = sent(realm=other_realm.pk, principal="acme", user_id="u-1")

    refused = finance.post(CREDIT_A_USER, data)

    assert list(errors_of(refused)) == ["principal"]
    assert not CreditEntry.objects.exists()


@pytest.mark.parametrize("amount", ["1.25", "7"])
def test_source_is_credited_once(finance, balance, amount):
    refused = finance.post(
        command_url(balance, "credit"), sent(source_ref="INV-1", amount_xusd=amount)
    )

    [sentence] = errors_of(refused)["source_ref"]
    assert sentence.startswith("INV-1 already credited $1.25 to ")
    assert CreditEntry.objects.count() == 1


def test_credit_cannot_be_dated_later(finance, balance):
    refused = finance.post(
        command_url(balance, "credit"),
        sent(effective_at_0="2999-01-01", effective_at_1="00:00"),
    )

    assert "cannot lie in the future" in errors_of(refused)["effective_at"][0]
    assert CreditEntry.objects.count() == 1


def test_total_beyond_what_can_be_counted_is_refused(finance, balance):
    refused = finance.post(
        command_url(balance, "credit"), sent(amount_xusd="9223372036854.775807")
    )

    assert "would pass the limit" in errors_of(refused)["amount_xusd"][0]


@pytest.mark.parametrize(
    ("path", "term", "found"),
    [
        (BALANCES, "acme", 1),
        (BALANCES, "u-1", 1),
        (BALANCES, "ann@acme.example", 1),
        (BALANCES, "globex", 0),
        (ENTRIES, "INV-1", 1),
        (ENTRIES, "acme", 1),
        (ENTRIES, "u-1", 1),
        (ENTRIES, "T-1001", 1),
        (ENTRIES, "INV-9", 0),
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
        ("1,250.50", "no commas"),
        ("1e3", "in digits"),
        ("-5", "in digits"),
        (".5", "in digits"),
        ("5.", "in digits"),
        ("٣", "in digits"),
        ("0.00", "more than $0"),
        ("9223372036854.775808", "The largest amount is $9223372036854.775807"),
        ("9" * 5000, "The largest amount is"),
        ("", "required"),
    ],
)
def test_what_is_no_amount_is_refused_in_a_sentence(typed, sentence):
    with pytest.raises(ValidationError) as refusal:
        UsdField().clean(typed)

    assert sentence in " ".join(refusal.value.messages)


def test_entries_are_listed_newest_first(finance, funded, credit, at, by):
    credit_balance(
        user=funded, amount_xusd=1, source_ref="later", at=at + timedelta(days=1), by=by
    )

    listed = finance.get(ENTRIES).context["cl"].result_list

    assert [entry.source_ref for entry in listed] == ["later", "INV-1"]


def test_money_is_called_as_a_person_would(finance, funded, balance):
    entry = CreditEntry.objects.get()

    assert str(balance) == f"Balance of {funded} in {balance.account}"
    when = f"{entry.occurred_at:%Y-%m-%d %H:%M} UTC"
    assert str(entry) == f"Credit of $1.25 for {funded} on {when}"


def test_records_without_a_history_offer_none(finance, balance):
    for row in (balance, CreditEntry.objects.get()):
        assert "history/" not in finance.get(change_url(row)).text
        history = change_url(row).replace("change", "history")
        assert finance.get(history).status_code == 404

"""The screens of contracts: found, read in words, and changed by their buttons."""

from datetime import timedelta

import pytest
from django.utils import timezone
from django.utils.html import strip_tags

from billing.models import BillingContract
from catalog.models import Meter
from catalog.services.meters import upsert_meter
from catalog.services.prices import PriceTerms, set_meter_price
from config.admin.commands import CONFIRM
from tests.admin.pages import (
    change_url,
    command_url,
    errors_of,
    history_url,
    messages_of,
    why,
)
from tests.billing.agreeing import V1, agreed, delta, fixed, price, termed, times
from tests.billing.answers import queries_of

DAY = timedelta(days=1)
LIST = "/admin/billing/billingcontract/"


@pytest.fixture
def finance(staff):
    return staff("Finance")


@pytest.fixture
def meter(realm, at, by):
    meter, _ = upsert_meter(realm=realm, meter_code="chat", unit="token", at=at, by=by)
    terms = PriceTerms(unit_price_xusd=2_000_000, unit_quantity_minor=1_000)
    set_meter_price(meter=meter, terms=terms, at=at, by=by)
    return meter


@pytest.fixture
def contract(account, meter, at, by):
    return agreed(account, at, name="Enterprise", at=at, by=by)


def text_of(page):
    return " ".join(strip_tags(page.text.replace("<", " <")).split())


def confirmed(client, url, data):
    """Press a button, look at its preview, and confirm; return both answers."""
    shown = client.post(url, data)
    return shown, client.post(url, data | {CONFIRM: shown.context["confirm"]})


def written(term):
    return term.value_json["price"]["adjustments"]


def test_contract_is_added_from_the_account(finance, account, meter):
    data = why(name=" Enterprise ", effective_at_0="2026-01-01", effective_at_1="00:00")

    response = finance.post(command_url(account, "add-contract"), data)

    contract = account.contracts.get()
    assert (contract.name, contract.window_end) == ("Enterprise", None)
    assert f"{contract.window_start:%Y-%m-%d}" == "2026-01-01"
    assert response.url == change_url(contract)
    again = finance.post(command_url(account, "add-contract"), data)
    assert "somebody else" in errors_of(again)["__all__"][0]


@pytest.mark.parametrize("role", ["Support", "Approver", "Auditor"])
def test_who_may_not_manage_contracts_looks_on(staff, account, contract, role):
    client = staff(role)

    assert client.get(LIST).status_code == 200
    assert "Enterprise" in client.get(change_url(contract)).text
    for row, name in (
        (account, "add-contract"),
        (contract, "set-price"),
        (contract, "add-term"),
        (contract, "end"),
        (contract, "disable"),
    ):
        assert client.post(command_url(row, name), why()).status_code == 403


def test_price_is_set_after_a_preview(finance, contract, meter):
    data = why(meter=meter.pk, how="multiplier", multiplier="0.8")

    shown, done = confirmed(finance, command_url(contract, "set-price"), data)

    told = text_of(shown)
    assert "Customers pay: the catalog&#x27;s price, times 0.8." in told
    assert "$2.00 per 1,000 tokens $1.60 per 1,000 tokens" in told
    assert messages_of(done)[0][0] == "success"
    term = contract.terms.get()
    assert (term.kind, term.term_key) == ("pricing", "chat")
    assert written(term) == [times("0.8")]
    assert (term.operator, term.reason, term.ticket_id) == (
        finance.user.username,
        "asked for",
        "T-7",
    )


def test_preview_alone_writes_nothing(finance, contract, meter):
    data = why(meter=meter.pk, how="catalog")

    finance.post(command_url(contract, "set-price"), data)

    assert not contract.terms.exists()


@pytest.mark.parametrize(
    ("answers", "adjustments"),
    [
        ({"how": "catalog"}, []),
        ({"how": "multiplier", "multiplier": "2/3"}, [times("2/3")]),
        ({"how": "fixed", "price_xusd": "0", "quantity_minor": "5"}, [fixed(0, 5)]),
    ],
)
def test_each_way_to_set_a_price(finance, contract, meter, answers, adjustments):
    data = why(meter=meter.pk, **answers)

    confirmed(finance, command_url(contract, "set-price"), data)

    assert written(contract.terms.get()) == adjustments


@pytest.mark.parametrize(
    ("answers", "field"),
    [
        ({"how": "multiplier"}, "multiplier"),
        ({"how": "multiplier", "multiplier": "-1"}, "multiplier"),
        ({"how": "fixed", "price_xusd": "5"}, "quantity_minor"),
        ({"how": "fixed", "quantity_minor": "5"}, "price_xusd"),
        ({"how": "fixed", "price_xusd": "-1", "quantity_minor": "1"}, "price_xusd"),
        ({"meter": "", "how": "catalog"}, "meter"),
    ],
)
def test_price_that_is_not_said_is_asked_again(
    finance, contract, meter, answers, field
):
    data = why(**({"meter": meter.pk} | answers))

    response = finance.post(command_url(contract, "set-price"), data)

    assert set(errors_of(response)) == {field}
    assert not contract.terms.exists()


def test_meters_of_another_realm_are_not_offered(
    finance, contract, other_realm, at, by
):
    upsert_meter(realm=other_realm, meter_code="theirs", at=at, by=by)

    page = finance.get(command_url(contract, "set-price"))

    assert "theirs" not in page.text
    assert Meter.objects.filter(meter_code="theirs").exists()


def test_same_price_twice_is_refused(finance, contract, meter):
    start = {"effective_at_0": "2026-05-01", "effective_at_1": "00:00"}
    data = why(meter=meter.pk, how="multiplier", multiplier="0.8", **start)
    url = command_url(contract, "set-price")
    confirmed(finance, url, data)

    same = finance.post(url, data)
    other = finance.post(url, data | {"multiplier": "0.7"})

    assert "exactly this term" in errors_of(same)["__all__"][0]
    assert "never changed" in str(errors_of(other))
    assert contract.terms.count() == 1


def test_term_is_added_as_json(finance, contract, meter):
    url = command_url(contract, "add-term")
    data = why(kind="e2r_param", term_key="limit", value_json='{"a": 1}')

    shown, done = confirmed(finance, url, data)

    assert "Parameter" in text_of(shown)
    assert messages_of(done)[0][0] == "success"
    assert contract.terms.get().value_json == {"a": 1}
    bad = finance.post(
        url, why(kind="pricing", term_key="chat", value_json='{"schema": 1}')
    )
    assert list(errors_of(bad)) == ["value_json"]


def test_term_that_cannot_be_applied_is_told_in_the_preview(finance, contract, at, by):
    upsert_meter(realm=contract.realm, meter_code="unpriced", at=at, by=by)
    url = command_url(contract, "add-term")
    huge = '{"schema": "vluna/contract_pricing:v1", "price": {"adjustments": [%s]}}'
    step = '{"op": "multiplier", "multiplier": "9223372036854775807"}'

    beyond = finance.post(
        url, why(kind="pricing", term_key="chat", value_json=huge % step)
    )
    unpriced = finance.post(
        url, why(kind="pricing", term_key="unpriced", value_json=huge % "")
    )

    assert "does not fit 64 bits" in text_of(beyond)
    assert "has no price now" in text_of(unpriced)


def test_page_tells_every_version_in_words(finance, contract, meter, at, by):
    when = {"at": at, "by": by}
    termed(contract, price(times("0.8"), delta(-5, 3)), at, **when)
    termed(contract, price(fixed(7, 1_000), cost=[times("2")]), at + DAY, **when)
    old = {"schema": V1, "price": {"base": "cost", "adjustments": [{"op": "delta", "delta_xusd": 5}]}}  # fmt: skip
    termed(contract, old, at + 2 * DAY, **when)
    termed(contract, price(), timezone.now() + 9 * DAY, **when)
    termed(contract, 5, at, key="limit", kind="e2r_param", **when)

    told = text_of(finance.get(change_url(contract)))

    for sentence in (
        "the catalog&#x27;s price, times 0.8, less $0.000005 for 3.",
        "the catalog&#x27;s price, set to $0.000007 for 1,000. Our cost: the catalog&#x27;s cost, times 2.",
        "our cost under the contract, plus $0.000005 for its unit quantity.",
        "Customers pay: the catalog&#x27;s price.",
        "A parameter that event rating policies read.",
        "&quot;multiplier&quot;: &quot;0.8&quot;",
        f"{by.operator}: {by.reason} ({by.ticket_id})",
    ):
        assert sentence in told, sentence
    for state in ("Starts later", "Latest", "Superseded"):
        assert state in told


def test_contract_is_ended_disabled_and_enabled(finance, contract):
    end = why(effective_at_0="2030-01-01", effective_at_1="00:00")

    ended = finance.post(command_url(contract, "end"), end)
    again = finance.post(command_url(contract, "end"), end)
    disabled = finance.post(command_url(contract, "disable"), why())
    contract.refresh_from_db()
    assert (f"{contract.window_end:%Y}", contract.status) == ("2030", "disabled")
    finance.post(command_url(contract, "disable"), why())
    enabled = finance.post(command_url(contract, "enable"), why())

    assert messages_of(ended)[0][0] == "success"
    assert list(errors_of(again)) == ["effective_at"]
    assert [disabled.status_code, enabled.status_code] == [302, 302]
    contract.refresh_from_db()
    assert contract.status == "active"
    entries = finance.get(history_url(contract)).context["entries"]
    assert [entry.ticket_id for entry in entries][:3] == ["T-7"] * 3


def test_states_are_told_apart(finance, account, at, by):
    now = timezone.now()
    when = {"at": at, "by": by}
    agreed(account, now - 9 * DAY, name="Old", **when)
    agreed(account, now - 5 * DAY, name="Void", status="disabled", **when)
    agreed(account, now - 3 * DAY, name="Gone", window_end=now - DAY, **when)
    agreed(account, now - 2 * DAY, name="New", **when)
    agreed(account, now + 2 * DAY, name="Next", **when)

    told = text_of(finance.get(LIST))

    for name, state in (
        ("Old", "Overridden"),
        ("Void", "Disabled"),
        ("Gone", "Ended"),
        ("New", "In force"),
        ("Next", "Starts later"),
    ):
        assert f"{name} {state}" in told


def test_account_page_names_the_contract_in_force(finance, account, contract):
    page = finance.get(change_url(account))

    assert change_url(contract) in page.text
    assert "Enterprise (from 2026-03-10 12:00 UTC with no end)" in text_of(page)
    before = finance.get(change_url(account), {"as_of_0": "2026-01-01", "as_of_1": "00:00"})  # fmt: skip
    assert "none in force" in text_of(before)
    assert f"{LIST}?account={account.pk}" in page.text


def test_pages_of_users_lead_to_no_contracts(finance, user):
    page = finance.get(change_url(user)).text

    assert "?user=" in page
    assert f"{LIST}?user=" not in page


def test_list_and_page_cost_the_same_for_one_row_and_three(
    finance, account, contract, at, by
):
    termed(contract, price(times("0.8")), at, at=at, by=by)

    def costs():
        return [
            queries_of(lambda: finance.get(url)) for url in (LIST, change_url(contract))
        ]

    costs()
    one = costs()
    for day in (1, 2):
        agreed(account, at + day * DAY, name=f"n{day}", at=at, by=by)
        termed(contract, price(times("0.8")), at + day * DAY, at=at, by=by)

    assert costs() == one
    assert BillingContract.objects.in_realm(account.realm).count() == 3

"""Billing details: whom to bill and where."""

import pytest
from vlunaai.generated import billing_mgt_models as wire

from billing.models import BillingDetails
from billing.selectors.details import masked
from billing.services.details import change_billing_details
from config.kernel.errors import Invalid
from config.tenancy.models import DomainEvent
from tests.billing.answers import explained, invalid, read, refusal
from tests.billing.races import race

ADDRESS = {"line1": "1 Main St", "city": "Berlin", "country_code": "DE"}
TAX_ID = {"type": "eu_vat", "value": "DE123456789"}


@pytest.fixture
def address(account):
    return f"billing-accounts/{account.pk}/billing-details"


def test_account_without_details_reads_as_null(api, address):
    assert read(api.get(address), wire.BillingAccountBillingDetailsEnvelope) is None


def test_details_are_created_by_the_first_patch(api, address, account):
    answer = api.patch(
        address,
        {
            "billing_email": "billing@acme.example",
            "legal_name": "Acme GmbH",
            "entity_type": "company",
            "default_address": {
                **ADDRESS,
                "country_code": "de",
                "postal_code": "10115",
            },
            "tax_ids": [{**TAX_ID, "country_code": "de"}],
            "metadata": {"crm": 7},
        },
    )

    data = read(answer, wire.BillingAccountBillingDetailsEnvelope)
    assert read(api.get(address), wire.BillingAccountBillingDetailsEnvelope) == data
    assert {name: data[name] for name in data if not name.endswith("_at")} == {
        "billing_account_id": str(account.pk),
        "billing_email": "billing@acme.example",
        "legal_name": "Acme GmbH",
        "entity_type": "company",
        "default_address": {**ADDRESS, "postal_code": "10115"},
        "tax_ids": [
            {
                "type": "eu_vat",
                "value_masked": "********789",
                "country_code": "DE",
                "status": None,
            }
        ],
        "metadata": {"crm": 7},
        "last_updated_by": "ops",
    }
    assert data["source_updated_at"] is not None


def test_patch_keeps_what_it_does_not_name(api, address):
    api.patch(address, {"legal_name": "Acme GmbH", "tax_ids": [TAX_ID]})

    data = read(
        api.patch(address, {"default_address": ADDRESS}),
        wire.BillingAccountBillingDetailsEnvelope,
    )

    assert (data["legal_name"], data["default_address"]) == ("Acme GmbH", ADDRESS)
    assert [row["value_masked"] for row in data["tax_ids"]] == ["********789"]


def test_null_removes_and_an_empty_list_clears(api, address):
    api.patch(
        address,
        {"legal_name": "x", "billing_email": "a@b.example", "entity_type": "company",
         "default_address": ADDRESS, "tax_ids": [TAX_ID]},
    )  # fmt: skip

    data = read(
        api.patch(
            address,
            {"legal_name": None, "billing_email": None, "entity_type": None,
             "default_address": None, "tax_ids": []},
        ),
        wire.BillingAccountBillingDetailsEnvelope,
    )  # fmt: skip

    assert [
        data[name]
        for name in ("legal_name", "billing_email", "entity_type", "default_address")
    ] == [None] * 4
    assert data["tax_ids"] == []


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({}, "body"),
        ({"audit": {"operator": "ada"}}, "body"),
        ({"billing_email": "acme"}, "billing_email"),
        ({"billing_email": "a @b.example"}, "billing_email"),
        ({"billing_email": "a@b@c.example"}, "billing_email"),
        ({"legal_name": " "}, "legal_name"),
        ({"entity_type": "charity"}, "entity_type"),
        ({"default_address": {}}, "default_address.line1"),
        ({"default_address": {**ADDRESS, "city": ""}}, "default_address.city"),
        (
            {"default_address": {"line1": "x", "city": "y"}},
            "default_address.country_code",
        ),
        (
            {"default_address": {**ADDRESS, "country_code": "DEU"}},
            "default_address.country_code",
        ),
        ({"default_address": {**ADDRESS, "street": "x"}}, "default_address.street"),
        ({"default_address": "Berlin"}, "default_address"),
        ({"tax_ids": None}, "tax_ids"),
        ({"tax_ids": [{"type": "eu_vat"}]}, "tax_ids.0.value"),
        ({"tax_ids": [TAX_ID, {"value": "1"}]}, "tax_ids.1.type"),
        ({"tax_ids": [{**TAX_ID, "country_code": "D"}]}, "tax_ids.0.country_code"),
        ({"tax_ids": [{**TAX_ID, "country_code": "ß"}]}, "tax_ids.0.country_code"),
        ({"tax_ids": [TAX_ID] * 21}, "tax_ids"),
        ({"metadata": None}, "metadata"),
        ({"metadata": []}, "metadata"),
        ({"iban": "x"}, "iban"),
    ],
)
def test_bad_details_are_refused(api, address, account, sent, field):
    assert refusal(api.patch(address, sent)) == invalid(field)
    assert not BillingDetails.objects.filter(account=account).exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"default_address": {"line1": "x", "city": "y", "country_code": "de"}},
        {"tax_ids": [{"type": "x", "value": " "}]},
        {"entity_type": "charity"},
        {"billing_email": "x"},
    ],
)
def test_verb_checks_for_itself(account, at, by, changes):
    with pytest.raises(Invalid):
        change_billing_details(account=account, changes=changes, at=at, by=by)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("DE123456789", "********789"),
        ("123456789012345", "***********2345"),
        ("123456", "****56"),
        ("12", "**"),
        ("1", "*"),
    ],
)
def test_tax_id_shows_a_third_and_four_at_most(value, shown):
    assert masked(value) == shown


def test_tax_ids_are_in_no_history_row_and_no_answer(api, address, account):
    answer = api.patch(address, {"tax_ids": [TAX_ID]}, key="k")
    replay = api.patch(address, {"tax_ids": [TAX_ID]}, key="k")

    details = BillingDetails.objects.get(account=account)
    rows = details.history.values()
    assert details.tax_ids == [TAX_ID]
    assert len(rows) == 1
    assert "DE123456789" not in repr(list(rows))
    assert b"DE123456789" not in answer.content + replay.content


def test_every_change_is_explained_once(account, at, by):
    change_billing_details(
        account=account, changes={"legal_name": "Acme"}, at=at, by=by
    )
    details = change_billing_details(
        account=account, changes={"legal_name": "Acme"}, at=at, by=by
    )
    change_billing_details(account=account, changes={"tax_ids": [TAX_ID]}, at=at, by=by)

    events = DomainEvent.objects.in_realm(account.realm).filter(
        kind="billing_details.changed"
    )
    assert explained(details) == [(by.operator, by.reason, by.ticket_id, at)] * 2
    assert sorted(event.payload["fields"] for event in events) == [
        ["legal_name"],
        ["tax_ids"],
    ]


def test_source_is_kept(account, at, by):
    details = change_billing_details(
        account=account, changes={"legal_name": "x"}, source="provider", at=at, by=by
    )

    assert (details.last_updated_by, details.source_updated_at) == ("provider", at)


def test_first_details_at_once_make_one_row(committed_api, committed_realm, at, by):
    from billing.services.accounts import ensure_account

    account = ensure_account(realm=committed_realm, principal_id="acme", at=at, by=by)

    def attempt(number):
        return committed_api.patch(
            f"billing-accounts/{account.pk}/billing-details",
            {"legal_name": f"n-{number}"},
        ).status_code

    assert race(attempt) == [200] * 16
    assert BillingDetails.objects.filter(account=account).count() == 1

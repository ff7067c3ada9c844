"""The account level: a view of our own, as no address uses that level yet."""

import pytest
from django.urls import path

from billing.api.context import AccountView
from billing.models import BillingAccount
from billing.services.accounts import ensure_account
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.kernel.ids import new_id
from tests.billing.answers import refusal


class BoundAccount(AccountView):
    @operation("get_bound_account", answer=dict)
    def get(self, call: Call) -> Answer:
        return Answer({"principal": call.account.billing_principal_id})


urlpatterns = [path("mgt/v1/bound-account", BoundAccount.as_view())]
pytestmark = pytest.mark.urls(__name__)


@pytest.fixture
def bound_as(api):
    """Return the reader of the account that headers are bound to."""

    def get(**named):
        named = {name: str(value) for name, value in named.items()}
        return api.bound(**named).get("bound-account")

    return get


def principals(realm):
    found = BillingAccount.objects.in_realm(realm)
    return sorted(account.billing_principal_id for account in found)


def test_account_is_named_by_either_header_or_both(bound_as, realm, account):
    named = [
        {"principal_id": "acme"},
        {"billing_account_id": account.pk},
        {"billing_account_id": str(account.pk).upper()},
        {"principal_id": "acme", "billing_account_id": account.pk},
    ]

    answers = [bound_as(**each) for each in named]

    assert [answer.json()["data"]["principal"] for answer in answers] == ["acme"] * 4
    assert principals(realm) == ["acme"]


def test_new_principal_gets_an_account(bound_as, realm):
    assert bound_as(principal_id="acme").status_code == 200
    assert principals(realm) == ["acme"]


def test_unnamed_account_is_refused(bound_as):
    assert refusal(bound_as()) == (401, "AUTH.MISSING_SERVICE_BINDINGS", None)


def test_account_id_is_only_compared(bound_as, realm, account, other_realm, at, by):
    elsewhere = ensure_account(realm=other_realm, principal_id="acme", at=at, by=by)
    named = [
        {"billing_account_id": elsewhere.pk},
        {"billing_account_id": new_id()},
        {"billing_account_id": "acme"},
        {"principal_id": "globex", "billing_account_id": account.pk},
        {"principal_id": "acme", "billing_account_id": elsewhere.pk},
        {"principal_id": "acme", "billing_account_id": new_id()},
    ]

    found = {refusal(bound_as(**each)) for each in named}

    assert found == {(403, "AUTH.SERVICE_BINDINGS_INVALID", None)}
    assert principals(realm) == ["acme"]


def test_limited_key_is_bound_to_its_account_only(limited_api, realm, account, at, by):
    ensure_account(realm=realm, principal_id="globex", at=at, by=by)

    own = limited_api.bound(principal_id="acme").get("bound-account")
    others = [
        limited_api.bound(principal_id=principal).get("bound-account")
        for principal in ("globex", "initech")
    ]

    assert own.status_code == 200
    assert {refusal(answer)[1] for answer in others} == {
        "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN"
    }
    assert principals(realm) == ["acme", "globex"]

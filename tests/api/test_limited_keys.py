"""A key limited to accounts manages these accounts, and nothing that holds for all."""

import pytest

from billing.services.accounts import ensure_account
from billing.services.plans import upsert_plan
from billing.services.users import ensure_user
from config.kernel.errors import Invalid
from config.tenancy.models import DomainEvent, ServiceKey
from config.tenancy.services.service_keys import (
    create_service_key,
    rotate_service_key,
    set_service_key_status,
)
from tests.billing.answers import refusal
from tests.tools.client import SignedClient

REFUSED = (403, "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN", None)


@pytest.fixture
def limited(realm, account, at, by):
    key = create_service_key(
        realm=realm, allowed_accounts=[str(account.pk)], at=at, by=by
    )
    return SignedClient(realm, key)


@pytest.mark.parametrize(
    ("method", "path", "document"),
    [
        ("POST", "billing-plans", {"plan_code": "x", "name": "X", "kind": "base"}),
        ("PATCH", "billing-plans/{plan}", {"priority": 9}),
        ("POST", "billing-plans/{plan}/entitlements", {"mode": "replace", "items": []}),
        ("POST", "feature-families", {"feature_family_code": "x"}),
        ("POST", "meters", {"meter_code": "x"}),
        ("POST", "gate/policy-bundles", {"bundle_key": "x"}),
    ],
)
def test_limited_key_does_not_manage_the_realm(
    limited, realm, at, by, method, path, document
):
    plan, _ = upsert_plan(
        realm=realm, plan_code="pro", name="Pro", kind="base", at=at, by=by
    )
    before = DomainEvent.objects.in_realm(realm).count()

    answer = limited.request(method, path.format(plan=plan.pk), document)

    assert refusal(answer) == REFUSED
    assert DomainEvent.objects.in_realm(realm).count() == before


def test_limited_key_manages_its_account(limited, realm, account, at, by):
    plan, _ = upsert_plan(
        realm=realm, plan_code="pro", name="Pro", kind="base", at=at, by=by
    )
    user = ensure_user(account=account, business_user_id="u-1", at=at, by=by)
    made = limited.post(
        "billing-plan-assignments",
        {
            "billing_account_id": str(account.pk),
            "assignment_scope": "account",
            "plan_id": str(plan.pk),
            "source_kind": "ops.manual",
            "source_ref": "c-1",
            "window_start": "2026-01-01T00:00:00Z",
        },
    )
    assert made.status_code == 201, made.content
    row = made.json()["data"]["assignment_id"]

    for method, path, document in (
        ("PATCH", f"billing-accounts/{account.pk}", {"seat_limit": 5}),
        ("POST", f"billing-plan-assignments/{row}/pause", {}),
        ("POST", f"billing-users/{user.pk}/disable", {}),
        ("GET", "billing-plans", None),
    ):
        assert limited.request(method, path, document).status_code == 200


@pytest.mark.parametrize(
    "wrong", ["acme", "NOT-AN-ID", "", "01990000-0000-7000-8000-000000000000"]
)
def test_key_is_limited_to_what_is_an_account(realm, account, at, by, wrong):
    with pytest.raises(Invalid) as problem:
        create_service_key(
            realm=realm, allowed_accounts=[str(account.pk), wrong], at=at, by=by
        )

    assert problem.value.field == "allowed_accounts"
    assert ServiceKey.objects.count() == 0


def test_key_is_not_limited_to_another_realms_account(realm, other_realm, at, by):
    stranger = ensure_account(realm=other_realm, principal_id="acme", at=at, by=by)

    with pytest.raises(Invalid):
        create_service_key(
            realm=realm, allowed_accounts=[str(stranger.pk)], at=at, by=by
        )


def test_account_ids_are_kept_in_one_spelling(realm, account, at, by):
    spelled = [str(account.pk).upper(), f" {account.pk} ".strip()]

    key = create_service_key(realm=realm, allowed_accounts=spelled, at=at, by=by)

    assert key.allowed_accounts == [str(account.pk)]
    assert SignedClient(realm, key).get(f"billing-accounts/{account.pk}").json()["ok"]


def test_what_becomes_of_a_key_is_recorded(realm, at, by):
    key = create_service_key(realm=realm, at=at, by=by)
    rotate_service_key(key=key, at=at, by=by)
    for status in ("disabled", "disabled", "active"):
        set_service_key_status(key=key, status=status, at=at, by=by)

    events = DomainEvent.objects.filter(subject_id=key.pk).order_by("created_at", "id")
    assert [event.kind for event in events] == [
        "service_key.created",
        "service_key.rotated",
        "service_key.changed",
        "service_key.changed",
    ]

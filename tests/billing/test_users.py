"""Billing users: who acts inside an account."""

import pytest
from vlunaai.generated import billing_mgt_models as wire

from billing.models import BillingUser
from billing.services.accounts import ensure_account
from billing.services.users import (
    change_user,
    create_user,
)
from config.kernel.errors import Invalid
from config.kernel.ids import new_id
from tests.billing.answers import explained, invalid, read, refusal
from tests.billing.people import user_of, users_named


def test_user_is_created_active(api, users, account):
    answer = api.post(
        users,
        {
            "user_id": " u-1 ",
            "display_name": "Ada",
            "email": "ada@acme.example",
            "metadata": {"team": 7},
        },
    )

    data = read(answer, wire.BillingUserEnvelope, 201)
    assert {name: data[name] for name in data if not name.endswith("_at")} == {
        "billing_user_id": str(user_of(account, "u-1").pk),
        "billing_account_id": str(account.pk),
        "billing_principal_id": "acme",
        "business_user_id": "u-1",
        "user_id": "u-1",
        "status": "active",
        "display_name": "Ada",
        "email": "ada@acme.example",
        "metadata": {"team": 7, "display_name": "Ada", "email": "ada@acme.example"},
    }
    assert (
        read(
            api.get(f"billing-users/{data['billing_user_id']}"),
            wire.BillingUserEnvelope,
        )
        == data
    )


def test_creating_again_merges_and_reactivates(api, users, account, at, by):
    first = create_user(
        account=account,
        business_user_id="u-1",
        metadata={"a": 1, "b": {"c": 1}},
        at=at,
        by=by,
    )
    change_user(user=first, status="deleted", at=at, by=by)

    data = read(
        api.post(
            users, {"user_id": "u-1", "display_name": None, "metadata": {"b": {"d": 2}}}
        ),
        wire.BillingUserEnvelope,
        201,
    )

    assert data["billing_user_id"] == str(first.pk)
    assert (data["status"], data["metadata"]) == ("active", {"a": 1, "b": {"d": 2}})


def test_creating_the_same_again_writes_nothing(account, at, by):
    def create():
        return create_user(
            account=account, business_user_id="u", metadata={"a": 1}, at=at, by=by
        )

    assert create() == create()
    assert create().history.count() == 1


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "  "}, "user_id"),
        ({"user_id": "u" * 513}, "user_id"),
        ({"user_id": "a\u0000b"}, "user_id"),
        ({"user_id": "a\u200bb"}, "user_id"),
        ({"user_id": 7}, "user_id"),
        ({"user_id": "u", "metadata": []}, "metadata"),
        ({"user_id": "u", "metadata": None}, "metadata"),
        ({"user_id": "u", "metadata": {"display_name": 7}}, "metadata.display_name"),
        ({"user_id": "u", "email": ""}, "email"),
        ({"user_id": "u", "status": "active"}, "status"),
    ],
)
def test_bad_user_is_refused(api, users, account, sent, field):
    answer = api.post(users, sent)

    status, _code, at_fault = refusal(answer)
    assert (status, at_fault) in {(422, field), (400, field)}
    assert not BillingUser.objects.filter(account=account).exists()


def test_longest_user_id_is_kept(api, users):
    answer = api.post(users, {"user_id": "ü" * 512})

    assert read(answer, wire.BillingUserEnvelope, 201)["user_id"] == "ü" * 512


@pytest.fixture
def ada(account, at, by):
    return create_user(
        account=account,
        business_user_id="ada",
        metadata={"display_name": "Ada", "email": "ada@acme.example", "team": 7},
        at=at,
        by=by,
    )


@pytest.mark.parametrize(
    ("sent", "status", "metadata"),
    [
        ({}, "active", {"display_name": "Ada", "email": "ada@acme.example", "team": 7}),
        (
            {"display_name": "A."},
            "active",
            {"display_name": "A.", "email": "ada@acme.example", "team": 7},
        ),
        ({"display_name": None}, "active", {"email": "ada@acme.example", "team": 7}),
        ({"email": None, "display_name": None}, "active", {"team": 7}),
        ({"metadata": {"team": 8}}, "active", {"team": 8}),
        (
            {"metadata": {"team": 8}, "email": "a@b.example"},
            "active",
            {"team": 8, "email": "a@b.example"},
        ),
        ({"metadata": {}}, "active", {}),
        (
            {"status": "disabled"},
            "disabled",
            {"display_name": "Ada", "email": "ada@acme.example", "team": 7},
        ),
        ({"status": "deleted", "metadata": {}}, "deleted", {}),
    ],
)
def test_patch_changes_what_it_names(api, ada, sent, status, metadata):
    data = read(api.patch(f"billing-users/{ada.pk}", sent), wire.BillingUserEnvelope)

    assert (data["status"], data["metadata"]) == (status, metadata)
    assert (data["display_name"], data["email"]) == (
        metadata.get("display_name"),
        metadata.get("email"),
    )


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"status": None}, "status"),
        ({"metadata": None}, "metadata"),
        ({"status": "retired"}, "status"),
        ({"metadata": {"email": 1}}, "metadata.email"),
        ({"display_name": ""}, "display_name"),
        ({"user_id": "other"}, "user_id"),
    ],
)
def test_bad_patch_is_refused(api, ada, sent, field):
    assert refusal(api.patch(f"billing-users/{ada.pk}", sent)) == invalid(field)
    ada.refresh_from_db()
    assert (ada.status, ada.metadata["team"]) == ("active", 7)


def test_change_of_status_keeps_metadata_changed_meanwhile(ada, at, by):
    change_user(
        user=BillingUser.objects.get(pk=ada.pk), metadata={"team": 9}, at=at, by=by
    )

    change_user(user=ada, status="disabled", at=at, by=by)
    change_user(user=ada, named={"display_name": "A."}, at=at, by=by)

    ada.refresh_from_db()
    assert (ada.status, ada.metadata) == ("disabled", {"team": 9, "display_name": "A."})


def test_true_is_not_one(ada, at, by):
    change_user(user=ada, metadata={"beta": 1}, at=at, by=by)

    changed = change_user(user=ada, metadata={"beta": True}, at=at, by=by)

    changed.refresh_from_db()
    assert changed.metadata["beta"] is True


def test_unknown_status_is_refused_by_the_verb(ada, at, by):
    with pytest.raises(Invalid, match="retired"):
        change_user(user=ada, status="retired", at=at, by=by)


def test_user_is_disabled_and_restored(api, ada):
    disabled = read(
        api.post(f"billing-users/{ada.pk}/disable", {}), wire.BillingUserEnvelope
    )
    restored = read(
        api.post(f"billing-users/{ada.pk}/restore"), wire.BillingUserEnvelope
    )

    assert (disabled["status"], restored["status"]) == ("disabled", "active")


def test_every_change_is_explained(ada, at, by):
    change_user(user=ada, status="disabled", at=at, by=by)
    change_user(user=ada, status="disabled", at=at, by=by)

    assert explained(ada) == [(by.operator, by.reason, by.ticket_id, at)] * 2


@pytest.mark.parametrize("rest", ["", "/disable", "/restore"])
def test_unknown_user_is_not_found(api, other_realm, at, by, rest):
    elsewhere = ensure_account(realm=other_realm, principal_id="acme", at=at, by=by)
    (stranger,) = users_named(elsewhere, at, by, "u-1")

    for user_id in (stranger.pk, new_id(), "u-1"):
        send = api.post if rest else api.get
        assert refusal(send(f"billing-users/{user_id}{rest}")) == (
            404,
            "RESOURCE.NOT_FOUND",
            None,
        )
    stranger.refresh_from_db()
    assert stranger.status == "active"


@pytest.mark.parametrize("rest", ["", "/disable", "/restore"])
def test_user_outside_the_keys_list_is_forbidden(limited_api, realm, at, by, rest):
    other = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    (stranger,) = users_named(other, at, by, "u-1")

    send = limited_api.post if rest else limited_api.get
    answer = send(f"billing-users/{stranger.pk}{rest}")

    assert refusal(answer) == (403, "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN", None)


def test_deleted_user_is_not_disabled(api, user, at, by):
    change_user(user=user, status="deleted", at=at, by=by)

    for answer in (
        api.post(f"billing-users/{user.pk}/disable", {}),
        api.patch(f"billing-users/{user.pk}", {"status": "disabled"}),
    ):
        assert refusal(answer) == (422, "USER.DELETED", "status")
    user.refresh_from_db()
    assert user.status == "deleted"
    assert api.post(f"billing-users/{user.pk}/restore", {}).status_code == 200

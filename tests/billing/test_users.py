"""Billing users: who acts inside an account, and the seats they take."""

import time

import pytest
from django.db import transaction
from vlunaai.generated import billing_mgt_models as wire

from billing.models import BillingAccount, BillingUser, PlanAssignment
from billing.services.accounts import ensure_account, set_seat_limit
from billing.services.assignment_changes import cancel_assignment
from billing.services.users import (
    SeatCapacityExceeded,
    change_user,
    create_user,
    ensure_user,
)
from config.kernel.errors import Invalid
from config.kernel.ids import new_id
from config.tenancy.history import auditing
from config.tenancy.services.realms import change_realm
from tests.billing.answers import explained, invalid, paged, queries_of, read, refusal
from tests.billing.races import THREADS, race

SEATS = 5


def users_named(account, at, by, *names):
    return [
        ensure_user(account=account, business_user_id=name, at=at, by=by)
        for name in names
    ]


@pytest.fixture
def users(account):
    """The address of the account's users."""
    return f"billing-accounts/{account.pk}/users"


@pytest.fixture
def full_account(account, at, by):
    """An account whose only seat is taken by u-1; u-2 is disabled."""
    _taken, waiting = users_named(account, at, by, "u-1", "u-2")
    change_user(user=waiting, status="disabled", at=at, by=by)
    set_seat_limit(account=account, seat_limit=1, at=at, by=by)
    return account


def user_of(account, name):
    return BillingUser.objects.get(account=account, business_user_id=name)


# Creating


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


# Changing


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


# Seats


def test_new_user_of_a_full_account_is_refused(api, users, full_account):
    answer = api.post(users, {"user_id": "u-3"})

    assert refusal(answer) == (403, "SEAT.CAPACITY_EXCEEDED", None)
    assert (
        answer.json()["message"]
        == "All 1 seats of account acme are taken (1 active users)."
    )
    assert answer.json()["meta"]["details"] == {
        "billing_account_id": str(full_account.pk),
        "seat_limit": 1,
        "active_user_count": 1,
    }
    assert not BillingUser.objects.filter(business_user_id="u-3").exists()


@pytest.mark.parametrize("way", ["create", "patch", "restore"])
def test_reactivation_needs_a_seat(api, users, full_account, way):
    waiting = user_of(full_account, "u-2")

    answer = {
        "create": lambda: api.post(users, {"user_id": "u-2", "metadata": {"a": 1}}),
        "patch": lambda: api.patch(f"billing-users/{waiting.pk}", {"status": "active"}),
        "restore": lambda: api.post(f"billing-users/{waiting.pk}/restore"),
    }[way]()

    assert refusal(answer) == (403, "SEAT.CAPACITY_EXCEEDED", None)
    waiting.refresh_from_db()
    assert (waiting.status, waiting.metadata) == ("disabled", {})


def test_disabling_frees_a_seat(full_account, at, by):
    change_user(user=user_of(full_account, "u-1"), status="disabled", at=at, by=by)

    change_user(user=user_of(full_account, "u-2"), status="active", at=at, by=by)

    assert user_of(full_account, "u-2").status == "active"


def test_active_user_of_a_full_account_may_be_changed(api, full_account):
    active = user_of(full_account, "u-1")

    answer = api.patch(
        f"billing-users/{active.pk}", {"status": "active", "display_name": "U"}
    )

    assert read(answer, wire.BillingUserEnvelope)["display_name"] == "U"


def test_no_seat_at_all_admits_nobody(account, at, by):
    set_seat_limit(account=account, seat_limit=0, at=at, by=by)

    with pytest.raises(SeatCapacityExceeded):
        users_named(account, at, by, "u-1")


@pytest.fixture
def five_seats(committed_realm, at, by):
    """An account with five seats that threads can see."""
    account = ensure_account(realm=committed_realm, principal_id="acme", at=at, by=by)
    return set_seat_limit(account=account, seat_limit=SEATS, at=at, by=by)


def active_users(account):
    return BillingUser.objects.filter(account=account, status="active").count()


def test_users_added_at_once_take_exactly_the_seats(five_seats, at, by):
    def attempt(number):
        mine = BillingAccount.objects.get(pk=five_seats.pk)
        try:
            ensure_user(account=mine, business_user_id=f"u-{number}", at=at, by=by)
        except SeatCapacityExceeded:
            return 0
        return 1

    assert sum(race(attempt)) == SEATS
    assert active_users(five_seats) == SEATS


def test_control_counting_without_the_lock_admits_too_many(five_seats, at, by):
    def attempt(number):
        with transaction.atomic(), auditing(by, at=at):
            if active_users(five_seats) >= SEATS:
                return 0
            time.sleep(0.05)  # the time in which another thread counts the same
            BillingUser(
                realm_id=five_seats.realm_id,
                account=five_seats,
                business_user_id=f"u-{number}",
            ).save(force_insert=True)
        return 1

    assert sum(race(attempt)) > SEATS


def test_users_restored_at_once_take_exactly_the_seats(five_seats, at, by):
    set_seat_limit(account=five_seats, seat_limit=None, at=at, by=by)
    users = users_named(five_seats, at, by, *[f"u-{n}" for n in range(THREADS)])
    for user in users:
        change_user(user=user, status="disabled", at=at, by=by)
    set_seat_limit(account=five_seats, seat_limit=SEATS, at=at, by=by)

    def attempt(number):
        try:
            change_user(user=users[number], status="active", at=at, by=by)
        except SeatCapacityExceeded:
            return 0
        return 1

    assert sum(race(attempt)) == SEATS
    assert active_users(five_seats) == SEATS


# The default plan


def signup_plans(user):
    rows = PlanAssignment.objects.filter(user=user, source_kind="signup.default")
    return sorted((row.plan.plan_code, row.source_ref, row.status) for row in rows)


DEFAULT = ("default_billing_plan", "default_billing_plan", "active")


def test_new_user_gets_the_default_plan_once(account, at, by):
    (user,) = users_named(account, at, by, "u-1")

    change_user(user=user, status="disabled", at=at, by=by)
    change_user(user=user, status="active", at=at, by=by)
    users_named(account, at, by, "u-1")

    assert signup_plans(user) == [DEFAULT]
    row = PlanAssignment.objects.get(user=user)
    assert (row.window_start, row.window_end, row.metadata) == (
        at,
        None,
        {"reason": "signup.default"},
    )


def test_default_plan_that_support_canceled_stays_canceled(account, at, by):
    (user,) = users_named(account, at, by, "u-1")
    cancel_assignment(assignment=PlanAssignment.objects.get(user=user), at=at, by=by)

    change_user(user=user, status="disabled", at=at, by=by)
    change_user(user=user, status="active", at=at, by=by)

    assert signup_plans(user) == [(*DEFAULT[:2], "canceled")]


def test_realm_names_the_default_plan(realm, at, by, make_plan):
    pro = make_plan("pro")
    change_realm(
        realm=realm, name="x", metadata={"default_plan_id": str(pro.pk)}, at=at, by=by
    )
    account = ensure_account(realm=realm, principal_id="acme", at=at, by=by)

    (user,) = users_named(account, at, by, "u-1")

    assert signup_plans(user) == [("pro", "default_plan_id", "active")]


@pytest.mark.parametrize("named", ["inactive plan", "unknown plan"])
def test_realm_that_names_no_active_plan_gives_none(realm, at, by, make_plan, named):
    retired = make_plan("retired", active=False)
    plan_id = retired.pk if named == "inactive plan" else new_id()
    change_realm(
        realm=realm, name="x", metadata={"default_plan_id": str(plan_id)}, at=at, by=by
    )
    account = ensure_account(realm=realm, principal_id="acme", at=at, by=by)

    (user,) = users_named(account, at, by, "u-1")

    assert signup_plans(user) == []


# The list


@pytest.fixture
def five(account, at, by):
    people = (
        ("u-1", "Ada"),
        ("u-2", "Bob"),
        ("u-3", "Cy"),
        ("v-1", "Di"),
        ("v-2", "Ed"),
    )
    found = [
        create_user(
            account=account,
            business_user_id=name,
            metadata={"display_name": person, "email": f"{person}@acme.example"},
            at=at,
            by=by,
        )
        for name, person in people
    ]
    change_user(user=found[1], status="disabled", at=at, by=by)
    change_user(user=found[2], status="deleted", at=at, by=by)
    return found


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["v-2", "v-1", "u-3", "u-2", "u-1"]),
        ({"q": "U-"}, ["u-3", "u-2", "u-1"]),
        ({"q": "ada"}, ["u-1"]),
        ({"q": "@ACME"}, ["v-2", "v-1", "u-3", "u-2", "u-1"]),
        ({"user_id": "v-1"}, ["v-1"]),
        ({"business_user_id": "v-1"}, ["v-1"]),
        ({"user_id": "v-1", "business_user_id": "v-2"}, []),
        ({"status": "active"}, ["v-2", "v-1", "u-1"]),
        ({"status": "disabled&status=deleted"}, ["u-3", "u-2"]),
        ({"status[]": "disabled"}, ["u-2"]),
        ({"limit": "1"}, ["v-2"]),
    ],
)
def test_user_list_filters(api, users, five, query, expected):
    data = read(api.get(users, **query), wire.BillingUserListEnvelope)

    assert [row["user_id"] for row in data["items"]] == expected


def test_user_pages_lose_and_repeat_nothing(api, users, five):
    assert paged(api, users, "user_id") == ["v-2", "v-1", "u-3", "u-2", "u-1"]


def test_bad_user_filter_is_refused(api, users):
    assert refusal(api.get(users, status="gone")) == invalid("status.0")


def test_list_needs_the_same_queries_for_one_and_three_rows(
    api, users, account, at, by
):
    users_named(account, at, by, "u-1")
    api.get(users)
    for_one = queries_of(lambda: api.get(users))
    users_named(account, at, by, "u-2", "u-3")

    assert queries_of(lambda: api.get(users)) == for_one

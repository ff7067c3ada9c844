from datetime import timedelta

import pytest

from catalog.models import FALLBACK_FAMILY_CODE, FeatureFamily
from catalog.services.families import (
    FallbackFamilyProtected,
    change_feature_family,
    delete_feature_family,
    ensure_fallback_family,
    upsert_feature_family,
)
from config.kernel.errors import Invalid, NotFound
from tests.catalog.make import (
    events_of,
    history_of,
    make_family,
    make_feature,
    race,
)


def test_upsert_new_family_takes_defaults(realm, at, by):
    family, created = upsert_feature_family(
        realm=realm, feature_family_code="  Chat ", at=at, by=by
    )

    assert created
    assert (family.feature_family_code, family.name, family.description) == (
        "chat",
        "chat",
        "",
    )
    assert (family.active, family.entitlement_required, family.is_fallback) == (
        True,
        True,
        False,
    )
    assert family.metadata == {}
    assert events_of(realm, "feature_family") == ["feature_family.created"]


def test_upsert_existing_family_overwrites_all_but_active(realm, at, by):
    stored = make_family(
        realm,
        at,
        by,
        name="Chat",
        description="Talk",
        active=False,
        entitlement_required=False,
        metadata={"team": "a"},
    )

    family, created = upsert_feature_family(
        realm=realm, feature_family_code="chat", at=at, by=by
    )

    assert not created
    assert family.pk == stored.pk
    assert (family.name, family.description, family.metadata) == ("chat", "", {})
    assert family.entitlement_required is True
    assert family.active is False


def test_upsert_same_family_writes_nothing(realm, at, by):
    family = make_family(realm, at, by, name="Chat", metadata={"a": [1]})

    make_family(realm, at + timedelta(hours=1), by, name="Chat", metadata={"a": [1]})

    family.refresh_from_db()
    assert [row.history_type for row in history_of(family)] == ["+"]
    assert family.updated_at != at + timedelta(hours=1)
    assert events_of(realm, "feature_family") == ["feature_family.created"]


def test_upsert_tells_true_from_one_in_metadata(realm, at, by):
    make_family(realm, at, by, metadata={"beta": 1})

    family = make_family(realm, at, by, metadata={"beta": True})

    family.refresh_from_db()
    assert family.metadata["beta"] is True


def test_change_writes_given_fields_only(realm, at, by):
    family = make_family(realm, at, by, name="Chat", description="Talk")
    later = at + timedelta(hours=1)

    changed = change_feature_family(family=family, name="Chats", at=later, by=by)

    changed.refresh_from_db()
    assert (changed.name, changed.description, changed.updated_at) == (
        "Chats",
        "Talk",
        later,
    )
    assert [row.name for row in history_of(family)] == ["Chat", "Chats"]
    assert events_of(realm, "feature_family")[-1] == "feature_family.changed"


def test_change_to_blank_name_is_refused(realm, at, by):
    family = make_family(realm, at, by)

    with pytest.raises(Invalid) as refusal:
        change_feature_family(family=family, name="  ", at=at, by=by)

    assert refusal.value.field == "name"


def test_change_of_deleted_family_is_refused(realm, at, by):
    family = make_family(realm, at, by)
    delete_feature_family(family=family, at=at, by=by)

    with pytest.raises(NotFound):
        change_feature_family(family=family, name="Late", at=at, by=by)


def test_history_says_who_why_and_under_which_ticket(realm, at, by):
    family = make_family(realm, at, by)

    row = history_of(family)[0]

    assert (row.operator, row.reason, row.ticket_id) == (
        by.operator,
        by.reason,
        by.ticket_id,
    )
    assert (row.actor_kind, row.actor_id) == ("user", "ada")
    assert (row.effective_at, row.history_date) == (at, at)


def test_delete_unreferenced_family_removes_it(realm, at, by):
    family = make_family(realm, at, by)

    assert delete_feature_family(family=family, at=at, by=by) is True

    assert not FeatureFamily.objects.in_realm(realm).exists()
    assert [row.history_type for row in history_of(family)] == ["+", "-"]
    assert events_of(realm, "feature_family")[-1] == "feature_family.deleted"


def test_delete_referenced_family_deactivates_it_once(realm, at, by):
    feature = make_feature(realm, at, by)
    family = feature.feature_family

    assert delete_feature_family(family=family, at=at, by=by) is False
    assert delete_feature_family(family=family, at=at, by=by) is False

    family.refresh_from_db()
    assert family.active is False
    assert [row.history_type for row in history_of(family)] == ["+", "~"]
    assert events_of(realm, "feature_family") == [
        "feature_family.created",
        "feature_family.changed",
    ]


def test_fallback_family_is_made_once(realm, at, by):
    family = ensure_fallback_family(realm=realm, at=at, by=by)
    again = ensure_fallback_family(realm=realm, at=at, by=by)

    assert again.pk == family.pk
    assert family.is_fallback
    assert family.feature_family_code == FALLBACK_FAMILY_CODE


def test_fallback_family_is_protected(realm, at, by):
    family = ensure_fallback_family(realm=realm, at=at, by=by)

    with pytest.raises(FallbackFamilyProtected):
        change_feature_family(family=family, name="Mine", at=at, by=by)
    with pytest.raises(FallbackFamilyProtected):
        delete_feature_family(family=family, at=at, by=by)
    with pytest.raises(FallbackFamilyProtected) as refusal:
        make_family(realm, at, by, "Auto.Registry")

    assert refusal.value.field == "feature_family_code"
    assert refusal.value.status == 422


def test_concurrent_upserts_of_one_code_make_one_family(committed_realm, at, by):
    results = race(
        lambda _: upsert_feature_family(
            realm=committed_realm, feature_family_code="chat", at=at, by=by
        )
    )

    assert sorted(created for _, created in results) == [False] * 7 + [True]
    assert len({family.pk for family, _ in results}) == 1


def test_concurrent_inserts_without_the_guard_collide(committed_realm, at, by):
    """The control: plain inserts of the same race do violate the unique key."""
    from django.db import transaction

    from config.tenancy.history import auditing

    def insert(_):
        with transaction.atomic(), auditing(by, at=at):
            return FeatureFamily.objects.create(
                realm=committed_realm, feature_family_code="chat", name="chat"
            )

    results = race(insert)

    assert sum(isinstance(result, FeatureFamily) for result in results) == 1

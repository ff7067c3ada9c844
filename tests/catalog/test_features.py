from datetime import timedelta

import pytest
from django.db import connection

from catalog.models import Feature, FeatureMeter, Meter
from catalog.services.entries import MeterEntry
from catalog.services.families import FallbackFamilyProtected, ensure_fallback_family
from catalog.services.features import change_feature, delete_feature, upsert_feature
from catalog.services.registration import register_feature
from config.kernel.errors import Invalid, NotFound
from config.kernel.ids import new_id
from tests.catalog.make import (
    CHEAP,
    events_of,
    history_of,
    make_family,
    make_feature,
    make_meter,
    race,
)


def linked(feature):
    """Return the codes linked to a feature, each with whether it is primary."""
    links = FeatureMeter.objects.filter(feature=feature)
    return dict(links.values_list("meter__meter_code", "is_primary"))


def test_new_feature_gets_a_primary_meter_of_its_code(realm, at, by):
    feature = make_feature(realm, at, by, unit="reply")

    meter = Meter.objects.in_realm(realm).get()
    assert linked(feature) == {"chat.reply": True}
    assert (meter.unit, meter.scale, meter.rounding) == ("reply", 0, "round")
    assert (meter.semantic_kind, meter.active) == ("activity", True)
    assert (feature.name, feature.active, feature.entitlement_required) == (
        "chat.reply",
        True,
        None,
    )
    assert events_of(realm, "feature.") == ["feature.created"]


def test_new_feature_with_other_meters_still_gets_its_primary_one(realm, at, by):
    feature = make_feature(
        realm, at, by, meters=[MeterEntry("tokens.in"), MeterEntry("tokens.out")]
    )

    assert linked(feature) == {
        "chat.reply": True,
        "tokens.in": False,
        "tokens.out": False,
    }


def test_meter_entry_without_code_is_the_primary_meter(realm, at, by):
    feature = make_feature(
        realm,
        at,
        by,
        meters=[
            MeterEntry(values={"semantic_kind": "outcome", "unit": "case"}, price=CHEAP)
        ],
    )

    meter = Meter.objects.in_realm(realm).get()
    assert linked(feature) == {"chat.reply": True}
    assert (meter.semantic_kind, meter.unit) == ("outcome", "case")
    assert meter.prices.get().unit_price_xusd == 100


def test_upsert_keeps_active_and_overwrites_the_rest(realm, at, by):
    make_feature(
        realm,
        at,
        by,
        name="Reply",
        description="Says it",
        unit="reply",
        entitlement_required=False,
        active=False,
        metadata={"team": "a"},
        meters=[MeterEntry("tokens")],
    )

    feature, created = upsert_feature(
        realm=realm, feature_code="CHAT.reply", feature_family_code="chat", at=at, by=by
    )

    assert not created
    assert (feature.name, feature.description, feature.unit) == ("chat.reply", "", "")
    assert (feature.entitlement_required, feature.metadata) == (None, {})
    assert feature.active is False
    assert linked(feature) == {"chat.reply": True, "tokens": False}


def test_upsert_reactivates_only_when_told(realm, at, by):
    make_feature(realm, at, by, active=False)

    feature = make_feature(realm, at, by, active=True)

    assert feature.active is True


def test_upsert_same_feature_writes_nothing(realm, at, by):
    meters = [MeterEntry("tokens", values={"unit": "token"}, price=CHEAP)]
    feature = make_feature(realm, at, by, meters=meters)
    before = events_of(realm)

    make_feature(realm, at + timedelta(hours=1), by, meters=meters)

    assert events_of(realm) == before
    assert len(history_of(feature)) == 1
    assert all(len(history_of(meter)) == 1 for meter in Meter.objects.in_realm(realm))


def test_upsert_moves_feature_to_the_family_named(realm, at, by):
    make_feature(realm, at, by, family="chat")

    feature = make_feature(realm, at, by, family="talk")

    assert feature.feature_family.feature_family_code == "talk"


def test_upsert_by_family_id_and_agreeing_code(realm, at, by):
    family = make_family(realm, at, by)

    feature, _ = upsert_feature(
        realm=realm,
        feature_code="f",
        feature_family_id=family.pk,
        feature_family_code="Chat",
        at=at,
        by=by,
    )

    assert feature.feature_family == family


def test_upsert_with_disagreeing_family_is_refused(realm, at, by):
    family = make_family(realm, at, by)
    make_family(realm, at, by, "talk")

    with pytest.raises(Invalid) as refusal:
        upsert_feature(
            realm=realm,
            feature_code="f",
            feature_family_id=family.pk,
            feature_family_code="talk",
            at=at,
            by=by,
        )

    assert refusal.value.field == "feature_family_code"


def test_upsert_without_family_is_refused(realm, at, by):
    with pytest.raises(Invalid) as refusal:
        upsert_feature(realm=realm, feature_code="f", at=at, by=by)

    assert refusal.value.field == "feature_family_code"


@pytest.mark.parametrize("named", ["id", "code"])
def test_upsert_with_unknown_family_is_not_found(realm, at, by, named):
    family = (
        {"feature_family_id": new_id()}
        if named == "id"
        else {"feature_family_code": "no"}
    )

    with pytest.raises(NotFound) as refusal:
        upsert_feature(realm=realm, feature_code="f", at=at, by=by, **family)

    assert refusal.value.field == f"feature_family_{named}"


def test_family_of_another_realm_is_not_found(realm, other_realm, at, by):
    foreign = make_family(other_realm, at, by)

    with pytest.raises(NotFound):
        upsert_feature(
            realm=realm, feature_code="f", feature_family_id=foreign.pk, at=at, by=by
        )


def test_fallback_family_takes_no_manual_assignment(realm, at, by):
    ensure_fallback_family(realm=realm, at=at, by=by)
    feature = make_feature(realm, at, by)

    with pytest.raises(FallbackFamilyProtected):
        upsert_feature(
            realm=realm,
            feature_code="new",
            feature_family_code="auto.registry",
            at=at,
            by=by,
        )
    with pytest.raises(FallbackFamilyProtected):
        change_feature(
            feature=feature, feature_family_code="auto.registry", at=at, by=by
        )

    assert not Feature.objects.in_realm(realm).filter(feature_code="new").exists()


def test_registered_feature_may_name_its_fallback_family_and_leave_it(realm, at, by):
    feature = register_feature(
        realm=realm, feature_code="new", source="commit", at=at, by=by
    )
    make_family(realm, at, by)

    kept = change_feature(
        feature=feature, feature_family_code="auto.registry", at=at, by=by
    )
    moved = change_feature(feature=feature, feature_family_code="chat", at=at, by=by)

    assert kept.feature_family.is_fallback
    assert moved.feature_family.feature_family_code == "chat"


def test_change_puts_and_takes_meters(realm, at, by):
    feature = make_feature(realm, at, by, meters=[MeterEntry("tokens")])

    change_feature(
        feature=feature,
        meters=[MeterEntry("seconds", values={"unit": "s"})],
        delete_meters=["Tokens"],
        at=at,
        by=by,
    )

    assert linked(feature) == {"chat.reply": True, "seconds": False}
    assert Meter.objects.in_realm(realm).filter(meter_code="tokens").exists()
    assert events_of(realm, "feature.")[-1] == "feature.changed"


@pytest.mark.parametrize(
    ("meters", "gone", "field"),
    [
        (["tokens"], ["Tokens"], "delete_meters.0"),
        ([], ["tokens", "tokens"], "delete_meters.1"),
        ([], ["chat.reply"], "delete_meters.0"),
        ([], ["tokens", "unheard-of"], "delete_meters.1"),
        ([], ["!"], "delete_meters.0"),
        (["tokens", "tokens"], [], "meters.1.meter_code"),
        (["tokens", "!"], [], "meters.1.meter_code"),
    ],
)
def test_change_refuses_meters(realm, at, by, meters, gone, field):
    feature = make_feature(realm, at, by, meters=[MeterEntry("tokens")])

    with pytest.raises(Invalid) as refusal:
        change_feature(
            feature=feature,
            meters=[MeterEntry(code) for code in meters],
            delete_meters=gone,
            at=at,
            by=by,
        )

    assert refusal.value.field == field
    assert linked(feature) == {"chat.reply": True, "tokens": False}


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (MeterEntry(feature_code="other"), "meters.0.feature_code"),
        (MeterEntry(values={"scale": 19}), "meters.0.scale"),
        (MeterEntry(values={"unit": " "}), "meters.0.unit"),
        (MeterEntry(values={"rounding": "up"}), "meters.0.rounding"),
        (MeterEntry(values={"semantic_kind": "x"}), "meters.0.semantic_kind"),
        (
            MeterEntry(values={"metadata": {"residual_mode": "x"}}),
            "meters.0.metadata.residual_mode",
        ),
    ],
)
def test_bad_meter_entry_names_its_place(realm, at, by, entry, field):
    make_family(realm, at, by)

    with pytest.raises(Invalid) as refusal:
        make_feature(realm, at, by, meters=[entry])

    assert refusal.value.field == field


def test_bad_meter_metadata_lists_every_place(realm, at, by):
    make_family(realm, at, by)
    entry = MeterEntry(values={"metadata": {"residual_mode": "x"}})

    with pytest.raises(Invalid) as refusal:
        make_feature(realm, at, by, meters=[entry])

    places = [place for place, _ in refusal.value.meta["errors"]]
    assert places == ["meters.0.metadata.residual_mode"]


def test_change_of_entitlement_back_to_inherited(realm, at, by):
    feature = make_feature(realm, at, by, entitlement_required=True)

    changed = change_feature(feature=feature, entitlement_required=None, at=at, by=by)

    assert changed.entitlement_required is None


def test_unknown_budget_strategy_is_refused(realm, at, by):
    feature = make_feature(realm, at, by)

    with pytest.raises(Invalid) as refusal:
        change_feature(feature=feature, default_budget_strategy="warm", at=at, by=by)

    assert refusal.value.field == "default_budget_strategy"


def test_shared_meter_is_linked_not_copied(realm, at, by):
    make_meter(realm, at, by, "tokens", unit="token")

    feature = make_feature(realm, at, by, meters=[MeterEntry("tokens")])

    assert Meter.objects.in_realm(realm).get(meter_code="tokens").unit == "token"
    assert linked(feature)["tokens"] is False


def test_delete_unreferenced_feature_removes_it_and_keeps_its_meters(realm, at, by):
    feature = make_feature(realm, at, by)

    assert delete_feature(feature=feature, at=at, by=by) is True

    assert not Feature.objects.in_realm(realm).exists()
    assert Meter.objects.in_realm(realm).count() == 1
    assert events_of(realm, "feature.")[-1] == "feature.deleted"
    assert make_feature(realm, at, by).pk != feature.pk


def test_delete_referenced_feature_deactivates_it(realm, at, by):
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE referring (feature_id uuid REFERENCES features (id)"
            " DEFERRABLE INITIALLY DEFERRED)"
        )
        feature = make_feature(realm, at, by)
        cursor.execute("INSERT INTO referring VALUES (%s)", [feature.pk])

    assert delete_feature(feature=feature, at=at, by=by) is False

    feature.refresh_from_db()
    assert feature.active is False
    assert linked(feature) == {"chat.reply": True}
    assert events_of(realm, "feature.") == ["feature.created", "feature.changed"]


def test_concurrent_upserts_of_one_feature_make_one(committed_realm, at, by):
    make_family(committed_realm, at, by)

    results = race(
        lambda number: upsert_feature(
            realm=committed_realm,
            feature_code="chat.reply",
            feature_family_code="chat",
            meters=[
                MeterEntry(code) for code in (["a", "b"] if number % 2 else ["b", "a"])
            ],
            at=at,
            by=by,
        )
    )

    assert [r for r in results if isinstance(r, Exception)] == []
    assert sorted(created for _, created in results) == [False] * 7 + [True]
    assert linked(results[0][0]) == {"chat.reply": True, "a": False, "b": False}


def test_registered_feature_needs_no_entitlement(realm, at, by):
    feature = register_feature(
        realm=realm,
        feature_code="New",
        semantic_kind="outcome",
        source="ingest",
        at=at,
        by=by,
    )

    meter = Meter.objects.in_realm(realm).get()
    assert (feature.feature_code, feature.entitlement_required) == ("new", False)
    assert feature.feature_family.is_fallback
    assert feature.metadata == {"auto_registry": {"auto": True, "source": "ingest"}}
    assert (meter.meter_code, meter.semantic_kind, meter.unit) == (
        "new",
        "outcome",
        "unit",
    )


def test_registered_feature_lands_in_the_family_named(realm, at, by):
    first = register_feature(
        realm=realm,
        feature_code="a",
        feature_family_code="chat",
        source="commit",
        at=at,
        by=by,
    )
    second = register_feature(
        realm=realm,
        feature_code="b",
        feature_family_code="chat",
        source="commit",
        at=at,
        by=by,
    )

    assert first.feature_family == second.feature_family
    assert first.feature_family.entitlement_required is True


def test_registering_a_known_feature_changes_nothing(realm, at, by):
    feature = make_feature(realm, at, by)

    found = register_feature(
        realm=realm, feature_code="chat.reply", source="commit", at=at, by=by
    )

    assert found == feature
    assert len(history_of(feature)) == 1

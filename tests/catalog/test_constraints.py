"""The database refuses bad rows on its own, whatever Python would have let through."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, transaction

from catalog.models import Feature, FeatureFamily, FeatureMeter, Meter, MeterPrice
from config.tenancy.history import auditing
from tests.catalog.make import CHEAP, make_family, make_feature, make_meter

UNEXPLAINED, APPEND_ONLY = "PG001", "PG002"
LONG = "a" * 129
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def rows(realm, at, by):
    """One row of every table, by model."""
    feature = make_feature(realm, at, by)
    meter = make_meter(realm, at, by, price=CHEAP)
    return {
        FeatureFamily: feature.feature_family,
        Feature: feature,
        Meter: meter,
        FeatureMeter: FeatureMeter.objects.get(feature=feature),
        MeterPrice: MeterPrice.objects.get(meter=meter),
    }


def twin_of(row, at, **values):
    """Return an unsaved row like `row` that breaks no rule but by `values`."""
    fresh = {
        FeatureFamily: {"feature_family_code": "fresh"},
        Feature: {"feature_code": "fresh"},
        Meter: {"meter_code": "fresh"},
        FeatureMeter: {"is_primary": False},
        MeterPrice: {"window_start": LONG_AGO, "window_end": at - timedelta(days=1)},
    }[type(row)]
    twin = type(row).objects.get(pk=row.pk)
    twin.pk = type(row)._meta.pk.get_default()
    twin._state.adding = True
    for name, value in {**fresh, **values}.items():
        setattr(twin, name, value)
    return twin


def violated(at, by, change):
    """Return the name of the constraint that `change` violates."""
    with (
        pytest.raises(IntegrityError) as refusal,
        transaction.atomic(),
        auditing(by, at=at),
    ):
        change()
    return refusal.value.__cause__.diag.constraint_name


CHECKS = [
    (FeatureFamily, {"feature_family_code": "Chat"}, "feature_family_code_is_plain"),
    (FeatureFamily, {"feature_family_code": "chat\n"}, "feature_family_code_is_plain"),
    (FeatureFamily, {"feature_family_code": LONG}, "feature_family_code_is_plain"),
    (FeatureFamily, {"name": " \t"}, "feature_family_name_is_given"),
    (FeatureFamily, {"metadata": []}, "feature_family_metadata_is_object"),
    (FeatureFamily, {"metadata": [{}]}, "feature_family_metadata_is_object"),
    (FeatureFamily, {"is_fallback": True}, "feature_family_fallback_iff_auto_registry"),
    (
        FeatureFamily,
        {"feature_family_code": "auto.registry"},
        "feature_family_fallback_iff_auto_registry",
    ),
    (Feature, {"feature_code": ".x"}, "feature_code_is_plain"),
    (Feature, {"name": ""}, "feature_name_is_given"),
    (Feature, {"default_budget_strategy": "warm"}, "feature_budget_strategy_is_known"),
    (Feature, {"metadata": "x"}, "feature_metadata_is_object"),
    (Meter, {"meter_code": ""}, "meter_code_is_plain"),
    (Meter, {"semantic_kind": "x"}, "meter_semantic_kind_is_known"),
    (Meter, {"rounding": "up"}, "meter_rounding_is_known"),
    (Meter, {"unit": " "}, "meter_unit_is_given"),
    (Meter, {"scale": -1}, "meter_scale_between_0_and_18"),
    (Meter, {"scale": 19}, "meter_scale_between_0_and_18"),
    (Meter, {"metadata": 1}, "meter_metadata_is_object"),
    (
        MeterPrice,
        {
            "unit_price_xusd": -1,
            "unit_price_base_xusd": 0,
            "unit_price_dynamic_xusd": -1,
        },
        "meter_price_not_negative",
    ),
    (
        MeterPrice,
        {"unit_price_base_xusd": -1, "unit_price_dynamic_xusd": 101},
        "meter_price_base_not_negative",
    ),
    (MeterPrice, {"unit_price_dynamic_xusd": 1}, "meter_price_is_base_plus_dynamic"),
    (MeterPrice, {"unit_quantity_minor": 0}, "meter_price_has_reference_quantity"),
    (MeterPrice, {"unit_cost_xusd": -1}, "meter_price_cost_not_negative"),
    (
        MeterPrice,
        {"cost_unit_quantity_minor": 0},
        "meter_price_has_cost_reference_quantity",
    ),
]


@pytest.mark.parametrize(("model", "values", "name"), CHECKS)
def test_bad_column_is_refused(rows, at, by, model, values, name):
    twin = twin_of(rows[model], at, **values)

    assert violated(at, by, lambda: twin.save(force_insert=True)) == name


@pytest.mark.parametrize("length", [timedelta(0), timedelta(seconds=-1)])
def test_window_without_length_is_refused(rows, realm, at, by, length):
    meter = make_meter(realm, at, by, "other")

    def insert():
        MeterPrice.objects.create(
            realm=realm,
            meter=meter,
            unit_price_xusd=1,
            unit_price_base_xusd=1,
            unit_cost_xusd=0,
            window_start=at,
            window_end=at + length,
        )

    if length:
        # PostgreSQL cannot build the reversed range that the exclusion asks about.
        with pytest.raises(DatabaseError), transaction.atomic(), auditing(by, at=at):
            insert()
    else:
        assert violated(at, by, insert) == "meterprice_window_not_empty"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (FeatureFamily, "feature_family_code_once_per_realm"),
        (Feature, "feature_code_once_per_realm"),
        (Meter, "meter_code_once_per_realm"),
        (FeatureMeter, "feature_meter_linked_once"),
        (MeterPrice, "meter_price_one_in_force"),
    ],
)
def test_second_row_of_one_identity_is_refused(rows, at, by, model, name):
    twin = model.objects.get(pk=rows[model].pk)
    twin.pk = None
    twin._state.adding = True
    twin.pk = model._meta.pk.get_default()
    if model is FeatureMeter:
        twin.is_primary = False

    assert violated(at, by, lambda: twin.save(force_insert=True)) == name


def test_second_primary_meter_is_refused(rows, realm, at, by):
    link = FeatureMeter(
        realm=realm, feature=rows[Feature], meter=rows[Meter], is_primary=True
    )

    assert violated(at, by, link.save) == "feature_meter_one_primary_per_feature"


def test_second_fallback_family_is_refused(realm, at, by):
    """The check on the code comes first; the unique key would hold without it."""
    constraint = next(
        c
        for c in FeatureFamily._meta.constraints
        if c.name == "feature_family_one_fallback_per_realm"
    )
    with transaction.atomic(), auditing(by, at=at):
        FeatureFamily.objects.create(
            realm=realm, feature_family_code="auto.registry", name="a", is_fallback=True
        )

    with pytest.raises(ValidationError, match="fallback family already"):
        constraint.validate(FeatureFamily, FeatureFamily(realm=realm, is_fallback=True))


@pytest.mark.parametrize(
    ("model", "column", "name"),
    [
        (Feature, "feature_family", "features_feature_family_id_same_realm"),
        (FeatureMeter, "feature", "feature_meters_feature_id_same_realm"),
        (FeatureMeter, "meter", "feature_meters_meter_id_same_realm"),
        (MeterPrice, "meter", "meter_prices_meter_id_same_realm"),
    ],
)
def test_parent_in_another_realm_is_refused(
    rows, other_realm, at, by, model, column, name
):
    foreign = {
        "feature_family": make_family(other_realm, at, by),
        "feature": make_feature(other_realm, at, by),
        "meter": make_meter(other_realm, at, by),
    }[column]
    twin = twin_of(rows[model], at, **{column: foreign})

    assert violated(at, by, lambda: twin.save(force_insert=True)) == name


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (FeatureFamily, {"active": False}),
        (Feature, {"active": False}),
        (Meter, {"active": False}),
        (FeatureMeter, {"created_at": LONG_AGO}),
        (MeterPrice, {"created_at": LONG_AGO}),
    ],
)
def test_unexplained_write_is_refused(rows, model, values):
    same = model.objects.filter(pk=rows[model].pk)

    with pytest.raises(DatabaseError) as refusal, transaction.atomic():
        same.update(**values)

    assert refusal.value.__cause__.sqlstate == UNEXPLAINED


@pytest.mark.parametrize(
    "model", [FeatureFamily, Feature, Meter, FeatureMeter, MeterPrice]
)
def test_history_is_append_only(rows, at, by, model):
    with (
        pytest.raises(DatabaseError) as refusal,
        transaction.atomic(),
        auditing(by, at=at),
    ):
        model.history.filter(id=rows[model].pk).update(operator="nobody")

    assert refusal.value.__cause__.sqlstate == APPEND_ONLY


def test_reversed_window_fails_on_its_field(rows, realm, at):
    price = MeterPrice(
        realm=realm,
        meter=rows[Meter],
        unit_price_xusd=1,
        unit_price_base_xusd=1,
        unit_cost_xusd=0,
        window_start=at,
        window_end=at - timedelta(days=1),
    )

    with pytest.raises(ValidationError) as refusal:
        price.full_clean()

    assert set(refusal.value.message_dict) == {"window_end"}


def test_amounts_beyond_64_bits_fail_on_their_field(rows, realm, at):
    price = MeterPrice(
        realm=realm,
        meter=rows[Meter],
        unit_price_xusd=2**63,
        unit_price_base_xusd=2**63 - 1,
        unit_price_dynamic_xusd=-(2**63),
        unit_cost_xusd=0,
        window_start=at + timedelta(days=1),
        window_end=at + timedelta(days=2),
    )

    with pytest.raises(ValidationError) as refusal:
        price.full_clean(validate_constraints=True)

    assert "unit_price_xusd" in refusal.value.message_dict


def test_price_in_force_twice_is_told_in_words(rows, realm, at):
    price = MeterPrice(
        realm=realm,
        meter=rows[Meter],
        unit_price_xusd=1,
        unit_price_base_xusd=1,
        unit_cost_xusd=0,
        window_start=at + timedelta(days=1),
    )

    with pytest.raises(
        ValidationError, match="Another price of this meter is in force"
    ):
        price.full_clean()


@pytest.mark.parametrize(
    "model", [FeatureFamily, Feature, Meter, FeatureMeter, MeterPrice]
)
def test_every_row_names_itself(rows, model):
    assert str(rows[model])

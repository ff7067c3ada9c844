from datetime import timedelta

import pytest

from catalog.models import FeatureMeter, MeterPrice
from catalog.services.meters import change_meter, upsert_meter
from catalog.services.prices import PriceTerms
from config.kernel.errors import Invalid, NotFound
from tests.catalog.make import CHEAP, events_of, history_of, make_feature, make_meter


def test_new_meter_takes_defaults(realm, at, by):
    meter, created = upsert_meter(realm=realm, meter_code=" Tokens ", at=at, by=by)

    assert created
    assert (meter.meter_code, meter.unit, meter.scale) == ("tokens", "unit", 0)
    assert (meter.rounding, meter.semantic_kind, meter.active) == (
        "round",
        "activity",
        True,
    )
    assert events_of(realm, "meter") == ["meter.created"]


def test_upsert_keeps_absent_fields(realm, at, by):
    make_meter(
        realm, at, by, unit="token", scale=3, semantic_kind="outcome", active=False
    )

    meter, created = upsert_meter(
        realm=realm, meter_code="tokens", rounding="ceil", at=at, by=by
    )

    assert not created
    assert (meter.unit, meter.scale, meter.semantic_kind) == ("token", 3, "outcome")
    assert (meter.rounding, meter.active) == ("ceil", False)
    assert [row.rounding for row in history_of(meter)] == ["round", "ceil"]


def test_upsert_same_meter_writes_nothing(realm, at, by):
    make_meter(realm, at, by, unit="token", price=CHEAP)
    before = events_of(realm)

    make_meter(realm, at + timedelta(hours=1), by, unit="token", price=CHEAP)

    assert events_of(realm) == before
    assert MeterPrice.objects.in_realm(realm).count() == 1


def test_upsert_links_the_feature_named(realm, at, by):
    feature = make_feature(realm, at, by)

    meter = make_meter(realm, at, by, feature_code="Chat.Reply")
    make_meter(realm, at, by, feature_code="chat.reply")

    link = FeatureMeter.objects.get(meter=meter)
    assert (link.feature, link.is_primary) == (feature, False)
    assert events_of(realm, "feature.") == ["feature.created", "feature.changed"]


def test_upsert_with_unknown_feature_is_not_found(realm, at, by):
    with pytest.raises(NotFound) as refusal:
        make_meter(realm, at, by, feature_code="nowhere")

    assert refusal.value.field == "feature_code"


def test_change_refuses_another_code(realm, at, by):
    meter = make_meter(realm, at, by)

    with pytest.raises(Invalid) as refusal:
        change_meter(meter=meter, meter_code="characters", at=at, by=by)

    assert refusal.value.field == "meter_code"


def test_change_with_its_own_code_and_a_price(realm, at, by):
    meter = make_meter(realm, at, by)

    changed = change_meter(
        meter=meter, meter_code="Tokens", unit="token", price=CHEAP, at=at, by=by
    )

    assert changed.unit == "token"
    assert MeterPrice.objects.get(meter=meter).unit_price_xusd == 100


def test_bad_price_names_its_place(realm, at, by):
    with pytest.raises(Invalid) as refusal:
        make_meter(realm, at, by, price=PriceTerms(unit_price_xusd=-1))

    assert refusal.value.field == "meter_prices.unit_price_xusd"

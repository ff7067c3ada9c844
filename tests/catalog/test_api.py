"""The catalog over HTTP, read with the official client's own models."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from vlunaai.generated import billing_mgt_models as wire

from catalog.models import Feature, FeatureFamily, Meter
from catalog.services.entries import MeterEntry
from catalog.services.families import ensure_fallback_family
from catalog.services.registration import register_feature
from config.kernel.ids import new_id
from tests.catalog.make import CHEAP, history_of, make_family, make_feature, make_meter

PRICE = {
    "unit_price_xusd": "3600000",
    "unit_quantity_minor": "1000000",
    "unit_cost_xusd": "2500000",
    "cost_unit_quantity_minor": "1000000",
}


def read(response, model, status=200):
    """Return the `data` of an answer that keeps the wire contract."""
    assert response.status_code == status, response.content
    model.model_validate(response.json())
    return response.json()["data"]


def refused(response, status, field, code="VALIDATION.INVALID_INPUT"):
    body = response.json()
    assert (response.status_code, body["code"], body["meta"].get("field")) == (
        status,
        code,
        field,
    ), body


@pytest.fixture
def family(realm, at, by):
    return make_family(realm, at, by)


@pytest.fixture
def feature(realm, at, by):
    return make_feature(realm, at, by, meters=[MeterEntry("tokens", price=CHEAP)])


@pytest.fixture
def meter(realm, at, by):
    return make_meter(realm, at, by, "seconds", price=CHEAP)


# Feature families


def test_family_is_created_then_found_unchanged(api, realm):
    document = {"feature_family_code": " Chat", "name": "", "metadata": {"team": "a"}}

    created = read(
        api.post("feature-families", document), wire.FeatureFamilyEnvelope, 201
    )
    again = read(
        api.post("feature-families", document), wire.FeatureFamilyEnvelope, 200
    )

    assert again == created
    assert created["feature_family_code"] == created["name"] == "chat"
    assert (
        created["is_fallback"],
        created["active"],
        created["entitlement_required"],
    ) == (False, True, True)
    assert created["metadata"] == {"team": "a"}


def test_family_is_read_and_changed(api, family):
    address = f"feature-families/{family.pk}"

    changed = read(
        api.patch(address, {"description": "Talk", "active": False}),
        wire.FeatureFamilyEnvelope,
    )

    assert read(api.get(address), wire.FeatureFamilyEnvelope) == changed
    assert (changed["name"], changed["description"], changed["active"]) == (
        "chat",
        "Talk",
        False,
    )


def test_family_list_filters_and_pages(api, realm, at, by):
    for code in ("c", "a", "b"):
        make_family(realm, at, by, code, name=f"Family {code}", active=code != "b")

    first = read(api.get("feature-families", limit="2"), wire.FeatureFamilyListEnvelope)
    rest = read(
        api.get("feature-families", limit="2", cursor=first["next_cursor"]),
        wire.FeatureFamilyListEnvelope,
    )
    inactive = read(
        api.get("feature-families", active="false"), wire.FeatureFamilyListEnvelope
    )
    named = read(
        api.get("feature-families", q="FAMILY%20c"), wire.FeatureFamilyListEnvelope
    )
    everything = read(api.get("feature-families", q=""), wire.FeatureFamilyListEnvelope)

    def codes(page):
        return [item["feature_family_code"] for item in page["items"]]

    assert (codes(first), codes(rest), "next_cursor" in rest) == (
        ["a", "b"],
        ["c"],
        False,
    )
    assert (codes(inactive), codes(named), codes(everything)) == (
        ["b"],
        ["c"],
        ["a", "b", "c"],
    )


def test_search_takes_wildcards_as_letters(api, family):
    page = read(api.get("feature-families", q="%25"), wire.FeatureFamilyListEnvelope)

    assert page["items"] == []


def test_family_deletion_is_hard_then_soft(api, realm, at, by, family):
    used = make_feature(realm, at, by, family="talk").feature_family

    gone = api.delete(f"feature-families/{family.pk}")
    kept = api.delete(f"feature-families/{used.pk}")

    assert read(gone, wire.FeatureFamilyDeleteEnvelope) == {
        "deleted": True,
        "soft_deleted": False,
    }
    assert read(kept, wire.FeatureFamilyDeleteEnvelope) == {
        "deleted": False,
        "soft_deleted": True,
    }
    assert FeatureFamily.objects.in_realm(realm).get().active is False


def test_fallback_family_is_refused(api, realm, at, by):
    family = ensure_fallback_family(realm=realm, at=at, by=by)
    address = f"feature-families/{family.pk}"

    assert read(api.get(address), wire.FeatureFamilyEnvelope)["is_fallback"] is True
    refused(api.patch(address, {"name": "Mine"}), 422, "feature_family_id")
    refused(api.delete(address), 422, "feature_family_id")
    refused(
        api.post("feature-families", {"feature_family_code": "auto.registry"}),
        422,
        "feature_family_code",
    )


# Features


def test_feature_is_created_with_its_primary_meter(api, family):
    document = {
        "feature_family_code": "chat",
        "feature_code": "chat.reply",
        "unit": "reply",
    }

    created = read(api.post("features", document), wire.FeatureEnvelope, 201)
    again = read(api.post("features", document), wire.FeatureEnvelope, 200)

    assert again == created
    assert (created["feature_family_id"], created["feature_family_code"]) == (
        str(family.pk),
        "chat",
    )
    assert (created["entitlement_required"], created["unit"]) == (None, "reply")
    assert created["missing_price_reason"] == "missing_price"
    [meter] = created["meters"]
    assert (meter["meter_code"], meter["unit"], meter["feature_id"]) == (
        "chat.reply",
        "reply",
        created["feature_id"],
    )
    assert "meter_prices" not in meter


def test_feature_is_created_with_priced_meters(api, family):
    document = {
        "feature_family_id": str(family.pk),
        "feature_code": "chat.reply",
        "meters": [
            {"meter_prices": PRICE, "semantic_kind": "outcome", "scale": 2.0},
            {"meter_code": "Tokens", "unit": "token", "meter_prices": PRICE},
        ],
    }

    created = read(api.post("features", document), wire.FeatureEnvelope, 201)

    primary, tokens = created["meters"]
    assert "missing_price_reason" not in created
    assert (primary["meter_code"], primary["semantic_kind"], primary["scale"]) == (
        "chat.reply",
        "outcome",
        2,
    )
    assert (tokens["meter_code"], tokens["unit"], tokens["feature_code"]) == (
        "tokens",
        "token",
        "chat.reply",
    )
    assert (
        tokens["meter_prices"].items()
        >= {
            **PRICE,
            "unit_price_base_xusd": "3600000",
            "unit_price_dynamic_xusd": "0",
        }.items()
    )


def test_feature_is_changed(api, feature):
    address = f"features/{feature.pk}"

    changed = read(
        api.patch(
            address,
            {
                "entitlement_required": True,
                "meters": [{"meter_code": "seconds", "meter_prices": PRICE}],
                "delete_meters": ["tokens"],
            },
        ),
        wire.FeatureEnvelope,
    )
    inherited = read(
        api.patch(address, {"entitlement_required": None}), wire.FeatureEnvelope
    )

    assert changed["entitlement_required"] is True
    assert [meter["meter_code"] for meter in changed["meters"]] == [
        "chat.reply",
        "seconds",
    ]
    assert inherited["entitlement_required"] is None
    assert read(api.get(address), wire.FeatureEnvelope) == inherited


def test_feature_list_filters(api, realm, at, by):
    make_feature(realm, at, by, "chat.reply", name="Answer")
    make_feature(realm, at, by, "talk.call", "talk", active=False)

    def codes(**query):
        page = read(api.get("features", **query), wire.FeatureListEnvelope)
        return [item["feature_code"] for item in page["items"]]

    assert codes() == ["chat.reply", "talk.call"]
    assert codes(q="ANSW") == ["chat.reply"]
    assert codes(active="false") == ["talk.call"]
    assert codes(feature_family_code="Talk") == ["talk.call"]
    assert codes(feature_family_code="unheard-of") == []


def test_feature_deletion(api, realm, feature):
    deleted = read(api.delete(f"features/{feature.pk}"), wire.FeatureDeleteEnvelope)

    assert deleted == {"deleted": True, "soft_deleted": False}
    assert not Feature.objects.in_realm(realm).exists()


def test_features_that_need_configuration(api, realm, at, by):
    priced = [MeterEntry(price=CHEAP)]
    make_feature(realm, at, by, "ready", meters=priced)
    make_feature(realm, at, by, "unpriced", meters=[*priced, MeterEntry("tokens")])
    make_feature(realm, at, by, "retired", active=False)
    make_feature(
        realm,
        at,
        by,
        "half",
        meters=[*priced, MeterEntry("old", values={"active": False})],
    )
    register_feature(realm=realm, feature_code="found", source="commit", at=at, by=by)
    register_feature(
        realm=realm, feature_code="found.priced", source="commit", at=at, by=by
    )
    make_meter(realm, at, by, "found.priced", price=CHEAP)

    page = read(api.get("features/needs-config"), wire.FeatureListEnvelope)

    assert {
        item["feature_code"]: item["missing_price_reason"] for item in page["items"]
    } == {
        "found": "both",
        "found.priced": "auto_registry",
        "unpriced": "missing_price",
    }


# Meters


def test_meter_is_created_and_repriced(api, realm, feature):
    document = {
        "meter_code": "Seconds",
        "unit": "s",
        "feature_code": "chat.reply",
        "meter_prices": PRICE,
    }

    created = read(api.post("meters", document), wire.MeterEnvelope, 201)
    again = read(api.post("meters", document), wire.MeterEnvelope, 200)
    echoed = {
        **created["meter_prices"],
        "unit_price_xusd": "1",
        "unit_price_base_xusd": "1",
    }
    repriced = read(
        api.patch(f"meters/{created['meter_id']}", {"meter_prices": echoed}),
        wire.MeterEnvelope,
    )

    assert again == created
    assert (created["meter_code"], created["feature_code"], created["scale"]) == (
        "seconds",
        "chat.reply",
        0,
    )
    assert repriced["meter_prices"]["unit_price_xusd"] == "1"
    assert (
        repriced["meter_prices"]["effective_at"]
        > created["meter_prices"]["effective_at"]
    )
    assert Meter.objects.in_realm(realm).get(meter_code="seconds").prices.count() == 2


def test_meter_shows_the_feature_it_is_primary_to(api, realm, at, by):
    make_feature(realm, at, by, "b", meters=[MeterEntry("tokens")])
    make_feature(realm, at, by, "a", meters=[MeterEntry("tokens"), MeterEntry("b")])
    make_meter(realm, at, by, "loose")

    def shown(**query):
        page = read(api.get("meters", **query), wire.MeterListEnvelope)
        return {item["meter_code"]: item.get("feature_code") for item in page["items"]}

    assert shown() == {"a": "a", "b": "b", "loose": None, "tokens": "a"}
    assert shown(feature_code="b") == {"b": "b", "tokens": "b"}


def test_meter_list_filters(api, realm, at, by):
    make_meter(realm, at, by, "tokens", unit="token", semantic_kind="activity")
    make_meter(
        realm, at, by, "cases", unit="case", semantic_kind="outcome", active=False
    )

    def codes(**query):
        page = read(api.get("meters", **query), wire.MeterListEnvelope)
        return [item["meter_code"] for item in page["items"]]

    assert codes() == ["cases", "tokens"]
    assert codes(q="TOK") == codes(unit="token") == codes(active="true") == ["tokens"]
    assert codes(semantic_kind="outcome") == ["cases"]


def test_meter_code_cannot_be_changed(api, meter):
    refused(
        api.patch(f"meters/{meter.pk}", {"meter_code": "minutes"}), 422, "meter_code"
    )


def test_meter_with_unknown_feature_is_not_found(api, realm):
    refused(
        api.post("meters", {"meter_code": "m", "feature_code": "nowhere"}),
        404,
        "feature_code",
        "RESOURCE.NOT_FOUND",
    )


# All three


NOUNS = ["feature-families", "features", "meters"]


@pytest.fixture
def foreign(other_realm, at, by):
    """Return the id of another realm's row, by noun."""
    feature = make_feature(other_realm, at, by)
    meter = Meter.objects.in_realm(other_realm).get()
    return {
        "feature-families": feature.feature_family_id,
        "features": feature.pk,
        "meters": meter.pk,
    }


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize(
    "kind", ["foreign", "unknown", "malformed", "longer", "undashed"]
)
def test_row_of_no_concern_is_not_found(api, foreign, noun, kind):
    key = {
        "foreign": foreign[noun],
        "unknown": new_id(),
        "malformed": "1",
        "longer": f"{foreign[noun]}x",
        "undashed": foreign[noun].hex,
    }[kind]

    responses = [
        api.get(f"{noun}/{key}"),
        api.patch(f"{noun}/{key}", {"active": False}),
    ]
    if noun != "meters":
        responses.append(api.delete(f"{noun}/{key}"))

    for response in responses:
        refused(response, 404, None, "RESOURCE.NOT_FOUND")


@pytest.mark.parametrize("noun", NOUNS)
def test_list_leaves_other_realms_out(api, foreign, noun):
    assert api.get(noun).json()["data"] == {"items": []}


@pytest.mark.parametrize("noun", [*NOUNS, "features/needs-config"])
def test_list_takes_the_same_queries_for_one_row_and_three(api, realm, at, by, noun):
    counts = []
    for number in range(3):
        make_feature(
            realm,
            at,
            by,
            f"f{number}",
            f"family{number}",
            meters=[MeterEntry(f"m{number}", price=CHEAP)],
        )
        with CaptureQueriesContext(
            connection,
        ) as captured:
            response = api.get(noun)
        counts.append(len(captured))

    assert len(response.json()["data"]["items"]) >= 3
    # The first call also notes the key's use.
    assert counts[0] - 1 <= counts[1] == counts[2]


@pytest.mark.parametrize(
    ("noun", "document", "field"),
    [
        ("feature-families", {}, "feature_family_code"),
        ("feature-families", {"feature_family_code": 5}, "feature_family_code"),
        ("feature-families", {"feature_family_code": "a b"}, "feature_family_code"),
        ("feature-families", {"feature_family_code": "a", "name": None}, "name"),
        ("feature-families", {"feature_family_code": "a", "name": "x" * 256}, "name"),
        ("feature-families", {"feature_family_code": "a", "active": "true"}, "active"),
        ("feature-families", {"feature_family_code": "a", "active": 1}, "active"),
        ("feature-families", {"feature_family_code": "a", "entitlement_required": None}, "entitlement_required"),
        ("feature-families", {"feature_family_code": "a", "description": []}, "description"),
        ("feature-families", {"feature_family_code": "a", "metadata": []}, "metadata"),
        ("feature-families", {"feature_family_code": "a", "metadata": {"n": 2**63}}, "metadata.n"),
        ("feature-families", {"feature_family_code": "a", "is_fallback": True}, "is_fallback"),
        ("feature-families", {"feature_family_code": "a", "realm": "other"}, "realm"),
        ("features", {"feature_code": "f"}, "feature_family_code"),
        ("features", {"feature_code": "f", "feature_family_id": "1"}, "feature_family_id"),
        ("features", {"feature_code": "f", "feature_family_code": None}, "feature_family_code"),
        ("features", {"feature_family_code": "chat"}, "feature_code"),
        ("features", {"feature_code": "f", "feature_family_code": "chat", "unit": 1}, "unit"),
        ("features", {"feature_code": "f", "feature_family_code": "chat", "meters": {}}, "meters"),
        ("features", {"feature_code": "f", "feature_family_code": "chat", "meters": [{"scale": 1.5}]}, "meters.0.scale"),
        ("features", {"feature_code": "f", "feature_family_code": "chat", "meters": [{"scale": 19}]}, "meters.0.scale"),
        ("features", {"feature_code": "f", "feature_family_code": "chat", "meters": [{"scale": True}]}, "meters.0.scale"),
        ("features", {"feature_code": "f", "feature_family_code": "chat", "meters": [{}, {"meter_code": "f"}]}, "meters.1.meter_code"),
        ("features", {"feature_code": "f", "feature_family_code": "chat", "meters": [{"feature_code": "g"}]}, "meters.0.feature_code"),
        ("features", {"feature_code": "f", "feature_family_code": "chat", "meters": [{"rating": 1}]}, "meters.0.rating"),
        ("features", {"feature_code": "f", "feature_family_code": "chat", "meters": [{"metadata": {"residual_mode": 1}}]}, "meters.0.metadata.residual_mode"),
        ("features", {"feature_code": "f", "feature_family_code": "chat", "meters": [{"meter_prices": {**PRICE, "unit_price_dynamic_xusd": "1"}}]}, "meters.0.meter_prices.unit_price_xusd"),
        ("features", {"feature_code": "f", "feature_family_code": "chat", "meters": [{}] * 101}, "meters"),
        ("features", {"feature_code": "f", "feature_family_code": "chat", "delete_meters": ["f"]}, "delete_meters"),
        ("meters", {}, "meter_code"),
        ("meters", {"meter_code": "m", "semantic_kind": "x"}, "semantic_kind"),
        ("meters", {"meter_code": "m", "rounding": "up"}, "rounding"),
        ("meters", {"meter_code": "m", "unit": ""}, "unit"),
        ("meters", {"meter_code": "m", "metadata": {"residual_mode": "x"}}, "metadata.residual_mode"),
        ("meters", {"meter_code": "m", "meter_prices": None}, "meter_prices"),
        ("meters", {"meter_code": "m", "meter_prices": {}}, "meter_prices.unit_price_xusd"),
        ("meters", {"meter_code": "m", "meter_prices": {**PRICE, "unit_price_xusd": "-1"}}, "meter_prices.unit_price_xusd"),
        ("meters", {"meter_code": "m", "meter_prices": {**PRICE, "unit_price_xusd": "01"}}, "meter_prices.unit_price_xusd"),
        ("meters", {"meter_code": "m", "meter_prices": {**PRICE, "unit_price_xusd": "1_000"}}, "meter_prices.unit_price_xusd"),
        ("meters", {"meter_code": "m", "meter_prices": {**PRICE, "unit_price_xusd": 1.5}}, "meter_prices.unit_price_xusd"),
        ("meters", {"meter_code": "m", "meter_prices": {**PRICE, "unit_price_xusd": True}}, "meter_prices.unit_price_xusd"),
        ("meters", {"meter_code": "m", "meter_prices": {**PRICE, "unit_cost_xusd": str(2**63)}}, "meter_prices.unit_cost_xusd"),
        ("meters", {"meter_code": "m", "meter_prices": {**PRICE, "unit_quantity_minor": "0"}}, "meter_prices.unit_quantity_minor"),
        ("meters", {"meter_code": "m", "meter_prices": {**PRICE, "effective_at": "yesterday"}}, "meter_prices.effective_at"),
    ],
)  # fmt: skip
def test_bad_body_is_refused_with_its_field(api, family, noun, document, field):
    refused(api.post(noun, document), 422, field)


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"name": ""}, "name"),
        ({"active": None}, "active"),
        ({"active": "no"}, "active"),
        ({"metadata": None}, "metadata"),
        ({"realm_id": "other"}, "realm_id"),
        ({"audit": {"operator": ""}}, "audit.operator"),
        ({"audit": {"effective_at": "soon"}}, "audit.effective_at"),
    ],
)
def test_bad_change_is_refused_with_its_field(
    api, feature, meter, noun, document, field
):
    key = {
        "feature-families": feature.feature_family_id,
        "features": feature.pk,
        "meters": meter.pk,
    }[noun]

    refused(api.patch(f"{noun}/{key}", document), 422, field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"feature_family_code": "a", "description": "\\u0000"}', "description"),
        (b'{"feature_family_code": "a", "metadata": {"k": "\\ud800"}}', "metadata.k"),
        (b'{"feature_family_code": "a", "name": "x", "name": "y"}', "name"),
    ],
)
def test_unstorable_body_is_refused_with_its_field(api, realm, body, field):
    refused(api.request("POST", "feature-families", raw=body), 400, field)


@pytest.mark.parametrize(
    ("noun", "query", "status", "field"),
    [
        ("feature-families", "active=yes", 422, "active"),
        ("feature-families", "name=x", 422, "name"),
        ("feature-families", "q=%00", 400, "query"),
        ("feature-families", "cursor=forged", 422, "cursor"),
        ("features", "feature_family_code=a%20b", 422, "feature_family_code"),
        ("meters", "semantic_kind=x", 422, "semantic_kind"),
        ("meters", f"q={'x' * 4097}", 422, "q"),
    ],
)
def test_bad_query_is_refused_with_its_field(api, realm, noun, query, status, field):
    refused(api.request("GET", f"{noun}?{query}"), status, field)


@pytest.mark.parametrize(
    ("noun", "document", "warning"),
    [
        (
            "meters",
            {"meter_code": "m", "metadata": {"residual_mod": "prepaid"}},
            {
                "path": "metadata.residual_mod",
                "key": "residual_mod",
                "did_you_mean": "residual_mode",
            },
        ),
        (
            "features",
            {
                "feature_code": "f",
                "feature_family_code": "chat",
                "meters": [{"metadata": {"residualMode": "prepaid"}}],
            },
            {
                "path": "meters.0.metadata.residualMode",
                "key": "residualMode",
                "did_you_mean": "residual_mode",
            },
        ),
    ],
)
def test_nearly_known_key_is_kept_and_told(api, family, noun, document, warning):
    response = api.post(noun, document)

    assert response.status_code == 201
    assert response.json()["meta"] == {"warnings": [warning]}


@pytest.mark.parametrize("noun", NOUNS)
def test_write_leaves_the_audit_it_states(api, realm, feature, meter, noun):
    row = {
        "feature-families": feature.feature_family,
        "features": feature,
        "meters": meter,
    }[noun]
    audit = {
        "operator": "grace@example.com",
        "reason": "renamed",
        "ticket_id": "T-7",
        "effective_at": "2026-05-01T00:00:00Z",
    }

    response = api.patch(
        f"{noun}/{row.pk}", {"active": False, "audit": audit}, key="k-1"
    )

    written = history_of(row)[-1]
    assert response.status_code == 200
    assert (written.operator, written.reason, written.ticket_id) == (
        "grace@example.com",
        "renamed",
        "T-7",
    )
    assert written.effective_at.isoformat() == "2026-05-01T00:00:00+00:00"
    assert (written.actor_kind, written.actor_id) == ("service_key", api.key.key_id)
    assert (written.idempotency_key, written.trace_id) == (
        "k-1",
        response.json()["trace_id"],
    )


def test_repeat_of_a_key_gives_the_same_answer(api, realm):
    first = api.post("meters", {"meter_code": "m", "meter_prices": PRICE}, key="k-1")
    again = api.post("meters", {"meter_code": "m", "meter_prices": PRICE}, key="k-1")

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content


def test_key_without_the_scope_is_refused(realm, at, by):
    from config.tenancy.services.service_keys import create_service_key
    from tests.tools.client import SignedClient

    key = create_service_key(realm=realm, scopes=["runtime"], at=at, by=by)

    response = SignedClient(realm, key).get("features")

    refused(response, 403, None, "AUTH.INSUFFICIENT_SCOPE")


def test_price_shown_is_the_one_in_force_now(api, realm, at, by):
    make_meter(realm, at, by, "m", price=CHEAP)
    make_meter(realm, at + timedelta(days=20_000), by, "m", unit="later")

    page = read(api.get("meters"), wire.MeterListEnvelope)

    assert page["items"][0]["meter_prices"]["unit_price_xusd"] == "100"
    assert (
        page["items"][0]["meter_prices"]["effective_at"]
        == "2026-03-10T12:00:00.000000Z"
    )


def test_price_for_later_is_refused_and_one_that_was_read_is_taken(api, feature):
    later = {**PRICE, "effective_at": "2999-01-01T00:00:00Z"}
    meter = {"meter_code": "images", "meter_prices": later}

    refused(api.post("meters", meter), 422, "meter_prices.effective_at")
    refused(
        api.patch(f"features/{feature.pk}", {"meters": [{}, meter]}),
        422,
        "meters.1.meter_prices.effective_at",
    )
    assert not Meter.objects.filter(realm=feature.realm, meter_code="images").exists()

    made = api.post("meters", {"meter_code": "images", "meter_prices": PRICE})
    shown = made.json()["data"]["meter_prices"]
    again = api.post("meters", {"meter_code": "images", "meter_prices": shown})
    assert again.json()["data"]["meter_prices"] == shown


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("feature-families", {"feature_family_code": "x"}),
        ("meters", {"meter_code": "x"}),
        ("features", {"feature_code": "x", "feature_family_code": "chat"}),
    ],
)
@pytest.mark.parametrize("mark", [True, "auto", ["x"], 1])
def test_system_marker_that_the_official_client_cannot_read_is_refused(
    api, path, document, mark
):
    api.post("feature-families", {"feature_family_code": "chat"})

    answer = api.post(path, {**document, "metadata": {"auto_registry": mark}})

    assert answer.status_code == 422
    assert answer.json()["meta"]["field"] == "metadata.auto_registry"

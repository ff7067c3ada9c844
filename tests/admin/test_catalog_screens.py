from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.html import strip_tags

from catalog.admin.words import units
from catalog.models import Feature, FeatureFamily, FeatureMeter, Meter, MeterPrice
from catalog.services.families import ensure_fallback_family
from catalog.services.prices import PriceTerms, set_meter_price
from catalog.services.registration import register_feature
from config.admin.commands import CONFIRM
from config.tenancy.models import DomainEvent
from config.tenancy.roles import ROLES
from tests.admin.pages import (
    answers,
    change_url,
    command_url,
    errors_of,
    messages_of,
    next_request,
    why,
)
from tests.catalog.make import CHEAP, DEAR, make_family, make_feature, make_meter

FAMILIES = "/admin/catalog/featurefamily/"
FEATURES = "/admin/catalog/feature/"
METERS = "/admin/catalog/meter/"
PRICES = "/admin/catalog/meterprice/"


@pytest.fixture
def ops(staff):
    return staff("Ops")


@pytest.fixture
def feature(realm, at, by):
    return make_feature(
        realm, at, by, "chat.reply", "chat", name="Replies", unit="token"
    )


@pytest.fixture
def meter(feature):
    return Meter.objects.get(realm=feature.realm, meter_code="chat.reply")


def queries_of(client, path):
    client.get(path)
    with CaptureQueriesContext(connection) as captured:
        page = client.get(path)
    assert page.status_code == 200
    return len(captured)


def text_of(page):
    return " ".join(strip_tags(page.text.replace("<", " <")).split())


def priced_feature(realm, at, by, number):
    code = f"chat.{number}"
    feature = make_feature(realm, at, by, code, f"family{number}")
    own = Meter.objects.get(realm=realm, meter_code=code)
    set_meter_price(meter=own, terms=CHEAP, at=at, by=by)
    return feature


def feature_answers(family, **own):
    plain = {
        "feature_family": family.pk, "name": "Replies", "description": "", "unit": "",
        "active": "on", "entitlement_required": "", "default_budget_strategy": "auto",
        "metadata": "{}", "links-TOTAL_FORMS": "0", "links-INITIAL_FORMS": "0",
    }  # fmt: skip
    return answers(**{**plain, **own})


def meter_answers(**own):
    plain = {
        "semantic_kind": "activity", "unit": "token", "scale": "0", "rounding": "round",
        "active": "on", "metadata": "{}", "prices-TOTAL_FORMS": "0",
        "prices-INITIAL_FORMS": "0",
    }  # fmt: skip
    return answers(**{**plain, **own})


def price_answers(**own):
    plain = {
        "unit_price_xusd": "2000000", "unit_quantity_minor": "1000",
        "unit_cost_xusd": "400000", "cost_unit_quantity_minor": "1000",
    }  # fmt: skip
    return why(**{**plain, **own})


def confirmed(client, url, data):
    """Send a form, then confirm what its preview showed."""
    preview = client.post(url, data)
    assert preview.status_code == 200
    return preview, client.post(url, {**data, CONFIRM: preview.context["confirm"]})


@pytest.mark.parametrize("path", [FAMILIES, FEATURES, METERS, PRICES])
def test_list_reads_the_same_for_one_row_and_three(ops, realm, at, by, path):
    priced_feature(realm, at, by, 1)
    one = queries_of(ops, path)

    priced_feature(realm, at, by, 2)
    priced_feature(realm, at, by, 3)

    assert queries_of(ops, path) == one


def test_pages_read_the_same_for_one_row_of_their_tables_and_three(
    ops, feature, meter, realm, at, by
):
    set_meter_price(meter=meter, terms=CHEAP, at=at, by=by)
    one = [queries_of(ops, change_url(row)) for row in (feature, meter)]

    for number in (1, 2):
        extra = make_meter(realm, at, by, f"extra{number}", price=CHEAP)
        FeatureMeter(realm=realm, feature=feature, meter=extra)
        ops.post(command_url(feature, "link-meter"), why(meter_code=extra.meter_code))
        later = at + timedelta(days=number)
        terms = DEAR if number == 1 else CHEAP
        set_meter_price(meter=meter, terms=terms, at=later, by=by)

    three = [queries_of(ops, change_url(row)) for row in (feature, meter)]
    assert FeatureMeter.objects.filter(feature=feature).count() == 3
    assert MeterPrice.objects.filter(meter=meter).count() == 3
    assert three == one


@pytest.mark.parametrize("path", [FAMILIES, FEATURES, METERS, PRICES])
def test_empty_list_says_what_to_do(ops, realm, path):
    page = ops.get(path)

    model = page.context["cl"].model_admin
    assert model.empty_message
    assert model.empty_message in page.text.replace("&#x27;", "'")


@pytest.mark.parametrize("role", ROLES)
def test_every_role_looks_and_only_ops_defines(staff, realm, feature, meter, role):
    client = staff(role)
    may = role == "Ops"
    family = feature.feature_family

    looked = [
        client.get(path).status_code
        for path in (
            FAMILIES, FEATURES, METERS, PRICES,
            change_url(family), change_url(feature), change_url(meter),
        )
    ]  # fmt: skip
    written = [
        client.post(
            f"{FAMILIES}add/",
            answers(
                realm=realm.pk, feature_family_code="new", name="New", metadata="{}"
            ),
        ),
        client.post(change_url(feature), feature_answers(family, name="Renamed")),
        client.post(change_url(meter), meter_answers(unit="word")),
        client.post(command_url(meter, "set-price"), price_answers()),
    ]
    next_request()
    written.append(client.post(f"{FEATURES}{feature.pk}/delete/", why()))

    assert looked == [200] * 7
    assert [page.status_code for page in written] == (
        [302, 302, 302, 200, 302] if may else [403] * 5
    )
    assert FeatureFamily.objects.filter(feature_family_code="new").exists() == may
    assert Feature.objects.filter(pk=feature.pk).exists() != may
    meter.refresh_from_db()
    assert meter.unit == ("word" if may else "token")


def test_viewer_reads_who_may_use_a_feature(staff, feature):
    page = text_of(staff("Support").get(change_url(feature)))

    assert "Who may use it Plans that allow it (as the family)" in page


@pytest.mark.parametrize("role", ROLES)
def test_lists_leave_with_those_who_may_export(staff, feature, role):
    exported = staff(role).post(f"{FEATURES}export/", {"format": "0", "resource": ""})

    assert exported.status_code == (403 if role == "Support" else 200)
    if role != "Support":
        [header, row] = exported.content.decode().splitlines()
        assert header.startswith(
            "realm,feature_code,feature_family__feature_family_code"
        )
        assert row.startswith(f"{feature.realm_id},chat.reply,chat,Replies")


def test_family_is_created_by_its_verb_with_its_explanation(ops, realm):
    response = ops.post(
        f"{FAMILIES}add/",
        answers(
            realm=realm.pk, feature_family_code=" Chat ", name="Chat", active="on",
            entitlement_required="on", metadata='{"team": "ml"}',
        ),
    )  # fmt: skip

    assert response.status_code == 302
    family = FeatureFamily.objects.get(realm=realm, feature_family_code="chat")
    assert (family.active, family.entitlement_required) == (True, True)
    assert family.metadata == {"team": "ml"}
    [entry] = FeatureFamily.history.filter(id=family.pk)
    assert (entry.operator, entry.reason, entry.ticket_id) == (
        ops.user.username, "asked for", "T-7",
    )  # fmt: skip
    assert DomainEvent.objects.filter(
        kind="feature_family.created", subject_id=family.pk
    ).exists()


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("chat", "This realm has a family of that code."),
        (" CHAT", "This realm has a family of that code."),
        ("auto.registry", "auto.registry is the fallback family, kept by the system;"),
        ("a b", "The code must not contain the character U+0020, at position 2"),
    ],
)
def test_family_that_cannot_be_is_refused_in_a_sentence(
    ops, realm, at, by, code, sentence
):
    before = make_family(realm, at, by, "chat", name="Chat")

    response = ops.post(
        f"{FAMILIES}add/",
        answers(realm=realm.pk, feature_family_code=code, name="Other", metadata="{}"),
    )

    assert response.status_code == 200
    told = [text for found in errors_of(response).values() for text in found]
    assert sentence in " ".join(told)
    assert messages_of(response) == []
    before.refresh_from_db()
    assert before.name == "Chat"
    assert FeatureFamily.objects.filter(realm=realm).count() == 1


def test_same_code_in_another_realm_is_another_family(ops, realm, other_realm, at, by):
    make_family(other_realm, at, by, "chat")

    ops.post(
        f"{FAMILIES}add/",
        answers(realm=realm.pk, feature_family_code="chat", name="Chat", metadata="{}"),
    )

    assert FeatureFamily.objects.filter(feature_family_code="chat").count() == 2


def test_fallback_family_is_only_looked_at(ops, realm, at, by):
    family = ensure_fallback_family(realm=realm, at=at, by=by)

    page = ops.get(change_url(family))
    changed = ops.post(change_url(family), answers(name="Mine", metadata="{}"))
    ops.post(f"{FAMILIES}{family.pk}/delete/", why())

    assert "The system keeps this family" in text_of(page)
    assert "audit_reason" not in page.text
    assert changed.status_code == 403
    family.refresh_from_db()
    assert family.name == "auto.registry"


def test_features_leave_the_fallback_family_and_do_not_enter_it(ops, realm, at, by):
    feature = register_feature(
        realm=realm, feature_code="met", source="authorize", at=at, by=by
    )
    own = make_family(realm, at, by, "chat")
    fallback = feature.feature_family
    other = make_feature(realm, at, by, "other", "chat")

    stays = ops.post(change_url(feature), feature_answers(fallback, name="Met"))
    moves = ops.post(change_url(feature), feature_answers(own, name="Met"))
    enters = ops.post(change_url(other), feature_answers(fallback))

    assert (stays.status_code, moves.status_code) == (302, 302)
    assert "feature_family" in errors_of(enters)
    feature.refresh_from_db()
    assert (feature.name, feature.feature_family_id) == ("Met", own.pk)


def test_definition_in_use_stays(ops, feature):
    family = feature.feature_family

    page = ops.post(f"{FAMILIES}{family.pk}/delete/", why())

    assert page.status_code == 200
    assert "chat stays, because features or plans refer to it." in text_of(page)
    family.refresh_from_db()
    assert family.active


def test_feature_is_created_with_its_own_meter(ops, realm, at, by):
    family = make_family(realm, at, by, "chat")

    response = ops.post(
        f"{FEATURES}add/",
        feature_answers(
            family, realm=realm.pk, feature_code="Chat.Reply", unit="token"
        ),
    )

    assert response.status_code == 302
    feature = Feature.objects.get(realm=realm, feature_code="chat.reply")
    assert feature.entitlement_required is None
    [link] = FeatureMeter.objects.filter(feature=feature).select_related("meter")
    assert (link.meter.meter_code, link.meter.unit) == ("chat.reply", "token")


def test_feature_of_another_realms_family_is_refused(ops, realm, other_realm, at, by):
    foreign = make_family(other_realm, at, by, "chat")

    response = ops.post(
        f"{FEATURES}add/",
        feature_answers(foreign, realm=realm.pk, feature_code="chat.reply"),
    )

    assert errors_of(response)["feature_family"] == [
        f"The family chat belongs to the realm {other_realm.pk}, not to {realm.pk}."
    ]
    assert not Feature.objects.exists()


@pytest.mark.parametrize(
    ("typed", "kept"), [("", None), ("True", True), ("False", False)]
)
def test_feature_needs_a_plan_or_follows_its_family(ops, feature, typed, kept):
    family = feature.feature_family

    ops.post(change_url(feature), feature_answers(family, entitlement_required=typed))

    feature.refresh_from_db()
    assert feature.entitlement_required is kept


def test_saving_a_feature_as_it_is_changes_nothing(ops, feature):
    family = feature.feature_family

    response = ops.post(
        change_url(feature), feature_answers(family, unit="token"), follow=True
    )

    assert "Nothing to change" in text_of(response)
    assert Feature.history.filter(id=feature.pk).count() == 1


def test_meter_is_linked_and_unlinked_with_a_reason(ops, feature, realm, at, by):
    make_meter(realm, at, by, "tokens")

    linked = ops.post(
        command_url(feature, "link-meter"), why(meter_code="tokens"), follow=True
    )
    assert "Usage of chat.reply may now be reported on the meter tokens." in text_of(
        linked
    )
    link = FeatureMeter.objects.get(feature=feature, is_primary=False)
    entry = FeatureMeter.history.get(id=link.pk)
    assert (entry.operator, entry.ticket_id) == (ops.user.username, "T-7")

    unlinked = ops.post(
        command_url(feature, "unlink-meter"), why(delete_meters="tokens"), follow=True
    )

    assert "The meter tokens no longer counts usage of chat.reply." in text_of(unlinked)
    assert not FeatureMeter.objects.filter(pk=link.pk).exists()
    gone = FeatureMeter.history.filter(id=link.pk).latest("history_id")
    assert (gone.history_type, gone.reason) == ("-", "asked for")


def test_own_meter_cannot_be_unlinked(ops, feature):
    page = ops.get(change_url(feature))

    assert "Unlink a meter" not in page.text
    refused = ops.post(
        command_url(feature, "unlink-meter"), why(delete_meters="chat.reply")
    )
    assert refused.status_code == 302
    assert FeatureMeter.objects.filter(feature=feature).count() == 1


def test_meter_of_another_realm_cannot_be_linked(ops, feature, other_realm, at, by):
    make_meter(other_realm, at, by, "foreign")

    refused = ops.post(command_url(feature, "link-meter"), why(meter_code="foreign"))

    assert "meter_code" in errors_of(refused)
    assert FeatureMeter.objects.filter(feature=feature).count() == 1


def test_meter_page_shows_every_price_and_who_set_it(ops, meter, at, by):
    set_meter_price(meter=meter, terms=CHEAP, at=at, by=by)
    set_meter_price(meter=meter, terms=DEAR, at=at + timedelta(days=1), by=by)

    page = text_of(ops.get(change_url(meter)))

    assert "In force $0.0009 per token $0.0004 per token 2026-03-11 12:00:00" in page
    assert "Superseded $0.0001 per token $0.00004 per token 2026-03-10 12:00:00" in page
    assert "ada@example.com: asked for in the ticket (T-1001)" in page


def test_price_is_shown_before_it_is_set(ops, meter):
    url = command_url(meter, "set-price")

    preview, done = confirmed(ops, url, price_answers())

    shown = text_of(preview)
    assert "No price" in shown
    assert "$2.00 per 1,000 tokens" in shown
    assert "1,000,000 tokens — $2,000.00" in shown
    assert done.status_code == 302
    assert messages_of(done) == [
        ("success", "From now on chat.reply costs $2.00 per 1,000 tokens.")
    ]
    [price] = MeterPrice.objects.filter(meter=meter)
    assert (price.unit_price_xusd, price.unit_quantity_minor) == (2_000_000, 1000)
    entry = MeterPrice.history.get(id=price.pk)
    assert (entry.reason, entry.ticket_id) == ("asked for", "T-7")


def test_preview_sets_no_price(ops, meter):
    ops.post(command_url(meter, "set-price"), price_answers())

    assert not MeterPrice.objects.exists()


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"unit_price_xusd": "-1"}, "unit_price_xusd"),
        ({"unit_price_xusd": "1.5"}, "unit_price_xusd"),
        ({"unit_quantity_minor": "0"}, "unit_quantity_minor"),
        ({"unit_cost_xusd": str(2**63)}, "unit_cost_xusd"),
        ({"ticket_id": ""}, "ticket_id"),
    ],
)
def test_bad_price_is_refused_on_its_field(ops, meter, typed, field):
    refused = ops.post(command_url(meter, "set-price"), price_answers(**typed))

    assert list(errors_of(refused)) == [field]
    assert not MeterPrice.objects.exists()


def test_price_in_force_is_not_set_again(ops, meter, at, by):
    terms = PriceTerms(2_000_000, 400_000, 1000, 1000)
    set_meter_price(meter=meter, terms=terms, at=at, by=by)

    refused = ops.post(command_url(meter, "set-price"), price_answers())

    assert errors_of(refused)["__all__"] == [
        "This price is in force already, since 2026-03-10 12:00:00 UTC."
    ]
    assert MeterPrice.objects.count() == 1


def test_dynamic_part_that_would_be_lost_is_shown(ops, meter, at, by):
    terms = PriceTerms(100, unit_price_base_xusd=70, unit_price_dynamic_xusd=30)
    set_meter_price(meter=meter, terms=terms, at=at, by=by)

    preview = ops.post(command_url(meter, "set-price"), price_answers())

    assert "Dynamic part of the price $0.00003 $0.00" in text_of(preview)


@pytest.mark.parametrize(
    ("path", "term"),
    [
        (FAMILIES, "chat"),
        (FEATURES, "chat.reply"),
        (FEATURES, "Replies"),
        (METERS, "chat.reply"),
        (METERS, "token"),
        (PRICES, "chat.reply"),
    ],
)
def test_row_is_found_by_what_people_say(ops, feature, meter, at, by, path, term):
    set_meter_price(meter=meter, terms=CHEAP, at=at, by=by)
    make_family(feature.realm, at, by, "other")
    make_meter(feature.realm, at, by, "other", unit="other", price=CHEAP)

    page = ops.get(path, {"q": term})

    assert page.context["cl"].result_count == 1


def test_features_that_need_setup_are_listed(ops, realm, at, by):
    priced_feature(realm, at, by, 1)
    unpriced = make_feature(realm, at, by, "unpriced", "chat")
    met = register_feature(
        realm=realm, feature_code="met", source="authorize", at=at, by=by
    )

    page = ops.get(FEATURES, {"setup": "open"})

    assert set(page.context["cl"].result_list) == {unpriced, met}
    home = text_of(ops.get("/admin/"))
    assert "Features without a family or a price 2" in home


@pytest.mark.parametrize(
    ("quantity", "unit", "scale", "text"),
    [
        (1, "token", 0, "1 token"),
        (0, "token", 0, "0 tokens"),
        (1000, "token", 0, "1,000 tokens"),
        (3, "query", 0, "3 queries"),
        (2, "day", 0, "2 day"),
        (2, "batch", 0, "2 batches"),
        (2, "tokens", 0, "2 tokens"),
        (5, "GB", 0, "5 GB"),
        (25, "hour", 2, "0.25 hours"),
        (100, "hour", 2, "1 hour"),
        (1, "hour", 18, "0.000000000000000001 hours"),
        (150_000, "hour", 2, "1,500 hours"),
    ],
)
def test_quantities_read_exactly(quantity, unit, scale, text):
    assert units(quantity, unit, scale) == text
    shown = Decimal(text.split()[0].replace(",", ""))
    assert shown * 10**scale == quantity


def test_instants_of_a_list_are_in_utc_to_the_second(ops, meter, by):
    at = datetime(2026, 3, 10, 12, 0, 1, 999, tzinfo=UTC)
    set_meter_price(meter=meter, terms=CHEAP, at=at, by=by)

    assert "2026-03-10 12:00:01 Further notice" in text_of(ops.get(PRICES))

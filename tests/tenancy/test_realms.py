"""Realms: what a new one has, and what becomes of its callers."""

import pytest

from config.kernel.errors import Conflict, Invalid
from config.tenancy.models import DomainEvent, Realm
from config.tenancy.services.realms import change_realm, create_realm, set_realm_status
from gating.models import DEFAULT_BUNDLE_KEY, GatePolicy, GatePolicyBundle

pytestmark = pytest.mark.django_db


def test_new_realm_is_ready_for_use(realm, api):
    bundle = GatePolicyBundle.objects.get(realm=realm)

    assert bundle.bundle_key == DEFAULT_BUNDLE_KEY
    assert list(
        GatePolicy.objects.filter(realm=realm).values_list("name", flat=True)
    ) == ["__base_unlimited__"]
    assert api.get("meters").json()["data"] == {"items": []}


def test_new_realm_has_its_trace_and_event(realm, at, by):
    [trace] = realm.history.all()
    event = DomainEvent.objects.get(realm=realm, kind="realm.created")

    assert (
        trace.history_type,
        trace.operator,
        trace.ticket_id,
        trace.history_date,
    ) == ("+", by.operator, by.ticket_id, at)
    assert (event.subject_id, event.occurred_at, event.trace_id) == (
        realm.pk,
        at,
        by.trace_id,
    )


def test_id_that_is_taken_is_refused(realm, at, by):
    with pytest.raises(Conflict, match=f"Realm {realm.pk} already exists") as refusal:
        create_realm(realm_id=realm.pk, at=at, by=by)

    assert refusal.value.field == "realm_id"


@pytest.mark.parametrize(
    "realm_id", ["", " ", "a b", "-a", "a-", "a" * 129, "a\0", "a\n", "ä", "a/b"]
)
def test_id_that_is_not_plain_is_refused(db, at, by, realm_id):
    before = Realm.objects.count()

    with pytest.raises(Invalid) as refusal:
        create_realm(realm_id=realm_id, at=at, by=by)

    assert refusal.value.field == "realm_id"
    assert Realm.objects.count() == before


def test_bad_metadata_is_refused(db, at, by):
    with pytest.raises(Invalid):
        create_realm(
            realm_id="fresh-realm",
            metadata={"require_audit_fields": "perhaps"},
            at=at,
            by=by,
        )

    assert not Realm.objects.filter(pk="fresh-realm").exists()


def test_realm_is_renamed_under_a_trace(realm, at, by):
    change_realm(realm=realm, name="Acme", metadata={"note": "x"}, at=at, by=by)

    stored = Realm.objects.get(pk=realm.pk)
    assert (stored.name, stored.metadata) == ("Acme", {"note": "x"})
    assert [trace.name for trace in realm.history.order_by("history_id")] == [
        realm.pk,
        "Acme",
    ]


def test_unknown_status_is_refused(realm, at, by):
    with pytest.raises(Invalid, match="Unknown realm status 'asleep'") as refusal:
        set_realm_status(realm=realm, status="asleep", at=at, by=by)

    assert refusal.value.field == "status"


@pytest.mark.parametrize(("status", "answer"), [("suspended", 403), ("deleted", 404)])
def test_callers_feel_a_status_at_once(realm, api, at, by, status, answer):
    set_realm_status(realm=realm, status=status, at=at, by=by)
    refused = api.get("meters").status_code
    set_realm_status(realm=realm, status="active", at=at, by=by)

    assert refused == answer
    assert api.get("meters").status_code == 200


def test_realm_that_requires_explanations(realm, api, at, by):
    change_realm(
        realm=realm,
        name=realm.name,
        metadata={"require_audit_fields": True},
        at=at,
        by=by,
    )
    audit = {
        "operator": "ada",
        "reason": "asked",
        "ticket_id": "T-1",
        "effective_at": "2026-03-10T12:00:00Z",
    }

    for left_out in audit:
        stated = {name: value for name, value in audit.items() if name != left_out}
        refused = api.post("meters", {"meter_code": "tokens", "audit": stated})
        assert (refused.status_code, refused.json()["meta"]["field"]) == (
            422,
            f"audit.{left_out}",
        )
    assert api.post("meters", {"meter_code": "tokens"}).status_code == 422
    assert (
        api.post("meters", {"meter_code": "tokens", "audit": audit}).status_code == 201
    )
    assert api.get("meters").status_code == 200

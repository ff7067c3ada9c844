"""Realms: what a new one has, and what becomes of its callers."""

import pytest

from billing.services.plans import change_plan_definition, upsert_plan
from config.kernel.errors import Conflict, Invalid
from config.kernel.ids import new_id
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


def test_same_realm_again_changes_nothing(realm, at, by):
    for _ in range(2):
        change_realm(realm=realm, name="Acme", metadata={"n": 1}, at=at, by=by)
        set_realm_status(realm=realm, status="suspended", at=at, by=by)

    events = DomainEvent.objects.in_realm(realm).filter(kind="realm.changed")
    assert [event.payload["changed"] for event in events.order_by("id")] == [
        ["name", "metadata"],
        ["status"],
    ]


def test_stale_realm_overwrites_nothing(realm, at, by):
    stale = Realm.objects.get(pk=realm.pk)
    change_realm(realm=realm, name="Acme", metadata={}, at=at, by=by)

    found = set_realm_status(realm=stale, status="suspended", at=at, by=by)

    assert (found.name, found.status) == ("Acme", "suspended")


@pytest.mark.parametrize("known", ["nowhere", "inactive", "elsewhere"])
def test_default_plan_must_be_there(realm, other_realm, at, by, known):
    def plan_of(where, *, active):
        return upsert_plan(
            realm=where, plan_code="p", name="P", kind="base", active=active, at=at, by=by
        )[0].pk  # fmt: skip

    plan_id = {
        "nowhere": new_id,
        "inactive": lambda: plan_of(realm, active=False),
        "elsewhere": lambda: plan_of(other_realm, active=True),
    }[known]()

    with pytest.raises(Invalid) as refusal:
        change_realm(
            realm=realm, name="x", metadata={"default_plan_id": str(plan_id)},
            at=at, by=by,
        )  # fmt: skip

    assert refusal.value.field == "metadata.default_plan_id"


def test_realm_whose_default_plan_went_is_still_suspended(realm, at, by):
    plan, _ = upsert_plan(
        realm=realm, plan_code="p", name="P", kind="base", at=at, by=by
    )
    change_realm(
        realm=realm, name="x", metadata={"default_plan_id": str(plan.pk)}, at=at, by=by
    )
    change_plan_definition(plan=plan, changes={"active": False}, at=at, by=by)

    assert set_realm_status(realm=realm, status="suspended", at=at, by=by)

"""Who changed an assignment, why, under which ticket, effective when."""

from datetime import UTC, datetime

import pytest

from billing.models import PlanAssignment
from config.kernel.ids import new_id
from config.tenancy.services.realms import change_realm
from tests.billing.answers import explained, invalid, refusal
from tests.billing.assigning import (
    AUDIT,
    EXPLAINED,
    LIST,
    assigned,
    body,
)


def test_audit_object_explains_every_write(api, account, pro):
    created = assigned(api.post(LIST, body(account, pro, audit=AUDIT)), 201)
    api.post(f"{LIST}/{created['assignment_id']}/pause", {"audit": AUDIT})

    row = PlanAssignment.objects.get(pk=created["assignment_id"])
    assert explained(row) == [EXPLAINED] * 2


def test_metadata_annotations_explain_an_assignment(api, account, pro):
    created = assigned(api.post(LIST, body(account, pro, metadata=AUDIT)), 201)
    api.patch(
        f"{LIST}/{created['assignment_id']}", {"metadata": {**AUDIT, "operator": "bob"}}
    )

    row = PlanAssignment.objects.get(pk=created["assignment_id"])
    assert explained(row) == [EXPLAINED, ("bob", *EXPLAINED[1:])]
    assert row.metadata["operator"] == "bob"


def test_audit_object_outranks_the_annotations(api, account, pro):
    document = body(account, pro, audit=AUDIT, metadata={**AUDIT, "operator": "bob"})

    created = assigned(api.post(LIST, document), 201)

    assert explained(PlanAssignment.objects.get(pk=created["assignment_id"])) == [
        EXPLAINED
    ]


def test_unexplained_write_falls_back_to_the_key(api, service_key, account, pro):
    before = datetime.now(UTC)

    created = assigned(api.post(LIST, body(account, pro), "k-77"), 201)

    row = PlanAssignment.objects.get(pk=created["assignment_id"])
    known = row.history.get()
    assert explained(row)[0][:3] == (
        service_key.pk,
        "create_billing_plan_assignment",
        "k-77",
    )
    assert before <= known.effective_at <= datetime.now(UTC)
    assert (known.actor_kind, known.actor_id, known.idempotency_key) == (
        "service_key",
        service_key.pk,
        "k-77",
    )
    assert len(known.trace_id) == 32


@pytest.mark.parametrize(
    ("audit", "field"),
    [
        ({"operator": ""}, "audit.operator"),
        ({"effective_at": "soon"}, "audit.effective_at"),
        ({"who": "ada"}, "audit.who"),
        ("ada", "audit"),
    ],
)
def test_bad_audit_object_is_refused(api, account, pro, audit, field):
    assert refusal(api.post(LIST, body(account, pro, audit=audit))) == invalid(field)


@pytest.mark.parametrize("notes", [{"operator": 7}, {"effective_at": "soon"}])
def test_bad_annotation_is_refused(api, account, pro, notes):
    answer = api.post(LIST, body(account, pro, metadata=notes))

    assert refusal(answer) == invalid(f"metadata.{next(iter(notes))}")


@pytest.fixture
def strict_realm(realm, at, by):
    """The realm, where every management write must be explained."""
    return change_realm(
        realm=realm, name="x", metadata={"require_audit_fields": True}, at=at, by=by
    )


@pytest.mark.parametrize("missing", ["operator", "reason", "ticket_id", "effective_at"])
def test_realm_may_require_every_audit_field(api, strict_realm, account, pro, missing):
    partial = {name: value for name, value in AUDIT.items() if name != missing}

    for document in (
        body(account, pro),
        body(account, pro, audit=partial),
        body(account, pro, metadata=partial),
    ):
        answer = api.post(LIST, document)
        expected = (
            f"audit.{missing}"
            if "audit" in document or document.get("metadata")
            else "audit.operator"
        )
        assert refusal(answer) == invalid(expected)
    assert not account.assignments.exists()


@pytest.mark.parametrize("place", ["audit", "metadata"])
def test_realm_that_requires_audit_fields_takes_them_in_both_places(
    api, strict_realm, account, pro, place
):
    assert api.post(LIST, body(account, pro, **{place: AUDIT})).status_code == 201


def test_realm_that_requires_audit_fields_requires_them_of_every_management_write(
    api, strict_realm, account, bounded, user, pro
):
    writes = [
        api.post("billing-plans", {"plan_code": "x", "name": "x", "kind": "base"}),
        api.patch(f"billing-plans/{pro.pk}", {"name": "x"}),
        api.post(
            f"billing-plans/{pro.pk}/entitlements", {"mode": "append", "items": []}
        ),
        api.delete(f"billing-plans/{pro.pk}/entitlements/{new_id()}"),
        api.patch(f"billing-accounts/{account.pk}", {"seat_limit": 1}),
        api.patch(
            f"billing-accounts/{account.pk}/billing-details", {"legal_name": "x"}
        ),
        api.post(f"billing-accounts/{account.pk}/users", {"user_id": "x"}),
        api.patch(f"billing-users/{user.pk}", {"display_name": "x"}),
        api.post(f"billing-users/{user.pk}/disable"),
        api.post(f"billing-users/{user.pk}/restore"),
        api.patch(f"{LIST}/{bounded.pk}", {"window_end": None}),
        api.post(f"{LIST}/{bounded.pk}/pause"),
    ]

    assert {refusal(answer) for answer in writes} == {invalid("audit.operator")}
    assert api.get(LIST).status_code == 200
    assert (
        api.post("token/issue", {"principal_id": "acme", "user_id": "u-1"}).status_code
        == 200
    )

"""Why the gate decided as it did, told and made again."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection

from billing.models import PlanAssignment
from billing.services.assignment_changes import (
    pause_assignment,
    resume_assignment,
)
from billing.services.assignments import Identity, assign_plan
from config.kernel.errors import NotFound
from config.kernel.windows import Window
from gating.explanations import ORDER, explain
from gating.models import Denial
from gating.selectors.decisions import decision_of
from gating.selectors.idle_plans import idle_plans
from tests.gating import build
from tests.gating.mutants import mutated
from tests.gating.refusals import refusal


def told(explanation):
    return {check.name: check.outcome for check in explanation.checks}


def test_a_denial_names_the_check_that_failed_and_its_numbers():
    facts = build.facts(build.quota(500, used=10, reserved=450))

    again = explain(build.ask(75), facts)

    assert told(again) == {
        "feature": "passed",
        "entitlement": "passed",
        "policies": "passed",
        "seats": "passed",
        "quota": "failed",
        "rate": "not_reached",
        "budget": "not_reached",
        "funding": "not_reached",
    }
    assert again.headline == (
        "Blocked at 2026-03-10 12:00:00 UTC: Quota api_calls: 10 of 500 used and 450 held "
        "in the window that ends 2026-03-11 00:00:00 UTC; 75 asked."
    )


def test_an_admission_tells_every_check():
    facts = build.facts(
        build.quota(None, used=1000),
        rates=[build.rate(10, used=3)],
        seats=[build.seats(5, taken=2)],
        funding=build.prepaid(2_000_000),
    )

    again = explain(build.ask(75), facts)

    assert set(told(again).values()) == {"passed"}
    sentences = [text for check in again.checks for text in check.sentences]
    assert "Quota api_calls: 1,000 of unlimited used" in " ".join(sentences)
    assert all(text[0].isupper() and text.endswith(".") for text in sentences)


def test_every_reason_belongs_to_a_check():
    from gating.admin.words import DENIAL_REASONS

    assert set(DENIAL_REASONS) == {r for reasons in ORDER.values() for r in reasons}


def test_a_lease_and_a_denial_are_explained_and_agree(gate):
    gate.feature(price=10)
    gate.credit(1000)
    gate.quota(500)
    gate.rate(3)
    lease = gate.row(gate.lease(75))
    refusal(gate.authorize, 426)
    (denial,) = gate.denials()

    admitted = decision_of(gate.realm, str(lease.pk))
    denied = decision_of(gate.realm, str(denial.pk))

    assert (admitted.agrees, admitted.stored) == (True, "")
    assert (denied.agrees, denied.stored) == (True, "quota_exhausted")
    assert denial.sentence in denied.explanation.headline


def test_a_denial_told_in_the_earlier_spelling_of_instants_agrees(gate):
    gate.feature()
    gate.quota(0)
    refusal(gate.authorize)
    (denial,) = gate.denials()
    earlier = denial.sentence.replace("2026-03-11 00:00:00 UTC", "2026-03-11T00:00:00Z")
    Denial.objects.filter(pk=denial.pk).update(sentence=earlier)

    assert earlier != denial.sentence
    assert decision_of(gate.realm, str(denial.pk)).agrees


def test_a_denial_for_want_of_a_plan_tells_how_the_plans_stood_then(gate):
    gate.feature(entitlement_required=True)
    gate.quota(100)
    gate.plan("pro")
    default, pro = PlanAssignment.objects.filter(account=gate.account).order_by("id")
    pause_assignment(assignment=default, at=gate.at, by=gate.by)
    pause_assignment(assignment=pro, at=gate.at, by=gate.by)
    refusal(gate.authorize)
    (denial,) = gate.denials()
    later = gate.at + timedelta(hours=1)
    by = replace(gate.by, effective_at=later)
    resume_assignment(assignment=pro, at=later, by=by)

    found = decision_of(gate.realm, str(denial.pk))

    (failed,) = [c for c in found.explanation.checks if c.outcome == "failed"]
    assert failed.name == "entitlement"
    assert list(failed.sentences) == [
        "No plan in effect allows the feature chat.",
        f"The plan pro ({pro.source_ref}) was paused then.",
        f"The plan {default.plan.name} ({default.source_ref}) was paused then.",
    ]
    assert found.agrees


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        (1, None, "begins only at 2026-03-11 12:00:00 UTC"),
        (-2, -1, "ended at 2026-03-09 12:00:00 UTC"),
    ],
)
def test_plans_outside_their_windows_are_told(gate, start, end, why):
    plan = gate.plan("pro", assign=False)
    days = [gate.at + timedelta(days=n) if n else None for n in (start, end)]
    identity = Identity(gate.account, None, plan, "ops.manual", "order-9")
    assign_plan(identity=identity, window=Window(*days), at=gate.at, by=gate.by)

    plans = idle_plans(account=gate.account, user_id=gate.user.pk, at=gate.at)

    assert plans == [f"The plan pro (order-9) {why}."]


def test_the_callers_ids_lead_to_the_explanation(gate, signed, api):
    gate.feature()
    gate.quota(100)
    admitted = signed.post(
        "gate/authorize", {"feature_code": "chat", "estimated_quantity_minor": "60"}
    ).json()
    denied = signed.post(
        "gate/authorize", {"feature_code": "chat", "estimated_quantity_minor": "60"}
    ).json()

    for decision_id, kind in (
        (admitted["data"]["decision_id"], "admission"),
        (denied["meta"]["decision_id"], "denial"),
    ):
        answer = api.get(f"gate/decisions/{decision_id}/explain")
        assert answer.status_code == 200, answer.content
        data = answer.json()["data"]
        assert (data["kind"], data["replay"]["agrees"]) == (kind, True)
        assert (data["principal_id"], data["user_id"]) == ("acme", "u-1")
    assert data["headline"].startswith("Blocked at ")
    assert [c["name"] for c in data["checks"] if c["outcome"] == "failed"] == ["quota"]


@pytest.mark.parametrize("wrong", ["x", "01990000-0000-7000-8000-000000000000"])
def test_an_unknown_decision_is_not_found(gate, wrong):
    with pytest.raises(NotFound):
        decision_of(gate.realm, wrong)


def test_a_decision_that_comes_out_otherwise_raises_the_alarm(gate, capfd):
    gate.feature()
    gate.quota(0)
    refusal(gate.authorize)
    (denial,) = gate.denials()
    evidence = json.loads(json.dumps(denial.evidence))
    evidence["facts"]["quotas"][0]["limit"] = "100"
    Denial.objects.filter(pk=denial.pk).update(evidence=evidence)

    again = decision_of(gate.realm, str(denial.pk))

    assert not again.agrees
    assert "comes out otherwise" in "".join(capfd.readouterr())


def test_a_function_that_denies_wrongly_raises_the_alarm(gate, capfd):
    """Every denial is judged by the specification as well."""
    gate.feature()
    gate.quota(100)
    fits = "k.used + k.reserved <= k.most - k.need"
    with mutated({"admit": lambda text: text.replace(fits, fits.replace("<=", "<"))}):
        gate.authorize(99)
        error = refusal_of_any(gate)
    assert error.code == "SERVER.BUSY"
    assert "diverges" in "".join(capfd.readouterr())
    assert connection.in_atomic_block


def refusal_of_any(gate):
    from gating.services.functions import GateMoved

    with pytest.raises(GateMoved) as caught:
        gate.authorize(1)
    return caught.value

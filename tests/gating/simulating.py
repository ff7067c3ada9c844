"""What the tests of simulations ask, in one line each."""

from datetime import timedelta

from gating.models import Lease
from gating.selectors.recorded import Span
from gating.services.drafts import (
    BundleDraft,
    PlanDraft,
    PolicyDraft,
    draft_of_bundle,
    draft_of_plan,
)
from gating.services.simulations import begin_simulation
from gating.simulation import Draft, PlanChange
from tests.tools.tables import run as run_sql

SAME = Draft()


def span_of(gate, *, before=timedelta(days=1), after=timedelta(days=2), **which):
    """The decisions around the instant of a gate."""
    return Span(gate.realm.pk, gate.at - before, gate.at + after, **which)


def run(gate, draft, *, mode="replay", span=None, **which):
    """The results of a draft over the decisions around a gate."""
    return begin_simulation(
        realm=gate.realm, draft=draft, span=span or span_of(gate, **which), mode=mode
    ).finish()


def changed(gate, policy, **values):
    """A draft of a policy's bundle in which the policy has other values."""
    entry = PolicyDraft(values, policy.pk)
    return draft_of_bundle(policy.bundle, BundleDraft([entry]), at=gate.at)


def planned(plan, *, targets=None, **change):
    """A draft of a plan."""
    return draft_of_plan(plan, PlanDraft(PlanChange(plan.pk, **change), targets))


def counts(results):
    """Flips either way, of how many decisions judged."""
    total = results.total
    return total.admitted_to_denied, total.denied_to_admitted, total.judged


def copies(gate, count):
    """Copy a lease of the gate's account into many, a millisecond apart."""
    names = [field.column for field in Lease._meta.concrete_fields]
    made = {
        "id": "gen_random_uuid()", "lease": "'copy-' || n", "idempotency_key": "'copy-' || n",
        "authorized_at": "authorized_at + make_interval(secs => n * 0.001)",
    }  # fmt: skip
    kept = ", ".join(made.get(name, name) for name in names)
    run_sql(
        f"INSERT INTO gate_leases ({', '.join(names)}) SELECT {kept} FROM"
        " (SELECT * FROM gate_leases WHERE account_id = %s LIMIT 1) one,"
        f" generate_series(1, {count}) n",
        [gate.account.pk],
    )

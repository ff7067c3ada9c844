"""`/gate/simulations`: recorded decisions, made again under a draft."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from billing.api.context import account_in_realm
from billing.api.entitlements import EntitlementIn
from billing.selectors.plans import plan_of
from billing.services.entitlements import Target
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.streams import Stream, asks_for_lines
from config.api.views import ServiceView
from config.api.wire import (
    Code,
    Flag,
    Id,
    Instant,
    Name,
    SmallInt,
    WireModel,
    omitted,
)
from config.kernel.errors import Invalid
from gating.api.policies import Kind, PolicyValues, Scope, Seconds, bundle_of
from gating.api.simulated import Line, SimulationOut, document_of, lines_of
from gating.selectors.recorded import Span
from gating.services.drafts import (
    BundleDraft,
    PlanDraft,
    PolicyDraft,
    draft_of_bundle,
    draft_of_plan,
    placed,
)
from gating.services.simulations import MOST, MOST_AT_ONCE, Run, begin_simulation
from gating.simulation import Draft, PlanChange

_BUNDLE, _PLAN = "draft.bundle", "draft.plan"


class DraftedPolicy(PolicyValues):
    """Changes of the policy of that id, or without one a new policy."""

    policy_id: Id = omitted()
    feature_code: Name = omitted()
    kind: Kind = omitted()
    subject_scope: Scope = omitted()
    unit: Name = omitted()
    window_sec: Seconds = omitted()


class DraftedBundle(WireModel):
    """A bundle as it stands, with some policies changed, added or left out.

    Or (`replaced_by`, a key) with those of another bundle in their place.
    """

    bundle_id: Id = omitted()
    bundle_key: Name = omitted()
    policies: Annotated[list[DraftedPolicy], Field(max_length=200)] = []
    left_out: Annotated[list[Id], Field(max_length=200)] = []
    replaced_by: Name = omitted()


class DraftedEntitlements(WireModel):
    """Rules to add to the plan's, or to replace all of them with."""

    mode: Literal["append", "replace"]
    items: Annotated[list[EntitlementIn], Field(max_length=500)]


class DraftedPlan(WireModel):
    """A plan with some fields changed; a `gate_bundle_key` of null names no bundle."""

    plan_id: Id
    priority: SmallInt = omitted()
    active: Flag = omitted()
    gate_bundle_key: Name | None = None
    billing_mode: Literal["prepaid", "postpaid", "hybrid"] = omitted()
    entitlements: DraftedEntitlements = omitted()

    def change(self) -> PlanChange:
        """Return what is drafted of the plan's own fields."""
        values = self.given("plan_id", "entitlements")
        if "gate_bundle_key" in values:
            values["gate_bundle_key"] = values["gate_bundle_key"] or ""
        entitlements = self.entitlements
        appended = entitlements is not None and entitlements.mode == "append"
        return PlanChange(self.plan_id, appended=appended, **values)


class DraftBody(WireModel):
    """What is drafted: a bundle, a plan, or both."""

    bundle: DraftedBundle = omitted()
    plan: DraftedPlan = omitted()


class SimulationBody(WireModel):
    """A draft, and which recorded decisions to make again under it."""

    start: Instant = Field(validation_alias=AliasChoices("from"))
    end: Instant = Field(validation_alias=AliasChoices("to"))
    billing_account_id: Id = omitted()
    feature_code: Code = omitted()
    mode: Literal["replay", "independent"] = "replay"
    draft: DraftBody


class SimulationsView(ServiceView):
    """What the gate would have decided."""

    @operation(
        "simulate_gate_decisions",
        body=SimulationBody,
        answer=SimulationOut,
        line=Line,
        guard="nonce",
    )
    def post(self, call: Call, body: SimulationBody) -> Answer | Stream:
        """Make recorded decisions again under a draft; nothing is written.

        Up to 10,000 decisions of 92 days are answered in one document; up to 200,000,
        with their progress, as JSON lines (`Accept: application/x-ndjson`).
        """
        if asks_for_lines(call.request):
            return Stream(lines_of(_begun(call, body, most=MOST)))
        return Answer(document_of(_begun(call, body, most=MOST_AT_ONCE)))


def _begun(call: Call, body: SimulationBody, *, most: int) -> Run:
    account = None
    if body.billing_account_id is not None:
        account = account_in_realm(call, body.billing_account_id)
    return begin_simulation(
        realm=call.realm,
        draft=_draft(call, body.draft),
        span=Span(
            realm_id=call.realm.pk,
            start=body.start,
            end=body.end,
            account_id=account.pk if account else None,
            feature_code=body.feature_code,
        ),
        mode=body.mode,
        most=most,
    )


def _draft(call: Call, body: DraftBody) -> Draft:
    bundle = _of_bundle(call, body.bundle) if body.bundle else None
    plan = _of_plan(call, body.plan) if body.plan else None
    if bundle is not None and plan is not None:
        return bundle.together(plan)
    drafted = bundle or plan
    if drafted is None:
        raise Invalid("Draft a bundle, a plan, or both.", field="draft")
    return drafted


def _of_bundle(call: Call, body: DraftedBundle) -> Draft:
    with placed(_BUNDLE):
        bundle = bundle_of(call, body.given())
    replaced_by = None
    if body.replaced_by is not None:
        with placed(f"{_BUNDLE}.replaced_by"):
            replaced_by = bundle_of(call, {"bundle_key": body.replaced_by})
    policies = []
    for number, entry in enumerate(body.policies):
        place = f"{_BUNDLE}.policies.{number}"
        with placed(place):
            values: Any = entry.values()
        policies.append(PolicyDraft(values, entry.policy_id, place))
    drafted = BundleDraft(policies, body.left_out, replaced_by, place=_BUNDLE)
    return draft_of_bundle(bundle, drafted, at=call.at)


def _of_plan(call: Call, body: DraftedPlan) -> Draft:
    targets = None
    if body.entitlements is not None:
        place = f"{_PLAN}.entitlements.items"
        targets = [
            Target(**item.model_dump(), place=f"{place}.{number}")
            for number, item in enumerate(body.entitlements.items)
        ]
    drafted = PlanDraft(body.change(), targets, place=_PLAN)
    return draft_of_plan(plan_of(call.realm, body.plan_id), drafted)

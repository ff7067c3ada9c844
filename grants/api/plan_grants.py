"""`/billing-plans/{plan_id}/grants`: an edited plan's grants, and its holders."""

from billing.selectors.plans import plan_of
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.views import ServiceView
from config.api.wire import Reference, UInt, WireModel, WriteModel
from grants.services.resync import (
    GrantChange,
    PlanGrantsPreview,
    preview_plan_grants,
    resync_plan_grants,
)


class GrantChangeOut(WireModel):
    """What one user gains or loses of one program, per period (10^-6 USD)."""

    billing_account_id: str
    billing_user_id: str
    billing_plan_assignment_id: str
    grant_program_code: str
    before_xusd: UInt | None
    after_xusd: UInt | None

    @classmethod
    def of(cls, change: GrantChange) -> "GrantChangeOut":
        """Return the wire form of a change."""
        return cls(
            billing_account_id=str(change.account_id),
            billing_user_id=str(change.user_id),
            billing_plan_assignment_id=str(change.plan_assignment_id),
            grant_program_code=change.program_code,
            before_xusd=change.before_xusd,
            after_xusd=change.after_xusd,
        )


class PlanGrantsOut(WireModel):
    """Who would gain and lose what, and the fingerprint that confirms it."""

    fingerprint: str
    changes: list[GrantChangeOut]

    @classmethod
    def of(cls, preview: PlanGrantsPreview) -> "PlanGrantsOut":
        """Return the wire form of a preview."""
        return cls(
            fingerprint=preview.fingerprint,
            changes=[GrantChangeOut.of(each) for each in preview.changes],
        )


class PlanGrantsApply(WriteModel):
    """The confirmation: the fingerprint of the preview that was looked at."""

    confirmed_fingerprint: Reference


class PlanGrantsApplied(WireModel):
    """How many plan assignments changed."""

    changed: int


class PlanGrantsPreviewed(ServiceView):
    """`/billing-plans/{plan_id}/grants/preview`."""

    @operation("preview_billing_plan_grants", answer=PlanGrantsOut, realm_wide=True)
    def get(self, call: Call, plan_id: str) -> Answer:
        """Tell who would gain and lose what, were the plan's grants applied now."""
        plan = plan_of(call.realm, plan_id)
        return Answer(PlanGrantsOut.of(preview_plan_grants(plan=plan, at=call.at)))


class PlanGrantsAppliedNow(ServiceView):
    """`/billing-plans/{plan_id}/grants/apply`."""

    @operation(
        "apply_billing_plan_grants", body=PlanGrantsApply, answer=PlanGrantsApplied
    )
    def post(self, call: Call, plan_id: str, body: PlanGrantsApply) -> Answer:
        """Bring the plan's grants as they are now to its holders, as confirmed."""
        changed = resync_plan_grants(
            plan=plan_of(call.realm, plan_id),
            confirmed_fingerprint=body.confirmed_fingerprint,
            at=call.at,
            by=call.by,
        )
        return Answer(PlanGrantsApplied(changed=changed))

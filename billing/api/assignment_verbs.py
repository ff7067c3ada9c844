"""The named changes of an assignment: `/billing-plan-assignments/{id}/…`."""

from typing import Literal

from billing.api.assignments import AssignmentOut
from billing.api.context import assignment_in_realm
from billing.selectors.plans import plan_of
from billing.services import assignment_changes as verbs
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.views import ServiceView
from config.api.wire import Id, Instant, JsonObject, Reference, WriteModel


class Extension(WriteModel):
    """A later end; null makes the assignment open."""

    window_end: Instant | None


class End(WriteModel):
    """When the assignment ends; now when absent."""

    end_at: Instant | None = None


class StatusChange(WriteModel):
    """A pause, resumption or cancellation, effective at `audit.effective_at` or now."""


class PlanSwitch(WriteModel):
    """The plan to move to, and the commercial event behind the move."""

    plan_id: Id
    source_kind: Literal[
        "provider.subscription_item", "provider.subscription", "ops.manual"
    ] = "ops.manual"
    source_ref: Reference
    switch_at: Instant | None = None
    metadata: JsonObject = {}


class ExtendAssignment(ServiceView):
    """`/billing-plan-assignments/{assignment_id}/extend`."""

    @operation("extend_billing_plan_assignment", body=Extension, answer=AssignmentOut)
    def post(self, call: Call, assignment_id: str, body: Extension) -> Answer:
        """Move the end later."""
        assignment = verbs.extend_assignment(
            assignment=assignment_in_realm(call, assignment_id),
            window_end=body.window_end,
            at=call.at,
            by=call.by,
        )
        return Answer(AssignmentOut.of(assignment))


class EndAssignment(ServiceView):
    """`/billing-plan-assignments/{assignment_id}/end`."""

    @operation("end_billing_plan_assignment", body=End, answer=AssignmentOut)
    def post(self, call: Call, assignment_id: str, body: End) -> Answer:
        """End the assignment at an instant."""
        assignment = verbs.end_assignment(
            assignment=assignment_in_realm(call, assignment_id),
            end_at=body.end_at or call.at,
            at=call.at,
            by=call.by,
        )
        return Answer(AssignmentOut.of(assignment))


class PauseAssignment(ServiceView):
    """`/billing-plan-assignments/{assignment_id}/pause`."""

    @operation("pause_billing_plan_assignment", body=StatusChange, answer=AssignmentOut)
    def post(self, call: Call, assignment_id: str, body: StatusChange) -> Answer:
        """Suspend the assignment without ending it."""
        row = assignment_in_realm(call, assignment_id)
        paused = verbs.pause_assignment(assignment=row, at=call.at, by=call.by)
        return Answer(AssignmentOut.of(paused))


class ResumeAssignment(ServiceView):
    """`/billing-plan-assignments/{assignment_id}/resume`."""

    @operation(
        "resume_billing_plan_assignment", body=StatusChange, answer=AssignmentOut
    )
    def post(self, call: Call, assignment_id: str, body: StatusChange) -> Answer:
        """Put a paused assignment back into effect."""
        row = assignment_in_realm(call, assignment_id)
        resumed = verbs.resume_assignment(assignment=row, at=call.at, by=call.by)
        return Answer(AssignmentOut.of(resumed))


class CancelAssignment(ServiceView):
    """`/billing-plan-assignments/{assignment_id}/cancel`."""

    @operation(
        "cancel_billing_plan_assignment", body=StatusChange, answer=AssignmentOut
    )
    def post(self, call: Call, assignment_id: str, body: StatusChange) -> Answer:
        """Take the assignment out of effect for good."""
        row = assignment_in_realm(call, assignment_id)
        canceled = verbs.cancel_assignment(assignment=row, at=call.at, by=call.by)
        return Answer(AssignmentOut.of(canceled))


def _switch(
    call: Call,
    assignment_id: str,
    body: PlanSwitch,
    direction: Literal["upgrade", "downgrade"],
) -> Answer:
    created = verbs.switch_plan(
        direction=direction,
        assignment=assignment_in_realm(call, assignment_id),
        plan=plan_of(call.realm, body.plan_id),
        source_kind=body.source_kind,
        source_ref=body.source_ref,
        switch_at=body.switch_at or call.at,
        metadata=body.metadata,
        at=call.at,
        by=call.by,
    )
    return Answer(AssignmentOut.of(created), status=201)


class UpgradeAssignment(ServiceView):
    """`/billing-plan-assignments/{assignment_id}/upgrade`."""

    @operation(
        "upgrade_billing_plan_assignment",
        body=PlanSwitch,
        answer=AssignmentOut,
        statuses=(201,),
    )
    def post(self, call: Call, assignment_id: str, body: PlanSwitch) -> Answer:
        """Move to a higher plan; returns the new assignment."""
        return _switch(call, assignment_id, body, "upgrade")


class DowngradeAssignment(ServiceView):
    """`/billing-plan-assignments/{assignment_id}/downgrade`."""

    @operation(
        "downgrade_billing_plan_assignment",
        body=PlanSwitch,
        answer=AssignmentOut,
        statuses=(201,),
    )
    def post(self, call: Call, assignment_id: str, body: PlanSwitch) -> Answer:
        """Move to a lower plan; returns the new assignment."""
        return _switch(call, assignment_id, body, "downgrade")

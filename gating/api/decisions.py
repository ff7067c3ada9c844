"""`/gate/decisions/{id}/explain`."""

from typing import Literal

from billing.api.context import account_in_realm
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.views import ServiceView
from config.api.wire import Instant, JsonObject, WireModel
from gating.evidence import decision_document
from gating.selectors.decisions import Decision, decision_of


class CheckOut(WireModel):
    """One check, in the order in which they are made."""

    name: str
    outcome: Literal["passed", "failed", "not_reached"]
    sentences: list[str]


class ReplayOut(WireModel):
    """Whether the specification comes to the same today as it was stored then."""

    agrees: bool
    stored_reason: str
    reason: str


class ExplanationOut(WireModel):
    """A decision in words and in full: what was asked, known and said.

    `times` counts how often it was given in its minute.
    """

    decision_id: str
    kind: Literal["admission", "denial"]
    decided_at: Instant
    times: int
    principal_id: str
    user_id: str
    feature_code: str
    headline: str
    checks: list[CheckOut]
    decision: JsonObject
    replay: ReplayOut


class ExplainView(ServiceView):
    """Why the gate decided as it did."""

    @operation("explain_gate_decision", answer=ExplanationOut)
    def get(self, call: Call, decision_id: str) -> Answer:
        """Explain an admission (by its lease's id) or a denial, and make it again."""
        decision = decision_of(call.realm, decision_id)
        account_in_realm(call, decision.row.account_id)
        return Answer(_told(decision))


def _told(decision: Decision) -> ExplanationOut:
    row, again = decision.row, decision.explanation
    denial = again.verdict.denial
    return ExplanationOut(
        decision_id=str(row.pk),
        kind="denial" if decision.stored else "admission",
        decided_at=decision.decided_at,
        times=decision.times,
        principal_id=row.account.billing_principal_id,
        user_id=row.user.business_user_id,
        feature_code=decision.ask.feature_code,
        headline=again.headline,
        checks=[
            CheckOut(
                name=check.name, outcome=check.outcome, sentences=list(check.sentences)
            )
            for check in again.checks
        ],
        decision=decision_document(decision.ask, decision.facts, again.verdict),
        replay=ReplayOut(
            agrees=decision.agrees,
            stored_reason=decision.stored,
            reason=denial.reason if denial else "",
        ),
    )

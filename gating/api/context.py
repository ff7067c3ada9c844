"""Whom a gate call is for, without asking the database before the gate does."""

from billing.api.context import RuntimeView, spelled
from config.api.envelope import Answer
from config.api.operations import Call
from gating.answers import Admission
from gating.services.subjects import Bound, Subject


class GateView(RuntimeView):
    """A view whose subject the gate's own functions look up, by the headers' names.

    Where they do not know it, or a header claims an id, or the key is limited to some
    accounts, it is bound as any other call is.
    """

    def bind(self, call: Call) -> None:
        """Bind the call now only where names alone would not do."""
        bound = call.caller.bindings
        named = spelled(bound.principal_id) and spelled(bound.user_id)
        claimed = bound.billing_account_id or bound.billing_user_id
        if claimed or call.caller.allowed_accounts or not named:
            super().bind(call)

    def subject(self, call: Call) -> Subject:
        """Return the call's subject, bound or known by its names."""
        if call.user is not None:
            return Subject.of(call.account, call.user)

        def bind() -> Bound:
            if call.user is None:
                super(GateView, self).bind(call)
            return call.account, call.user

        bound = call.caller.bindings
        return Subject(
            call.realm.pk, spelled(bound.principal_id), spelled(bound.user_id), bind
        )


def answered(admission: Admission) -> Answer:
    """Return the gate's answer; a repeat is told with the trace id of the first."""
    return Answer(admission.data, hints=admission.hints, trace_id=admission.trace_id)

"""Whom a gate call is for, without asking the database before the gate does."""

from collections.abc import Callable
from typing import Any, TypeVar

from billing.api.context import RuntimeView, spelled
from config.api.envelope import Answer
from config.api.operations import Call
from config.api.views import RememberedServiceKeyAuthentication
from config.kernel.clock import now
from config.kernel.errors import DomainError
from config.tenancy.authentication import authenticate_service_key
from config.tenancy.remembered import forget
from gating.answers import Admission
from gating.services.functions import CredentialsMoved
from gating.services.subjects import Bound, Subject

Answered = TypeVar("Answered")


class UserMet(Exception):
    """The call's user is bound from now on: ask again."""


class GateView(RuntimeView):
    """A view whose caller and subject the gate's own functions look up.

    The caller's credentials may be remembered ones: the functions find out. The
    subject goes by the headers' names; where the functions do not know it, or a header
    claims an id, or the key is limited to some accounts, it is bound as any other
    call's is.
    """

    authentication_classes = [RememberedServiceKeyAuthentication]
    is_current = False
    """Whether the gate's functions were asked, and so know the caller's credentials."""

    def bind(self, call: Call) -> None:
        """Bind the call now only where names alone would not do."""
        bound = call.caller.bindings
        named = spelled(bound.principal_id) and spelled(bound.user_id)
        claimed = bound.billing_account_id or bound.billing_user_id
        if claimed or call.caller.allowed_accounts or not named:
            super().bind(call)
            call.at = now()

    def subject(self, call: Call) -> Subject:
        """Return the call's subject, bound or known by its names."""

        def bind() -> Bound:
            if call.user is None:
                super(GateView, self).bind(call)
                # Known to the functions, where they have answered: as of then, too.
                if not found.answered:
                    raise UserMet
            return call.account, call.user

        names = call.caller.bindings
        found = Subject(
            call.realm.pk,
            spelled(names.principal_id),
            spelled(names.user_id),
            bind,
            bound=call.user is not None,
            version=call.caller.version,
            together=True,
            may_register=not call.caller.allowed_accounts,
        )
        return found

    def ask(self, call: Call, verb: Callable[..., Answered]) -> Answered:
        """Return what a verb answers to the call's subject.

        A user who has only now been bound is asked about once more, at an instant at
        which they are there: of those who ask for a new one at once, one makes it, and
        another may have read the clock before. Where the caller's credentials were
        remembered and have changed, they are read and checked again; the call then
        goes on, or is refused.
        """
        self.is_current = True
        while True:
            try:
                return verb(self.subject(call), at=call.at)
            except UserMet:
                call.at = now()
            except CredentialsMoved:
                forget()
                call.caller = authenticate_service_key(call.request)
                call.caller.require(call.operation.scope)
                self.bind(call)

    def handle_exception(self, exc: Exception) -> Any:
        """Answer a refusal; that of the credentials as they are now comes first."""
        if isinstance(exc, DomainError) and not self.is_current:
            try:
                authenticate_service_key(self.request._request)
            except DomainError as refusal:
                forget()
                exc = refusal
        return super().handle_exception(exc)


def answered(admission: Admission) -> Answer:
    """Return the gate's answer; a repeat is told with the trace id of the first."""
    return Answer(admission.data, hints=admission.hints, trace_id=admission.trace_id)

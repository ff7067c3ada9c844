"""Grant assignments as the wire shows and takes them."""

from typing import Any, Literal, cast

from billing.api.changes import given_changes
from config.api.wire import (
    Code,
    Id,
    Instant,
    JsonObject,
    ListQuery,
    Reference,
    UInt,
    WireModel,
    WriteModel,
)
from grants.api.words import AssignmentStatusName, ExactSource, Policy, SourceName
from grants.models import GrantAssignment, GrantSource
from grants.services.assignments import GrantTerms

_PAYMENTS = (
    GrantSource.SUBSCRIPTION,
    GrantSource.SUBSCRIPTION_ITEM,
    GrantSource.ONE_TIME,
    GrantSource.BILLING_PAYMENT,
    GrantSource.WALLET_CASH,
)
"""The source kinds that the official client knows as a payment."""


def wire_source(kind: str) -> SourceName:
    """Return a source kind as the official client reads it.

    What was paid for is one kind to it; the true one stands beside it.
    """
    return cast("SourceName", "billing_payment" if kind in _PAYMENTS else kind)


class GrantAssignmentOut(WireModel):
    """A grant assignment as the wire shows it."""

    assignment_id: str
    billing_account_id: str
    billing_user_id: str
    program_id: str
    grant_program_code: str
    billing_payment_id: str | None
    billing_plan_assignment_id: str | None
    campaign_id: str | None
    source_kind: SourceName
    source_kind_exact: ExactSource
    source_ref: str
    window_start: Instant
    window_end: Instant | None
    status: AssignmentStatusName
    amount_xusd: UInt | None
    outstanding_application_policy_override: Policy | None
    metadata: JsonObject
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, row: GrantAssignment) -> "GrantAssignmentOut":
        """Return the wire form of an assignment read with its program."""
        return cls(
            assignment_id=str(row.pk),
            billing_account_id=str(row.account_id),
            billing_user_id=str(row.user_id),
            program_id=str(row.program_id),
            grant_program_code=row.program.program_code,
            billing_payment_id=_text(row.payment_id),
            billing_plan_assignment_id=_text(row.plan_assignment_id),
            campaign_id=_text(row.campaign_id),
            source_kind=wire_source(row.source_kind),
            source_kind_exact=cast("ExactSource", row.source_kind),
            source_ref=row.source_ref,
            window_start=row.window_start,
            window_end=row.window_end,
            status=cast("AssignmentStatusName", row.status),
            amount_xusd=row.amount_xusd,
            outstanding_application_policy_override=cast(
                "Policy | None", row.outstanding_policy_override
            ),
            metadata=row.metadata,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class GrantAssignmentPage(WireModel):
    """A page of grant assignments."""

    items: list[GrantAssignmentOut]
    next_cursor: str | None = None


class GrantAssignmentCreate(WriteModel):
    """A user to bind to a program by hand.

    Without a `source_ref` the Idempotency-Key is one.
    """

    billing_account_id: Id
    billing_user_id: Id
    program_id: Id
    source_kind: Literal["ops.manual"]
    source_ref: Reference | None = None
    window_start: Instant
    window_end: Instant | None = None
    amount_xusd: UInt
    outstanding_application_policy_override: Policy | None = None
    metadata: JsonObject | None = None

    def terms(self) -> GrantTerms:
        """Return what is given."""
        return GrantTerms(
            amount_xusd=self.amount_xusd,
            outstanding_policy=self.outstanding_application_policy_override,
            metadata=self.metadata or {},
        )


class GrantAssignmentChange(WriteModel):
    """The fields to change; a null end re-opens, a null policy is the program's."""

    window_end: Instant | None = None
    status: AssignmentStatusName | None = None
    amount_xusd: UInt | None = None
    outstanding_application_policy_override: Policy | None = None
    metadata: JsonObject | None = None

    def changes(self) -> dict[str, Any]:
        """Return the fields to set, in the words of an assignment."""
        changes = given_changes(
            self, {"window_end", "outstanding_application_policy_override"}
        )
        name = "outstanding_application_policy_override"
        if name in changes:
            changes["outstanding_policy_override"] = changes.pop(name)
        return changes


class GrantAssignmentQuery(ListQuery):
    """Filters of the assignment list; an open end is after everything.

    `source_kind` takes the wire's kinds: `billing_payment` finds every paid one.
    """

    billing_account_id: str | None = None
    billing_user_id: str | None = None
    program_id: str | None = None
    grant_program_code: Code | None = None
    campaign_id: str | None = None
    status: list[AssignmentStatusName] | None = None
    source_kind: SourceName | None = None
    source_ref: Reference | None = None
    window_end_before: Instant | None = None
    window_end_after: Instant | None = None

    def filters(self) -> dict[str, object]:
        """Return what to ask of assignments, in their own words."""
        found = self.given("limit", "cursor")
        if self.source_kind is not None:
            paid = self.source_kind == GrantSource.BILLING_PAYMENT.value
            found["source_kind"] = _PAYMENTS if paid else [self.source_kind]
        return found


def _text(key: object) -> str | None:
    return None if key is None else str(key)

"""`/billing-plan-assignments`: the raw write, the raw change, the list."""

from datetime import datetime
from typing import Literal, cast

from billing.api.changes import given_changes
from billing.api.context import account_in_realm, assignment_in_realm, user_in_realm
from billing.models import PlanAssignment
from billing.selectors.assignments import list_assignments
from billing.selectors.plans import plan_of
from billing.services.assignments import Identity, assign_plan, change_assignment
from config.api.envelope import Answer
from config.api.metadata import warnings_meta
from config.api.operations import Call, operation
from config.api.pagination import items, page_limit, paginate
from config.api.views import ServiceView
from config.api.wire import (
    Id,
    Instant,
    JsonObject,
    ListQuery,
    Reference,
    WireModel,
    WriteModel,
)
from config.kernel.errors import Invalid
from config.kernel.metadata import AssignmentMetadata
from config.kernel.windows import Window

Scope = Literal["account", "user"]
Status = Literal["active", "paused", "canceled", "expired"]
Source = Literal[
    "signup.default",
    "provider.subscription_item",
    "provider.subscription",
    "ops.manual",
    "ops.campaign",
]
WIRE_SOURCES = ("ops.campaign",)
"""Source kinds the official client's answers do not know; see `wire_source`."""


def wire_source(kind: str) -> str:
    """Return a source kind as the official client reads it.

    It does not know `ops.campaign`; the true kind stands beside it as
    `source_kind_exact`.
    """
    return "ops.manual" if kind in WIRE_SOURCES else kind


class AssignmentOut(WireModel):
    """A plan assignment as the wire shows it."""

    assignment_id: str
    billing_account_id: str
    assignment_scope: Scope
    billing_user_id: str | None
    plan_id: str
    plan_code: str
    subscription_item_id: str | None
    source_kind: str
    source_kind_exact: Source
    source_ref: str
    window_start: Instant
    window_end: Instant | None
    status: Status
    metadata: JsonObject
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: PlanAssignment) -> "AssignmentOut":
        """Return the wire form of an assignment read with its plan."""
        item = row.subscription_item_id
        return cls(
            assignment_id=str(row.pk),
            billing_account_id=str(row.account_id),
            assignment_scope=cast("Scope", row.scope),
            billing_user_id=str(row.user_id) if row.user_id else None,
            plan_id=str(row.plan_id),
            plan_code=row.plan.plan_code,
            subscription_item_id=str(item) if item else None,
            source_kind=wire_source(row.source_kind),
            source_kind_exact=cast("Source", row.source_kind),
            source_ref=row.source_ref,
            window_start=row.window_start,
            window_end=row.window_end,
            status=cast("Status", row.status),
            metadata=row.metadata,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class AssignmentPage(WireModel):
    """A page of assignments."""

    items: list[AssignmentOut]
    next_cursor: str | None = None


class AssignmentCreate(WriteModel):
    """A plan to assign, under its commercial identity."""

    billing_account_id: Id
    assignment_scope: Scope
    billing_user_id: Id | None = None
    plan_id: Id
    subscription_item_id: Id | None = None
    source_kind: Source
    source_ref: Reference
    window_start: Instant
    window_end: Instant | None = None
    status: Status = "active"
    metadata: JsonObject = {}


class AssignmentChange(WriteModel):
    """The fields of an assignment to change; `window_end: null` re-opens it."""

    subscription_item_id: Id | None = None
    window_start: Instant | None = None
    window_end: Instant | None = None
    status: Status | None = None
    metadata: JsonObject | None = None


class AssignmentQuery(ListQuery):
    """Filters of the assignment list.

    With `as_of`, only assignments in effect at that instant as they stand now; an
    account's state at any two times is `/billing-accounts/{id}/billing-state`.
    """

    billing_account_id: str | None = None
    billing_user_id: str | None = None
    assignment_scope: Scope | None = None
    plan_id: str | None = None
    plan_code: str | None = None
    subscription_item_id: str | None = None
    provider_subscription_id: str | None = None
    provider_price_id: str | None = None
    provider: str | None = None
    grant_program_id: str | None = None
    grant_program_code: str | None = None
    campaign_id: str | None = None
    status: Status | None = None
    source_kind: Source | None = None
    source_ref: str | None = None
    window_start: Instant | None = None
    window_end: Instant | None = None
    as_of: Instant | None = None


def identity_from(call: Call, body: AssignmentCreate) -> Identity:
    """Return the commercial identity a body names, checked against this realm.

    Refuses a user named for an account scope or missing for a user scope (`Invalid`
    on `billing_user_id`), unknown ids (404) and an account that is not the caller's
    (403).
    """
    account = account_in_realm(call, body.billing_account_id)
    if (body.assignment_scope == "user") != (body.billing_user_id is not None):
        needed = "needs" if body.assignment_scope == "user" else "takes no"
        raise Invalid(
            f"An assignment of scope {body.assignment_scope} {needed} billing_user_id.",
            field="billing_user_id",
        )
    user = user_in_realm(call, body.billing_user_id) if body.billing_user_id else None
    return Identity(
        account=account,
        user=user,
        plan=plan_of(call.realm, body.plan_id),
        source_kind=body.source_kind,
        source_ref=body.source_ref,
    )


class Assignments(ServiceView):
    """`/billing-plan-assignments`."""

    @operation(
        "list_billing_plan_assignments", query=AssignmentQuery, answer=AssignmentPage
    )
    def get(self, call: Call, query: AssignmentQuery) -> Answer:
        """List assignments."""
        page = paginate(
            list_assignments(
                call.realm,
                **query.given("limit", "cursor"),
                allowed=call.caller.allowed_accounts,
            ),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
        )
        return Answer(items(page, AssignmentOut.of))

    @operation(
        "create_billing_plan_assignment",
        body=AssignmentCreate,
        answer=AssignmentOut,
        statuses=(201,),
        notes_in_metadata=True,
        of_account=True,
    )
    def post(self, call: Call, body: AssignmentCreate) -> Answer:
        """Assign a plan; the same commercial identity again merges."""
        assignment, outcome = assign_plan(
            identity=identity_from(call, body),
            window=Window(body.window_start, body.window_end),
            status=body.status,
            subscription_item_id=body.subscription_item_id,
            metadata=body.metadata,
            at=call.at,
            by=call.by,
        )
        warned = warnings_meta(AssignmentMetadata, body.metadata) or {}
        return Answer(
            AssignmentOut.of(assignment),
            status=201,
            meta={"outcome": outcome, **warned},
        )


class AssignmentDetail(ServiceView):
    """`/billing-plan-assignments/{assignment_id}`."""

    @operation("get_billing_plan_assignment", answer=AssignmentOut)
    def get(self, call: Call, assignment_id: str) -> Answer:
        """Read an assignment."""
        return Answer(AssignmentOut.of(assignment_in_realm(call, assignment_id)))

    @operation(
        "update_billing_plan_assignment",
        body=AssignmentChange,
        answer=AssignmentOut,
        notes_in_metadata=True,
    )
    def patch(self, call: Call, assignment_id: str, body: AssignmentChange) -> Answer:
        """Change an assignment's window, status, item or metadata."""
        changes = given_changes(body, {"window_end", "subscription_item_id"})
        assignment = change_assignment(
            assignment=assignment_in_realm(call, assignment_id),
            changes=changes,
            at=call.at,
            by=call.by,
        )
        return Answer(
            AssignmentOut.of(assignment),
            meta=warnings_meta(AssignmentMetadata, changes.get("metadata")),
        )

"""`/grant-assignments`: who is bound to which program, and why."""

from typing import Any

from config.api.envelope import Answer
from config.api.metadata import warnings_meta
from config.api.operations import Call, operation
from config.api.pagination import items, page_limit, paginate
from config.api.views import ServiceView
from config.kernel.metadata import GrantAssignmentMetadata
from config.kernel.windows import Window
from grants.api.assignment_forms import (
    GrantAssignmentChange,
    GrantAssignmentCreate,
    GrantAssignmentOut,
    GrantAssignmentPage,
    GrantAssignmentQuery,
)
from grants.api.context import grant_assignment_in_realm, owner_in_realm
from grants.models import GrantAssignment
from grants.selectors.assignments import list_grant_assignments
from grants.selectors.programs import program_of
from grants.services.assignment_changes import (
    change_assignment,
    create_manual_assignment,
    manual_identity,
)
from grants.services.assignments import GrantIdentity


def _answer(
    assignment: GrantAssignment,
    metadata: dict[str, Any] | None,
    *,
    status: int = 200,
) -> Answer:
    return Answer(
        GrantAssignmentOut.of(assignment),
        status=status,
        meta=warnings_meta(GrantAssignmentMetadata, metadata),
    )


def _identity(call: Call, body: GrantAssignmentCreate) -> GrantIdentity:
    return manual_identity(
        user=owner_in_realm(call, body.billing_account_id, body.billing_user_id),
        program=program_of(call.realm, body.program_id),
        source_ref=body.source_ref,
        by=call.by,
    )


class GrantAssignments(ServiceView):
    """`/grant-assignments`."""

    @operation(
        "list_grant_assignments",
        query=GrantAssignmentQuery,
        answer=GrantAssignmentPage,
    )
    def get(self, call: Call, query: GrantAssignmentQuery) -> Answer:
        """List grant assignments, newest first."""
        page = paginate(
            list_grant_assignments(
                call.realm, **query.filters(), allowed=call.caller.allowed_accounts
            ),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
        )
        return Answer(items(page, GrantAssignmentOut.of))

    @operation(
        "create_grant_assignment",
        body=GrantAssignmentCreate,
        answer=GrantAssignmentOut,
        statuses=(201, 200),
        of_account=True,
    )
    def post(self, call: Call, body: GrantAssignmentCreate) -> Answer:
        """Bind a user to a program by hand, once per `source_ref`, and issue."""
        assignment, created = create_manual_assignment(
            identity=_identity(call, body),
            window=Window(body.window_start, body.window_end),
            terms=body.terms(),
            at=call.at,
            by=call.by,
        )
        return _answer(assignment, body.metadata, status=201 if created else 200)


class GrantAssignmentDetail(ServiceView):
    """`/grant-assignments/{grant_assignment_id}`."""

    @operation("get_grant_assignment", answer=GrantAssignmentOut)
    def get(self, call: Call, grant_assignment_id: str) -> Answer:
        """Read a grant assignment."""
        row = grant_assignment_in_realm(call, grant_assignment_id)
        return Answer(GrantAssignmentOut.of(row))

    @operation(
        "update_grant_assignment",
        body=GrantAssignmentChange,
        answer=GrantAssignmentOut,
    )
    def patch(
        self, call: Call, grant_assignment_id: str, body: GrantAssignmentChange
    ) -> Answer:
        """Change a grant assignment, for grants issued from then on."""
        assignment = change_assignment(
            assignment=grant_assignment_in_realm(call, grant_assignment_id),
            changes=body.changes(),
            at=call.at,
            by=call.by,
        )
        return _answer(assignment, body.metadata)

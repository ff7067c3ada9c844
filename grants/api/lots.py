"""`/grants`: what was given, what is left of it, and what used it."""

from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.pagination import items, page_limit, paginate
from config.api.views import ServiceView
from config.kernel.errors import Invalid
from grants.api.context import lot_in_realm, owner_in_realm
from grants.api.lot_forms import (
    ConsumptionOut,
    ConsumptionPage,
    ConsumptionQuery,
    LotChange,
    LotCreate,
    LotOut,
    LotPage,
    LotQuery,
)
from grants.models import GrantProgram
from grants.selectors.lots import allocations_of, list_lots, lot_of
from grants.selectors.programs import program_of
from grants.services.assignment_changes import manual_identity
from grants.services.assignments import GrantIdentity, program_named
from grants.services.lot_changes import change_lot
from grants.services.manual_grants import MANUAL_PROGRAM, give_by_hand


def _program(call: Call, body: LotCreate) -> GrantProgram:
    named, code = body.program_id, body.grant_program_code
    if body.mode == "manual":
        for name, value in (("program_id", named), ("grant_program_code", code)):
            if value is not None:
                raise Invalid(f"A grant of mode manual has no {name}.", field=name)
        if body.amount_xusd is None:
            raise Invalid("Say how much is given.", field="amount_xusd")
        return program_named(call.realm, MANUAL_PROGRAM)
    if (named is None) == (code is None):
        raise Invalid(
            "Name the program, by program_id or by grant_program_code.",
            field="program_id" if code is None else "grant_program_code",
        )
    if code is not None:
        return program_named(call.realm, code)
    return program_of(call.realm, named)


def _identity(call: Call, body: LotCreate) -> GrantIdentity:
    return manual_identity(
        user=owner_in_realm(call, body.billing_account_id, body.billing_user_id),
        program=_program(call, body),
        source_ref=body.source.ref if body.source else None,
        by=call.by,
    )


class Lots(ServiceView):
    """`/grants`."""

    @operation("list_grants", query=LotQuery, answer=LotPage)
    def get(self, call: Call, query: LotQuery) -> Answer:
        """List grants, newest first."""
        page = paginate(
            list_lots(
                call.realm,
                **query.given("limit", "cursor"),
                allowed=call.caller.allowed_accounts,
            ),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
        )
        return Answer(items(page, LotOut.of))

    @operation(
        "create_grant",
        body=LotCreate,
        answer=LotOut,
        statuses=(201, 200),
        of_account=True,
    )
    def post(self, call: Call, body: LotCreate) -> Answer:
        """Give a user a grant by hand, once per `source.ref`."""
        lot, created = give_by_hand(
            identity=_identity(call, body),
            window_start=body.window_start,
            window_end=body.window_end,
            terms=body.terms(),
            at=call.at,
            by=call.by,
        )
        out = LotOut.of(lot_of(call.realm, lot.pk))
        return Answer(out, status=201 if created else 200)


class LotDetail(ServiceView):
    """`/grants/{grant_id}`."""

    @operation("get_grant", answer=LotOut)
    def get(self, call: Call, grant_id: str) -> Answer:
        """Read a grant."""
        return Answer(LotOut.of(lot_in_realm(call, grant_id)))

    @operation("update_grant", body=LotChange, answer=LotOut)
    def patch(self, call: Call, grant_id: str, body: LotChange) -> Answer:
        """Suspend, resume or revoke a grant, or label it anew."""
        lot = change_lot(
            lot=lot_in_realm(call, grant_id),
            status=body.issuance_status,
            labels=body.metadata,
            at=call.at,
            by=call.by,
        )
        return Answer(LotOut.of(lot_of(call.realm, lot.pk)))


class LotConsumption(ServiceView):
    """`/grants/{grant_id}/consumption`."""

    @operation("list_grant_consumption", query=ConsumptionQuery, answer=ConsumptionPage)
    def get(self, call: Call, grant_id: str, query: ConsumptionQuery) -> Answer:
        """List what used a grant, newest first."""
        page = paginate(
            allocations_of(lot_in_realm(call, grant_id)),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
        )
        return Answer(items(page, ConsumptionOut.of))

"""`/grant-programs`."""

from typing import Literal, cast

from billing.api.changes import given_changes
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.pagination import items, page_limit, paginate
from config.api.views import ServiceView
from config.api.wire import (
    Code,
    Count,
    Flag,
    Instant,
    JsonObject,
    ListQuery,
    NameOrEmpty,
    QueryFlag,
    SignedInt,
    SmallInt,
    UInt,
    WireModel,
    WriteModel,
)
from grants.api.words import (
    AccrualMode,
    Anchor,
    CadenceName,
    EligibilityKind,
    KindName,
    Mode,
    Policy,
    WindowKindName,
)
from grants.models import GrantProgram
from grants.selectors.programs import list_programs, program_of
from grants.services.programs import ProgramTerms, change_program, create_program


class ProgramOut(WireModel):
    """A program as the wire shows it.

    The official client does not know eligibility by a subscription's group: then
    `eligibility_kind` is null, and the true one stands beside it.
    """

    program_id: str
    realm_id: str
    program_code: str
    name: str
    active: bool
    cadence: CadenceName
    issue_anchor: Anchor
    grant_kind: KindName
    amount_xusd: SignedInt
    window_kind: WindowKindName
    window_default_seconds: int | None
    priority: int
    on_ledger: bool
    outstanding_application_policy: Policy
    issuance_mode: Mode
    periodic_accounting: bool
    accrual_mode: AccrualMode | None
    eligibility_kind: Literal["manual", "all_accounts"] | None
    eligibility_kind_exact: EligibilityKind
    eligibility_payload: JsonObject
    metadata: JsonObject
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, row: GrantProgram) -> "ProgramOut":
        """Return the wire form of a program."""
        exact = cast("EligibilityKind", row.eligibility_kind)
        return cls(
            program_id=str(row.pk),
            realm_id=row.realm_id,
            program_code=row.program_code,
            name=row.name,
            active=row.active,
            cadence=cast("CadenceName", row.cadence),
            issue_anchor=cast("Anchor", row.issue_anchor),
            grant_kind=cast("KindName", row.grant_kind),
            amount_xusd=row.amount_xusd,
            window_kind=cast("WindowKindName", row.window_kind),
            window_default_seconds=row.window_default_seconds,
            priority=row.priority,
            on_ledger=row.on_ledger,
            outstanding_application_policy=cast(
                "Policy", row.outstanding_application_policy
            ),
            issuance_mode=cast("Mode", row.issuance_mode),
            periodic_accounting=row.periodic_accounting,
            accrual_mode=cast("AccrualMode | None", row.accrual_mode),
            eligibility_kind=None if exact == "subscription_group" else exact,
            eligibility_kind_exact=exact,
            eligibility_payload=row.eligibility_payload,
            metadata=row.metadata,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class ProgramPage(WireModel):
    """A page of programs."""

    items: list[ProgramOut]
    next_cursor: str | None = None


class ProgramCreate(WriteModel):
    """A program to create; a null is as good as a field that is left out."""

    program_code: Code
    name: NameOrEmpty | None = None
    active: Flag | None = None
    cadence: CadenceName
    issue_anchor: Anchor
    grant_kind: KindName | None = None
    amount_xusd: UInt
    window_kind: WindowKindName
    window_default_seconds: Count | None = None
    priority: SmallInt | None = None
    on_ledger: Flag | None = None
    outstanding_application_policy: Policy
    issuance_mode: Mode
    periodic_accounting: Flag | None = None
    accrual_mode: AccrualMode | None = None
    eligibility_kind: EligibilityKind | None = None
    eligibility_payload: JsonObject | None = None
    metadata: JsonObject | None = None

    def terms(self) -> ProgramTerms:
        """Return what the program is made of."""
        given = self.given("program_code").items()
        return ProgramTerms(**{name: v for name, v in given if v is not None})


class ProgramChange(WriteModel):
    """The fields of a program to change; what it is made of is none of them."""

    name: NameOrEmpty | None = None
    active: Flag | None = None
    amount_xusd: UInt | None = None
    window_default_seconds: Count | None = None
    priority: SmallInt | None = None
    outstanding_application_policy: Policy | None = None
    issuance_mode: Mode | None = None
    metadata: JsonObject | None = None


class ProgramQuery(ListQuery):
    """Filters of the program list; `campaign_id` finds what a campaign gives."""

    campaign_id: str | None = None
    active: QueryFlag | None = None
    cadence: CadenceName | None = None
    issuance_mode: Mode | None = None
    program_code: Code | None = None


class Programs(ServiceView):
    """`/grant-programs`."""

    @operation("list_grant_programs", query=ProgramQuery, answer=ProgramPage)
    def get(self, call: Call, query: ProgramQuery) -> Answer:
        """List grant programs, newest first."""
        page = paginate(
            list_programs(call.realm, **query.given("limit", "cursor")),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
        )
        return Answer(items(page, ProgramOut.of))

    @operation(
        "create_grant_program", body=ProgramCreate, answer=ProgramOut, statuses=(201,)
    )
    def post(self, call: Call, body: ProgramCreate) -> Answer:
        """Create a grant program; a code that exists is refused."""
        program = create_program(
            realm=call.realm,
            program_code=body.program_code,
            terms=body.terms(),
            at=call.at,
            by=call.by,
        )
        return Answer(ProgramOut.of(program), status=201)


class ProgramDetail(ServiceView):
    """`/grant-programs/{program_id}`."""

    @operation("get_grant_program", answer=ProgramOut)
    def get(self, call: Call, program_id: str) -> Answer:
        """Read a grant program."""
        return Answer(ProgramOut.of(program_of(call.realm, program_id)))

    @operation("update_grant_program", body=ProgramChange, answer=ProgramOut)
    def patch(self, call: Call, program_id: str, body: ProgramChange) -> Answer:
        """Change a grant program, for grants issued from then on."""
        program = change_program(
            program=program_of(call.realm, program_id),
            changes=given_changes(body, {"window_default_seconds"}),
            at=call.at,
            by=call.by,
        )
        return Answer(ProgramOut.of(program))

"""Verbs on grant programs: the templates of what is given."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import TextChoices

from catalog.services.rows import locked, rewritten
from config.kernel.audit import AuditContext
from config.kernel.codes import normalize_code
from config.kernel.errors import Conflict, Invalid
from config.kernel.metadata import ProgramEligibility, check_metadata
from config.kernel.metadata.document import check_document
from config.kernel.metadata.fields import MAX_SECONDS
from config.kernel.money import parse_uint
from config.tenancy.history import auditing
from config.tenancy.models import Realm
from config.tenancy.services.events import record_event
from grants.models import (
    FALLBACK_PROGRAM,
    Accrual,
    Cadence,
    Eligibility,
    GrantProgram,
    IssuanceMode,
    IssueAnchor,
    LotKind,
    OutstandingPolicy,
    WindowKind,
)

CHANGEABLE = (
    "name",
    "active",
    "amount_xusd",
    "window_default_seconds",
    "priority",
    "outstanding_application_policy",
    "issuance_mode",
    "metadata",
)
"""What may change of a program; it holds for lots issued from then on."""

PRIORITIES = range(-(2**31) + 1, 2**31)
_RESERVED_KINDS = (LotKind.FALLBACK, LotKind.ROLLOVER)
_CHOICES: dict[str, type[TextChoices]] = {
    "cadence": Cadence,
    "issue_anchor": IssueAnchor,
    "grant_kind": LotKind,
    "window_kind": WindowKind,
    "outstanding_application_policy": OutstandingPolicy,
    "issuance_mode": IssuanceMode,
    "accrual_mode": Accrual,
    "eligibility_kind": Eligibility,
}


class ProgramCodeTaken(Conflict):
    """The realm already has a program of that code (409)."""

    default_code = "GRANT.PROGRAM_CODE_TAKEN"


class ProgramFixed(Invalid):
    """Lots were issued by what a program is made of, so it cannot change (422)."""

    default_code = "GRANT.PROGRAM_FIXED"


class SystemProgram(Conflict):
    """The program is the realm's own: it holds what is owed (409)."""

    default_code = "GRANT.SYSTEM_PROGRAM"


@dataclass(frozen=True, slots=True)
class ProgramTerms:
    """What a program is made of.

    `amount_xusd` is given per issuance, in 10^-6 USD, where a binding says no amount;
    `window_default_seconds` is how long lots of a relative window last. The words are
    those of `grants.models.kinds`.
    """

    cadence: str
    name: str = ""
    active: bool = True
    issue_anchor: str = IssueAnchor.CALENDAR_START
    grant_kind: str = LotKind.GRANT
    amount_xusd: int = 0
    window_kind: str = WindowKind.PERIOD
    window_default_seconds: int | None = None
    priority: int = 0
    on_ledger: bool = False
    outstanding_application_policy: str = OutstandingPolicy.NEVER
    issuance_mode: str = IssuanceMode.EAGER
    periodic_accounting: bool = False
    accrual_mode: str | None = None
    eligibility_kind: str = Eligibility.MANUAL
    eligibility_payload: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@transaction.atomic
def create_program(
    *,
    realm: Realm,
    program_code: str,
    terms: ProgramTerms,
    at: datetime,
    by: AuditContext,
) -> GrantProgram:
    """Create a program; return it.

    Refuses (`ProgramCodeTaken`) a code that the realm has, and (`Invalid`) what is no
    code, unknown words, an amount below 0 or beyond 64 bits, a relative window
    without its seconds, a billing period's cadence with another window than the
    period, and the kinds of lot that only the system issues.
    """
    values = asdict(terms)
    program = GrantProgram(
        realm=realm,
        program_code=normalize_code(program_code, "program_code"),
        **values,
    )
    _check_structure(program)
    _check(values, window_kind=program.window_kind)
    with auditing(by, at=at):
        # Of two that create one code at once, one inserts and the other is refused.
        GrantProgram.objects.bulk_create([program], ignore_conflicts=True)
        if not GrantProgram.objects.filter(pk=program.pk).exists():
            raise ProgramCodeTaken(
                f"This realm already has a program {program.program_code}.",
                field="program_code",
            )
        program.refresh_from_db()
        _record("created", program, at=at, by=by)
    return program


@transaction.atomic
def change_program(
    *,
    program: GrantProgram,
    changes: Mapping[str, Any],
    at: datetime,
    by: AuditContext,
) -> GrantProgram:
    """Set the given fields of a program, for lots issued from then on.

    Fields: `CHANGEABLE`. Refuses (`ProgramFixed`) any other, (`SystemProgram`) the
    program that holds what is owed, and (`Invalid`) values as `create_program` does.
    """
    for name in changes:
        if name not in CHANGEABLE:
            raise ProgramFixed(
                f"A program's {name} cannot change, because grants were issued by it. "
                "Create another program.",
                field=name,
            )
    if program.program_code == FALLBACK_PROGRAM:
        raise SystemProgram(
            f"{FALLBACK_PROGRAM} holds what users owe, and cannot be changed."
        )
    program = locked(GrantProgram.objects.all(), program)
    values = {name: changes.get(name, getattr(program, name)) for name in CHANGEABLE}
    _check(values, window_kind=program.window_kind)
    with auditing(by, at=at):
        if rewritten(program, values, at=at):
            _record("changed", program, at=at, by=by)
    return program


def _check_structure(program: GrantProgram) -> None:
    if program.grant_kind in _RESERVED_KINDS:
        raise Invalid(
            f"Grants of the kind {program.grant_kind} are made by the system only.",
            field="grant_kind",
        )
    if (
        program.cadence == Cadence.BILLING_PERIOD
        and program.window_kind != WindowKind.PERIOD
    ):
        raise Invalid(
            "A program issued per billing period has windows of that period.",
            field="window_kind",
        )
    if program.accrual_mode == Accrual.DAILY and program.cadence == Cadence.ONCE:
        raise Invalid(
            "What is issued once has no period to be earned over, day by day.",
            field="accrual_mode",
        )
    _check_eligibility(program)


def _check_eligibility(program: GrantProgram) -> None:
    payload = check_metadata(
        ProgramEligibility, program.eligibility_payload, "eligibility_payload"
    ).known
    grouped = program.eligibility_kind == Eligibility.SUBSCRIPTION_GROUP
    if grouped and not (payload.subscription_group_id or payload.group_key):
        raise Invalid(
            "Name the group: eligibility_payload.subscription_group_id or group_key.",
            field="eligibility_payload",
        )


def _check(values: Mapping[str, Any], *, window_kind: str) -> None:
    for name, words in _CHOICES.items():
        if values.get(name) is not None and values[name] not in words.values:
            raise Invalid(
                f"{name} must be one of {', '.join(words.values)}.", field=name
            )
    parse_uint(values["amount_xusd"], "amount_xusd")
    if values["priority"] not in PRIORITIES:
        raise Invalid(
            f"priority must lie between {PRIORITIES[0]} and {PRIORITIES[-1]}.",
            field="priority",
        )
    _check_seconds(values["window_default_seconds"], window_kind)
    check_document(values["metadata"], "metadata")


def _check_seconds(seconds: int | None, window_kind: str) -> None:
    if seconds is None:
        if window_kind == WindowKind.RELATIVE_DURATION:
            raise Invalid(
                "A relative window needs window_default_seconds.",
                field="window_default_seconds",
            )
    elif not 1 <= seconds <= MAX_SECONDS:
        raise Invalid(
            f"window_default_seconds must lie between 1 and {MAX_SECONDS}.",
            field="window_default_seconds",
        )


def _record(
    what: str, program: GrantProgram, *, at: datetime, by: AuditContext
) -> None:
    record_event(
        realm=program.realm,
        kind=f"grant_program.{what}",
        subject=program,
        payload={
            "program_code": program.program_code,
            "amount_xusd": str(program.amount_xusd),
            "active": program.active,
        },
        at=at,
        by=by,
    )

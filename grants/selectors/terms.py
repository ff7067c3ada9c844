"""On which terms an assignment issues: its program's, and what differs from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing.policies.periods import BillingPeriod
from billing.selectors.periods import billing_period_at
from config.kernel.errors import Invalid
from config.kernel.metadata import (
    GrantAssignmentMetadata,
    GrantOverride,
    check_metadata,
)
from config.kernel.money import check_int64
from config.kernel.windows import Window
from grants.models import Accrual, GrantAssignment
from grants.schedule import Binding, PeriodReader, Schedule

OVERRIDE = "grant_override"
SYSTEM_LABELS = (
    "program_id",
    "program_code",
    "assignment_id",
    "issuance_mode",
    "quantity",
    OVERRIDE,
)
"""What the metadata of an assignment and its lots says by itself."""


@dataclass(frozen=True, slots=True)
class LotTerms:
    """What the lots of an assignment are made of.

    `amount_xusd` is that of a whole period (10^-6 USD), the quantity included.
    `alloc_seq` tells apart several issuances of one period.
    """

    schedule: Schedule
    binding: Binding
    amount_xusd: int
    kind: str
    priority: int
    on_ledger: bool
    outstanding_policy: str
    alloc_seq: int
    metadata: dict[str, Any]


def terms_of(assignment: GrantAssignment) -> LotTerms:
    """Return the terms in force: `metadata.grant_override`, else the program's.

    The amount is the assignment's own, else the override's, else the program's, times
    the quantity unless scaling is off. Refuses (`Invalid`) an override that breaks its
    contract, and an amount beyond 64 bits.
    """
    program = assignment.program
    said = _override(assignment)
    return LotTerms(
        schedule=Schedule(
            cadence=program.cadence,
            issue_anchor=said.issue_anchor_override or program.issue_anchor,
            window_kind=said.window_kind_override or program.window_kind,
            relative_seconds=said.window_relative_seconds_override
            or program.window_default_seconds,
            accrues_daily=program.accrual_mode == Accrual.DAILY,
        ),
        binding=binding_of(assignment),
        amount_xusd=_amount(assignment, said),
        kind=said.kind_override or program.grant_kind,
        priority=_first(said.priority_override, program.priority),
        on_ledger=_first(said.on_ledger_override, program.on_ledger),
        outstanding_policy=assignment.outstanding_policy_override
        or program.outstanding_application_policy,
        alloc_seq=said.alloc_seq_override or 0,
        metadata=_metadata(assignment, said),
    )


def binding_of(assignment: GrantAssignment) -> Binding:
    """Return the window in which an assignment issues, and its anchor."""
    window = Window(assignment.window_start, assignment.window_end)
    return Binding(window, assignment.anchored_at or window.start)


def billing_periods(assignment: GrantAssignment, *, at: datetime) -> PeriodReader:
    """Return the reader of the billing periods of an assignment's user.

    `at` is the present instant (aware UTC).
    """

    def read(as_of: datetime) -> BillingPeriod | None:
        return billing_period_at(
            account=assignment.account, user_id=assignment.user_id, as_of=as_of, at=at
        )

    return read


def own_labels(
    labels: Mapping[str, str], *, stored: Mapping[str, Any]
) -> dict[str, str]:
    """Return the labels that people may give: all but those of the system.

    One of the system, sent back as it is `stored`, is left out. Refuses (`Invalid`)
    another value of it.
    """
    for name in SYSTEM_LABELS:
        if name in labels and labels[name] != str(stored.get(name)):
            raise Invalid(
                f"{name} is what the system says of a grant; choose another name.",
                field=f"metadata.{name}",
            )
    return {name: text for name, text in labels.items() if name not in SYSTEM_LABELS}


def _override(assignment: GrantAssignment) -> GrantOverride:
    checked = check_metadata(GrantAssignmentMetadata, assignment.metadata)
    return checked.known.grant_override or GrantOverride()


def _first(said: Any, default: Any) -> Any:
    return default if said is None else said


def _amount(assignment: GrantAssignment, said: GrantOverride) -> int:
    one = _first(
        assignment.amount_xusd,
        _first(said.amount_xusd, assignment.program.amount_xusd),
    )
    scales = said.scale_by_invoice_quantity is not False
    return check_int64(one * (assignment.quantity if scales else 1), "amount_xusd")


def _metadata(assignment: GrantAssignment, said: GrantOverride) -> dict[str, Any]:
    own = {key: value for key, value in assignment.metadata.items() if key != OVERRIDE}
    return {
        **(said.metadata or {}),
        **own,
        "program_id": str(assignment.program_id),
        "program_code": assignment.program.program_code,
        "assignment_id": str(assignment.pk),
        "issuance_mode": assignment.program.issuance_mode,
        "quantity": assignment.quantity,
    }

"""Grants (lots) and their consumption, as the wire shows and takes them."""

from typing import Any, Literal, cast

from config.api.wire import (
    Code,
    Id,
    Instant,
    JsonObject,
    Labels,
    ListQuery,
    QueryFlag,
    Reason,
    Reference,
    SignedInt,
    SmallInt,
    UInt,
    WireModel,
    WriteModel,
)
from config.kernel.errors import Invalid
from config.kernel.windows import format_instant
from grants.api.words import Closure, ExactSource, IssuanceStatus, KindName, Policy
from grants.models import GrantAllocation, GrantLot
from grants.selectors.terms import OVERRIDE, own_labels
from grants.services.assignments import GrantTerms

GivenKind = Literal[
    "grant", "sponsorship", "promo", "credit", "cash", "wallet", "other"
]
"""The kinds of grant that people give; the system makes the others."""

ConsumptionStatus = Literal["posted", "reserved", "reversed"]
ConsumptionSource = Literal["usage_event", "settlement", "manual_adjustment"]


class LotOut(WireModel):
    """A grant as the wire shows it.

    `posted_consumed_xusd` stands in the ledger, `pending_reserved_xusd` does not yet;
    `remaining_xusd` is the amount less both, below 0 of what is owed, of which
    `paid_xusd` was paid.
    """

    grant_id: str
    billing_account_id: str
    billing_user_id: str
    ledger_id: str | None
    assignment_id: str | None
    program_id: str
    grant_program_code: str
    program_name: str
    period_start: Instant | None
    period_end: Instant | None
    alloc_seq: int
    idempotency_key: str
    source_kind: ExactSource
    source_ref: str
    on_ledger: bool
    outstanding_application_policy: Policy
    issuance_status: IssuanceStatus
    kind: KindName
    window_start: Instant
    window_end: Instant | None
    priority: int
    amount_xusd: SignedInt
    posted_consumed_xusd: SignedInt
    pending_reserved_xusd: SignedInt
    remaining_xusd: SignedInt
    paid_xusd: SignedInt
    display_label: str
    source_entry_id: str | None
    metadata: JsonObject
    closure_kind: Closure | None
    closure_entry_id: str | None
    closed_at: Instant | None
    closed_remaining_xusd: SignedInt | None
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, row: Any) -> "LotOut":
        """Return the wire form of a lot that `grants.selectors.lots` read."""
        pending = row.reserved_xusd + row.consumed_xusd - row.settled_xusd
        return cls(
            grant_id=str(row.pk),
            billing_account_id=str(row.account_id),
            billing_user_id=str(row.user_id),
            ledger_id=_ledger(row),
            assignment_id=_text(row.assignment_id),
            program_id=str(row.program_id),
            grant_program_code=row.program.program_code,
            program_name=row.program.name,
            period_start=row.period_start,
            period_end=row.period_end,
            alloc_seq=row.alloc_seq,
            idempotency_key=row.issue_key,
            source_kind=cast("ExactSource", row.source_kind),
            source_ref=row.source_ref,
            on_ledger=row.on_ledger,
            outstanding_application_policy=cast("Policy", row.outstanding_policy),
            issuance_status=cast("IssuanceStatus", row.status),
            kind=cast("KindName", row.kind),
            window_start=row.window_start,
            window_end=row.window_end,
            priority=row.priority,
            amount_xusd=row.amount_xusd,
            posted_consumed_xusd=row.settled_xusd,
            pending_reserved_xusd=pending,
            remaining_xusd=row.amount_xusd - row.settled_xusd - pending,
            paid_xusd=row.paid_xusd,
            display_label=_label(row),
            source_entry_id=_text(row.source_entry_id),
            metadata=labels_of(row.metadata),
            closure_kind=cast("Closure | None", row.closure_kind),
            closure_entry_id=_text(row.closure_entry_id),
            closed_at=row.closed_at,
            closed_remaining_xusd=row.closed_remaining_xusd,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class LotPage(WireModel):
    """A page of grants."""

    items: list[LotOut]
    next_cursor: str | None = None


class LotQuery(ListQuery):
    """Filters of the grant list; an open end is after everything."""

    billing_account_id: str | None = None
    billing_user_id: str | None = None
    program_id: str | None = None
    grant_program_code: Code | None = None
    assignment_id: str | None = None
    issuance_status: list[IssuanceStatus] | None = None
    kind: list[KindName] | None = None
    on_ledger: QueryFlag | None = None
    window_start_before: Instant | None = None
    window_start_after: Instant | None = None
    window_end_before: Instant | None = None
    window_end_after: Instant | None = None


class SourceIn(WireModel):
    """What a grant by hand is given for."""

    kind: Literal["ops.manual"] = "ops.manual"
    ref: Reference | None = None
    note: Reason | None = None


class LotCreate(WriteModel):
    """A grant to give by hand: an amount, or what a program gives.

    Without a `source.ref` the Idempotency-Key is one. Without a window it holds from
    now on.
    """

    billing_account_id: Id
    billing_user_id: Id
    kind: GivenKind | None = None
    priority: SmallInt | None = None
    mode: Literal["manual", "program"] = "manual"
    amount_xusd: UInt | None = None
    program_id: Id | None = None
    grant_program_code: Code | None = None
    window_start: Instant | None = None
    window_end: Instant | None = None
    source: SourceIn | None = None
    outstanding_application_policy: Policy
    metadata: Labels | None = None

    def terms(self) -> GrantTerms:
        """Return what is given.

        Refuses (`Invalid`) a label that is the system's, and two notes.
        """
        override = {"kind_override": self.kind, "priority_override": self.priority}
        said = {name: value for name, value in override.items() if value is not None}
        metadata: dict[str, Any] = own_labels(self.metadata or {}, stored={})
        note = self.source.note if self.source else None
        if note and metadata.setdefault("note", note) != note:
            raise Invalid(
                "There are two notes: that of the source, and the label note.",
                field="metadata.note",
            )
        if said:
            metadata[OVERRIDE] = said
        return GrantTerms(
            amount_xusd=self.amount_xusd,
            outstanding_policy=self.outstanding_application_policy,
            metadata=metadata,
        )


class LotChange(WriteModel):
    """What to make of a grant: suspend, resume or revoke it, or label it anew.

    A label that is not named stays. A grant closes by itself.
    """

    issuance_status: Literal["ready", "active", "suspended", "canceled"] | None = None
    metadata: Labels | None = None


class ConsumptionOut(WireModel):
    """What one use took of a grant; `reserved` until it stands in the ledger."""

    entry_id: str
    grant_id: str
    billing_account_id: str
    billing_user_id: str
    occurred_at: Instant
    amount_xusd: SignedInt
    status: ConsumptionStatus
    source_kind: ConsumptionSource
    source_ref: str

    @classmethod
    def of(cls, row: GrantAllocation) -> "ConsumptionOut":
        """Return the wire form of an allocation of a lot."""
        return cls(
            entry_id=str(row.pk),
            grant_id=str(row.lot_id),
            billing_account_id=str(row.account_id),
            billing_user_id=str(row.user_id),
            occurred_at=row.occurred_at,
            amount_xusd=row.amount_xusd,
            status=_standing(row),
            source_kind=_source(row.source_ref),
            source_ref=row.source_ref,
        )


class ConsumptionPage(WireModel):
    """A page of what used a grant, the newest first."""

    items: list[ConsumptionOut]
    next_cursor: str | None = None


class ConsumptionQuery(ListQuery):
    """What the list of a grant's consumption takes."""


def labels_of(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what of a document the official client reads: texts and numbers."""
    return {
        name: value
        for name, value in metadata.items()
        if isinstance(value, str | int | float)
    }


def _text(key: object) -> str | None:
    return None if key is None else str(key)


def _ledger(row: Any) -> str | None:
    own = row.paid_ledger_id if row.on_ledger else row.promotional_ledger_id
    return _text(own)


def _label(lot: GrantLot) -> str:
    until = f" until {format_instant(lot.window_end)[:10]}" if lot.window_end else ""
    return f"{lot.program} from {format_instant(lot.window_start)[:10]}{until}"


def _standing(row: Any) -> ConsumptionStatus:
    if row.posting_id is None:
        return "reserved"
    return "reversed" if row.reversed else "posted"


def _source(source_ref: str) -> ConsumptionSource:
    what = source_ref.partition(":")[0]
    if what in {"gate_rating", "consume"}:
        return "usage_event"
    return "settlement" if what == "outstanding" else "manual_adjustment"
